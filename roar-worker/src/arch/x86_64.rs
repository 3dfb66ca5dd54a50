//! x86-64 and the i386 programs that run on it (`arch/x86/entry/syscalls/*.tbl`).

use super::{Abi, Call};
use Call::*;

/// The ways of calling the kernel on this machine. x32 is x86-64 with one more bit.
pub const ABIS: &[Abi] = &[
    Abi {
        arch: 0xC000_003E,
        ignored_bits: 0x4000_0000,
        pointer: 8,
        calls: X86_64,
    },
    Abi {
        arch: 0x4000_0003,
        ignored_bits: 0,
        pointer: 4,
        calls: I386,
    },
];

const X86_64: &[(u32, Call)] = &[
    (257, Openat),
    (2, Open),
    (437, Openat2),
    (85, Creat),
    (304, OpenByHandle),
    (133, Mknod),
    (259, Mknodat),
    (82, Rename),
    (264, Renameat),
    (316, Renameat2),
    (86, Link),
    (265, Linkat),
    (87, Unlink),
    (263, Unlinkat),
    (76, Truncate),
    (59, Execve),
    (322, Execveat),
    (57, Fork),
    (58, Fork),
    (56, Clone),
    (435, Clone3),
    (231, ExitGroup),
    (42, Connect),
    (425, IoUringSetup),
    (317, Seccomp),
    (157, Prctl),
    (105, Credentials), // setuid
    (106, Credentials), // setgid
    (113, Credentials), // setreuid
    (114, Credentials), // setregid
    (116, Credentials), // setgroups
    (117, Credentials), // setresuid
    (119, Credentials), // setresgid
    (122, Credentials), // setfsuid
    (123, Credentials), // setfsgid
    (126, Credentials), // capset
    (155, Namespace),   // pivot_root
    (161, Namespace),   // chroot
    (272, Namespace),   // unshare
    (308, Namespace),   // setns
    (165, Namespace),   // mount
    (166, Namespace),   // umount2
    (429, Namespace),   // move_mount
    (21, Access),
    (84, Rmdir),
    (101, Ptrace),
];

const I386: &[(u32, Call)] = &[
    (295, Openat),
    (5, Open),
    (437, Openat2),
    (8, Creat),
    (342, OpenByHandle),
    (14, Mknod),
    (297, Mknodat),
    (38, Rename),
    (302, Renameat),
    (353, Renameat2),
    (9, Link),
    (303, Linkat),
    (10, Unlink),
    (301, Unlinkat),
    (40, Rmdir),
    (26, Ptrace),
    (92, Truncate),
    (193, Truncate64),
    (11, Execve),
    (358, Execveat),
    (2, Fork),
    (190, Fork),
    (120, Clone),
    (435, Clone3),
    (252, ExitGroup),
    (362, Connect),
    (425, IoUringSetup),
    (354, Seccomp),
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
    (217, Namespace),   // pivot_root
    (310, Namespace),   // unshare
    (346, Namespace),   // setns
    (21, Namespace),    // mount
    (22, Namespace),    // umount
    (52, Namespace),    // umount2
    (429, Namespace),   // move_mount
];
