//! The files that a command finds open when it begins.

use std::os::fd::AsFd;

use bstr::BString;
use roar_lineage::event::{Access, Event};
use roar_lineage::model::How;

use crate::paths;
use crate::proc;
use crate::scope::Scope;
use crate::sys::file;

/// Records them: inputs and, when they change, outputs.
pub(crate) fn record(scope: &mut Scope, pid: u32) {
    for (fd, path) in proc::descriptors(pid) {
        let Some((path, stat)) = regular_descriptor(pid, fd, path) else {
            continue;
        };
        let flags = proc::descriptor_flags(pid, fd);
        let Some(flags) = flags.filter(|flags| flags & libc::O_CLOEXEC == 0) else {
            continue;
        };
        let version = stat.version();
        let (how, via, stamp) = (How::Inherited, None, crate::clock::stamp());
        let mode = flags & libc::O_ACCMODE;
        let mut accesses = Vec::new();
        if mode != libc::O_WRONLY {
            let path = path.clone();
            accesses.push(Access::Read {
                path,
                version,
                how,
                via: None,
                inferred: false,
            });
        }
        if mode != libc::O_RDONLY {
            let reads = mode == libc::O_WRONLY && version.size > 0;
            let before = Some(version);
            accesses.push(Access::Write {
                path,
                before,
                how,
                truncates: false,
                reads,
                via,
            });
        }
        for access in accesses {
            scope.recorder.record(&Event::Access {
                task: 0,
                stamp,
                access,
            });
        }
    }
}

fn regular_descriptor(pid: u32, fd: i32, path: BString) -> Option<(BString, file::Stat)> {
    let is_kernels = ["/proc/", "/sys/", "/dev/", "/memfd:"]
        .iter()
        .any(|p| path.starts_with(p.as_bytes()));
    if is_kernels {
        return None;
    }
    let opened = file::open_path(format!("/proc/{pid}/fd/{fd}").as_bytes(), 0).ok()?;
    let stat = file::stat(opened.as_fd()).ok()?;
    let name = paths::of_deleted(&path, &stat).map(BString::from);
    (stat.is_regular() && stat.links > 0).then_some((name.unwrap_or(path), stat))
}
