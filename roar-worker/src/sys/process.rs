//! Processes: fork, exec, what std changed before `main`, other processes' memory.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use super::{checked, checked_long};

/// What `fork` returns, to whom.
pub enum Fork {
    /// In the parent: the child's pid.
    Parent(libc::pid_t),
    /// In the child.
    Child,
}

/// fork(2). The child of a process with several threads may only do what is
/// async-signal-safe; callers here either have one thread, or (the guardian) keep to that.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: see above; memory safety is not at stake in a copy of one thread.
    match checked(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Bytes that nobody can guess (getrandom(2)).
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= 256, "as much comes at once") };
    let mut bytes = [0; N];
    // SAFETY: fills the array, all of it where it is this small and no error is returned.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    checked_long(filled as libc::c_long).map(|_| bytes)
}

/// Ends the process at once, without destructors or `atexit`.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// `execvpe(3)`: only returns on failure.
pub fn execute(program: &CString, argv: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, environment) = (pointers(argv), pointers(environment));
    // SAFETY: null-terminated arrays of C strings that outlive the call.
    unsafe { libc::execvpe(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Dispositions at the start: std ignores SIGPIPE, this crate hears of its children, and a
/// limit to the size of files (RLIMIT_FSIZE) is an error of one write.
static AT_START: [(libc::c_int, AtomicUsize); 3] = [
    (libc::SIGPIPE, AtomicUsize::new(0)),
    (libc::SIGXFSZ, AtomicUsize::new(0)),
    (libc::SIGCHLD, AtomicUsize::new(0)),
];
static CLOSED_AT_START: AtomicU32 = AtomicU32::new(0);
/// Where the arguments but the first are, and how many bytes they have.
static ARGUMENTS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Runs before std's own start-up code, which opens `/dev/null` for closed standard
/// descriptors and ignores SIGPIPE: the traced command must find both as they were. glibc passes
/// what it passes to `main`.
extern "C" fn note_the_start(count: libc::c_int, arguments: *const *const libc::c_char) {
    if cfg!(target_env = "gnu") && count > 1 {
        // SAFETY: so many C strings; the kernel has put them one behind the other (execve(2)).
        let (start, end) = unsafe {
            let last = *arguments.add(count as usize - 1);
            (
                *arguments.add(1) as usize,
                last as usize + libc::strlen(last),
            )
        };
        ARGUMENTS[0].store(start, Ordering::Relaxed);
        ARGUMENTS[1].store(end.saturating_sub(start), Ordering::Relaxed);
    }
    for fd in 0..3 {
        // SAFETY: fcntl on any number is harmless.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED_AT_START.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
    for (signal, disposition) in &AT_START {
        // SAFETY: a query of the current action into zeroed plain data.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(*signal, std::ptr::null(), &raw mut action) == 0 {
                disposition.store(action.sa_sigaction, Ordering::Relaxed);
            }
        }
    }
    // SAFETY: nothing but an action of a number is set.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

// SAFETY: the section holds pointers to functions of this type (ELF gABI, .init_array).
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_THE_START: extern "C" fn(libc::c_int, *const *const libc::c_char) = note_the_start;

/// Takes all arguments but the first from this process's command line: who looks for a command
/// by its own (`pgrep -f`) is to find that, and not who works for it.
pub fn hide_arguments() {
    let [start, length] = ARGUMENTS
        .each_ref()
        .map(|word| word.load(Ordering::Relaxed));
    if length > 0 {
        // SAFETY: the strings that `main` was given, which are the program's to change (C17,
        // 5.1.2.2.1); no other thread is there. `std::env::args` gives empty ones from here on.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, length) };
    }
}

/// Has no backtrace printed where no memory is left: std holds a lock while it does, and whoever
/// finds no memory for the backtrace either waits for itself for ever.
pub fn print_no_backtraces() {
    // SAFETY: no other thread is there.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
}

/// Gives the signals whose disposition is another here the one that this process was
/// started with.
pub fn restore_signals() {
    let _keep = &NOTE_THE_START;
    for (signal, disposition) in &AT_START {
        // SAFETY: the value is SIG_DFL or SIG_IGN: handlers do not survive an exec.
        unsafe { libc::signal(*signal, disposition.load(Ordering::Relaxed)) };
    }
}

/// Has the kernel keep the states of this process's children until they are asked for,
/// even if whoever started it ignored SIGCHLD.
pub fn hear_of_children() {
    // SAFETY: sets a default action.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Makes the standard descriptors that were closed when the process started
/// close-on-exec, so that the next program finds them closed.
pub fn restore_closed_descriptors() {
    let closed = CLOSED_AT_START.load(Ordering::Relaxed);
    for fd in (0..3).filter(|fd| closed & (1 << fd) != 0) {
        // SAFETY: fcntl on any number is harmless.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Replaces standard input, output and error by `/dev/null` and closes every descriptor
/// that is not in `keep`, so that no pipe of the user's stays open because of us.
pub fn detach_descriptors(keep: &[RawFd]) {
    // SAFETY: descriptors are closed that no Rust object of the caller owns: the caller
    // lists all that it goes on using.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null >= 0 {
            for fd in 0..3 {
                libc::dup2(null, fd);
            }
        }
        let mut keep: Vec<u32> = keep.iter().map(|fd| *fd as u32).collect();
        keep.sort_unstable();
        let mut from = 3;
        for fd in keep {
            if fd > from {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
            from = from.max(fd + 1);
        }
        libc::syscall(libc::SYS_close_range, from, u32::MAX, 0);
    }
}

/// Makes a forked helper nobody's but ours: no signal of a group or a terminal meets it, it
/// holds no directory, and of the descriptors only those in `keep`.
pub fn stand_apart(keep: &[RawFd]) {
    let all = SigSet::all();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None);
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir(c"/");
    detach_descriptors(keep);
}

/// `prctl(2)` with one argument.
fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take integers.
    checked(unsafe { libc::prctl(option, argument, 0, 0, 0) })?;
    Ok(())
}

/// Promises never to gain privileges by exec: lets an ordinary user install a filter.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Makes this process the parent of its orphaned descendants.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Lets `pid` read this process under Yama (`ptrace_scope` 1). Fails without Yama.
pub fn allow_reader(pid: libc::pid_t) -> io::Result<()> {
    prctl(libc::PR_SET_PTRACER, pid as libc::c_ulong)
}

/// No core dump of this process.
pub fn forbid_core_dump() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

/// Runs the calling thread only when nothing else wants the CPU (sched(7), SCHED_IDLE).
pub fn become_idle() {
    // SAFETY: plain data by pointer; ioprio_set takes integers (class 3: idle).
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter);
        libc::syscall(libc::SYS_ioprio_set, 1, 0, 3 << 13);
    }
}

/// Kills this process by `signal` as its default action would, without a core dump.
pub fn die_by(signal: i32) -> ! {
    forbid_core_dump();
    // SAFETY: resets one action, unblocks one signal, raises it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::kill(libc::getpid(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
    exit_now(128 + signal)
}

/// Stops this process as `signal` would have, until SIGCONT. Where nobody could let it go on
/// the kernel discards SIGTSTP and its like: then by SIGSTOP.
pub fn stop_by(signal: i32) {
    // SAFETY: changes one action and the mask of this thread for a while, and raises a signal.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        let action = libc::signal(signal, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(signal, action);
        // A stop takes back a SIGCONT of before.
        libc::sigpending(&raw mut pending);
        if libc::sigismember(&raw const pending, libc::SIGCONT) == 0 {
            libc::kill(libc::getpid(), libc::SIGSTOP);
        }
    }
}

/// The wait status of a child that has ended or stopped (waitpid(2)); `None` where it has not.
/// Of any signal, also of one that has no name.
pub fn wait(pid: Pid, flags: WaitPidFlag) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: fills one integer.
    let taken = checked(unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags.bits()) })?;
    Ok((taken != 0).then_some(status))
}

/// Sends a signal of any number, with the value that it came with, if it did (sigqueue(3)).
pub fn send(pid: Pid, signal: i32, value: Option<u64>) {
    // SAFETY: takes numbers; the value is the receiver's to understand.
    unsafe {
        match value {
            Some(value) => {
                let sival_ptr = value as *mut libc::c_void;
                libc::sigqueue(pid.as_raw(), signal, libc::sigval { sival_ptr });
            }
            None => {
                libc::kill(pid.as_raw(), signal);
            }
        }
    }
}

/// A descriptor for a process (pidfd_open(2), 5.3), close-on-exec.
pub fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers; the result is a new descriptor of ours.
    unsafe {
        let fd = checked_long(libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// `struct pidfd_info`, first version (`linux/pidfd.h`, 6.13; exit status since 6.15).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// The wait status of a process that has ended, also after its parent has taken it.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    let request = (3u64 << 30) | ((size_of::<PidfdInfo>() as u64) << 16) | (0xFF << 8) | 11;
    // SAFETY: the ioctl's number carries the size of `info`, which it fills.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), request, std::ptr::from_mut(&mut info)) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Reads another process's memory from `address` on; gives how much could be read.
/// process_vm_readv(2), or `/proc/PID/mem` where that is refused.
pub fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer` and checks the
    // remote address itself.
    let read = unsafe {
        libc::process_vm_readv(
            pid as libc::pid_t,
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    if read >= 0 {
        return Ok(read as usize);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS) => {
            use std::os::unix::fs::FileExt;
            std::fs::File::open(format!("/proc/{pid}/mem"))?.read_at(buffer, address)
        }
        _ => Err(error),
    }
}

/// What a process has run so far (nanoseconds of CPU, of all its threads): its clock
/// (clock_getcpuclockid(3)).
pub fn cpu_time(pid: u32) -> Option<u64> {
    const CPUCLOCK_SCHED: libc::clockid_t = 2;
    let clock = (!pid.cast_signed() << 3) | CPUCLOCK_SCHED;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the structure.
    let told = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (told == 0).then(|| time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// A new descriptor that a call has given us.
pub fn own_descriptor(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: callers pass what accept(2) returned just now.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a process has the memory of another one that is there (kcmp(2)); where the kernel
/// does not tell, yes.
pub fn share_memory(one: u32, other: u32) -> bool {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: compares two processes, by numbers alone.
    let differ = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    let is_gone = || io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    differ == 0 || differ < 0 && !is_gone()
}

/// Whether a process may not map as much memory as it likes (RLIMIT_AS), or nobody knows.
pub fn is_memory_limited(pid: u32) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills one structure; nothing is set.
    let told = unsafe {
        libc::prlimit(
            pid.cast_signed(),
            libc::RLIMIT_AS,
            std::ptr::null(),
            &raw mut limit,
        )
    };
    told != 0 || limit.rlim_cur != libc::RLIM_INFINITY
}

/// The running glibc's version; none of another libc.
pub fn glibc_version() -> Option<(u32, u32)> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: returns a static C string.
        let text = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        let (major, minor) = text.to_str().ok()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// Whether this process may install a filter without giving up privileges:
/// CAP_SYS_ADMIN in its user namespace (capget(2)).
pub fn has_sys_admin() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two data structs.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    result == 0 && data[0].effective & (1 << CAP_SYS_ADMIN) != 0
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);
