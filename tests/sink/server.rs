//! An S3 server for one test: s3s-fs, whose buckets are directories.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roar_tests::{wait_until, workspace};

/// Who may ask.
pub(crate) const KEY: &str = "AKROARTESTKEY";
/// What must be written nowhere.
pub(crate) const SECRET: &str = "roar-test-secret-5f2b8c";
/// The bucket that is there.
pub(crate) const BUCKET: &str = "records";

/// A server that can go away and come back.
pub(crate) struct Server {
    root: tempfile::TempDir,
    /// 0 until it has one.
    port: u16,
    running: Option<Child>,
}

impl Server {
    /// One with an empty bucket, at a port of the system's choice.
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut server = Self {
            root,
            port: 0,
            running: None,
        };
        server.come_back();
        server
    }

    /// Ends it; what it has stays.
    pub(crate) fn go_away(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    /// Starts it again, at the same address.
    pub(crate) fn come_back(&mut self) {
        let log = self.root.path().join("log");
        let mut command = Command::new(program());
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--access-key", KEY, "--secret-key", SECRET]);
        command.arg(self.root.path()).env("RUST_LOG", "s3s_fs=info");
        command.stdout(fs::File::create(&log).unwrap());
        self.running = Some(command.stderr(Stdio::null()).spawn().unwrap());
        let port = || {
            let text = fs::read_to_string(&log).unwrap();
            let (_, rest) = text.split_once("http://127.0.0.1:")?;
            rest.lines().next()?.parse().ok()
        };
        assert!(wait_until(Duration::from_secs(10), || port().is_some()));
        self.port = port().unwrap();
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The variables with which it is reached.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        variables(self.url())
    }

    /// A path in the bucket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(name)
    }

    /// The files beneath `prefix`, by name, with the pieces of each in order.
    pub(crate) fn files(&self, prefix: &str) -> Vec<(String, Vec<Vec<u8>>)> {
        let mut files = Vec::new();
        for name in names(&self.path(prefix)) {
            let file = self.path(prefix).join(&name);
            let pieces = names(&file).into_iter();
            let pieces = pieces.map(|piece| fs::read(file.join(piece)).unwrap());
            files.push((name, pieces.collect()));
        }
        files
    }

    /// How many objects are beneath `prefix`.
    pub(crate) fn objects(&self, prefix: &str) -> usize {
        self.files(prefix)
            .iter()
            .map(|(_, pieces)| pieces.len())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// The variables with which a server is reached.
pub(crate) fn variables(url: String) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_ENDPOINT_URL", url),
    ]
}

/// The names in a directory, if there is one, in order.
pub(crate) fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn program() -> PathBuf {
    let made = workspace().join(".cache/s3s/bin/s3s-fs");
    let named = std::env::var_os("ROAR_TEST_S3S").map_or(made, PathBuf::from);
    let hint = "`make .cache/s3s/bin/s3s-fs` makes it, ROAR_TEST_S3S names another";
    assert!(named.is_file(), "{} is not there: {hint}", named.display());
    named
}

/// In front of a server, one that knows no conditional put; its address.
pub(crate) fn without_conditions(server: &Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let port = server.port;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(client, port));
        }
    });
    url
}

/// The first request of a connection decides: refused, or passed on with what follows.
fn serve(mut client: TcpStream, port: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if text.contains("if-none-match") {
        let body = "<Error><Code>NotImplemented</Code></Error>";
        let length = body.len();
        let answer = "HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length:";
        client.write_all(format!("{answer} {length}\r\n\r\n{body}").as_bytes())?;
        // All that was sent is read, or the answer would be lost with the connection.
        client.shutdown(std::net::Shutdown::Write)?;
        client.read_to_end(&mut head)?;
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut server, &mut client).map(drop)
}
