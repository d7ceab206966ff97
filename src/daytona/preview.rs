//! URLs that reach a port of a sandbox.

use reqwest::Method;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::refusal::Subject;
use crate::wire::sandbox::PreviewUrl;

impl Client {
    /// The URL of a port. It is composed, not checked: nothing may listen there. Its token opens every
    /// port of the sandbox until the next start; ask again after one.
    pub async fn preview_url(&self, id: &str, port: u16) -> Result<PreviewUrl, Error> {
        let what = format!("ask for the URL of port {port} of sandbox `{id}`");
        let url = self.url(&["sandbox", id, "ports", &port.to_string(), "preview-url"])?;
        self.json(Call::new(what, Subject::Sandbox, Method::GET, url)).await
    }
}
