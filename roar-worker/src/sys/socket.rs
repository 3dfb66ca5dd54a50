//! Passing a descriptor beside a message: unix(7), SCM_RIGHTS.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::checked;

/// A pair of connected sockets that keep message boundaries, both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: the call writes two descriptors, which are ours.
    unsafe {
        checked(libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        ))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends one message, with a descriptor if there is one. Allocates nothing.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    // SAFETY: `msghdr` is plain data; all pointers in it outlive the call; the control
    // buffer is aligned and larger than CMSG_SPACE of one descriptor.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if let Some(descriptor) = descriptor {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            (*cmsg).cmsg_level = libc::SOL_SOCKET;
            (*cmsg).cmsg_type = libc::SCM_RIGHTS;
            (*cmsg).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(cmsg)
                .cast::<libc::c_int>()
                .write_unaligned(descriptor.as_raw_fd());
        }
        let sent = libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL);
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

/// Receives one message of at most `buffer.len()` bytes and the descriptor that came
/// with it. `None` when the other side has hung up.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: as in `send`; a descriptor found in the control message is new and ours.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len();
        let received = loop {
            let n = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC);
            if n >= 0 {
                break n as usize;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::ConnectionReset => return Ok(None),
                _ => return Err(error),
            }
        };
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        let descriptor = if !cmsg.is_null() && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
            let fd = libc::CMSG_DATA(cmsg).cast::<libc::c_int>().read_unaligned();
            Some(OwnedFd::from_raw_fd(fd))
        } else {
            None
        };
        Ok((received > 0 || descriptor.is_some()).then_some((received, descriptor)))
    }
}

/// A descriptor that a call has just given, and that is nobody else's.
pub fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: see above.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Most descriptors of one message.
const MOST: usize = 8;

/// Sends a number, and descriptors with it, at most eight, in one message, without waiting.
pub fn send_descriptors(
    socket: BorrowedFd<'_>,
    number: u64,
    descriptors: &[RawFd],
) -> io::Result<()> {
    let number = number.to_le_bytes();
    let parts = [io::IoSlice::new(&number)];
    let control = match descriptors {
        [] => Vec::new(),
        descriptors => vec![ControlMessage::ScmRights(descriptors)],
    };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &parts, &control, flags, None)?;
    Ok(())
}

/// Receives them, without waiting. `None` when the other side has hung up.
pub fn receive_descriptors(socket: BorrowedFd<'_>) -> io::Result<Option<(u64, Vec<OwnedFd>)>> {
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut number = [0; 8];
    let mut parts = [io::IoSliceMut::new(&mut number)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: they are new, and ours.
            descriptors.extend(fds.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
    let is_whole = message.bytes == 8;
    Ok(is_whole.then_some((u64::from_le_bytes(number), descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(a.as_fd(), b"take", Some(c.as_fd())).unwrap();
        drop(c);
        let mut buffer = [0; 16];
        let (length, passed) = receive(b.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..length], b"take");
        send(passed.unwrap().as_fd(), b"x", None).unwrap();
        assert_eq!(receive(d.as_fd(), &mut buffer).unwrap().unwrap().0, 1);
        drop(a);
        assert!(receive(b.as_fd(), &mut buffer).unwrap().is_none());
    }
}
