//! The seccomp program: which system calls are notified.
//!
//! A call whose verdict depends on its number alone is cached by the kernel (5.11) and
//! costs nothing, so arguments are looked at only for the `open` family's flags (opens of
//! directories and `O_PATH` opens read no content) and for `clone` (threads).
//! Everything unknown is allowed: the filter forbids nothing.
//!
//! With an accelerator ([`Exemption`]) an open for reading is also allowed that comes from
//! the accelerator's gate with its secret (`roar_tracee::ring`). The filter sees that openat(2)
//! only reads; of openat2(2), whose flags are in memory, the library says so.

use libc::sock_filter;
use roar_tracee::ring;

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
const INSTRUCTION_POINTER: u32 = 8;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const UNNAMED: u32 = 0o20_000_000; // the bit of O_TMPFILE that is not O_DIRECTORY
const WITHOUT_CONTENT: u32 = (libc::O_DIRECTORY | libc::O_PATH) as u32;
const THREAD: u32 = libc::CLONE_THREAD as u32;
/// What an open that only reads has none of.
const CHANGES: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32 | UNNAMED;

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

/// Which calls of the accelerator's are not notified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exemption {
    /// What such a call has in its sixth argument.
    pub secret: u64,
    /// Where in a page of memory the dynamic loader has the name of the list of libraries
    /// that it asks for.
    pub asks_at: u32,
}

/// The program.
pub fn program(io_uring: IoUring, exemption: Option<Exemption>) -> Vec<sock_filter> {
    let has_accelerator = exemption.is_some();
    program_of(|abi, call| {
        // Nothing else runs the gate's instructions.
        let exemption = exemption.filter(|_| is_accelerated(abi));
        match call {
            Call::Access => exemption.map(|exemption| asks(exemption.asks_at)),
            Call::Ptrace => has_accelerator.then(traces),
            Call::Rmdir => has_accelerator.then(|| vec![statement(RETURN, NOTIFY)]),
            Call::Openat => {
                let reads = [
                    statement(LOAD, argument(2)),
                    jump(JUMP_SET, CHANGES, 1, 0),
                    statement(RETURN, ALLOW),
                ];
                let exempt = exemption.map(|exemption| exempts(exemption, &reads));
                let mut verdict = exempt.unwrap_or_default();
                verdict.extend(open_flags(argument(2)));
                Some(verdict)
            }
            // Its flags are in memory: that they change nothing is the library's word.
            Call::Openat2 => {
                let allow = [statement(RETURN, ALLOW)];
                let exempt = exemption.map(|exemption| exempts(exemption, &allow));
                let mut verdict = exempt.unwrap_or_default();
                verdict.push(statement(RETURN, NOTIFY));
                Some(verdict)
            }
            _ => Some(verdict(call, io_uring)),
        }
    })
}

/// Whether an open with these flags may do more than to read.
pub(crate) fn changes(flags: u64) -> bool {
    flags as u32 & CHANGES != 0
}

/// Whether the accelerator's programs call the kernel so.
fn is_accelerated(abi: &Abi) -> bool {
    const X86_64: u32 = 0xC000_003E;
    abi.arch == X86_64
}

fn program_of(verdict: impl Fn(&Abi, Call) -> Option<Vec<sock_filter>>) -> Vec<sock_filter> {
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
    program_of(|_, call| match call {
        Call::IoUringSetup => Some(verdict(call, IoUring::Refuse)),
        _ => None,
    })
}

fn section(
    abi: &Abi,
    verdict: impl Fn(&Abi, Call) -> Option<Vec<sock_filter>>,
) -> Vec<sock_filter> {
    let mut section = vec![statement(LOAD, NR)];
    if abi.ignored_bits != 0 {
        section.push(statement(AND, !abi.ignored_bits));
    }
    for &(number, call) in abi.calls {
        let Some(verdict) = verdict(abi, call) else {
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
    verdict_of(program, (arch, nr, 0), args) == NOTIFY
}

/// Runs the instructions that are used here, for a call from an address.
fn verdict_of(program: &[sock_filter], (arch, nr, from): (u32, u32, u64), args: [u64; 6]) -> u32 {
    let load = |offset: u32| {
        let words = [u64::from(nr) | u64::from(arch) << 32, from];
        let mut words = words.into_iter().chain(args);
        let word = words.nth(offset as usize / 8).unwrap_or(0);
        (word >> (8 * (offset % 8))) as u32
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
        Call::OpenByHandle => open_flags(argument(2)),
        Call::Clone => vec![
            statement(LOAD, argument(0)),
            jump(JUMP_SET, THREAD, 0, 1),
            statement(RETURN, ALLOW),
            statement(RETURN, NOTIFY),
        ],
        Call::Seccomp => first_argument(libc::SECCOMP_SET_MODE_FILTER),
        Call::Prctl => first_argument(libc::PR_SET_SECCOMP as u32),
        // By the length of the address: of IPv4, of IPv6 (24 before RFC 3493), or of any.
        Call::Connect => vec![
            statement(LOAD, argument(2)),
            jump(JUMP_EQUAL, size_of::<libc::sockaddr_in>() as u32, 3, 0),
            jump(JUMP_EQUAL, 24, 2, 0),
            jump(JUMP_EQUAL, size_of::<libc::sockaddr_in6>() as u32, 1, 0),
            jump(JUMP_EQUAL, size_of::<libc::sockaddr_storage>() as u32, 0, 1),
            statement(RETURN, NOTIFY),
            statement(RETURN, ALLOW),
        ],
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

/// What is done when it comes from the gate with the secret; else goes on behind that.
fn exempts(exemption: Exemption, then: &[sock_filter]) -> Vec<sock_filter> {
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let (secret, secret_high) = halves(exemption.secret);
    let length = then.len() as u8;
    let mut verdict = vec![
        statement(LOAD, INSTRUCTION_POINTER),
        statement(AND, ring::PAGE as u32 - 1),
        jump(JUMP_EQUAL, ring::GATE_RETURN, 0, length + 4),
        statement(LOAD, argument(5)),
        jump(JUMP_EQUAL, secret, 0, length + 2),
        statement(LOAD, argument(5) + 4),
        jump(JUMP_EQUAL, secret_high, 0, length),
    ];
    verdict.extend_from_slice(then);
    verdict
}

/// Notified when somebody becomes a tracer or a tracee.
fn traces() -> Vec<sock_filter> {
    vec![
        statement(LOAD, argument(0)),
        jump(JUMP_EQUAL, libc::PTRACE_TRACEME, 2, 0),
        jump(JUMP_EQUAL, libc::PTRACE_ATTACH, 1, 0),
        jump(JUMP_EQUAL, libc::PTRACE_SEIZE, 0, 1),
        statement(RETURN, NOTIFY),
        statement(RETURN, ALLOW),
    ]
}

/// Notified when it may be the loader that asks: for R_OK of a name at this place.
fn asks(at: u32) -> Vec<sock_filter> {
    vec![
        statement(LOAD, argument(1)),
        jump(JUMP_EQUAL, libc::R_OK as u32, 0, 4),
        statement(LOAD, argument(0)),
        statement(AND, ring::PAGE as u32 - 1),
        jump(JUMP_EQUAL, at, 0, 1),
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
        verdict_of(&program(IoUring::Allow, None), (arch, nr, 0), args)
    }

    const EXEMPTION: Exemption = Exemption {
        secret: 0x0123_4567_89ab_cdef,
        asks_at: 0x2a0,
    };

    fn run_from(from: u64, (arch, nr): (u32, u32), args: [u64; 6]) -> u32 {
        let program = program(IoUring::Allow, Some(EXEMPTION));
        verdict_of(&program, (arch, nr, from), args)
    }

    #[test]
    fn only_reading_opens_through_the_gate_with_the_secret_are_exempt() {
        let openat = (0xC000_003E, 257);
        let (gate, secret) = (
            0x7f12_3456_7000 + u64::from(ring::GATE_RETURN),
            EXEMPTION.secret,
        );
        let args = |flags: i32, secret| [0, 0, flags as u64, 0, 0, secret];
        let reading = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        assert_eq!(run_from(gate, openat, args(reading, secret)), ALLOW);
        let near = [gate - 6, gate - 1, gate + 1, gate + 0x800, 0];
        for from in near {
            assert_eq!(run_from(from, openat, args(reading, secret)), NOTIFY);
        }
        for bit in 0..64 {
            let wrong = secret ^ (1 << bit);
            assert_eq!(run_from(gate, openat, args(reading, wrong)), NOTIFY);
        }
        let (accesses, changes) = (libc::O_WRONLY, libc::O_CREAT);
        for flags in [
            accesses,
            libc::O_RDWR,
            3,
            changes,
            libc::O_TRUNC,
            libc::O_TMPFILE,
        ] {
            assert_eq!(run_from(gate, openat, args(flags, secret)), NOTIFY);
        }
        for other in [(0xC000_003E, 2), (0x4000_0003, 437), (0x4000_0003, 295)] {
            assert_eq!(run_from(gate, other, args(reading, secret)), NOTIFY);
        }
        let openat2 = (0xC000_003E, 437);
        assert_eq!(run_from(gate, openat2, args(0, secret)), ALLOW);
        assert_eq!(run_from(gate, openat2, args(0, secret ^ 1 << 40)), NOTIFY);
        for from in near {
            assert_eq!(run_from(from, openat2, args(0, secret)), NOTIFY);
        }
    }

    #[test]
    fn the_loaders_question_is_notified() {
        let access = |path: u64, mode| run_from(0, (0xC000_003E, 21), [path, mode, 0, 0, 0, 0]);
        assert_eq!(access(0x7f12_3456_72a0, 4), NOTIFY);
        assert_eq!(access(0x7f12_3456_72a0, 0), ALLOW);
        assert_eq!(access(0x7f12_3456_72a1, 4), ALLOW);
        assert_eq!(
            run(0xC000_003E, 21, [0x7f12_3456_72a0, 4, 0, 0, 0, 0]),
            ALLOW
        );
    }

    #[test]
    fn a_tracer_is_notified_when_it_becomes_one() {
        for call in [(0xC000_003E, 101), (0x4000_0003, 26)] {
            for (request, expected) in [(0, NOTIFY), (16, NOTIFY), (0x4206, NOTIFY), (7, ALLOW)] {
                let args = [request, 1, 0, 0, 0, 0];
                assert_eq!(run_from(0, call, args), expected);
                assert_eq!(run(call.0, call.1, args), ALLOW);
            }
        }
    }

    #[test]
    fn the_end_of_a_directory_is_notified_to_those_who_know_its_name() {
        for call in [(0xC000_003E, 84), (0x4000_0003, 40)] {
            assert_eq!(run_from(0, call, [0; 6]), NOTIFY);
            assert_eq!(run(call.0, call.1, [0; 6]), ALLOW);
        }
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
                let rarely = [
                    Call::Seccomp,
                    Call::Prctl,
                    Call::Access,
                    Call::Connect,
                    Call::Rmdir,
                    Call::Ptrace,
                ];
                let is_rarely = |call| rarely.contains(&call);
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
        let connect = |length| run(0xC000_003E, 42, [0, 0, length, 0, 0, 0]);
        assert_eq!([16, 24, 28, 128].map(connect), [NOTIFY; 4]);
        assert_eq!([0, 2, 29, 110].map(connect), [ALLOW; 4]);
        assert_eq!(run(0xC000_003E, 317, [1, 0, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(run(0xC000_003E, 157, [22, 2, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(run(0xC000_003E, 157, [15, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(0xC000_00B7, 56, [0; 6]), ALLOW);
    }
}
