//! A script that joined a cluster which was there already: its workers are the cluster's,
//! and left their record in the session's logs, on whatever node they ran.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use roar_lineage::event;
use roar_lineage::fragment::{self, Fragment};

use crate::error::UserError;
use crate::ray::collect::{Collected, Fetched};
use crate::ray::connection::Connection;
use crate::ray::python;
use crate::submitted::{self, Home};
use crate::tracing;

/// Brings home what the clusters recorded that a script of this job joined, if it did.
pub fn bring_home(fragments: &[Fragment], job: &str, home: Home<'_>) {
    for session in sessions(fragments) {
        let directory = session.join("logs/roar");
        let is_ours = |fetched: &Collected| !fetched.files.is_empty();
        if !local(&directory, job).is_ok_and(|found| is_ours(&found)) {
            continue;
        }
        let brought = match dashboard(&session, job, home) {
            Some(brought) => Ok(brought),
            None => submitted::bring_home(|| local(&directory, job), job, home),
        };
        if let Err(error) = brought {
            let kept = format!("{} ({})", error.what, error.why);
            tracing::warn(
                home.quiet,
                &format!("what the cluster recorded was not brought home: {kept}"),
            );
        }
    }
}

/// The sessions that a driver of this job has logged to.
fn sessions(fragments: &[Fragment]) -> BTreeSet<PathBuf> {
    let logs = fragments.iter().flat_map(|fragment| &fragment.writes);
    logs.filter_map(|file| {
        let path = Path::new(OsStr::from_bytes(&file.path));
        let name = path.file_name()?.as_bytes();
        let logs = path.parent().filter(|logs| logs.ends_with("logs"))?;
        let is_drivers = name.starts_with(b"python-core-driver-");
        is_drivers.then(|| logs.parent().map(Path::to_owned))?
    })
    .collect()
}

/// From all nodes. `None`: the dashboard cannot be found or asked.
fn dashboard(session: &Path, job: &str, home: Home<'_>) -> Option<submitted::BroughtHome> {
    let cluster = fs::read_to_string(session.parent()?.join("ray_current_cluster")).ok()?;
    let address = python::ask_ray_for_address(OsStr::new("ray"), Some(cluster.trim())).ok()?;
    let dashboard = Connection::default().dashboard(&address).ok()?;
    if dashboard.session().ok()?.as_bytes() != session.file_name()?.as_bytes() {
        return None;
    }
    let collect = || {
        let cannot = |error| submitted::cannot_ask(&address, &error);
        dashboard.collect(job, |_, _| false).map_err(cannot)
    };
    submitted::bring_home(collect, job, home).ok()
}

/// A job's records in a directory of this node.
pub fn local(directory: &Path, job: &str) -> Result<Collected, UserError> {
    let cannot = |error| UserError::new(format!("cannot read {}", directory.display()), error);
    let mut collected = Collected::default();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path
            .file_name()
            .map(OsStr::to_string_lossy)
            .unwrap_or_default();
        let extension = path.extension().map(OsString::from).unwrap_or_default();
        let is_record = extension == fragment::EXTENSION || extension == event::EXTENSION;
        if !is_record || !name.starts_with(job) {
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => collected.files.push(Fetched {
                node: String::new(),
                name: name.into_owned(),
                bytes,
            }),
            Err(error) => collected
                .missed
                .push(format!("{}: {error}", path.display())),
        }
    }
    Ok(collected)
}
