//! The Ray client (`ray://…`): a script that is no driver, but has one on the cluster work
//! for it. That one is started by the cluster, out of reach from here.

use bstr::ByteSlice;
use roar_lineage::fragment::Fragment;
use roar_lineage::model::FileUse;

/// Where its modules are.
const DIRECTORY: &str = "/ray/util/client/";

/// Whether a command connected through the Ray client, and to no Ray otherwise. The
/// module that connects is loaded only then.
pub fn was_used(fragments: &[Fragment]) -> bool {
    let is_module = |file: &FileUse| {
        let name = file.path.rsplit_once_str("/").map(|(_, name)| name);
        name.is_some_and(|name| name.starts_with(b"worker.")) && file.path.contains_str(DIRECTORY)
    };
    let is_log = |file: &FileUse| file.path.contains_str("/logs/python-core-driver-");
    let mut reads = fragments.iter().flat_map(|fragment| &fragment.reads);
    let mut writes = fragments.iter().flat_map(|fragment| &fragment.writes);
    reads.any(is_module) && !writes.any(is_log)
}
