//! What a request asks of an object store: Amazon S3 API Reference, "Actions".

use bstr::{BString, ByteSlice};
use percent_encoding::percent_decode_str;

use super::host::Host;
use super::http::{FirstLine, Head};
use super::service::{is_for_s3, type_of};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// GetObject.
    Get,
    /// SelectObjectContent: what is answered is no content of the object.
    Select,
    /// PutObject.
    Put,
    /// CopyObject.
    Copy(Source),
    /// UploadPart.
    Part {
        /// The upload.
        upload: String,
        /// Number of the part, from 1.
        number: u64,
    },
    /// UploadPartCopy: of all of it, or of these bytes (first and last).
    PartCopy(Source, Option<(u64, u64)>),
    /// CompleteMultipartUpload.
    Complete {
        /// The upload.
        upload: String,
    },
    /// DeleteObject.
    Delete,
    /// DeleteObjects.
    DeleteMany,
    /// Anything that neither reads nor writes an object's content.
    Look,
}

/// What is copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    /// `s3://bucket/key`.
    pub(super) url: BString,
    /// Its version, where one was asked for.
    pub(super) version_id: Option<String>,
}

/// A request to an object store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    /// What it asks for.
    pub(super) action: Action,
    /// `s3://bucket/key`.
    pub(super) url: BString,
    /// The version that it names.
    pub(super) version_id: Option<String>,
    /// The operation's id, which its client made (`amz-sdk-invocation-id`).
    pub(super) invocation: Option<String>,
    /// Whether the body is in signed chunks.
    pub(super) is_signed_in_chunks: bool,
}

/// A request for an object whose name cannot be told, or one that changes objects in a way that
/// is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unclear;

/// Parameters that make a request one for something else than an object's content. Stores pass
/// over those that they do not know.
const SUBRESOURCES: [&str; 37] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];
/// Those of other stores that speak S3: MinIO, Ceph, Google's and Alibaba's.
const OTHERS: [&str; 4] = ["append", "compose", "lambdaArn", "x-oss-process"];
/// With these methods and parameters objects are renamed (RenameObject), made of others (Google's
/// "Compose objects") and appended to (Alibaba's "AppendObject").
const UNFOLLOWED: [(&str, &str); 3] = [
    ("PUT", "renameObject"),
    ("PUT", "compose"),
    ("POST", "append"),
];

impl Request {
    /// What a head asks for. `hosts` are the store's own names, without a port: what stands
    /// before one of them is a bucket. `None`: it is not for an object store.
    /// With `must_show` it must say so itself.
    pub(super) fn of(
        head: &Head,
        hosts: &[String],
        must_show: bool,
    ) -> Result<Option<Self>, Unclear> {
        let FirstLine::Request(method, target) = &head.first else {
            return Ok(None);
        };
        let meant = is_for_s3(head, method, target);
        if meant == Some(false) || meant.is_none() && must_show {
            return Ok(None);
        }
        // Some stores take tokens; so do others that are found beside them.
        let is_by_token = meant.is_none() && head.field("authorization").is_some();
        // A target may be a whole URL (RFC 9112, section 3.2.2).
        let target = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => match rest.find('/') {
                Some(at) => rest.get(at..).unwrap_or_default(),
                None => return Ok(None),
            },
            _ => target.as_str(),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decoded(path.strip_prefix('/').unwrap_or(path));
        let host = head
            .field("host")
            .map_or(Host::Stores, |host| Host::of(host, hosts));
        let url = match host {
            Host::Buckets(bucket) => url(bucket.as_bytes(), &path),
            // All of the path may be the key.
            Host::Unknown => url(b"", &path),
            Host::Stores => {
                let (bucket, key) = path.split_once_str("/").unwrap_or((&path, b""));
                url(bucket, key)
            }
        };
        let has_key = !key_of(&url).is_empty();
        let parameters: Vec<(&str, &str)> = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .collect();
        let parameter = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| text(&decoded(value)))
        };
        let is_other = |name: &str| SUBRESOURCES.contains(&name) || OTHERS.contains(&name);
        let is_plain = !parameters.iter().any(|(name, _)| is_other(name));
        let source = head.field("x-amz-copy-source").map(source).transpose()?;
        let number = parameter("partNumber").and_then(|number| number.parse().ok());
        let action = match (method.as_str(), has_key, is_plain) {
            ("GET", true, true) if parameter("uploadId").is_none() => Action::Get,
            ("POST", true, false) if parameter("select").is_some() => Action::Select,
            ("PUT", true, true) => match (parameter("uploadId"), number, source) {
                (Some(_), Some(_), Some(source)) => {
                    let range = head.field("x-amz-copy-source-range");
                    Action::PartCopy(source, range.and_then(copied_range))
                }
                (Some(upload), Some(number), None) => Action::Part { upload, number },
                (None, None, Some(source)) => Action::Copy(source),
                (None, None, None) => Action::Put,
                _ => Action::Look,
            },
            ("POST", true, true) => match parameter("uploadId") {
                Some(upload) => Action::Complete { upload },
                None => Action::Look,
            },
            ("DELETE", true, true) if parameter("uploadId").is_none() => Action::Delete,
            ("POST", false, false) if parameter("delete").is_some() => Action::DeleteMany,
            _ => Action::Look,
        };
        // In an upload by a form (API Reference, "POST Object") the key is a field of it.
        let is_form = || {
            let form = type_of(head);
            let may_be_bucket = !has_key || host == Host::Unknown;
            method == "POST" && is_plain && may_be_bucket && form.starts_with("multipart/form-data")
        };
        let names = action != Action::Look;
        let has_no_name = host == Host::Unknown || is_by_token;
        let is_unfollowed = UNFOLLOWED
            .iter()
            .any(|(with, name)| with == method && parameter(name).is_some());
        if names && has_no_name || !names && is_form() || is_unfollowed {
            return Err(Unclear);
        }
        let encoding = head.field("content-encoding").unwrap_or_default();
        let hash = head.field("x-amz-content-sha256").unwrap_or_default();
        Ok(Some(Self {
            action,
            url,
            version_id: parameter("versionId").filter(|id| id != "null"),
            invocation: head.field("amz-sdk-invocation-id").map(str::to_owned),
            is_signed_in_chunks: hash.starts_with("STREAMING-") || encoding.contains("aws-chunked"),
        }))
    }
}

fn url(bucket: &[u8], key: &[u8]) -> BString {
    [b"s3://", bucket, b"/", key].concat().into()
}

/// The key of an object's URL.
pub(super) fn key_of(url: &[u8]) -> &[u8] {
    let path = url.get(b"s3://".len()..).unwrap_or_default();
    path.split_once_str("/").map_or(&b""[..], |(_, key)| key)
}

/// The URL of another key in the bucket of an object's URL.
pub(super) fn beside(url: &[u8], other: &[u8]) -> BString {
    let end = url.len() - key_of(url).len();
    [url.get(..end).unwrap_or_default(), other].concat().into()
}

/// `x-amz-copy-source`: `/bucket/key?versionId=…`, percent-encoded; an access point's is an ARN.
fn source(value: &str) -> Result<Source, Unclear> {
    let (path, query) = value.split_once('?').unwrap_or((value, ""));
    let path = decoded(path.trim_start_matches('/'));
    if path.starts_with(b"arn:") {
        return Err(Unclear);
    }
    let (bucket, key) = path.split_once_str("/").unwrap_or((&path, b""));
    let version_id = query.strip_prefix("versionId=");
    Ok(Source {
        url: url(bucket, key),
        version_id: version_id
            .map(|id| text(&decoded(id)))
            .filter(|id| id != "null"),
    })
}

/// `x-amz-copy-source-range`: `bytes=FIRST-LAST`.
pub(super) fn copied_range(value: &str) -> Option<(u64, u64)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

pub(super) fn decoded(text: &str) -> BString {
    percent_decode_str(text).collect::<Vec<u8>>().into()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::head_of;
    use super::*;

    fn request(line: &str, fields: &str) -> Result<Option<Request>, Unclear> {
        Request::of(&head_of(line, fields), &["localhost".to_owned()], false)
    }

    fn action(line: &str, fields: &str) -> (String, Action) {
        let request = request(line, fields).unwrap().unwrap();
        (request.url.to_string(), request.action)
    }

    #[test]
    fn the_path_or_the_host_names_the_bucket() {
        let at = |line, host| action(line, &format!("host: {host}\r\n")).0;
        assert_eq!(at("GET /b/k/l%20%C3%A9", "127.0.0.1:9"), "s3://b/k/l é");
        assert_eq!(at("GET /k/l", "b.localhost:9"), "s3://b/k/l");
        assert_eq!(at("GET /b/k", "localhost"), "s3://b/k");
        assert_eq!(at("GET http://localhost/b/k", "localhost"), "s3://b/k");
        assert_eq!(at("GET /b/a%2Bb+c", "localhost"), "s3://b/a+b+c");
        assert_eq!(at("GET /b/k", "store:9"), "s3://b/k");
        assert_eq!(at("GET /b/k", "[::1]:9"), "s3://b/k");
        for (host, url) in [
            ("s3.amazonaws.com", "s3://b/k"),
            ("s3-us-west-2.amazonaws.com", "s3://b/k"),
            ("s3.dualstack.eu-west-1.amazonaws.com", "s3://b/k"),
            ("a.s3.eu-west-1.amazonaws.com", "s3://a/b/k"),
            ("a.s3.b.s3.cn-north-1.amazonaws.com.cn", "s3://a.s3.b/b/k"),
            (
                "a--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
                "s3://a--x-s3/b/k",
            ),
        ] {
            assert_eq!(at("GET /b/k", host), url);
        }
    }

    #[test]
    fn what_cannot_be_named_is_not() {
        let of = |line, host| request(line, &format!("host: {host}\r\n"));
        assert_eq!(of("GET /b/k", "x.example:9"), Err(Unclear));
        assert_eq!(
            of("GET /k", "a-1.s3-accesspoint.eu-west-1.amazonaws.com"),
            Err(Unclear)
        );
        // Nothing is read by them.
        assert!(of("HEAD /b/k", "x.example").unwrap().is_some());
        assert!(of("GET /b?list-type=2", "x.example").unwrap().is_some());
        assert_eq!(request("PUT /b/k?renameObject", ""), Err(Unclear));
        assert_eq!(request("POST /b/k?append&position=3", ""), Err(Unclear));
        assert_eq!(request("PUT /b/k?compose", ""), Err(Unclear));
        let form = "content-type: Multipart/form-data; boundary=1\r\n";
        assert_eq!(request("POST /b", form), Err(Unclear));
        assert_eq!(
            request("POST /", &format!("host: b.localhost\r\n{form}")),
            Err(Unclear)
        );
        let unknown = format!("host: x.example\r\n{form}");
        assert_eq!(request("POST /b", &unknown), Err(Unclear));
        let point = "arn:aws:s3:eu-west-1:1:accesspoint/a/object/k";
        let copied = format!("x-amz-copy-source: {point}\r\n");
        assert_eq!(request("PUT /b/k", &copied), Err(Unclear));
        let token = "authorization: Bearer x\r\n";
        assert_eq!(request("GET /b/k", token), Err(Unclear));
        assert!(request("GET /b?list-type=2", token).unwrap().is_some());
    }

    #[test]
    fn actions_are_told_apart() {
        let of = |line: &str| action(line, "").1;
        assert_eq!(of("GET /b/k?versionId=3&x-id=GetObject"), Action::Get);
        assert_eq!(
            of("GET /b/k?X-Amz-Signature=1&response-content-type=a"),
            Action::Get
        );
        assert_eq!(of("GET /b/k?cachebust=1"), Action::Get);
        assert_eq!(of("PUT /b/k?x"), Action::Put);
        for other in SUBRESOURCES.iter().chain(&OTHERS) {
            let line = format!("GET /b/k?{other}=1");
            assert_eq!(of(&line), Action::Look);
        }
        assert_eq!(of("GET /b/k?uploadId=1"), Action::Look);
        assert_eq!(of("GET /b?list-type=2&prefix=a"), Action::Look);
        assert_eq!(of("HEAD /b/k"), Action::Look);
        assert_eq!(of("PUT /b/k"), Action::Put);
        assert_eq!(of("PUT /b"), Action::Look);
        assert_eq!(of("PUT /b/k?acl"), Action::Look);
        assert_eq!(of("DELETE /b/k?versionId=1"), Action::Delete);
        assert_eq!(of("DELETE /b/k?uploadId=1"), Action::Look);
        assert_eq!(of("POST /b?delete"), Action::DeleteMany);
        assert_eq!(of("POST /b/k?uploads"), Action::Look);
        assert_eq!(of("POST /b/k?select&select-type=2"), Action::Select);
        let upload = "u/1".to_owned();
        let part = Action::Part {
            upload: upload.clone(),
            number: 2,
        };
        assert_eq!(of("PUT /b/k?partNumber=2&uploadId=u%2F1"), part);
        assert_eq!(of("POST /b/k?uploadId=u%2F1"), Action::Complete { upload });
        let copied = action("PUT /b/k", "x-amz-copy-source: /c/d%20e?versionId=7\r\n").1;
        let source = Source {
            url: "s3://c/d e".into(),
            version_id: Some("7".into()),
        };
        assert_eq!(copied, Action::Copy(source));
    }

    #[test]
    fn keys_beside_one_another() {
        assert_eq!(beside(b"s3://b/", b"x/y"), "s3://b/x/y");
        assert_eq!(beside(b"s3://b/k", b"l"), "s3://b/l");
    }
}
