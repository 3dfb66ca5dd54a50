//! Where a cluster's dashboard is, and how it wants to be asked: as the `ray` command
//! would find out from its options and the environment.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::collect::{CollectError, Dashboard};
use super::python;
use super::submit::Submission;
use super::token;

/// Where jobs are submitted when nothing says otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8265";
/// For one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a command line says about a cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connection<'a> {
    /// `--address`.
    pub address: Option<&'a str>,
    /// `--headers`: a JSON object.
    pub headers: Option<&'a str>,
    /// `--verify`: a truth value, or a path to certificates.
    pub verify: Option<&'a str>,
}

impl<'a> Connection<'a> {
    /// Of a submission.
    pub fn of(submission: &'a Submission) -> Self {
        Self {
            address: submission.address.as_deref(),
            headers: submission.headers.as_deref(),
            verify: submission.verify.as_deref(),
        }
    }

    /// The dashboard's URL: the environment wins over the option, as in Ray. `None` when
    /// only Ray itself can tell.
    fn url(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let address = self.address(variable)?;
        let is_http = address.starts_with("http://") || address.starts_with("https://");
        is_http.then(|| address.trim_end_matches('/').to_owned())
    }

    fn address(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty())
            .or_else(|| self.address.map(str::to_owned))
    }

    /// The dashboard's URL; `ray` is the program to ask where only Ray can tell, which
    /// takes a second.
    pub fn resolve(&self, ray: &OsStr) -> String {
        let variable = |name: &str| std::env::var(name).ok();
        self.url(variable).unwrap_or_else(|| {
            let address = self.address(variable);
            python::ask_ray_for_address(ray, address.as_deref())
                .unwrap_or_else(|_| DEFAULT_ADDRESS.to_owned())
        })
    }

    /// The dashboard at `address`.
    pub fn dashboard(&self, address: &str) -> Result<Dashboard, CollectError> {
        let headers = match self.headers {
            Some(headers) => Some(headers.to_owned()),
            None => std::env::var("RAY_JOB_HEADERS").ok(),
        };
        let tls = tls(self.verify, |name| std::env::var(name).ok())?;
        let mut dashboard = Dashboard::new(address, headers.as_deref(), TIMEOUT, tls)?;
        if let Some(token) = token(|name| std::env::var(name).ok()) {
            dashboard.authorize(&token);
        }
        Ok(dashboard)
    }
}

/// Ray's own authentication token, where the environment asks for it.
fn token(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !variable("RAY_AUTH_MODE")?.eq_ignore_ascii_case("token") {
        return None;
    }
    token::find(|name| variable(name).map(OsString::from))
}

/// Where nothing else is said, the certificates are those of Ray's own HTTP client: the
/// variables are `requests`'.
fn tls(
    verify: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<TlsConfig, CollectError> {
    let builder = TlsConfig::builder();
    let path = match verify.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "1") => ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
            .into_iter()
            .filter_map(variable)
            .find(|path| !path.is_empty()),
        Some("false" | "0") => return Ok(builder.disable_verification(true).build()),
        Some(_) => verify.map(str::to_owned),
    };
    let Some(path) = path else {
        return Ok(builder.build());
    };
    let path = Path::new(&path);
    let certificates = certificates(path)
        .map_err(|error| CollectError::Certificates(format!("{}: {error}", path.display())))?;
    let roots = RootCerts::new_with_certs(&certificates);
    Ok(builder.root_certs(roots).build())
}

/// The certificates in a PEM file, or in all files of a directory.
fn certificates(path: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        files.retain(|file| file.is_file());
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read(file)?;
        found.extend(parse_pem(&text).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
    }
    if found.is_empty() {
        return Err(std::io::Error::other("no certificate in it"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_address_option() {
        let found = Connection {
            address: Some("http://a:1/"),
            ..Connection::default()
        };
        assert_eq!(found.url(|_| None).as_deref(), Some("http://a:1"));
        let of = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        let from = found.url(of("RAY_API_SERVER_ADDRESS", "https://b"));
        assert_eq!(from.as_deref(), Some("https://b"));
        assert_eq!(found.url(of("RAY_ADDRESS", "auto")), None);
        assert_eq!(
            found.address(of("RAY_ADDRESS", "")).as_deref(),
            Some("http://a:1/")
        );
    }

    #[test]
    fn a_token_is_given_only_where_it_is_wanted() {
        let of = |mode: &'static str| {
            move |name: &str| match name {
                "RAY_AUTH_MODE" => Some(mode.to_owned()),
                "RAY_AUTH_TOKEN" => Some(" t\n".to_owned()),
                _ => None,
            }
        };
        assert_eq!(token(of("token")).as_deref(), Some("t"));
        assert_eq!(token(of("disabled")), None);
        assert_eq!(token(|_| None), None);
    }

    #[test]
    fn verification_is_what_ray_takes() {
        let unset = |_: &str| None;
        assert!(!tls(None, unset).unwrap().disable_verification());
        let error = tls(Some("/nonexistent.pem"), unset).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.pem"), "{error}");

        let set = |name: &str| (name == "CURL_CA_BUNDLE").then(|| "/other.pem".to_owned());
        let error = tls(Some("true"), set).unwrap_err();
        assert!(error.to_string().contains("/other.pem"), "{error}");
        assert!(tls(Some("False"), set).unwrap().disable_verification());
    }
}
