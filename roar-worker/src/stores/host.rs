//! Whom the host of a request names: a store, or one of its buckets.

use super::endpoints::literal;

/// Whom a host names.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Host<'a> {
    /// The store: the bucket is in the path.
    Stores,
    /// One of its buckets ("virtual-hosted style").
    Buckets(&'a str),
    /// It may be either.
    Unknown,
}

impl<'a> Host<'a> {
    pub(super) fn of(host: &'a str, stores: &[String]) -> Self {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if stores.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Self::Stores;
        }
        let before = |own: &String| {
            let (bucket, rest) = name.split_at_checked(name.len().checked_sub(own.len())?)?;
            bucket
                .strip_suffix('.')
                .filter(|bucket| !bucket.is_empty() && rest.eq_ignore_ascii_case(own))
        };
        let buckets = stores.iter().filter_map(before);
        if let Some(bucket) = buckets.min_by_key(|bucket| bucket.len()) {
            return Self::Buckets(bucket);
        }
        if literal(name).is_some() || !name.contains('.') {
            return Self::Stores;
        }
        Self::of_amazon(name)
    }

    /// Amazon's own names: `[BUCKET.]s3[-…][.…].amazonaws.com[.cn]` (AWS General Reference,
    /// "Amazon S3 endpoints"). What else has names there, such as access points, has others.
    fn of_amazon(name: &'a str) -> Self {
        let name_of_region = name.strip_suffix(".cn").unwrap_or(name);
        let Some(rest) = name_of_region.strip_suffix(".amazonaws.com") else {
            return Self::Unknown;
        };
        let is_service = |label: &str| {
            label == "s3" || label.starts_with("s3-") || label.starts_with("s3express-")
        };
        let mut end = rest.len();
        for label in rest.rsplit('.') {
            let start = end - label.len();
            let others = [
                "s3-accesspoint",
                "s3-object-lambda",
                "s3-outposts",
                "s3-control",
            ];
            if others.iter().any(|other| label.starts_with(other)) {
                return Self::Unknown;
            }
            if is_service(label) {
                let bucket = rest.get(..start.saturating_sub(1)).unwrap_or_default();
                return match bucket {
                    "" => Self::Stores,
                    bucket => Self::Buckets(bucket),
                };
            }
            end = start.saturating_sub(1);
        }
        Self::Unknown
    }
}
