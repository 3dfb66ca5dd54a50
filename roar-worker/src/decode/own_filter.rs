//! seccomp(2) and `PR_SET_SECCOMP` of prctl(2): what a program's own filters are for.

use super::Decoded;
use crate::memory::{self, Unreadable};
use crate::tracee::Tracee;

const NEW_LISTENER: u64 = 1 << 3; // SECCOMP_FILTER_FLAG_NEW_LISTENER
const RETURN: u64 = 0x06; // BPF_RET | BPF_K
const ACTION: u64 = 0xffff_0000;
const TRACE: u64 = 0x7ff0_0000; // SECCOMP_RET_TRACE
/// Instructions of a program (`BPF_MAXINSNS`).
const MAX_LENGTH: usize = 4096;

/// A filter about to be installed, by the address of its `struct sock_fprog`. The kernel
/// refuses a second listener (EBUSY), and a notified call is not traced: the kernel
/// prefers USER_NOTIF to TRACE.
pub(super) fn installed(
    tracee: &impl Tracee,
    flags: u64,
    program: u64,
    pointer: usize,
) -> Result<Decoded, Unreadable> {
    if flags & NEW_LISTENER != 0 {
        let detail = "a program wanted a seccomp listener of its own, and there is one already";
        return Ok(Decoded::Hampers(detail));
    }
    let length = memory::word(tracee, program, 2)? as usize;
    let address = memory::word(tracee, program + pointer as u64, pointer)?;
    let mut instructions = vec![0; 8 * length.min(MAX_LENGTH)];
    let read = tracee.read_memory(address, &mut instructions)?;
    let (instructions, _) = instructions
        .get(..read)
        .unwrap_or_default()
        .as_chunks::<8>();
    // `struct sock_filter`: code in the low 16 bits, k in the high 32.
    let traces = instructions.iter().any(|instruction| {
        let word = u64::from_le_bytes(*instruction);
        word & 0xffff == RETURN && (word >> 32) & ACTION == TRACE
    });
    Ok(match traces {
        true => Decoded::Hampers("a program traces by seccomp, which sees no notified call here"),
        false => Decoded::Files(Vec::new()),
    })
}
