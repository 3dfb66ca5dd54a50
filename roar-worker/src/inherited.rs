//! The files that a command finds open when it begins.

use std::os::fd::AsFd;

use roar_lineage::event::{Access, Event};
use roar_lineage::model::How;

use crate::paths;
use crate::proc;
use crate::scope::Scope;
use crate::sys::file;

/// Records them: inputs and, when they change, outputs.
pub(crate) fn record(scope: &mut Scope, pid: u32) {
    for (fd, _, flags) in proc::descriptors(pid) {
        if flags & libc::O_CLOEXEC != 0 {
            continue;
        }
        let Some((path, stat)) = regular_descriptor(pid, fd) else {
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

fn regular_descriptor(pid: u32, fd: i32) -> Option<(bstr::BString, file::Stat)> {
    let link = format!("fd/{fd}");
    let path = proc::link(pid, &link)?;
    let opened = file::open_path(format!("/proc/{pid}/{link}").as_bytes(), 0).ok()?;
    let stat = file::stat(opened.as_fd()).ok()?;
    let is_kernels = ["/proc/", "/sys/", "/dev/", "/memfd:"]
        .iter()
        .any(|p| path.starts_with(p.as_bytes()));
    let name = paths::of_deleted(&path, &stat).map(bstr::BString::from);
    (stat.is_regular() && stat.links > 0 && !is_kernels).then_some((name.unwrap_or(path), stat))
}
