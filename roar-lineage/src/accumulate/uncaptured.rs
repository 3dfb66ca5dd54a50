//! Whether a task of which no S3 request was seen made a client for it, told by the files
//! that this needs: its requests are then not captured.
//!
//! Importing a library makes no client: botocore (and with it boto3, aiobotocore and s3fs)
//! reads the service's model when one is made, pyarrow the system's certificates.

use bstr::ByteSlice;

use crate::model::FileUse;

/// Where botocore keeps its model of S3.
const MODEL: &[u8] = b"/botocore/data/s3/";
/// pyarrow's S3, within the directory of the package.
const ARROW: &[u8] = b"/pyarrow/_s3fs";
/// Where pyarrow looks for certificates.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The library by which a task with these inputs made a client. `has_loaded` tells
/// whether any task of the observer used a file whose path contains a text.
pub(super) fn client(
    reads: &[FileUse],
    has_loaded: impl FnOnce(&[u8]) -> bool,
) -> Option<&'static str> {
    if reads.iter().any(|file| file.path.contains_str(MODEL)) {
        return Some("botocore");
    }
    let is_certificates = |file: &FileUse| CERTIFICATES.iter().any(|path| file.path == *path);
    (reads.iter().any(is_certificates) && has_loaded(ARROW)).then_some("pyarrow")
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
    fn what_is_only_imported_is_no_client() {
        let imported = [read("/p/botocore/client.py"), read("/p/pyarrow/_s3fs.so")];
        assert_eq!(client(&imported, |_| true), None);
        let model = [read("/p/botocore/data/s3/2006-03-01/service-2.json.gz")];
        assert_eq!(client(&model, |_| false), Some("botocore"));
        let certificates = [read("/etc/ssl/certs/ca-certificates.crt")];
        assert_eq!(client(&certificates, |_| false), None);
        assert_eq!(client(&certificates, |_| true), Some("pyarrow"));
    }
}
