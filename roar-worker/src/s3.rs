//! A sink in S3, or in whatever speaks its protocol.
//!
//! S3 has no append, so each slice of a file is an object, `PREFIX FILE/OFFSET`, that is
//! made once and never changed. The file is its slices in the order of their offsets;
//! they may overlap.
//!
//! Credentials, region and endpoint are found as every AWS SDK finds them, when the first
//! request is made; no error repeats any of them.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use roar_lineage::fragment;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use crate::sink::{Kept, Sink};

/// How long a connection may take, and how long an answer.
const TIMEOUTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How many objects are fetched at a time.
const AT_A_TIME: usize = 32;
/// The region of a server that is not AWS's, where none is set.
const REGION: &str = "us-east-1";
/// Variables that name such a server.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Objects of a bucket.
pub(crate) struct S3 {
    bucket: String,
    /// Ends with a slash, or is empty.
    prefix: String,
    connection: OnceCell<Connection>,
    /// Whether the server knows no conditional put.
    is_unconditional: Cell<bool>,
}

/// What requests need.
struct Connection {
    runtime: Runtime,
    client: Client,
}

impl S3 {
    pub(crate) fn new(bucket: &str, prefix: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            connection: OnceCell::new(),
            is_unconditional: Cell::new(false),
        }
    }

    fn connection(&self) -> io::Result<&Connection> {
        if self.connection.get().is_none() {
            let _ = self.connection.set(Connection::new()?);
        }
        self.connection.get().ok_or(ErrorKind::NotConnected.into())
    }

    /// Names are in order of the offsets.
    fn key(&self, name: &str, offset: u64) -> String {
        format!("{}{name}/{offset:016}", self.prefix)
    }

    /// Somebody has put this object before: how many of these bytes are in it.
    fn compare(&self, key: &str, bytes: &[u8]) -> io::Result<usize> {
        let connection = self.connection()?;
        let get = get(connection.client.clone(), &self.bucket, key);
        let there = connection.runtime.block_on(get)?;
        let size = there.len().min(bytes.len());
        match there.get(..size) == bytes.get(..size) {
            true => Ok(size),
            false => {
                let why = format!("{key} is there with other content");
                Err(io::Error::new(ErrorKind::AlreadyExists, why))
            }
        }
    }
}

impl Sink for S3 {
    fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let connection = self.connection()?;
        let key = self.key(name, offset);
        loop {
            let condition = (!self.is_unconditional.get()).then(|| "*".to_owned());
            let request = connection.client.put_object();
            let request = request.bucket(&self.bucket).key(&key);
            let request = request.body(ByteStream::from(bytes.to_vec()));
            let sent = request.set_if_none_match(condition).send();
            let Err(error) = connection.runtime.block_on(sent) else {
                return Ok(bytes.len());
            };
            let answer = error.raw_response();
            match answer.map(|answer| answer.status().as_u16()) {
                Some(412) => return self.compare(&key, bytes),
                Some(501) if !self.is_unconditional.replace(true) => {}
                _ => return Err(of_sdk(&error)),
            }
        }
    }

    fn fetch(&self, prefix: &str, progress: &mut dyn FnMut(usize, usize)) -> io::Result<Vec<Kept>> {
        let Connection { runtime, client } = self.connection()?;
        let files = runtime.block_on(self.list(client, prefix))?;
        let mut wanted = Vec::new();
        for (name, slices) in &files {
            for (offset, _) in needed(slices) {
                wanted.push((name.clone(), offset));
            }
        }
        let found = runtime.block_on(self.get_all(client, wanted, progress))?;
        let kept = files.into_iter().map(|(name, slices)| {
            let mut bytes = Vec::new();
            for (offset, _) in needed(&slices) {
                let slice = found.get(&(name.clone(), offset));
                let known = bytes.len().saturating_sub(offset as usize);
                bytes.extend(slice.and_then(|slice| slice.get(known..)).unwrap_or(&[]));
            }
            let end = slices.iter().map(|(offset, size)| offset + size).max();
            let is_whole = end.unwrap_or(0) <= bytes.len() as u64;
            Kept {
                name,
                bytes,
                is_whole,
            }
        });
        Ok(kept.collect())
    }
}

/// Offset and size of each slice (bytes), by offset.
type Slices = BTreeMap<u64, u64>;

impl S3 {
    /// The files whose names begin with `prefix`.
    async fn list(&self, client: &Client, prefix: &str) -> io::Result<BTreeMap<String, Slices>> {
        let request = client.list_objects_v2().bucket(&self.bucket);
        let request = request.prefix(format!("{}{prefix}", self.prefix));
        let mut pages = request.into_paginator().send();
        let mut files: BTreeMap<String, Slices> = BTreeMap::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(|error| of_sdk(&error))?.contents() {
                let key = object.key().unwrap_or_default();
                let rest = key.strip_prefix(&self.prefix).unwrap_or_default();
                let (name, offset) = rest.rsplit_once('/').unwrap_or_default();
                if let (true, Ok(offset)) = (name.ends_with(fragment::EXTENSION), offset.parse()) {
                    let size = object.size().unwrap_or(0).unsigned_abs();
                    files
                        .entry(name.to_owned())
                        .or_default()
                        .insert(offset, size);
                }
            }
        }
        Ok(files)
    }

    /// The objects of these names and offsets, several at a time.
    async fn get_all(
        &self,
        client: &Client,
        wanted: Vec<(String, u64)>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> io::Result<BTreeMap<(String, u64), Vec<u8>>> {
        let count = wanted.len();
        let mut wanted = wanted.into_iter();
        let mut found = BTreeMap::new();
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_A_TIME
                && let Some((name, offset)) = wanted.next()
            {
                let (client, bucket) = (client.clone(), self.bucket.clone());
                let key = self.key(&name, offset);
                running.spawn(async move {
                    let bytes = get(client, &bucket, &key).await?;
                    Ok::<_, io::Error>(((name, offset), bytes))
                });
            }
            let Some(done) = running.join_next().await else {
                return Ok(found);
            };
            let (which, bytes) = done.map_err(io::Error::other)??;
            found.insert(which, bytes);
            progress(found.len(), count);
        }
    }
}

/// The slices that something is in which those before have not, up to the first gap.
fn needed(slices: &Slices) -> impl Iterator<Item = (u64, u64)> {
    let mut end = 0;
    let slices = slices.iter().map(|(offset, size)| (*offset, *size));
    let ordered = slices.map_while(move |(offset, size)| {
        let is_next = offset <= end;
        let is_new = offset + size > end;
        end = end.max(offset + size);
        is_next.then_some((is_new, (offset, size)))
    });
    ordered.filter_map(|(is_new, slice)| is_new.then_some(slice))
}

async fn get(client: Client, bucket: &str, key: &str) -> io::Result<Vec<u8>> {
    let sent = client.get_object().bucket(bucket).key(key).send();
    let answer = sent.await.map_err(|error| of_sdk(&error))?;
    let body = answer.body.collect().await.map_err(io::Error::other)?;
    Ok(body.to_vec())
}

impl Connection {
    fn new() -> io::Result<Self> {
        // Names are looked up, and files of the configuration read, on a thread beside.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()?;
        let client = runtime.block_on(client());
        Ok(Self { runtime, client })
    }
}

async fn client() -> Client {
    let is_named = |name| std::env::var_os(name).is_some_and(|url| !url.is_empty());
    let has_endpoint = ENDPOINTS.into_iter().any(is_named);
    let [connect, answer] = TIMEOUTS;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(connect)
        .operation_attempt_timeout(answer)
        .build();
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.build_https())
        .timeout_config(timeouts);
    if has_endpoint {
        let named = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        let named = named.or_else(ProfileFileRegionProvider::new());
        loader = loader.region(named.or_else(REGION));
    }
    let shared = loader.load().await;
    // Other servers often have neither names for buckets nor checksums behind the body.
    let config = Builder::from(&shared)
        .force_path_style(has_endpoint || shared.endpoint_url().is_some())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// What went wrong, in a few words.
fn of_sdk<E>(error: &SdkError<E>) -> io::Error
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let (SdkError::ServiceError(_), Some(answer)) = (error, error.raw_response()) {
        let status = answer.status().as_u16();
        let kind = match status {
            404 => ErrorKind::NotFound,
            401 | 403 => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        let words = [error.code(), error.message()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        return match words.is_empty() {
            true => io::Error::new(kind, format!("status {status}")),
            false => io::Error::new(kind, words.join(": ")),
        };
    }
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if cause.is::<CredentialsError>() {
            let why = "there are no credentials, or they cannot be read";
            return io::Error::new(ErrorKind::PermissionDenied, why);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    let kind = match cause.downcast_ref::<io::Error>() {
        Some(cause) => cause.kind(),
        None => ErrorKind::Other,
    };
    io::Error::new(kind, cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_overlap_and_end_at_the_first_gap() {
        let slices = |list: &[(u64, u64)]| {
            let slices = list.iter().copied().collect();
            needed(&slices).collect::<Vec<_>>()
        };
        assert_eq!(slices(&[(0, 5), (5, 2)]), [(0, 5), (5, 2)]);
        assert_eq!(slices(&[(0, 5), (2, 3), (4, 4)]), [(0, 5), (4, 4)]);
        assert_eq!(slices(&[(0, 5), (6, 2), (8, 1)]), [(0, 5)]);
        assert_eq!(slices(&[(1, 5)]), []);
    }
}
