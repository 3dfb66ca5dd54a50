//! Writing a record.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::abi;
use crate::directory::{Directory, copy};
use crate::layout::{CONTROL_SIZE, HEAD, LOCK, PAGE, RING_COUNT, RING_SIZE, SKIP, TAIL, record};
use crate::libc;
use crate::name::Name;
use crate::opening::{self, Stat};
use crate::own::{self, Ready, word};

/// Slots without a thread after which the search for one ends (`roar_worker::attribution`).
const SLOT_GAP: usize = 64;
/// How often the supervisor is asked to make room.
const TRIES: usize = 3;

/// Records that a file was opened; where no symbolic link was followed also from which
/// directory, if from one. False: it could not be.
pub(crate) unsafe fn record(
    ready: &Ready,
    stamp: u64,
    stat: &Stat,
    name: Name,
    resolved: Option<Option<Directory>>,
) -> bool {
    let tid = own::thread();
    let length = name.length;
    let s = &stat.0;
    let time = |at: usize| s[at].wrapping_mul(1_000_000_000).wrapping_add(s[at + 1]);
    let task = match ready.page {
        0 => 0,
        page => task_of(page, tid as u64),
    };
    let size = (record::PATH + length).next_multiple_of(8);
    let from = resolved.flatten();
    let words = [
        size as u64 | (length as u64) << 32,
        stamp,
        s[0],
        s[1],
        s[6],
        time(11),
        time(13),
        s[2],
        task,
        resolved.map_or(0, |from| 1 + from.map_or(0, |from| from.length as u64)),
        from.map_or(0, |from| from.dev),
        // Another thread may have changed the directory since the call.
        from.filter(|_| libc::is_only_thread())
            .map_or(0, |from| from.ino),
    ];
    for _ in 0..TRIES {
        for index in 0..RING_COUNT {
            let ring = (tid + index) % RING_COUNT;
            // A signal handler may have forked here: the rings are the parent's.
            if !own::has(ready) {
                return false;
            }
            // SAFETY: as above.
            if unsafe { try_to_write(ready.rings, ring, &words, name) } {
                return true;
            }
        }
        // SAFETY: a short path; it fails, when the supervisor has read the rings.
        unsafe { opening::magic(abi::SYNC_PATH, 0) };
    }
    own::give_up();
    false
}

unsafe fn try_to_write(rings: usize, ring: usize, words: &[u64], name: Name) -> bool {
    let control = rings + ring * CONTROL_SIZE;
    let lock = word(control + LOCK);
    if lock.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        return false;
    }
    let head = word(control + HEAD).load(Relaxed);
    let tail = word(control + TAIL).load(Acquire);
    let size = words[0] & 0xffff_ffff;
    let start = rings + PAGE + ring * RING_SIZE;
    let at = (head % RING_SIZE as u64) as usize;
    let left = (RING_SIZE - at) as u64;
    let skipped = if left < size { left } else { 0 };
    let mut is_written = head + skipped + size - tail <= RING_SIZE as u64;
    if is_written {
        if skipped > 0 {
            word(start + at).store(skipped | u64::from(SKIP) << 32, Relaxed);
        }
        let at = start + if skipped > 0 { 0 } else { at };
        for (index, value) in words.iter().enumerate() {
            word(at + 8 * index).store(*value, Relaxed);
        }
        // SAFETY: there is room for it, and the name is so long.
        unsafe { copy(name.at, (at + record::PATH) as *mut u8, name.length) };
        let next = head + skipped + size;
        let moved = word(control + HEAD).compare_exchange(head, next, Release, Relaxed);
        is_written = moved.is_ok();
    }
    lock.store(0, Release);
    is_written
}

/// The number of the task that a thread works for.
fn task_of(page: usize, tid: u64) -> u64 {
    let mut empty = 0;
    for index in 0..abi::SLOT_COUNT {
        let slot = page + abi::SLOTS + index * abi::SLOT_SIZE;
        match word(slot).load(Acquire) {
            0 => empty += 1,
            owner if owner == tid => return word(slot + 8).load(Relaxed),
            _ => empty = 0,
        }
        if empty > SLOT_GAP {
            break;
        }
    }
    word(page + abi::ONLY_RUNNING).load(Relaxed)
}
