//! Modules that Python imports from their compiled caches.

use bstr::{BString, ByteSlice};
use roar_lineage::event::Access;
use roar_lineage::model::How;

use crate::tracee::{Base, Tracee};

/// Modules of which only the compiled cache was opened: Python reads
/// `__pycache__/m.cpython-311.pyc` and not `m.py` when it is fresh (PEP 3147).
pub(crate) fn sources(tracee: &impl Tracee, accesses: &[Access]) -> Vec<Access> {
    let sources = accesses.iter().filter_map(|access| match access {
        Access::Read { path, .. } => source_of_cache(path),
        _ => None,
    });
    let reads = sources.filter_map(|source| {
        let found = tracee.lookup(Base::Cwd, &source, true).found()?;
        let how = How::Import;
        let (path, version) = (found.path, found.version);
        Some(Access::Read {
            path,
            version,
            how,
            via: None,
            inferred: true,
        })
    });
    reads.collect()
}

/// The module that a cache file was compiled from, where it may be a project's own.
fn source_of_cache(path: &[u8]) -> Option<BString> {
    let path = path.strip_suffix(b".pyc")?;
    let (directory, name) = path.rsplit_once_str(b"/")?;
    let directory = directory.strip_suffix(b"/__pycache__")?;
    let is_installed = |part: &[u8]| {
        matches!(part, b"site-packages" | b"dist-packages") || part.starts_with(b"python3.")
    };
    if directory.split(|byte| *byte == b'/').any(is_installed) {
        return None;
    }
    let module = name.split_str(b".").next()?;
    Some([directory, b"/", module, b".py"].concat().into())
}
