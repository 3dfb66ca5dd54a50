//! Sockets of other processes, and what no library wraps of one's own.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{checked, checked_long};

/// A copy of another process's descriptor: pidfd_getfd(2), Linux 5.6. Needs what reading its
/// memory needs.
pub fn descriptor_of(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers, and returns a new descriptor.
    unsafe {
        let copy = checked_long(libc::syscall(
            libc::SYS_pidfd_getfd,
            pidfd.as_raw_fd(),
            fd,
            0,
        ))?;
        Ok(OwnedFd::from_raw_fd(copy as RawFd))
    }
}

/// Ends a TCP connection with a reset, whoever else has its socket open: connect(2),
/// AF_UNSPEC.
pub fn reset(socket: BorrowedFd<'_>) {
    let mut address = MaybeUninit::<libc::sockaddr>::zeroed();
    // SAFETY: a zeroed address is one of AF_UNSPEC (0), and outlives the call.
    unsafe {
        (*address.as_mut_ptr()).sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        libc::connect(
            socket.as_raw_fd(),
            address.as_ptr(),
            size_of::<libc::sockaddr>() as libc::socklen_t,
        );
    }
}

/// How many bytes can be read (`FIONREAD`).
pub fn readable(fd: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the ioctl writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    match checked(result) {
        Ok(_) => usize::try_from(count).unwrap_or(0),
        Err(_) => 0,
    }
}

/// Whether the other side of a connection is gone.
pub fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let hung_up = |fd: &PollFd<'_>| {
        fd.revents()
            .is_some_and(|it| it.contains(PollFlags::POLLHUP))
    };
    polled.is_ok() && fds.iter().any(hung_up)
}
