//! Files, up, down and in place.

use std::os::unix::fs::PermissionsExt;

use axum::body::Body;
use serde_json::{Value, json};

use super::{MULTIPART, multipart, run, upload};
use crate::support::toolbox::ToolboxUnderTest;

#[tokio::test]
async fn an_aborted_upload_leaves_the_old_content() {
    let toolbox = ToolboxUnderTest::start();
    std::fs::write(toolbox.home.join("f"), "old").unwrap();
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"f"), ("files[0].file", b"new")];
    let mut cut = multipart(&parts);
    cut.truncate(cut.len() - 12);
    let answer = toolbox.http.call("POST", "/files/bulk-upload", &[MULTIPART], cut).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["files"], Value::Null);
    assert_eq!(std::fs::read(toolbox.home.join("f")).unwrap(), b"old");
    assert_eq!(
        upload(&toolbox, &parts).await.json(),
        json!({ "files": [{ "path": "f", "bytes": 3 }] })
    );
    assert_eq!(std::fs::read(toolbox.home.join("f")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&toolbox.home).unwrap().count(), 1);
}

#[tokio::test]
async fn names_need_not_be_text() {
    let toolbox = ToolboxUnderTest::start();
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"lat-\xe4\n.txt"), ("files[0].file", b"x")];
    assert_eq!(upload(&toolbox, &parts).await.status, 200);
    let whole = toolbox.http.get("/files/download?path=lat-%E4%0A.txt").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "x"));
    let listed = toolbox.http.get("/files").await.json();
    assert_eq!(listed[0]["name"], "lat-\u{fffd}\n.txt");
    assert_eq!(toolbox.http.delete("/files?path=lat-%E4%0A.txt").await.status, 204);
    assert_eq!(toolbox.http.get("/files/").await.json(), json!([]));
}

#[tokio::test]
async fn a_pipe_is_refused_at_once() {
    let toolbox = ToolboxUnderTest::start();
    run(&toolbox, "mkfifo p").await;
    assert_eq!(toolbox.http.get("/files/download?path=p").await.status, 400);
    let many = toolbox.http.post("/files/bulk-download", json!({ "paths": ["p"] })).await;
    assert!(many.text().contains("INVALID_FILE_PATH"));
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"p"), ("files[0].file", b"x")];
    assert_eq!(upload(&toolbox, &parts).await.status, 400);
}

#[tokio::test]
async fn many_files_come_in_one_answer() {
    let toolbox = ToolboxUnderTest::start();
    std::fs::write(toolbox.home.join("a b"), b"one\r\n--DAYTONA-FILE-BOUNDARY").unwrap();
    let answer = toolbox.http.post("/files/bulk-download", json!({ "paths": ["a b", "no"] })).await;
    assert_eq!(
        answer.header("content-type"),
        "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY"
    );
    let text = answer.text();
    let (file, rest) = text.split_once("one\r\n--DAYTONA-FILE-BOUNDARY\r\n").unwrap();
    assert!(file.contains("name=\"file\"; filename=\"a b\"; filename*=utf-8''a%20b\r\n"));
    assert!(file.contains("Content-Length: 28\r\n"));
    assert!(rest.contains("name=\"error\"; filename=\"no\""));
    assert!(rest.contains("\"code\":\"FILE_NOT_FOUND\""));
    assert!(rest.ends_with("\r\n--DAYTONA-FILE-BOUNDARY--\r\n"));
}

#[tokio::test]
async fn a_growing_log_is_read_by_ranges() {
    let toolbox = ToolboxUnderTest::start();
    let path = toolbox.home.join("log");
    let (mut written, mut seen) = (Vec::new(), Vec::new());
    for i in 0..20u8 {
        written.extend(vec![i; usize::from(i) * 7]);
        std::fs::write(&path, &written).unwrap();
        let range = format!("bytes={}-", seen.len());
        let answer = toolbox
            .http
            .call("GET", "/files/download?path=log", &[("range", &range)], Body::empty())
            .await;
        match answer.status {
            206 => seen.extend_from_slice(&answer.body),
            416 => assert_eq!(answer.header("content-range"), format!("bytes */{}", written.len())),
            200 => assert!(written.is_empty() && answer.body.is_empty()),
            other => panic!("{other}"),
        }
    }
    assert_eq!(seen, written);
}

#[tokio::test]
async fn listing_goes_as_deep_as_asked() {
    let toolbox = ToolboxUnderTest::start();
    run(&toolbox, "mkdir -p a/b/c; ln -s nowhere dangling; ln -s a link; chmod 750 a").await;
    let names = |list: Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect()
    };
    let path = |deep: &str| format!("/files?path={}{deep}", toolbox.home.display());
    assert_eq!(
        names(toolbox.http.get(&path("")).await.json()),
        [toolbox.at("a"), toolbox.at("link")]
    );
    let two = names(toolbox.http.get(&path("&depth=2")).await.json());
    assert_eq!(two, [toolbox.at("a"), toolbox.at("a/b"), toolbox.at("link")]);
    let info = toolbox.http.get("/files/info?path=a").await.json();
    assert_eq!(
        (info["mode"].as_str(), info["permissions"].as_str()),
        (Some("drwxr-x---"), Some("0750"))
    );
    assert_eq!(toolbox.http.delete("/files?path=dangling").await.status, 204);
    assert_eq!(toolbox.http.delete("/files?path=a").await.status, 400);
    assert_eq!(toolbox.http.delete("/files?path=a&recursive=true").await.status, 204);
}

#[tokio::test]
async fn an_upload_keeps_the_mode_of_what_it_replaces() {
    let toolbox = ToolboxUnderTest::start();
    let path = toolbox.home.join("tool");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let raw = toolbox.http.call("POST", "/files/upload-v2?path=tool", &[], "new").await;
    assert_eq!(raw.json(), json!({ "name": "tool", "path": "tool", "type": "file" }));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}
