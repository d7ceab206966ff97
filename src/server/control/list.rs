//! The list of sandboxes: filters, order, pages.

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{queries, query};
use crate::server::clock;
use crate::server::problem::Problem;
use crate::server::store::{REGION, Record, SNAPSHOT};
use crate::wire::sandbox::{SandboxState, StringMap};

const SORTS: [&str; 6] = ["name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"];

/// What of the full sandbox an item of the list leaves out.
const NOT_LISTED: [&str; 3] = ["env", "volumes", "buildInfo"];

/// One page of what the query asks for.
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    pub(super) next: Option<String>,
}

/// Filters, sorts and cuts.
pub(super) fn page(mut records: Vec<Record>, uri: &Uri) -> Result<Page, Problem> {
    let limit = limit(uri)?;
    let filter = Filter::read(uri)?;
    let sort = one_of(uri, "sort", &SORTS, "lastActivityAt")?;
    let order = one_of(uri, "order", &["asc", "desc"], "desc")?;
    let after = query(uri, "cursor").filter(|c| !c.is_empty()).map(|c| cursor(&c)).transpose()?;
    records.retain(|record| filter.fits(record));
    let place = |record: &Record| (key(record, &sort), record.id.clone());
    let rising = order == "asc";
    records.sort_by(|a, b| if rising { place(a).cmp(&place(b)) } else { place(b).cmp(&place(a)) });
    if let Some(after) = after {
        records.retain(|record| if rising { place(record) > after } else { place(record) < after });
    }
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|last| {
        let (value, id) = place(last);
        URL_SAFE_NO_PAD.encode(json!({ "sortValue": value, "id": id }).to_string())
    });
    Ok(Page { records, next })
}

/// A numbered page of what the query asks for, newest first: records, its number, records in all, pages.
pub(super) fn numbered(
    mut records: Vec<Record>,
    uri: &Uri,
) -> Result<(Vec<Record>, usize, usize, usize), Problem> {
    let limit = limit(uri)?;
    let number = query(uri, "page").map_or(Ok(1), |text| text.parse::<usize>());
    let number = number.ok().filter(|number| *number >= 1);
    let number = number.ok_or_else(|| Problem::bad_request("page must not be less than 1"))?;
    let filter = Filter::read(uri)?;
    records.retain(|record| filter.fits(record));
    records.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let total = records.len();
    let start = (number - 1).saturating_mul(limit);
    let page = records.into_iter().skip(start).take(limit).collect();
    Ok((page, number, total, total.div_ceil(limit)))
}

/// A full sandbox as an item of the list.
pub(super) fn item(mut full: Value) -> Value {
    if let Some(map) = full.as_object_mut() {
        for key in NOT_LISTED {
            map.remove(key);
        }
    }
    full
}

/// A key that sorts as text: numbers are padded.
fn key(record: &Record, sort: &str) -> String {
    match sort {
        "name" => record.name.clone(),
        "lastActivityAt" => format!("{:020}", record.last_activity),
        "createdAt" => format!("{:020}", record.created),
        _ => String::new(),
    }
}

fn cursor(text: &str) -> Result<(String, String), Problem> {
    let read = || {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        Some((value["sortValue"].as_str()?.to_owned(), value["id"].as_str()?.to_owned()))
    };
    read().ok_or_else(|| Problem::bad_request(format_args!("Invalid cursor provided: {text}")))
}

fn limit(uri: &Uri) -> Result<usize, Problem> {
    let refuse = |words: &str| Problem::bad_request(format_args!("limit must {words}"));
    match query(uri, "limit").map(|text| text.parse::<i64>()) {
        None => Ok(100),
        Some(Err(_)) => Err(refuse(
            "be an integer number, limit must not be less than 1, limit must not be greater than 200",
        )),
        Some(Ok(..1)) => Err(refuse("not be less than 1")),
        Some(Ok(limit)) => usize::try_from(limit)
            .ok()
            .filter(|limit| *limit <= 200)
            .ok_or_else(|| refuse("not be greater than 200")),
    }
}

pub(super) fn one_of(
    uri: &Uri,
    key: &str,
    known: &[&str],
    default: &str,
) -> Result<String, Problem> {
    let value = query(uri, key).unwrap_or_else(|| default.to_owned());
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(Problem::bad_request(format_args!(
        "{key} must be one of the following values: {}",
        known.join(", ")
    )))
}

#[derive(Default)]
struct Filter {
    id: String,
    name: String,
    labels: StringMap,
    states: Vec<SandboxState>,
    snapshots: Vec<String>,
    regions: Vec<String>,
    public: Option<bool>,
    created: (Option<i64>, Option<i64>),
    active: (Option<i64>, Option<i64>),
}

impl Filter {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        for key in ["minCpu", "maxCpu", "minMemoryGiB", "maxMemoryGiB", "minDiskGiB", "maxDiskGiB"]
        {
            if query(uri, key).is_some_and(|text| text.parse::<i64>().is_ok_and(|n| n < 1)) {
                return Err(Problem::bad_request(format_args!("{key} must not be less than 1")));
            }
        }
        let date = |key: &str| match query(uri, key) {
            None => Ok(None),
            Some(text) => clock::parse(&text)
                .map(Some)
                .ok_or_else(|| Problem::bad_request(format_args!("{key} must be a Date instance"))),
        };
        let labels = match query(uri, "labels") {
            None => StringMap::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|_| Problem::bad_request("Invalid labels JSON format"))?,
        };
        let prefix = |key| query(uri, key).unwrap_or_default().to_lowercase();
        Ok(Filter {
            id: prefix("id"),
            name: prefix("name"),
            labels,
            states: queries(uri, "states")
                .iter()
                .map(|text| state(text))
                .collect::<Result<_, _>>()?,
            snapshots: queries(uri, "snapshots"),
            regions: queries(uri, "regionIds"),
            public: query(uri, "isPublic").map(|text| text == "true"),
            created: (date("createdAtAfter")?, date("createdAtBefore")?),
            active: (date("lastEventAfter")?, date("lastEventBefore")?),
        })
    }

    fn fits(&self, record: &Record) -> bool {
        let within = |time: i64, (after, before): (Option<i64>, Option<i64>)| {
            after.is_none_or(|t| time >= t) && before.is_none_or(|t| time <= t)
        };
        let among =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
        record.id.starts_with(&self.id)
            && record.name.to_lowercase().starts_with(&self.name)
            && self.labels.iter().all(|(name, value)| record.labels.get(name) == Some(value))
            && (self.states.is_empty() || self.states.contains(&record.state.on_wire()))
            && among(&self.snapshots, SNAPSHOT)
            && among(&self.regions, REGION)
            && self.public.is_none_or(|public| public == record.public)
            && within(record.created, self.created)
            && within(record.last_activity, self.active)
    }
}

fn state(text: &str) -> Result<SandboxState, Problem> {
    match SandboxState::parse(text) {
        SandboxState::Other(_) | SandboxState::Destroyed => Err(Problem::bad_request(
            "each value must be one of the following values: creating, restoring, destroying, started, stopped, starting, stopping, error, build_failed, pending_build, building_snapshot, unknown, pulling_snapshot, archived, archiving",
        )),
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: i64) -> Vec<Record> {
        let one = |n: i64| {
            let mut record = Record::new(format!("id{n}"), format!("name{n}"), n * 1000);
            record.labels.insert("n".to_owned(), (n % 2).to_string());
            record
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        for (sort, order) in [("name", "asc"), ("createdAt", "desc"), ("cpu", "asc")] {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let uri = format!("/s?limit=3&sort={sort}&order={order}&cursor={cursor}")
                    .parse()
                    .unwrap();
                let page = page(some(8), &uri).unwrap();
                seen.extend(page.records.into_iter().map(|record| record.name));
                match page.next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            let mut expected: Vec<_> = some(8).into_iter().map(|record| record.name).collect();
            if order == "desc" {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{sort} {order}");
        }
    }

    #[test]
    fn filters_narrow_and_nonsense_is_refused() {
        let count =
            |q: &str| page(some(8), &format!("/s?{q}").parse().unwrap()).map(|p| p.records.len());
        assert_eq!(count("labels=%7B%22n%22%3A%221%22%7D").unwrap(), 4);
        assert_eq!(count("states=creating&states=started").unwrap(), 8);
        assert_eq!(count("states=stopped").unwrap(), 0);
        assert_eq!(count("name=NAME3").unwrap(), 1);
        assert_eq!(count("createdAtAfter=1970-01-01T00:00:05.000Z").unwrap(), 3);
        for bad in [
            "limit=0",
            "limit=201",
            "limit=abc",
            "cursor=garbage",
            "labels=notjson",
            "labels=%5B1%5D",
            "states=destroyed",
            "states=bogus",
            "sort=bogus",
            "order=up",
            "createdAtAfter=nodate",
            "minCpu=0",
        ] {
            assert_eq!(count(bad).unwrap_err().status.as_u16(), 400, "{bad}");
        }
    }
}
