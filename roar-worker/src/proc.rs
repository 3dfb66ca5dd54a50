//! What `/proc` tells of a process: proc_pid_status(5), proc_pid_stat(5).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use bstr::{BString, ByteSlice};
use nix::fcntl::readlink;
use roar_lineage::event::ProcessKey;

use crate::sys;

/// The lines of `/proc/PID/status` that are used here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Thread group id.
    pub tgid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Thread id in the innermost pid namespace.
    pub inner_tid: u32,
    /// Depth of pid namespaces below ours.
    pub depth: usize,
    /// Who it is to the file system.
    pub credentials: Credentials,
    /// Whether it gains no privilege by exec.
    pub no_new_privileges: bool,
    /// How many seccomp filters it has (5.9).
    pub filters: Option<u32>,
}

/// Who a thread is to the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
}

/// Reads a file of `/proc`: its size is not known before, and one page is nearly always
/// enough.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(4096);
    let file = File::open(path).inspect_err(sys::note_starvation)?;
    // `take` keeps the standard library from asking for the size, which is always 0.
    file.take(u64::MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a thread's status.
pub fn status(tid: u32) -> Option<Status> {
    parse_status(&read(&format!("/proc/{tid}/status")).ok()?)
}

fn parse_status(text: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once_str(b":") else {
            continue;
        };
        let mut numbers = value.fields().map(|field| field.to_str().unwrap_or(""));
        match name {
            b"Tgid" => status.tgid = numbers.next()?.parse().ok()?,
            b"PPid" => status.ppid = numbers.next()?.parse().ok()?,
            b"NSpid" => {
                let all: Vec<_> = numbers.collect();
                status.inner_tid = all.last()?.parse().ok()?;
                status.depth = all.len() - 1;
            }
            b"Uid" => status.credentials.uid = numbers.nth(3)?.parse().ok()?,
            b"Gid" => status.credentials.gid = numbers.nth(3)?.parse().ok()?,
            b"Groups" => {
                status.credentials.groups = numbers.filter_map(|n| n.parse().ok()).collect();
            }
            b"Seccomp_filters" => status.filters = numbers.next()?.parse().ok(),
            b"NoNewPrivs" => status.no_new_privileges = numbers.next()? == "1",
            b"CapEff" => {
                status.credentials.capabilities = u64::from_str_radix(numbers.next()?, 16).ok()?;
            }
            _ => {}
        }
    }
    (status.tgid != 0).then_some(status)
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The name of the thread: at first its program's, up to 15 bytes of it.
    pub name: BString,
    /// `R`, `S`, `Z` and so on.
    pub state: u8,
    /// Parent's process id.
    pub ppid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// The wait status, once it has ended; 0 before, and where that is not ours to know.
    pub wait_status: i32,
}

/// Reads a process's stat.
pub fn stat(pid: u32) -> Option<Stat> {
    let mut content = [0; 1024];
    // All of it comes at once.
    let mut file = File::open(format!("/proc/{pid}/stat"))
        .inspect_err(sys::note_starvation)
        .ok()?;
    let length = file.read(&mut content).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbers.
    let (before, fields) = content.get(..length)?.rsplit_once_str(b") ")?;
    let (_, name) = before.split_once_str(b"(")?;
    let mut fields = fields.fields().map(|field| field.to_str().unwrap_or(""));
    Some(Stat {
        name: name.into(),
        state: *fields.next()?.as_bytes().first()?,
        ppid: fields.next()?.parse().ok()?,
        start_ticks: fields.nth(17)?.parse().ok()?,
        wait_status: fields.nth(29)?.parse().ok()?,
    })
}

/// The wait status of a process that has ended and that its parent has not waited for. `None`
/// also where it is 0: so much is told of one that is not ours to ask.
pub fn zombie_status(key: ProcessKey) -> Option<i32> {
    let stat = stat(key.pid)?;
    let is_it = stat.start_ticks == key.start_ticks && stat.state == b'Z';
    (is_it && stat.wait_status != 0).then_some(stat.wait_status)
}

/// Whether a process is stopped by a signal or a debugger.
pub fn is_stopped(pid: u32) -> bool {
    matches!(state(pid), Some(b'T' | b't'))
}

/// Whether a process is there and has not ended.
pub fn is_alive(pid: u32) -> bool {
    !matches!(state(pid), None | Some(b'Z' | b'X'))
}

fn state(pid: u32) -> Option<u8> {
    Some(stat(pid)?.state)
}

/// The target of a link below `/proc/PID/`.
pub fn link(pid: u32, name: &str) -> Option<BString> {
    let target = readlink(format!("/proc/{pid}/{name}").as_str()).ok()?;
    Some(target.into_vec().into())
}

/// The environment that a process was executed with: `NAME=value` each.
pub fn environment(pid: u32) -> Vec<BString> {
    let lines = read(&format!("/proc/{pid}/environ")).unwrap_or_default();
    let lines = lines.split(|byte| *byte == 0);
    lines
        .filter(|line| !line.is_empty())
        .map(BString::from)
        .collect()
}

/// The command line of a process.
pub fn command_line(pid: u32) -> Vec<BString> {
    let content = read(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let content = content.strip_suffix(b"\0").unwrap_or(&content);
    content.split_str(b"\0").map(BString::from).collect()
}

/// One variable of the environment that a process was started with.
pub fn variable(pid: u32, name: &str) -> Option<BString> {
    let content = read(&format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    content
        .split_str(b"\0")
        .find_map(|entry| entry.strip_prefix(prefix.as_bytes()))
        .map(Into::into)
}

/// Whether a process has that thread now.
pub fn is_thread_of(tid: u32, pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

/// What a thread is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It runs, or would: nobody sees what.
    Runs,
    /// It waits in this system call, with these arguments; -1: in none.
    Waits(i32, [u64; 6]),
    /// It is gone.
    None,
}

/// What a thread is about (`/proc/PID/task/TID/syscall`). `None`: it is not ours to know.
pub fn activity(pid: u32, tid: u32) -> Option<Activity> {
    match read(&format!("/proc/{pid}/task/{tid}/syscall")) {
        Ok(text) => {
            let mut words = text.fields().map(|word| word.to_str().unwrap_or(""));
            let nr = words.next()?;
            if nr == "running" {
                return Some(Activity::Runs);
            }
            let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16);
            let args = [(); 6].map(|()| words.next().and_then(|word| number(word).ok()));
            Some(Activity::Waits(
                nr.parse().ok()?,
                args.map(Option::unwrap_or_default),
            ))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Some(Activity::None),
            _ => None,
        },
    }
}

/// Whether a process has one thread.
pub fn has_one_thread(pid: u32) -> bool {
    // One link for each, and those of a directory.
    std::fs::metadata(format!("/proc/{pid}/task")).is_ok_and(|task| task.nlink() == 3)
}

/// The children that a thread has forked and that still have it as parent.
pub fn children(pid: u32, tid: u32) -> Vec<u32> {
    let content = read(&format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    let ids = content.fields().filter_map(|id| id.to_str().ok());
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// The threads of a process.
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// Descriptors of a process that refer to files: number and target.
pub fn descriptors(pid: u32) -> Vec<(i32, BString)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let describe = |entry: std::fs::DirEntry| {
        let fd: i32 = entry.file_name().to_str()?.parse().ok()?;
        let target = link(pid, &format!("fd/{fd}")).filter(|target| target.starts_with(b"/"))?;
        Some((fd, target))
    };
    entries.flatten().filter_map(describe).collect()
}

/// The flags of open(2) of a process's descriptor.
pub fn descriptor_flags(pid: u32, fd: i32) -> Option<i32> {
    let info = read(&format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix(b"flags:"))?;
    i32::from_str_radix(flags.trim().to_str().ok()?, 8).ok()
}

/// The files that a process can write to through what it has open or mapped. None of them is
/// looked at: their file system may be served by a process that waits for this one.
pub fn writable_files(pid: u32) -> Vec<BString> {
    let open = descriptors(pid).into_iter();
    let open = open.filter(|(fd, _)| {
        let flags = descriptor_flags(pid, *fd);
        flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
    });
    let maps = read(&format!("/proc/{pid}/maps")).unwrap_or_default();
    let mapped = maps.lines().filter_map(shared_mapping);
    open.map(|(_, path)| path).chain(mapped).collect()
}

/// Whether a thread has memory at an address that somebody may read, or nobody knows.
pub fn has_memory(tid: u32, address: u64) -> bool {
    let maps = read(&format!("/proc/{tid}/maps"));
    maps.map_or(true, |maps| {
        maps.lines().any(|line| is_around(line, address))
    })
}

/// Whether a line of `/proc/PID/maps` is of memory around an address, with any permission.
fn is_around(line: &[u8], address: u64) -> bool {
    let parse = || {
        let (range, rest) = line.split_once_str(b" ")?;
        let (start, end) = range.to_str().ok()?.split_once('-')?;
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).ok());
        let is_meant = (start?..end?).contains(&address);
        Some(is_meant && !rest.starts_with(b"---"))
    };
    parse().unwrap_or(true)
}

/// Whether somebody has a lease on a file with this inode that reading would break, which
/// ends a holder that awaits no signal: fcntl(2), proc_locks(5).
pub fn is_leased(inode: u64) -> bool {
    let locks = read("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| {
        let mut words = line.fields().skip_while(|word| *word != b"LEASE");
        let is_writers = words.nth(2) == Some(b"WRITE");
        let id = words.nth(1).and_then(|id| id.rsplit_str(b":").next());
        let id = id.and_then(|id| id.to_str().ok()?.parse().ok());
        is_writers && id == Some(inode)
    })
}

/// The file of a line of `/proc/PID/maps`: `ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH`.
fn shared_mapping(line: &[u8]) -> Option<BString> {
    let permissions = line.fields().nth(1)?;
    let path = line.get(line.find_byte(b'/')?..)?;
    let is_meant = permissions.get(1) == Some(&b'w') && permissions.get(3) == Some(&b's');
    is_meant.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_writable_mappings_are_written_to() {
        let of = |permissions| {
            shared_mapping(format!("7f00-7f01 {permissions} 00000000 fe:01 42   /a b").as_bytes())
        };
        assert_eq!(of("rw-s"), Some("/a b".into()));
        assert_eq!([of("rw-p"), of("r--s")], [None, None]);
        assert_eq!(shared_mapping(b"7f00-7f01 rw-s 00000000 00:01 42 "), None);
    }

    #[test]
    fn memory_is_where_it_may_be_read() {
        let line = b"7f00-7f10 rw-p 00000000 00:00 0 ";
        assert!(is_around(line, 0x7f00) && is_around(line, 0x7f0f));
        assert!(!is_around(line, 0x7eff) && !is_around(line, 0x7f10));
        assert!(!is_around(b"7f00-7f10 ---p 00000000 00:00 0 ", 0x7f00));
        let here = 7;
        assert!(has_memory(std::process::id(), (&raw const here) as u64));
        assert!(!has_memory(std::process::id(), 0));
    }

    #[test]
    fn a_thread_runs_or_waits_in_a_call() {
        let pid = std::process::id();
        let of = |tid| activity(pid, tid);
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().cast_unsigned())
                .unwrap();
            let _ = ended.recv();
        });
        let tid = told.recv().unwrap();
        let settled = |is_settled: fn(Option<Activity>) -> bool| loop {
            let now = of(tid);
            if is_settled(now) {
                break now;
            }
            std::thread::yield_now();
        };
        let waits = settled(|now| now != Some(Activity::Runs));
        let futex = libc::SYS_futex as i32;
        assert!(matches!(waits, Some(Activity::Waits(nr, _)) if nr == futex));
        drop(end);
        other.join().unwrap();
        // It is there for a moment more.
        settled(|now| now == Some(Activity::None));
    }

    #[test]
    fn a_process_sees_itself() {
        let pid = std::process::id();
        let status = status(pid).unwrap();
        assert_eq!((status.tgid, status.depth), (pid, 0));
        assert_eq!(status.ppid, std::os::unix::process::parent_id());
        assert_eq!(status.credentials.uid, nix::unistd::geteuid().as_raw());
        let stat = stat(pid).unwrap();
        assert_eq!(stat.ppid, status.ppid);
        assert!(stat.start_ticks > 0);
        assert!(command_line(pid)[0].find("roar").is_some());
        assert!(threads(pid).contains(&pid));
    }
}
