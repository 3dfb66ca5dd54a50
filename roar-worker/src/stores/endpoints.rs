//! Where object stores are: what programs are told by their environment, their arguments and
//! their configuration, and what their clients say themselves.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bstr::{BString, ByteSlice};

use crate::proc;

/// Variables that name a store's URL, or with another store's name in the place of `*`.
const VARIABLES: [&[u8]; 10] = [
    b"AWS_ENDPOINT_URL_S3",
    b"AWS_ENDPOINT_URL",
    b"AWS_ENDPOINT",
    b"AWS_S3_ENDPOINT",
    b"S3_ENDPOINT",
    b"S3_ENDPOINT_URL",
    b"MLFLOW_S3_ENDPOINT_URL",
    b"FSSPEC_S3_ENDPOINT_URL",
    b"RCLONE_S3_ENDPOINT",
    b"RCLONE_CONFIG_*_ENDPOINT",
];
/// Options that name a store's URL.
const OPTIONS: [&[u8]; 2] = [b"--endpoint-url", b"--s3-endpoint"];
/// Keys of configuration files that do.
const KEYS: [&[u8]; 2] = [b"endpoint_url", b"endpoint"];
/// Configuration files: a variable with the file's path, and its place in the home directory.
const FILES: [(&[u8], &[u8]); 2] = [
    (b"AWS_CONFIG_FILE", b".aws/config"),
    (b"RCLONE_CONFIG", b".config/rclone/rclone.conf"),
];
/// The option by which rclone is given another one.
const RCLONE: (&[u8], &[u8]) = (b"rclone", b"--config");
/// Largest configuration file (bytes).
const MAX_FILE: u64 = 1 << 20;
/// How long a name may take to be looked up while its client waits to connect to it.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a store is left alone that did not answer in time.
const AWAY: Duration = Duration::from_secs(2);
/// Most stores.
const MAX_STORES: usize = 1000;

/// How a store is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    /// By HTTP.
    Plainly,
    /// By TLS, which can be looked into where a client logs its secrets.
    ByTls,
}

/// The stores that are known.
pub(super) struct Endpoints {
    addresses: HashMap<SocketAddr, Reached>,
    names: Vec<String>,
    /// URLs that were learnt.
    known: HashSet<BString>,
    /// Configuration files, and the versions that were read last.
    files: HashMap<BString, Arc<Mutex<Option<Version>>>>,
    away: HashMap<SocketAddr, Instant>,
    found: (Sender<Found>, Receiver<Found>),
}

/// What changes with a file's content: device, inode, size, and the time of the last change
/// (seconds and nanoseconds).
type Version = (u64, u64, u64, i64, i64);

/// A store's name, where it is known, and where that is.
type Found = (Option<String>, Vec<SocketAddr>, Reached);

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            names: Vec::new(),
            known: HashSet::new(),
            files: HashMap::new(),
            away: HashMap::new(),
            found: channel(),
        }
    }
}

impl Endpoints {
    /// How an address is reached, if a store is there.
    pub(super) fn at(&mut self, address: SocketAddr) -> Option<Reached> {
        let found: Vec<Found> = self.found.1.try_iter().collect();
        self.add(found);
        self.addresses.get(&normal(address)).copied()
    }

    /// A store is at this address.
    pub(super) fn is_at(&mut self, address: SocketAddr, reached: Reached) {
        self.addresses.insert(normal(address), reached);
    }

    /// The names by which stores are called, without ports.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Whether a store is known at the host and port of a URL.
    pub(super) fn has(&self, url: &[u8]) -> bool {
        parts(url).is_some_and(|(_, host, port)| match literal(&host) {
            Some(address) => {
                let address = normal(SocketAddr::new(address, port));
                self.addresses.contains_key(&address)
            }
            None => {
                let is_of = |name: &String| {
                    let bucket = host.strip_suffix(name.as_str());
                    bucket.is_some_and(|bucket| bucket.is_empty() || bucket.ends_with('.'))
                };
                let is_port = |address: &SocketAddr| address.port() == port;
                self.names.iter().any(is_of) && self.addresses.keys().any(is_port)
            }
        })
    }

    /// Whether a store did not answer in time a moment ago.
    pub(super) fn is_away(&self, address: SocketAddr) -> bool {
        let since = self.away.get(&address);
        since.is_some_and(|since| since.elapsed() < AWAY)
    }

    /// A store did not answer in time.
    pub(super) fn went_away(&mut self, address: SocketAddr) {
        self.away.insert(address, Instant::now());
    }

    /// Learns of the stores that a process is told of.
    pub(super) fn learn_from(&mut self, pid: u32) {
        let environment = proc::environment(pid);
        let value = |name: &[u8]| {
            let named = environment.iter().map(|line| line.split_once_str(b"="));
            let mut named = named.flatten().filter(|(variable, _)| *variable == name);
            named.next().map(|(_, value)| value)
        };
        for (name, value) in environment.iter().filter_map(|it| it.split_once_str(b"=")) {
            if VARIABLES.iter().any(|variable| is_like(name, variable)) {
                self.learn(value);
            }
        }
        let arguments = proc::command_line(pid);
        let program = arguments.first().and_then(|it| it.rsplit_str("/").next());
        let is_rclone = program == Some(RCLONE.0);
        for (index, argument) in arguments.iter().enumerate() {
            let (option, value) = match argument.split_once_str(b"=") {
                Some((option, value)) => (option, Some(value)),
                None => (
                    argument.as_slice(),
                    arguments.get(index + 1).map(|it| &it[..]),
                ),
            };
            if let (true, Some(value)) = (OPTIONS.contains(&option), value) {
                self.learn(value);
            }
            if let (true, Some(value)) = (is_rclone && option == RCLONE.1, value) {
                self.learn_from_file(pid, value);
            }
        }
        for (variable, place) in FILES {
            let named = value(variable).map(<[u8]>::to_vec);
            let home = || Some([value(b"HOME")?, b"/", place].concat());
            if let Some(path) = named.or_else(home) {
                self.learn_from_file(pid, &path);
            }
        }
    }

    /// Learns of the stores in a configuration file, whenever it is another than it was.
    fn learn_from_file(&mut self, pid: u32, path: &[u8]) {
        if self.files.len() >= MAX_STORES {
            return;
        }
        let read = self.files.entry(path.into()).or_default().clone();
        let from = if path.starts_with(b"/") {
            format!("/proc/{pid}/root")
        } else {
            format!("/proc/{pid}/cwd/")
        };
        // It may be on a file system that answers late or, served by the tree, never.
        let path = [from.as_bytes(), path].concat();
        self.search(
            move || {
                // Otherwise somebody still waits for it.
                let Ok(mut last) = read.try_lock() else {
                    return Vec::new();
                };
                changed(&path, &mut last).map_or_else(Vec::new, |text| stores_in(&text))
            },
            false,
        );
    }

    /// Learns of a store by its URL.
    fn learn(&mut self, url: &[u8]) {
        self.learn_from_client(url, "");
    }

    /// Learns of a store by the URL that a client uses, in which a bucket's name may stand
    /// before the store's.
    pub(super) fn learn_from_client(&mut self, url: &[u8], bucket: &str) {
        if !self.is_new(url) {
            return;
        }
        let Some((reached, host, port)) = parts(url) else {
            return;
        };
        if let Some(address) = literal(&host) {
            let addresses = vec![SocketAddr::new(address, port)];
            self.add([(Some(host), addresses, reached)]);
            return;
        }
        let bucket = bucket.to_ascii_lowercase();
        let store = host
            .strip_prefix(&bucket)
            .and_then(|host| host.strip_prefix('.'));
        if let Some(store) = store {
            self.name(store.to_owned());
        }
        let is_buckets = store.is_some();
        self.search(move || vec![(reached, host, port)], is_buckets);
    }

    fn is_new(&mut self, what: &[u8]) -> bool {
        self.known.len() < MAX_STORES && self.known.insert(what.into())
    }

    /// Looks names up in a thread: what is found too late is heard of later.
    /// `are_buckets`: they are not names of stores.
    fn search(&mut self, names: impl FnOnce() -> Vec<Parts> + Send + 'static, are_buckets: bool) {
        let tell = self.found.0.clone();
        let (ended, end) = channel::<()>();
        let search = move || {
            let _ended = ended;
            for (reached, host, port) in names() {
                let found = match literal(&host) {
                    Some(address) => vec![SocketAddr::new(address, port)],
                    None => {
                        let found = (host.as_str(), port).to_socket_addrs();
                        found.into_iter().flatten().collect()
                    }
                };
                let name = (!are_buckets).then_some(host);
                let _ = tell.send((name, found, reached));
            }
        };
        if std::thread::Builder::new().spawn(search).is_ok() {
            let _ = end.recv_timeout(LOOK_UP);
        }
    }

    fn name(&mut self, name: String) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    fn add(&mut self, found: impl IntoIterator<Item = Found>) {
        for (name, addresses, reached) in found {
            if let Some(name) = name {
                self.name(name);
            }
            let addresses = addresses
                .into_iter()
                .map(|address| (normal(address), reached));
            self.addresses.extend(addresses);
        }
    }
}

/// The text of a file whose version is not the last that was read.
fn changed(path: &[u8], last: &mut Option<Version>) -> Option<Vec<u8>> {
    let path = OsStr::from_bytes(path);
    // What a pipe has is the program's to read.
    let found = std::fs::metadata(path).ok().filter(|it| it.is_file())?;
    let modified = (found.mtime(), found.mtime_nsec());
    let version = (
        found.dev(),
        found.ino(),
        found.size(),
        modified.0,
        modified.1,
    );
    if last.replace(version) == Some(version) {
        return None;
    }
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The stores that a configuration file names.
fn stores_in(text: &[u8]) -> Vec<Parts> {
    let lines = text.lines().filter_map(|line| line.split_once_str(b"="));
    let values = lines.filter(|(key, _)| KEYS.contains(&key.trim()));
    values.filter_map(|(_, value)| parts(value)).collect()
}

/// A host that is an address.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

/// An IPv4 address as such, in whatever form it is given.
fn normal(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a variable is one of these names.
fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_once_str(b"*") {
        None => name == pattern,
        Some((before, after)) => {
            name.len() > before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
    }
}

type Parts = (Reached, String, u16);

/// How a URL is reached, its host in lower case, and its port. One without a scheme is
/// HTTP's, unless its port is that of TLS.
fn parts(url: &[u8]) -> Option<Parts> {
    let url = std::str::from_utf8(url).ok()?.trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, url),
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    let reached = match (scheme.as_deref(), port) {
        (Some("http"), _) => Reached::Plainly,
        (None, port) if port != Some(443) => Reached::Plainly,
        (Some("https") | None, _) => Reached::ByTls,
        _ => return None,
    };
    let port = port.unwrap_or(match reached {
        Reached::Plainly => 80,
        Reached::ByTls => 443,
    });
    (!host.is_empty()).then(|| (reached, host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |url: &str| parts(url.as_bytes());
        let plain = |host: &str, port| Some((Reached::Plainly, host.to_owned(), port));
        assert_eq!(of("http://127.0.0.1:9000/x"), plain("127.0.0.1", 9000));
        assert_eq!(of("http://u:p@Store"), plain("store", 80));
        assert_eq!(of("store:9000"), plain("store", 9000));
        assert_eq!(of("http://[::1]:9000"), plain("[::1]", 9000));
        assert_eq!(
            of("https://store"),
            Some((Reached::ByTls, "store".into(), 443))
        );
        assert_eq!(of(""), None);
        assert_eq!(of("ftp://x"), None);
    }

    #[test]
    fn what_is_learnt_is_found_in_every_form() {
        let mut endpoints = Endpoints::default();
        endpoints.learn(b"http://127.0.0.1:9000");
        endpoints.learn(b"http://localhost:9001");
        let at = |endpoints: &mut Endpoints, text: &str| endpoints.at(text.parse().unwrap());
        assert_eq!(at(&mut endpoints, "127.0.0.1:9000"), Some(Reached::Plainly));
        assert_eq!(
            at(&mut endpoints, "[::ffff:127.0.0.1]:9000"),
            Some(Reached::Plainly)
        );
        assert_eq!(at(&mut endpoints, "127.0.0.1:9001"), Some(Reached::Plainly));
        assert_eq!(at(&mut endpoints, "127.0.0.1:9002"), None);
        assert!(
            endpoints.has(b"http://b.localhost:9001/k") && endpoints.has(b"http://127.0.0.1:9000")
        );
        assert!(!endpoints.has(b"http://localhost:9003/k") && !endpoints.has(b"http://other:9001"));
        endpoints.learn_from_client(b"http://b.c.localhost:9002", "b.c");
        assert_eq!(endpoints.names(), ["127.0.0.1", "localhost"]);
    }

    #[test]
    fn names_of_variables_may_have_a_name_within() {
        assert!(is_like(
            b"RCLONE_CONFIG_MINE_ENDPOINT",
            b"RCLONE_CONFIG_*_ENDPOINT"
        ));
        assert!(!is_like(
            b"RCLONE_CONFIG_ENDPOINT",
            b"RCLONE_CONFIG_*_ENDPOINT"
        ));
    }
}
