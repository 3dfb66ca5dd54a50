//! System call numbers: a file for each architecture.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "aarch64")]
pub use aarch64::ABIS;
#[cfg(target_arch = "x86_64")]
pub use x86_64::ABIS;

/// What a notified system call is; the file systems' calls by their families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// open(2).
    Open,
    /// openat(2).
    Openat,
    /// openat2(2).
    Openat2,
    /// creat(2).
    Creat,
    /// open_by_handle_at(2).
    OpenByHandle,
    /// mknod(2).
    Mknod,
    /// mknodat(2).
    Mknodat,
    /// rename(2).
    Rename,
    /// renameat(2), which has no flags.
    Renameat,
    /// renameat2(2).
    Renameat2,
    /// link(2).
    Link,
    /// linkat(2).
    Linkat,
    /// unlink(2).
    Unlink,
    /// unlinkat(2).
    Unlinkat,
    /// rmdir(2), after which another directory may have the inode.
    Rmdir,
    /// truncate(2).
    Truncate,
    /// truncate64(2) of 32-bit programs, whose length is in two arguments.
    Truncate64,
    /// The same where a 64-bit argument begins at an even register.
    AlignedTruncate64,
    /// execve(2).
    Execve,
    /// execveat(2).
    Execveat,
    /// fork(2), vfork(2).
    Fork,
    /// clone(2), not of a thread.
    Clone,
    /// clone3(2).
    Clone3,
    /// exit_group(2).
    ExitGroup,
    /// io_uring_setup(2).
    IoUringSetup,
    /// seccomp(2), of a filter.
    Seccomp,
    /// prctl(2), of a filter.
    Prctl,
    /// A call that changes credentials.
    Credentials,
    /// A call that changes the root directory, the mount namespace or what is in it.
    Namespace,
    /// connect(2).
    Connect,
    /// ptrace(2), by which somebody becomes a tracer.
    Ptrace,
    /// access(2), by which the dynamic loader asks for a list of libraries.
    Access,
}

/// One way of calling the kernel.
pub struct Abi {
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    pub arch: u32,
    /// Bits of the number that select a variant and are ignored.
    pub ignored_bits: u32,
    /// Size of a pointer (bytes).
    pub pointer: usize,
    /// The calls that are looked at.
    pub calls: &'static [(u32, Call)],
}

/// The call with this number, and the size of a pointer in its caller.
pub fn call(arch: u32, nr: i32) -> Option<(Call, usize)> {
    let abi = ABIS.iter().find(|abi| abi.arch == arch)?;
    let nr = nr as u32 & !abi.ignored_bits;
    let (_, call) = abi.calls.iter().find(|(number, _)| *number == nr)?;
    Some((*call, abi.pointer))
}
