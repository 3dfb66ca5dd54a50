//! What a sink has, brought home.

use std::io::ErrorKind;

use roar_worker::sink::{Kept, Place};

use crate::error::UserError;
use crate::progress::Progress;
use crate::ray::collect::Fetched;
use crate::tracing;

/// The files of a sink whose names begin with `prefix`.
pub fn fetch(place: &Place, prefix: &str) -> Result<Vec<Kept>, UserError> {
    let mut progress = Progress::begin();
    let sink = place.open();
    let kept = sink.and_then(|sink| {
        sink.fetch(prefix, &mut |done, of| {
            progress.at(|| format!("{done} of {of} objects fetched"));
        })
    });
    progress.end();
    kept.map_err(|error| {
        let cannot = UserError::new(format!("cannot read {place}"), &error);
        match (place, error.kind()) {
            (Place::Directory(_), _) | (_, ErrorKind::Unsupported) => cannot,
            (_, ErrorKind::PermissionDenied) => cannot.hint(
                "credentials are those of the AWS SDK: AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
            ),
            _ => cannot.hint(
                "AWS_REGION names the bucket's region, AWS_ENDPOINT_URL a server that is not AWS's",
            ),
        }
    })
}

/// A job's files; where they cannot be had, a warning, and none.
pub fn files_of_job(place: &Place, job: &str, quiet: bool) -> Vec<Fetched> {
    let kept = fetch(place, job).unwrap_or_else(|error| {
        let what = format!("{} ({})", error.what, error.why);
        tracing::warn(quiet, &what);
        Vec::new()
    });
    let kept = kept.into_iter().inspect(|file| {
        if !file.is_whole {
            tracing::warn(quiet, &torn(place, &file.name));
        }
    });
    let file = |file: Kept| Fetched {
        node: String::new(),
        name: file.name,
        bytes: file.bytes,
    };
    kept.map(file).collect()
}

/// What is said of a file that is not whole.
pub fn torn(place: &Place, name: &str) -> String {
    format!("{place}{name}: a piece is missing; what stands before it was taken")
}
