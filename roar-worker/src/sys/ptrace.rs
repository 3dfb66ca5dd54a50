//! ptrace(2): a tracer that seized its tracees, and waitid(2) for their stops.

use std::io;

use super::checked;

/// What a seized process reports: its descendants are seized with it, and go on alone
/// should the tracer die (no `PTRACE_O_EXITKILL`).
const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

/// A stop at a system call, by `PTRACE_O_TRACESYSGOOD`.
pub const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// A stop at a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syscall {
    /// Before the call.
    Entry {
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// Number.
        nr: i32,
        /// Arguments.
        args: [u64; 6],
    },
    /// After it.
    Exit {
        /// Whether it returned an error.
        failed: bool,
    },
}

/// `struct ptrace_syscall_info` (5.3): the entry's number and arguments, or the exit's
/// value and whether it is an error, in `words`.
#[repr(C)]
#[derive(Default)]
struct SyscallInfo {
    op: u8,
    reserved: u8,
    flags: u16,
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    words: [u64; 8],
}

fn request(
    request: libc::c_uint,
    tid: u32,
    address: usize,
    data: usize,
) -> io::Result<libc::c_long> {
    // SAFETY: callers pass numbers, or the address of memory that is alive during the call
    // and as large as the request writes.
    let result = unsafe { libc::ptrace(request, tid as libc::pid_t, address, data) };
    super::checked_long(result)
}

/// Becomes the tracer of a process, which goes on running.
///
/// Errors: EPERM where another traces it or the system forbids it.
pub fn seize(pid: u32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, pid, 0, OPTIONS as usize)?;
    Ok(())
}

/// Stops a seized process.
pub fn interrupt(pid: u32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
    Ok(())
}

/// Lets a thread go on to its next system call's entry or exit, with a signal (0: none).
pub fn go_on(tid: u32, signal: i32) {
    // Fails for a thread that was killed in the meantime.
    let _ = request(libc::PTRACE_SYSCALL, tid, 0, signal as usize);
}

/// Leaves a thread in the stop of its group, until that is continued.
pub fn listen(tid: u32) {
    let _ = request(libc::PTRACE_LISTEN, tid, 0, 0);
}

/// What an event tells beside itself: the former thread id of one that called exec.
pub fn event_message(tid: u32) -> Option<u32> {
    let mut message: libc::c_ulong = 0;
    let at = std::ptr::from_mut(&mut message) as usize;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, at).ok()?;
    u32::try_from(message).ok()
}

/// What a thread is stopped at.
pub fn syscall(tid: u32) -> Option<Syscall> {
    const ENTRY: u8 = 1;
    const EXIT: u8 = 2;
    let mut info = SyscallInfo::default();
    let at = std::ptr::from_mut(&mut info) as usize;
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size_of::<SyscallInfo>(),
        at,
    )
    .ok()?;
    let [first, rest @ ..] = info.words;
    match info.op {
        ENTRY => {
            let [a, b, c, d, e, f, _] = rest;
            Some(Syscall::Entry {
                arch: info.arch,
                nr: first as i32,
                args: [a, b, c, d, e, f],
            })
        }
        EXIT => Some(Syscall::Exit {
            failed: rest[0] as u8 != 0,
        }),
        _ => None,
    }
}

/// The next child or tracee that has changed its state, and its wait status; it keeps
/// that state until [`take`]. `None`: nothing has changed.
///
/// Errors: ECHILD when there is neither child nor tracee.
pub fn peek() -> io::Result<Option<(u32, i32)>> {
    // SAFETY: plain data, which the kernel fills.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the kernel writes one `siginfo_t`.
    checked(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: waitid fills these fields, or leaves the zeros.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    let status = match info.si_code {
        libc::CLD_EXITED => (value & 0xff) << 8,
        libc::CLD_KILLED => value,
        libc::CLD_DUMPED => value | 0x80,
        _ => value << 8 | 0x7f,
    };
    Ok((pid != 0).then_some((pid.cast_unsigned(), status)))
}

/// Takes the state that was peeked at.
pub fn take(pid: u32) {
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::__WALL;
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid as libc::pid_t, std::ptr::null_mut(), flags) };
}

const _: () = assert!(size_of::<SyscallInfo>() == 88);
