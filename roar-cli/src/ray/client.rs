//! The Ray client (`ray://…`): a script that is no driver, but has one on the cluster work
//! for it. That one is started by the cluster, out of reach from here.

use bstr::ByteSlice;
use roar_lineage::fragment::Fragment;
use roar_lineage::model::FileUse;

/// Whether a command connected through the Ray client, and to no Ray otherwise. The
/// module that connects is loaded only then.
pub fn was_used(fragments: &[Fragment]) -> bool {
    let is_module = |file: &FileUse| {
        let rest = file.path.find("/ray/util/client/");
        let name = rest.and_then(|at| file.path.rfind_byte(b'/').filter(|end| *end > at));
        name.and_then(|at| file.path.get(at + 1..))
            .is_some_and(|name| name.starts_with(b"worker."))
    };
    let is_log = |file: &FileUse| file.path.contains_str("/logs/python-core-driver-");
    let mut reads = fragments.iter().flat_map(|fragment| &fragment.reads);
    let mut writes = fragments.iter().flat_map(|fragment| &fragment.writes);
    reads.any(is_module) && !writes.any(is_log)
}
