//! The filter against libseccomp's: every number of a system call, by both ways of calling
//! this machine's kernel.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use roar_worker::arch::ABIS;
use roar_worker::filter::{IoUring, program};

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;

/// Runs a program as the kernel does (`net/core/filter.c`; bpf(4) of the BSDs).
fn verdict(program: &[[u8; 8]], (arch, nr): (u32, u32), args: [u64; 6]) -> u32 {
    let words = [u64::from(nr) | u64::from(arch) << 32, 0];
    let data: Vec<u64> = words.into_iter().chain(args).collect();
    let (mut at, mut a, mut x) = (0, 0u32, 0u32);
    let mut memory = [0u32; 16];
    loop {
        let [c0, c1, jt, jf, k @ ..] = program[at];
        let (code, k) = (u16::from_le_bytes([c0, c1]), u32::from_le_bytes(k));
        let operand = if code & 8 == 0 { k } else { x };
        at += 1;
        let mut jump = |is_true: bool| at += usize::from(if is_true { jt } else { jf });
        match code {
            0x20 => a = (data[k as usize / 8] >> (8 * (k % 8))) as u32,
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[k as usize],
            0x61 => x = memory[k as usize],
            0x02 => memory[k as usize] = a,
            0x03 => memory[k as usize] = x,
            0x07 => x = a,
            0x87 => a = x,
            0x54 | 0x5c => a &= operand,
            0x44 | 0x4c => a |= operand,
            0x05 => at += k as usize,
            0x15 | 0x1d => jump(a == operand),
            0x25 | 0x2d => jump(a > operand),
            0x35 | 0x3d => jump(a >= operand),
            0x45 | 0x4d => jump(a & operand != 0),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn own_program() -> Vec<[u8; 8]> {
    let instructions = program(IoUring::Allow, None).into_iter();
    let bytes = |one: libc::sock_filter| {
        let ([c0, c1], [k0, k1, k2, k3]) = (one.code.to_le_bytes(), one.k.to_le_bytes());
        [c0, c1, one.jt, one.jf, k0, k1, k2, k3]
    };
    instructions.map(bytes).collect()
}

/// libseccomp's program for an architecture.
fn theirs(directory: &Path, arch: &str) -> Vec<[u8; 8]> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/libseccomp.c");
    let (maker, made) = (directory.join("libseccomp"), directory.join(arch));
    let run = |command: &mut Command| {
        let done = command.output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{errors} (libseccomp-dev is needed)");
    };
    run(Command::new("cc")
        .arg("-o")
        .args([&maker, &source])
        .arg("-lseccomp"));
    run(Command::new(&maker).arg(arch).arg(&made));
    let bytes = std::fs::read(made).unwrap();
    bytes.as_chunks().0.to_vec()
}

/// Arguments that decide somewhere, each in the place of each argument.
fn arguments() -> Vec<[u64; 6]> {
    let flags = [
        libc::O_RDONLY,
        libc::O_DIRECTORY,
        libc::O_PATH,
        libc::O_TMPFILE,
        libc::O_WRONLY | libc::O_CREAT,
        libc::O_PATH | libc::O_NOFOLLOW,
        libc::CLONE_THREAD,
        libc::CLONE_VM | libc::CLONE_VFORK,
    ];
    let others = [
        1,
        16,
        22,
        24,
        28,
        110,
        128,
        u64::from(u32::MAX),
        1 << 32 | 22,
    ];
    let values = flags.into_iter().map(|flags| flags as u64).chain(others);
    let in_place = |value| {
        (0..3).map(move |place| std::array::from_fn(|at| if at == place { value } else { 0 }))
    };
    values.flat_map(in_place).collect()
}

#[test]
fn every_number_is_decided_as_libseccomp_decides() {
    let directory = tempfile::tempdir().unwrap();
    let own = own_program();
    for (abi, name) in ABIS.iter().zip(["x86_64", "x86"]) {
        let theirs = theirs(directory.path(), name);
        let mut notified = 0;
        // socketcall(2), which libseccomp looks into and whose arguments no filter can read.
        for nr in (0..1024).filter(|nr| (name, *nr) != ("x86", 102)) {
            for args in arguments() {
                let call = (abi.arch, nr);
                let (ours, wanted) = (verdict(&own, call, args), verdict(&theirs, call, args));
                assert!([ALLOW, NOTIFY].contains(&wanted), "{wanted:#x}");
                assert_eq!(ours, wanted, "{name} {nr} {args:x?}");
                notified += usize::from(ours == NOTIFY);
            }
        }
        assert!(notified > 1000, "{name}: {notified}");
    }
}
