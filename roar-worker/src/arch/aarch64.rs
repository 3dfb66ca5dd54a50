//! AArch64 (`include/uapi/asm-generic/unistd.h`), and the 32-bit ARM programs that run on it
//! (`arch/arm/tools/syscall.tbl`).

use super::{Abi, Call};
use Call::*;

/// The ways of calling the kernel on this machine.
pub const ABIS: &[Abi] = &[
    Abi {
        arch: 0xC000_00B7,
        ignored_bits: 0,
        pointer: 8,
        calls: AARCH64,
    },
    Abi {
        arch: 0x4000_0028,
        ignored_bits: 0,
        pointer: 4,
        calls: ARM,
    },
];

const AARCH64: &[(u32, Call)] = &[
    (56, Openat),
    (437, Openat2),
    (265, OpenByHandle),
    (33, Mknodat),
    (38, Renameat),
    (276, Renameat2),
    (37, Linkat),
    (35, Unlinkat),
    (45, Truncate),
    (221, Execve),
    (281, Execveat),
    (220, Clone),
    (435, Clone3),
    (94, ExitGroup),
    (203, Connect),
    (425, IoUringSetup),
    (277, Seccomp),
    (167, Prctl),
    (146, Credentials), // setuid
    (144, Credentials), // setgid
    (145, Credentials), // setreuid
    (143, Credentials), // setregid
    (159, Credentials), // setgroups
    (147, Credentials), // setresuid
    (149, Credentials), // setresgid
    (151, Credentials), // setfsuid
    (152, Credentials), // setfsgid
    (91, Credentials),  // capset
    (41, Namespace),    // pivot_root
    (51, Namespace),    // chroot
    (97, Namespace),    // unshare
    (268, Namespace),   // setns
    (40, Namespace),    // mount
    (39, Namespace),    // umount2
    (429, Namespace),   // move_mount
];

const ARM: &[(u32, Call)] = &[
    (322, Openat),
    (5, Open),
    (437, Openat2),
    (8, Creat),
    (371, OpenByHandle),
    (14, Mknod),
    (324, Mknodat),
    (38, Rename),
    (329, Renameat),
    (382, Renameat2),
    (9, Link),
    (330, Linkat),
    (10, Unlink),
    (328, Unlinkat),
    (92, Truncate),
    (193, AlignedTruncate64),
    (11, Execve),
    (387, Execveat),
    (2, Fork),
    (190, Fork),
    (120, Clone),
    (435, Clone3),
    (248, ExitGroup),
    (283, Connect),
    (425, IoUringSetup),
    (383, Seccomp),
    (172, Prctl),
    (23, Credentials),  // setuid16
    (46, Credentials),  // setgid16
    (70, Credentials),  // setreuid16
    (71, Credentials),  // setregid16
    (81, Credentials),  // setgroups16
    (138, Credentials), // setfsuid16
    (139, Credentials), // setfsgid16
    (164, Credentials), // setresuid16
    (170, Credentials), // setresgid16
    (185, Credentials), // capset
    (203, Credentials), // setreuid
    (204, Credentials), // setregid
    (206, Credentials), // setgroups
    (208, Credentials), // setresuid
    (210, Credentials), // setresgid
    (213, Credentials), // setuid
    (214, Credentials), // setgid
    (215, Credentials), // setfsuid
    (216, Credentials), // setfsgid
    (61, Namespace),    // chroot
    (218, Namespace),   // pivot_root
    (337, Namespace),   // unshare
    (375, Namespace),   // setns
    (21, Namespace),    // mount
    (52, Namespace),    // umount2
    (429, Namespace),   // move_mount
];
