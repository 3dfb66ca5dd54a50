//! Framing of append-only files: `length: u32 LE, crc32: u32 LE, payload`, after an
//! eight-byte magic whose last byte is the format's version.
//!
//! A writer that dies leaves at most one torn frame at the end; a reader stops there and
//! says so.

use std::cmp::Ordering;

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// The largest payload a reader accepts (bytes): anything larger is damage.
pub const MAX_PAYLOAD: u32 = 1 << 30;

/// Length and checksum (bytes).
const HEADER: usize = 8;

/// Appends a value as a frame. Errors: it cannot be encoded; nothing is appended.
pub fn append(to: &mut Vec<u8>, value: &impl Serialize) -> Result<(), postcard::Error> {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER]);
    if let Err(error) = postcard::serialize_with_flavor(value, Appended(to)) {
        to.truncate(start);
        return Err(error);
    }
    if let Some((space, payload)) = to
        .get_mut(start..)
        .and_then(|frame| frame.split_first_chunk_mut::<HEADER>())
    {
        *space = header(payload);
    }
    Ok(())
}

fn header(payload: &[u8]) -> [u8; HEADER] {
    let [a, b, c, d] = (payload.len() as u32).to_le_bytes();
    let [e, f, g, h] = crc32fast::hash(payload).to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Where an encoded value goes.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

/// Why a header was not accepted.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum BadHeader {
    /// Another kind of file.
    Foreign,
    /// The same kind of file in a newer format.
    Newer(u8),
    /// The same kind of file in an older format, which is read no more.
    Older(u8),
}

/// What follows the header, if the header is `magic`.
pub fn body_of(content: &[u8], magic: [u8; 8]) -> Result<&[u8], BadHeader> {
    let (header, body) = content.split_first_chunk::<8>().ok_or(BadHeader::Foreign)?;
    let [name @ .., version] = header;
    let [wanted @ .., newest] = &magic;
    if name != wanted {
        return Err(BadHeader::Foreign);
    }
    match version.cmp(newest) {
        Ordering::Equal => Ok(body),
        Ordering::Greater => Err(BadHeader::Newer(*version)),
        Ordering::Less => Err(BadHeader::Older(*version)),
    }
}

/// The whole frames at the beginning of `rest`.
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Frames from the first byte after the header.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// After the last frame: whether bytes were left that are no whole frame.
    pub fn is_torn(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length > MAX_PAYLOAD {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
            return None;
        }
        self.rest = rest;
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_frames_come_back_and_a_torn_end_is_noticed(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cut in 0usize..60,
        ) {
            let mut bytes = Vec::new();
            payloads.iter().for_each(|payload| append(&mut bytes, payload).unwrap());
            let payloads: Vec<_> = payloads.iter().map(|p| postcard::to_stdvec(p).unwrap()).collect();
            let kept = &bytes[..bytes.len().saturating_sub(cut)];
            let mut frames = Frames::new(kept);
            let read: Vec<_> = frames.by_ref().map(<[u8]>::to_vec).collect();
            prop_assert!(payloads.starts_with(&read));
            let whole: usize = read.iter().map(|p| p.len() + 8).sum();
            prop_assert_eq!(frames.is_torn(), whole != kept.len());
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_reading() {
        let mut bytes = Vec::new();
        append(&mut bytes, b"payload").unwrap();
        bytes[10] ^= 1;
        let mut frames = Frames::new(&bytes);
        assert_eq!(frames.next(), None);
        assert!(frames.is_torn());
    }
}
