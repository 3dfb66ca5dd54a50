//! Which service a request is for: others of Amazon's may be found at a store's address.

use super::http::Head;
use super::request::{decoded, text};

/// Whether a request is for S3 and for none of the other services that may be found at the
/// same address. The scope of its signature tells, or its type: theirs are forms and JSON.
/// `None`: nothing does.
pub(super) fn is_for_s3(head: &Head, method: &str, target: &str) -> Option<bool> {
    match head.field("authorization") {
        Some(value) if value.starts_with("AWS4-") => {
            let credential = value.split("Credential=").nth(1).unwrap_or_default();
            Some(is_scope_of_s3(
                credential.split(',').next().unwrap_or_default(),
            ))
        }
        Some(value) if value.starts_with("AWS ") => Some(true),
        Some(_) => None,
        None => {
            if let Some(is_for_s3) = is_presigned(target) {
                return Some(is_for_s3);
            }
            let form = type_of(head);
            let is_others = head.field("x-amz-target").is_some()
                || form.starts_with("application/x-www-form-urlencoded")
                || form.starts_with("application/x-amz-json");
            (method == "POST" && !target.contains('?') && is_others).then_some(false)
        }
    }
}

/// Whether a target that has its signature in itself is for S3.
fn is_presigned(target: &str) -> Option<bool> {
    let (_, query) = target.split_once('?')?;
    let value = |name| query.split('&').find_map(|part| part.strip_prefix(name));
    match value("X-Amz-Credential=") {
        Some(scope) => Some(is_scope_of_s3(&text(&decoded(scope)))),
        None => value("AWSAccessKeyId=").map(|_| true),
    }
}

/// Of a credential (`key/date/region/service/aws4_request`).
fn is_scope_of_s3(credential: &str) -> bool {
    let service = credential.rsplit('/').nth(1).unwrap_or_default();
    service.starts_with("s3")
}

/// The type of a request's body, in lower case.
pub(super) fn type_of(head: &Head) -> String {
    let value = head.field("content-type").unwrap_or_default();
    value.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::head_of;
    use super::*;

    fn meant(line: &str, fields: &str) -> Option<bool> {
        let (method, target) = line.split_once(' ').unwrap();
        is_for_s3(&head_of(line, fields), method, target)
    }

    #[test]
    fn a_signature_tells() {
        let signed = |service| {
            let scope = format!("AK/20260101/us-east-1/{service}/aws4_request");
            let field = format!("Authorization: AWS4-HMAC-SHA256 Credential={scope}, X=1\r\n");
            meant("POST /", &field)
        };
        assert_eq!(signed("s3"), Some(true));
        assert_eq!(
            (signed("sts"), signed("dynamodb")),
            (Some(false), Some(false))
        );
        assert_eq!(meant("GET /b/k", "authorization: AWS AK:1\r\n"), Some(true));
        assert_eq!(meant("GET /b/k", "authorization: Bearer x\r\n"), None);
        let presigned = |service| {
            let scope = format!("AK%2F20260101%2Fr%2F{service}%2Faws4_request");
            meant(
                &format!("GET /b/k?X-Amz-Credential={scope}&X-Amz-Signature=1"),
                "",
            )
        };
        assert_eq!(
            (presigned("s3"), presigned("sts")),
            (Some(true), Some(false))
        );
        assert_eq!(meant("GET /b/k?AWSAccessKeyId=1", ""), Some(true));
    }

    #[test]
    fn forms_are_other_services_where_nothing_is_named() {
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        let json = "content-type: application/x-amz-json-1.0\r\n";
        assert_eq!(
            (meant("POST /", form), meant("POST /", json)),
            (Some(false), Some(false))
        );
        // curl sends this type with whatever it is given.
        assert_eq!(
            meant("PUT /b/k?X-Amz-Credential=A/1/r/s3/x", form),
            Some(true)
        );
        assert_eq!(
            (meant("PUT /b/k", form), meant("POST /b?delete", form)),
            (None, None)
        );
    }
}
