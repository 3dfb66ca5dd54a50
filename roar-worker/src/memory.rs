//! What is read of a traced process's memory: words, C strings, arrays of them.

use std::cell::RefCell;

use bstr::BString;

/// The memory of the calling process could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// The memory of a traced process.
pub trait Memory {
    /// Fills `buffer` from memory; gives how many bytes could be read.
    fn read_memory(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Unreadable>;

    /// Whether there is memory at an address, or may be.
    fn has_memory(&self, address: u64) -> bool;
}

/// Smallest size of a page: what is of one is there or not as a whole.
const PAGE: u64 = 4096;

/// Memory of which the page that was read last is not read again.
struct Paged<'a, M> {
    memory: &'a M,
    last: RefCell<(u64, Vec<u8>)>,
}

impl<'a, M: Memory> Paged<'a, M> {
    fn new(memory: &'a M) -> Self {
        let last = RefCell::default();
        Self { memory, last }
    }
}

impl<M: Memory> Memory for Paged<'_, M> {
    fn read_memory(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Unreadable> {
        let (page, offset) = (address & !(PAGE - 1), (address % PAGE) as usize);
        let mut last = self.last.borrow_mut();
        if last.0 != page || last.1.is_empty() {
            let mut bytes = vec![0; PAGE as usize];
            let read = self.memory.read_memory(page, &mut bytes).unwrap_or(0);
            bytes.truncate(read);
            *last = (page, bytes);
        }
        match last.1.get(offset..offset + buffer.len()) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(buffer.len())
            }
            None => self.memory.read_memory(address, buffer),
        }
    }

    fn has_memory(&self, address: u64) -> bool {
        self.memory.has_memory(address)
    }
}

/// Longest path of a system call (`PATH_MAX`, with its final zero).
const PATH_MAX: usize = 4096;
/// Memory is read up to such boundaries first, since the next page may not be there.
const CHUNK: u64 = 512;

/// The C string at an address, without its final zero. `None` where the call will fail: with
/// ENAMETOOLONG, since it is longer than a path may be, or with EFAULT, since there is none.
pub fn c_string(
    memory: &impl Memory,
    address: u64,
    limit: usize,
) -> Result<Option<BString>, Unreadable> {
    let nothing = |at| match memory.has_memory(at) {
        true => Err(Unreadable),
        false => Ok(None),
    };
    let mut string = BString::default();
    let mut at = address;
    while string.len() < limit {
        let mut chunk = [0; CHUNK as usize];
        let wanted = (CHUNK - at % CHUNK) as usize;
        let Some(window) = chunk.get_mut(..wanted) else {
            return Err(Unreadable);
        };
        let Ok(read) = memory.read_memory(at, window) else {
            return nothing(at);
        };
        let part = window.get(..read).unwrap_or_default();
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            string.extend_from_slice(part.get(..end).unwrap_or_default());
            return Ok(Some(string));
        }
        if read < wanted {
            return nothing(at + read as u64);
        }
        string.extend_from_slice(part);
        at += read as u64;
    }
    Ok(None)
}

/// A path argument.
pub fn path(memory: &impl Memory, address: u64) -> Result<Option<BString>, Unreadable> {
    c_string(memory, address, PATH_MAX)
}

/// A little-endian word of `size` bytes (4 or 8).
pub fn word(memory: &impl Memory, address: u64, size: usize) -> Result<u64, Unreadable> {
    let mut bytes = [0; 8];
    let window = bytes.get_mut(..size).ok_or(Unreadable)?;
    if memory.read_memory(address, window)? < size {
        return Err(Unreadable);
    }
    Ok(u64::from_le_bytes(bytes))
}

/// A null-terminated array of C strings, at most `limit` of them, each cut at 4 KiB.
pub fn strings(
    memory: &impl Memory,
    mut address: u64,
    pointer: usize,
    limit: usize,
) -> Result<Vec<BString>, Unreadable> {
    let (array, texts) = (Paged::new(memory), Paged::new(memory));
    let mut strings = Vec::new();
    while address != 0 && strings.len() < limit {
        let string = word(&array, address, pointer)?;
        if string == 0 {
            break;
        }
        strings.push(c_string(&texts, string, PATH_MAX)?.unwrap_or_else(|| "…".into()));
        address += pointer as u64;
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Two pages from `PAGE` on, and how often they were read.
    struct Fake(Vec<u8>, Cell<usize>);

    impl Memory for Fake {
        fn read_memory(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Unreadable> {
            self.1.set(self.1.get() + 1);
            let start = address.checked_sub(PAGE).ok_or(Unreadable)? as usize;
            let there = self.0.get(start..).filter(|there| !there.is_empty());
            let there = there.ok_or(Unreadable)?;
            let length = there.len().min(buffer.len());
            buffer[..length].copy_from_slice(&there[..length]);
            Ok(length)
        }

        fn has_memory(&self, address: u64) -> bool {
            (PAGE..3 * PAGE).contains(&address)
        }
    }

    /// An array at `array` of strings that stand one behind the other at `text`.
    fn fake(array: u64, text: u64, strings: &[&str]) -> Fake {
        let mut bytes = vec![1; 2 * PAGE as usize];
        let mut put = |at: u64, what: &[u8]| {
            let at = (at - PAGE) as usize;
            bytes[at..at + what.len()].copy_from_slice(what);
        };
        let (mut slot, mut at) = (array, text);
        for string in strings {
            put(slot, &at.to_le_bytes());
            put(at, string.as_bytes());
            put(at + string.len() as u64, &[0]);
            slot += 8;
            at += string.len() as u64 + 1;
        }
        put(slot, &[0; 8]);
        Fake(bytes, Cell::new(0))
    }

    #[test]
    fn many_strings_are_read_with_few_looks() {
        let words: Vec<String> = (0..300).map(|index| format!("word {index}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let fake = fake(PAGE, PAGE + 3000, &words);
        assert_eq!(strings(&fake, PAGE, 8, 1000).unwrap(), words);
        assert!(fake.1.get() < 10, "{}", fake.1.get());
        assert_eq!(strings(&fake, PAGE, 8, 2).unwrap(), words[..2]);
    }

    #[test]
    fn an_array_may_lie_across_pages_and_end_with_the_memory() {
        let words = ["one", "two", "three"];
        let odd = fake(2 * PAGE - 12, PAGE, &words);
        assert_eq!(strings(&odd, 2 * PAGE - 12, 8, 9).unwrap(), words);
        let last = fake(PAGE, 3 * PAGE - 14, &words);
        assert_eq!(strings(&last, PAGE, 8, 9).unwrap(), words);
        let mut cut = fake(PAGE, 3 * PAGE - 14, &words);
        cut.0.truncate(2 * PAGE as usize - 1);
        assert!(strings(&cut, PAGE, 8, 9).is_err());
        assert!(strings(&cut, 3 * PAGE, 8, 9).is_err());
    }
}
