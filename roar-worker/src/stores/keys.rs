//! Secrets of TLS that clients tell: those that write a key log (`SSLKEYLOGFILE`; RFC 9850)
//! find this in its place. It is a file in memory, which is emptied as it is read; nothing of
//! it is kept longer than its connection may need it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

use nix::fcntl::{FallocateFlags, fallocate};

use super::recent::Recent;
use crate::sys::mapping;

/// Most connections whose secrets are remembered.
const MOST: usize = 1000;
/// Longest line (bytes).
const MAX_LINE: usize = 1024;

/// The log, as its reader has it.
pub(super) struct Keys {
    file: File,
    read_to: u64,
    rest: Vec<u8>,
    secrets: Recent<[u8; 32], HashMap<String, Vec<u8>>, MOST>,
}

/// An empty log: what its reader has, and what programs append to.
pub(super) fn log() -> io::Result<(Keys, OwnedFd)> {
    let file = File::from(mapping::memory_file(c"roar-keys", 0)?);
    // Who inherits it may append to it, and no more.
    file.set_permissions(Permissions::from_mode(0o200))?;
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let appended = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(again)?;
    let keys = Keys {
        file,
        read_to: 0,
        rest: Vec::new(),
        secrets: Recent::default(),
    };
    Ok((keys, appended.into()))
}

impl Keys {
    /// A secret of the connection that a client began with this random.
    pub(super) fn find(&mut self, client_random: &[u8; 32], label: &str) -> Option<Vec<u8>> {
        let known = |keys: &mut Self| {
            let secrets = keys.secrets.get_mut(client_random)?;
            secrets.get(label).cloned()
        };
        known(self).or_else(|| {
            self.read();
            known(self)
        })
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let before = self.read_to;
        while let Ok(length @ 1..) = self.file.read_at(&mut buffer, self.read_to) {
            self.read_to += length as u64;
            self.rest.extend(buffer.iter().take(length));
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.learn(&line);
            }
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
            }
        }
        if self.read_to > before {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let _ = fallocate(&self.file, flags, 0, self.read_to.cast_signed());
        }
    }

    /// `LABEL CLIENT_RANDOM SECRET`, the last two in hexadecimal digits.
    fn learn(&mut self, line: &[u8]) -> Option<()> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let (label, random, secret) = (words.next()?, words.next()?, words.next()?);
        let random: [u8; 32] = bytes(random)?.try_into().ok()?;
        let secret = bytes(secret)?;
        let secrets = self.secrets.entry(&random, HashMap::new);
        if secrets.len() < 16 {
            secrets.insert(label.to_owned(), secret);
        }
        Some(())
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_clients_append_is_found_and_taken_out() {
        let (mut keys, appended) = log().unwrap();
        let mut other = File::from(appended.try_clone().unwrap());
        let mut appended = File::from(appended);
        let random = [7; 32];
        assert_eq!(keys.find(&random, "CLIENT_RANDOM"), None);
        let digits = "07".repeat(32);
        write!(appended, "# comment\nCLIENT_RANDOM {digits} 0a").unwrap();
        assert_eq!(keys.find(&random, "CLIENT_RANDOM"), None);
        writeln!(other, "ff").unwrap();
        let found = keys.find(&random, "CLIENT_RANDOM");
        assert_eq!(found, Some(vec![10, 255]));
        writeln!(other, "SERVER_TRAFFIC_SECRET_0 {digits} 01").unwrap();
        let found = keys.find(&random, "SERVER_TRAFFIC_SECRET_0");
        assert_eq!(found, Some(vec![1]));
        assert_eq!(keys.find(&[8; 32], "CLIENT_RANDOM"), None);
        let mut left = vec![0; 4096];
        let length = keys.file.read_at(&mut left, 0).unwrap();
        assert!(left.iter().take(length).all(|byte| *byte == 0));
    }

    #[test]
    fn nobody_who_may_append_may_read() {
        let (_, appended) = log().unwrap();
        let appended = File::from(appended);
        assert!(appended.read_at(&mut [0; 8], 0).is_err());
        assert_eq!(
            appended.metadata().unwrap().permissions().mode() & 0o777,
            0o200
        );
    }
}
