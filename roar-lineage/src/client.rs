//! Clients of object stores, told by the files that they need.
//!
//! Importing a library makes no client: botocore (and with it boto3, aiobotocore and s3fs)
//! reads the service's model when one is made, pyarrow the system's certificates.

use std::sync::LazyLock;

use bstr::Finder;

use crate::model::FileUse;

/// Where botocore keeps its model of S3.
const MODEL: &[u8] = b"/botocore/data/s3/";
/// pyarrow's S3, within the directory of the package.
const ARROW: &[u8] = b"/pyarrow/_s3fs";
/// Where pyarrow looks for certificates.
const CERTIFICATES: &[&[u8]] = &[
    b"/etc/ssl/certs/ca-certificates.crt",
    b"/etc/pki/tls/certs/ca-bundle.crt",
    b"/etc/ssl/ca-bundle.pem",
    b"/etc/pki/tls/cacert.pem",
    b"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    b"/etc/ssl/cert.pem",
];

/// A file that tells of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// botocore's model of S3.
    Botocore,
    /// pyarrow's library for S3: there may be a client some time.
    Arrow,
    /// Certificates: with pyarrow's library, a client.
    Certificates,
}

/// What a file that was read tells of a client.
pub fn part_of(path: &[u8]) -> Option<Part> {
    static FINDERS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| [MODEL, ARROW].map(Finder::new));
    let [model, arrow] = &*FINDERS;
    if model.find(path).is_some() {
        Some(Part::Botocore)
    } else if arrow.find(path).is_some() {
        Some(Part::Arrow)
    } else {
        CERTIFICATES.contains(&path).then_some(Part::Certificates)
    }
}

/// The library by which a task with these inputs made a client. `has_arrow` tells whether
/// any task of the observer used pyarrow's library for S3.
pub fn library(reads: &[FileUse], has_arrow: impl FnOnce() -> bool) -> Option<&'static str> {
    let has = |part| reads.iter().any(|file| part_of(&file.path) == Some(part));
    if has(Part::Botocore) {
        return Some("botocore");
    }
    (has(Part::Certificates) && has_arrow()).then_some("pyarrow")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Category, FileState};

    fn read(path: &str) -> FileUse {
        FileUse {
            path: path.into(),
            digest: None,
            size: None,
            state: FileState::Skipped,
            category: Category::Package,
            how: BTreeSet::new(),
            via: None,
            unchanged: false,
            inferred: false,
            version: None,
            object: None,
            first: 0,
            last: 0,
        }
    }

    #[test]
    fn what_is_only_imported_is_no_library() {
        let imported = [read("/p/botocore/client.py"), read("/p/pyarrow/_s3fs.so")];
        assert_eq!(library(&imported, || true), None);
        let model = [read("/p/botocore/data/s3/2006-03-01/service-2.json.gz")];
        assert_eq!(library(&model, || false), Some("botocore"));
        let certificates = [read("/etc/ssl/certs/ca-certificates.crt")];
        assert_eq!(library(&certificates, || false), None);
        assert_eq!(library(&certificates, || true), Some("pyarrow"));
    }
}
