//! seccomp user notification: seccomp_unotify(2), `linux/seccomp.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::mapping::Mapping;
use super::{checked, checked_long};

/// One notification, as the kernel writes it (`struct seccomp_notif`, 80 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// Cookie that an answer must name.
    pub id: u64,
    /// Thread id in the receiver's pid namespace; 0 when it is not visible there.
    pub pid: u32,
    /// Always 0.
    pub flags: u32,
    /// System call number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address after the instruction.
    pub instruction_pointer: u64,
    /// Arguments.
    pub args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    srcfd: u32,
    newfd: u32,
    newfd_flags: u32,
}

const fn ioc(direction: u64, number: u64, size: usize) -> u64 {
    (direction << 30) | ((size as u64) << 16) | (0x21 << 8) | number
}

const READ_WRITE: u64 = 3;
const WRITE: u64 = 1;
const NOTIF_RECV: u64 = ioc(READ_WRITE, 0, size_of::<Notification>());
const NOTIF_SEND: u64 = ioc(READ_WRITE, 1, size_of::<Response>());
const NOTIF_ID_VALID: u64 = ioc(WRITE, 2, 8);
const NOTIF_ADDFD: u64 = ioc(WRITE, 3, size_of::<AddFd>());
const NOTIF_SET_FLAGS: u64 = ioc(WRITE, 4, 8);

const USER_NOTIF_FLAG_CONTINUE: u32 = 1;
const FD_SYNC_WAKE_UP: u64 = 1;

const FILTER_FLAG_NEW_LISTENER: libc::c_ulong = 1 << 3;
const FILTER_FLAG_WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// Installs a filter in the calling thread and gives its listener. With
/// `WAIT_KILLABLE_RECV` where the kernel has it (5.19), without where it has not.
/// Needs CAP_SYS_ADMIN or `PR_SET_NO_NEW_PRIVS`.
///
/// Errors: EBUSY when there is a listener in the filter tree already, EACCES without
/// the privilege, EINVAL or ENOSYS where the kernel cannot.
pub fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    install_best(program).map(|(listener, _)| listener)
}

/// Installs a filter that notifies nothing, with a listener. The flag says whether it has
/// `WAIT_KILLABLE_RECV`.
pub fn install_allowing() -> io::Result<(OwnedFd, bool)> {
    let allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    install_best(&[allow])
}

fn install_best(program: &[libc::sock_filter]) -> io::Result<(OwnedFd, bool)> {
    let preferred = FILTER_FLAG_NEW_LISTENER | FILTER_FLAG_WAIT_KILLABLE_RECV;
    match install_with(program, preferred) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            install_with(program, FILTER_FLAG_NEW_LISTENER).map(|listener| (listener, false))
        }
        result => result.map(|listener| (listener, true)),
    }
}

fn install_with(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let fd = set_filter(program, flags)?;
    // SAFETY: with NEW_LISTENER the call returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Installs a filter that notifies nothing.
pub fn install_without_listener(program: &[libc::sock_filter]) -> io::Result<()> {
    set_filter(program, 0)?;
    Ok(())
}

fn set_filter(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let fprog = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which `program` holds,
    // and writes to neither.
    checked_long(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&fprog),
        )
    })
}

/// Asks the kernel to run supervisor and tracee on one CPU (6.6). False where it cannot.
pub fn set_sync_wake_up(listener: BorrowedFd<'_>) -> bool {
    // SAFETY: SET_FLAGS takes its argument by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP) == 0 }
}

/// Receives the next notification into shared memory at `offset`, where
/// `size_of::<Notification>()` bytes must be all zero; waits for one. The kernel fills
/// the memory before the call returns.
pub fn receive(listener: BorrowedFd<'_>, memory: &Mapping, offset: usize) -> io::Result<()> {
    let last = offset + size_of::<Notification>() - 8;
    let (Some(first), Some(_)) = (memory.word(offset), memory.word(last)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: the ioctl writes one `Notification` to the address; all its words are
    // within the mapping, which is only accessed as atomic words.
    checked(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, first.as_ptr()) })?;
    Ok(())
}

fn send(listener: BorrowedFd<'_>, mut response: Response) -> io::Result<()> {
    // SAFETY: the ioctl reads one `Response`, which is alive during the call.
    checked(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_SEND,
            std::ptr::from_mut(&mut response),
        )
    })?;
    Ok(())
}

/// Lets the call happen. ENOENT when the caller is gone or was answered already.
pub fn send_continue(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    send(
        listener,
        Response {
            id,
            val: 0,
            error: 0,
            flags: USER_NOTIF_FLAG_CONTINUE,
        },
    )
}

/// Answers the call with 0: it does not happen.
pub fn send_success(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    send_result(listener, id, 0, 0)
}

/// Answers the call with an error: it does not happen.
pub fn send_error(listener: BorrowedFd<'_>, id: u64, errno: i32) -> io::Result<()> {
    send_result(listener, id, 0, -errno)
}

fn send_result(listener: BorrowedFd<'_>, id: u64, val: i64, error: i32) -> io::Result<()> {
    send(
        listener,
        Response {
            id,
            val,
            error,
            flags: 0,
        },
    )
}

/// Whether the notification still waits for its answer, so that what was read from the
/// caller's memory was the caller's.
pub fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the ioctl reads 8 bytes, which are alive during the call.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_ID_VALID,
            std::ptr::from_ref(&id),
        ) == 0
    }
}

/// Answers the call with a new descriptor (close-on-exec) that is a copy of `fd` (5.9).
///
/// In two steps: with `SECCOMP_ADDFD_FLAG_SEND` a caller whose supervisor dies amid the one
/// call returns from its own with 0 and no descriptor (`seccomp_notify_addfd` of
/// `kernel/seccomp.c`), and goes on with its standard input.
pub fn send_descriptor(listener: BorrowedFd<'_>, id: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
    let request = AddFd {
        id,
        flags: 0,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    // SAFETY: the ioctl reads one `AddFd`, which is alive during the call.
    let added = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_ADDFD,
            std::ptr::from_ref(&request),
        )
    };
    if added < 0 {
        // That the caller has no descriptors left is not this process's want of them.
        return Err(io::Error::last_os_error());
    }
    send_result(listener, id, added.into(), 0)
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Response>() == 24);
