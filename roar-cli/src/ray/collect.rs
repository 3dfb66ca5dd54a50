//! Brings home what workers recorded, through the dashboard's HTTP API.
//!
//! Workers leave files in `<session>/logs/roar/` of their node; the dashboard lists and
//! serves what is below `<session>/logs` of every live node, binary-safe. A node that is
//! gone, or a file that went, is skipped and named: what can be had is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::token;

/// Largest file that is fetched (bytes).
const FILE_LIMIT: u64 = 1 << 32;
/// Where files are read.
const FILE: &str = "/api/v0/logs/file";
/// What the dashboard's server says where the dashboard itself says nothing: it has no
/// other answer for an empty file.
const NO_ANSWER: &str = "500 Internal Server Error";

/// Files that are ours.
const EXTENSIONS: [&str; 2] = [".roarfrag", ".roarlog"];

/// Why nothing could be fetched.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The headers in RAY_JOB_HEADERS are not a JSON object of strings.
    #[error("failed to read RAY_JOB_HEADERS: {0}")]
    Headers(String),
    /// The certificates of `--verify` cannot be used.
    #[error("failed to read certificates: {0}")]
    Certificates(String),
    /// The dashboard knows nothing of that name.
    #[error("the Ray dashboard has no {what}")]
    Missing {
        /// What was asked for: a path of the API.
        what: String,
    },
    /// A file that holds nothing.
    #[error("it is empty (has its node no space left?)")]
    Empty,
    /// The dashboard did not answer as expected.
    #[error("failed to ask the Ray dashboard for {what}: {why}")]
    Dashboard {
        /// What was asked for: a path of the API.
        what: String,
        /// The error of the connection, the status, or the document.
        why: String,
    },
}

/// One fetched file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Ray's id of the node (hex).
    pub node: String,
    /// The file's name within `logs/roar/`.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// What was fetched, and what was not.
#[derive(Debug, Default)]
pub struct Collected {
    /// The files, by node and name.
    pub files: Vec<Fetched>,
    /// The names on each node that could be asked.
    pub listed: BTreeMap<String, BTreeSet<String>>,
    /// What was there and could not be had, with the reason: `node/name: why`.
    pub missed: Vec<String>,
}

/// A dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    address: String,
    agent: Agent,
    headers: BTreeMap<String, String>,
}

impl Dashboard {
    /// A dashboard at `address` (`http://host:8265`). `headers` is the value of
    /// RAY_JOB_HEADERS or of `--headers` (a JSON object), `timeout` is for each request.
    pub fn new(
        address: &str,
        headers: Option<&str>,
        timeout: Duration,
        tls: TlsConfig,
    ) -> Result<Self, CollectError> {
        let headers = match headers {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| CollectError::Headers(error.to_string()))?,
            None => BTreeMap::new(),
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
            .http_status_as_error(false)
            .tls_config(tls)
            .build()
            .into();
        Ok(Self {
            address: address.trim_end_matches('/').to_owned(),
            agent,
            headers,
        })
    }

    /// Adds a token, unless the headers hold one already.
    pub fn authorize(&mut self, token: &str) {
        let is_ours = |name: &String| name.eq_ignore_ascii_case("authorization");
        if !self.headers.keys().any(is_ours) {
            let bearer = format!("Bearer {token}");
            self.headers.insert("Authorization".to_owned(), bearer);
        }
    }

    /// Fetches the fragments and logs, of all live nodes, whose names begin with `prefix`
    /// and that are not `known`, by node and name.
    pub fn collect(
        &self,
        prefix: &str,
        known: impl Fn(&str, &str) -> bool,
    ) -> Result<Collected, CollectError> {
        let mut collected = Collected::default();
        for node in self.nodes()? {
            let names = match self.list(&node) {
                Ok(names) => names,
                Err(error) => {
                    collected.missed.push(format!("{node}: {error}"));
                    continue;
                }
            };
            let names: BTreeSet<String> = names
                .into_iter()
                .filter(|name| name.starts_with(prefix))
                .collect();
            collected.listed.insert(node.clone(), names.clone());
            for name in names.into_iter().filter(|name| !known(&node, name)) {
                match self.file(&node, &name) {
                    Ok(bytes) => collected.files.push(Fetched {
                        node: node.clone(),
                        name,
                        bytes,
                    }),
                    Err(error) => collected.missed.push(format!("{node}/{name}: {error}")),
                }
            }
        }
        Ok(collected)
    }

    /// Ids of the nodes that are alive.
    fn nodes(&self) -> Result<Vec<String>, CollectError> {
        #[derive(Deserialize)]
        struct Node {
            node_id: String,
            state: String,
        }
        let path = "/api/v0/nodes";
        let answer = self.json(path, &[("limit", "10000")])?;
        let nodes: Vec<Node> = serde_json::from_value(answer["data"]["result"]["result"].clone())
            .map_err(|error| unexpected(path, &error))?;
        let alive = nodes.into_iter().filter(|node| node.state == "ALIVE");
        Ok(alive.map(|node| node.node_id).collect())
    }

    /// Names of our files on a node.
    fn list(&self, node: &str) -> Result<Vec<String>, CollectError> {
        let path = "/api/v0/logs";
        let answer = self.json(path, &[("node_id", node), ("glob", "roar/*")])?;
        names(&answer["data"]["result"]).map_err(|error| unexpected(path, &error))
    }

    fn file(&self, node: &str, name: &str) -> Result<Vec<u8>, CollectError> {
        let filename = format!("roar/{name}");
        // All of it, and not only the last thousand lines; without a mark before each
        // chunk, which older dashboards put there.
        let query = [
            ("node_id", node),
            ("filename", &filename),
            ("format", "text"),
            ("lines", "-1"),
        ];
        self.get(FILE, &query)
    }

    pub(super) fn json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CollectError> {
        let bytes = self.get(path, query)?;
        serde_json::from_slice(&bytes).map_err(|error| unexpected(path, &error))
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, CollectError> {
        let mut response = self.ask(path, query, None)?;
        if response.status() == 401
            && let Some(token) = token::find(|name| std::env::var_os(name))
        {
            response = self.ask(path, query, Some(&token))?;
        }
        let status = response.status();
        let body = response.body_mut().with_config().limit(FILE_LIMIT);
        let bytes = body.read_to_vec();
        if status.as_u16() == 404 {
            let what = path.to_owned();
            return Err(CollectError::Missing { what });
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
            if path == FILE && text.starts_with(NO_ANSWER) {
                return Err(CollectError::Empty);
            }
            let line = text.lines().next().unwrap_or("").to_owned();
            return Err(unexpected(
                path,
                &format!("status {}, {line}", status.as_u16()),
            ));
        }
        bytes.map_err(|error| unexpected(path, &error))
    }

    /// The token goes only to a dashboard that has asked for one.
    fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: Option<&str>,
    ) -> Result<Response<Body>, CollectError> {
        let mut request = self.agent.get(format!("{}{path}", self.address));
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| unexpected(path, &error))
    }
}

pub(super) fn unexpected(what: &str, why: &dyn std::fmt::Display) -> CollectError {
    CollectError::Dashboard {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

/// Our names in a listing, which Ray sorts into groups by its own kinds of logs.
fn names(listing: &Value) -> Result<Vec<String>, serde_json::Error> {
    let groups: BTreeMap<String, Vec<String>> = serde_json::from_value(listing.clone())?;
    let mut names: Vec<String> = groups
        .into_values()
        .flatten()
        .filter_map(|path| path.strip_prefix("roar/").map(str::to_owned))
        .filter(|name| !name.contains('/') && EXTENSIONS.iter().any(|e| name.ends_with(e)))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A dashboard that answers each request by its path.
    fn serve(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                let headers: Vec<String> = lines
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let authorized = headers.iter().any(|h| h == "authorization: Bearer t");
                let (status, body) = if authorized {
                    answer(first.split(' ').nth(1).unwrap())
                } else {
                    (401, b"no".to_vec())
                };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        address
    }

    fn dashboard(address: &str, headers: Option<&str>) -> Dashboard {
        let tls = TlsConfig::default();
        Dashboard::new(address, headers, Duration::from_secs(5), tls).unwrap()
    }

    #[test]
    fn fetches_what_can_be_had_from_live_nodes() {
        let address = serve(|path| {
            if path.starts_with("/api/v0/nodes?") {
                let nodes = r#"{"data":{"result":{"result":[
                    {"node_id":"a","state":"ALIVE"},{"node_id":"b","state":"DEAD"},
                    {"node_id":"c","state":"ALIVE"}]}}}"#;
                return (200, nodes.into());
            }
            if path.starts_with("/api/v0/logs?node_id=a&") {
                let listing = r#"{"data":{"result":{"internal":["roar/j.1.roarfrag","roar/j.2.roarlog",
                    "roar/k.roarfrag","roar/j.txt","roar/sub/"],"driver":["roar/j.0.roarfrag"]}}}"#;
                return (200, listing.into());
            }
            if path.contains("roarlog") {
                return (500, b"500 Internal Server Error\n\nin trouble".to_vec());
            }
            if path.starts_with("/api/v0/logs/file?node_id=a&") && path.ends_with("&lines=-1") {
                return (200, vec![0, 255, b'\n', 13]);
            }
            (500, b"node is gone".to_vec())
        });
        let found = dashboard(&address, Some(r#"{"Authorization":"Bearer t"}"#))
            .collect("j.", |_, _| false)
            .unwrap();
        let names: Vec<&str> = found.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["j.0.roarfrag", "j.1.roarfrag"]);
        assert_eq!(found.files[0].bytes, [0, 255, b'\n', 13]);
        assert_eq!(found.missed.len(), 2, "{:?}", found.missed);
        assert!(
            found.missed[0].contains("it is empty"),
            "{:?}",
            found.missed
        );
        assert!(
            found.missed[1].contains("node is gone"),
            "{:?}",
            found.missed
        );

        let refused = dashboard(&address, None)
            .collect("", |_, _| false)
            .unwrap_err();
        assert!(refused.to_string().contains("401"), "{refused}");
    }

    #[test]
    fn a_dashboard_that_is_not_there_is_an_error() {
        assert!(
            dashboard("http://127.0.0.1:1", None)
                .collect("", |_, _| false)
                .is_err()
        );
        let bad = Dashboard::new(
            "http://x",
            Some("[]"),
            Duration::from_secs(1),
            TlsConfig::default(),
        );
        assert!(matches!(bad, Err(CollectError::Headers(_))));
    }
}
