//! The seccomp program: which system calls are notified.
//!
//! A call whose verdict depends on its number alone is cached by the kernel (5.11) and
//! costs nothing, so arguments are looked at only for the `open` family's flags (opens of
//! directories and `O_PATH` opens read no content) and for `clone` (threads).
//! Everything unknown is allowed: the filter forbids nothing.

use libc::sock_filter;

use crate::arch::{ABIS, Abi, Call};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const ERRNO: u32 = 0x0005_0000;

/// Offsets in `struct seccomp_data`; arguments are 64-bit, their low half first.
const NR: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const UNNAMED: u32 = 0o20_000_000; // the bit of O_TMPFILE that is not O_DIRECTORY
const WITHOUT_CONTENT: u32 = (libc::O_DIRECTORY | libc::O_PATH) as u32;
const THREAD: u32 = libc::CLONE_THREAD as u32;

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What becomes of io_uring_setup(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoUring {
    /// It is notified and happens.
    #[default]
    Allow,
    /// It fails with EPERM, as in a stock container.
    Refuse,
}

/// The program.
pub fn program(io_uring: IoUring) -> Vec<sock_filter> {
    program_of(|call| Some(verdict(call, io_uring)))
}

fn program_of(verdict: impl Fn(Call) -> Option<Vec<sock_filter>>) -> Vec<sock_filter> {
    let mut program = vec![statement(LOAD, ARCH)];
    for abi in ABIS {
        let section = section(abi, &verdict);
        // A jump's offset is a byte: sections are longer, so skip by a long jump.
        program.push(jump(JUMP_EQUAL, abi.arch, 1, 0));
        program.push(statement(JUMP, section.len() as u32));
        program.extend(section);
    }
    program.push(statement(RETURN, ALLOW));
    program
}

/// A program that notifies nothing: it refuses io_uring_setup(2).
pub fn refusal() -> Vec<sock_filter> {
    program_of(|call| match call {
        Call::IoUringSetup => Some(verdict(call, IoUring::Refuse)),
        _ => None,
    })
}

fn section(abi: &Abi, verdict: impl Fn(Call) -> Option<Vec<sock_filter>>) -> Vec<sock_filter> {
    let mut section = vec![statement(LOAD, NR)];
    if abi.ignored_bits != 0 {
        section.push(statement(AND, !abi.ignored_bits));
    }
    for &(number, call) in abi.calls {
        let Some(verdict) = verdict(call) else {
            continue;
        };
        section.push(jump(JUMP_EQUAL, number, 0, verdict.len() as u8));
        section.extend(verdict);
    }
    section.push(statement(RETURN, ALLOW));
    section
}

/// Whether the program notifies a call: for those who see calls by other means.
pub fn notifies(program: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> bool {
    verdict_of(program, arch, nr, args) == NOTIFY
}

/// Runs the instructions that are used here.
fn verdict_of(program: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        NR => nr,
        ARCH => arch,
        _ => {
            let index = (offset as usize).saturating_sub(16) / 8;
            args.get(index).map_or(0, |argument| *argument as u32)
        }
    };
    let (mut at, mut a) = (0, 0u32);
    while let Some(instruction) = program.get(at) {
        let sock_filter { code, jt, jf, k } = *instruction;
        let jumps = |is_true: bool| usize::from(if is_true { jt } else { jf });
        at += 1;
        match code {
            LOAD => a = load(k),
            AND => a &= k,
            JUMP => at += k as usize,
            JUMP_EQUAL => at += jumps(a == k),
            JUMP_SET => at += jumps(a & k != 0),
            _ => return k,
        }
    }
    ALLOW
}

/// What is done once the number is known; ends in a return.
fn verdict(call: Call, io_uring: IoUring) -> Vec<sock_filter> {
    match call {
        Call::Open => open_flags(argument(1)),
        Call::Openat | Call::OpenByHandle => open_flags(argument(2)),
        Call::Clone => vec![
            statement(LOAD, argument(0)),
            jump(JUMP_SET, THREAD, 0, 1),
            statement(RETURN, ALLOW),
            statement(RETURN, NOTIFY),
        ],
        Call::Seccomp => first_argument(libc::SECCOMP_SET_MODE_FILTER),
        Call::Prctl => first_argument(libc::PR_SET_SECCOMP as u32),
        Call::IoUringSetup if io_uring == IoUring::Refuse => {
            vec![statement(RETURN, ERRNO | libc::EPERM as u32)]
        }
        _ => vec![statement(RETURN, NOTIFY)],
    }
}

/// Notified when the first argument is this.
fn first_argument(value: u32) -> Vec<sock_filter> {
    vec![
        statement(LOAD, argument(0)),
        jump(JUMP_EQUAL, value, 0, 1),
        statement(RETURN, NOTIFY),
        statement(RETURN, ALLOW),
    ]
}

fn open_flags(offset: u32) -> Vec<sock_filter> {
    vec![
        statement(LOAD, offset),
        jump(JUMP_SET, UNNAMED, 2, 0),
        jump(JUMP_SET, WITHOUT_CONTENT, 0, 1),
        statement(RETURN, ALLOW),
        statement(RETURN, NOTIFY),
    ]
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    fn run(arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        verdict_of(&program(IoUring::Allow), arch, nr, args)
    }

    #[test]
    fn opens_of_content_are_notified_and_those_of_directories_are_not() {
        let arch = 0xC000_003E;
        let openat = |flags: i32| run(arch, 257, [0, 0, flags as u64, 0, 0, 0]);
        assert_eq!(openat(libc::O_RDONLY), NOTIFY);
        assert_eq!(openat(libc::O_WRONLY | libc::O_CREAT), NOTIFY);
        assert_eq!(openat(libc::O_RDONLY | libc::O_DIRECTORY), ALLOW);
        assert_eq!(openat(libc::O_PATH), ALLOW);
        assert_eq!(openat(libc::O_TMPFILE | libc::O_RDWR), NOTIFY);
        assert_eq!(run(arch, 257 | 0x4000_0000, [0; 6]), NOTIFY);
    }

    #[test]
    fn everything_else_is_decided_by_its_number() {
        for abi in ABIS {
            for nr in 0..500 {
                let known = abi.calls.iter().find(|(number, _)| *number == nr);
                let is_rarely = |call| matches!(call, Call::Seccomp | Call::Prctl);
                let expected = match known {
                    Some((_, call)) if !is_rarely(*call) => NOTIFY,
                    _ => ALLOW,
                };
                assert_eq!(run(abi.arch, nr, [0; 6]), expected, "{:#x} {nr}", abi.arch);
            }
        }
        assert_eq!(
            run(0xC000_003E, 56, [u64::from(THREAD), 0, 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(run(0xC000_003E, 317, [1, 0, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(run(0xC000_003E, 157, [22, 2, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(run(0xC000_003E, 157, [15, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(0xC000_00B7, 56, [0; 6]), ALLOW);
    }
}
