//! What a body comes to: its digest, or its text where that is what tells.

use roar_lineage::digest::Digest;

use super::http::chunk_size;
use crate::pieces::Piece;

/// Most of a text that is kept (bytes): a list of 1000 keys of 1024 characters, each of which
/// may take six (`&quot;`), and its markup.
const MAX_TEXT: usize = 8 << 20;
/// Longest line between the chunks of a signed body (bytes).
const MAX_LINE: usize = 1 << 10;

/// A body as it passes by.
pub(super) enum Body {
    /// Nobody asks.
    Ignored,
    /// Content, of so many bytes so far.
    Content(Box<blake3::Hasher>, u64),
    /// A piece of some content, for each place that it may have there.
    Pieces(Vec<Piece>),
    /// Content in chunks, each with its signature (Amazon S3 API Reference, "Signature
    /// calculations for the authorization header: transferring payload in multiple chunks").
    Signed(Box<Body>, Line),
    /// Text; `None`: too much.
    Text(Option<Vec<u8>>),
}

/// Where between or in the chunks of a signed body it is.
pub(super) struct Line {
    left: u64,
    held: Vec<u8>,
    state: Chunks,
}

#[derive(PartialEq, Eq)]
enum Chunks {
    /// The line before a chunk; `true`: an empty one comes first.
    Size(bool),
    Data,
    /// After the last chunk.
    Over,
    Bad,
}

impl Body {
    /// Content that is to be digested.
    pub(super) fn content() -> Self {
        Self::Content(Box::new(blake3::Hasher::new()), 0)
    }

    /// The same in signed chunks.
    pub(super) fn signed(self) -> Self {
        let line = Line {
            left: 0,
            held: Vec::new(),
            state: Chunks::Size(false),
        };
        Self::Signed(Box::new(self), line)
    }

    /// Text that is to be kept.
    pub(super) fn text() -> Self {
        Self::Text(Some(Vec::new()))
    }

    /// Takes what has passed by.
    pub(super) fn feed(&mut self, part: &[u8]) {
        match self {
            Self::Ignored => {}
            Self::Content(hasher, length) => {
                hasher.update(part);
                *length += part.len() as u64;
            }
            Self::Pieces(pieces) => pieces.iter_mut().for_each(|piece| piece.feed(part)),
            Self::Signed(body, line) => line.feed(part, body),
            Self::Text(text) => {
                let fits = |held: &Vec<u8>| held.len() + part.len() <= MAX_TEXT;
                if let Some(held) = text.as_mut().filter(|held| fits(held)) {
                    held.extend_from_slice(part);
                } else {
                    *text = None;
                }
            }
        }
    }

    /// The digest of content, and how many bytes it was.
    pub(super) fn digest(&self) -> Option<(Digest, u64)> {
        match self {
            Self::Content(hasher, length) => Some((Digest(*hasher.finalize().as_bytes()), *length)),
            Self::Signed(body, line) if line.is_over() => body.digest(),
            _ => None,
        }
    }

    /// A piece, as it is in each place.
    pub(super) fn pieces(&self) -> &[Piece] {
        match self {
            Self::Pieces(pieces) => pieces,
            Self::Signed(body, line) if line.is_over() => body.pieces(),
            _ => &[],
        }
    }

    /// The text, where it was kept.
    pub(super) fn into_text(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => text,
            Self::Signed(body, line) if line.is_over() => body.into_text(),
            _ => None,
        }
    }
}

impl Line {
    fn is_over(&self) -> bool {
        self.state == Chunks::Over
    }

    fn feed(&mut self, mut bytes: &[u8], body: &mut Body) {
        while !bytes.is_empty() {
            match self.state {
                Chunks::Over | Chunks::Bad => return,
                Chunks::Data => {
                    let part = usize::try_from(self.left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    let (now, rest) = bytes.split_at_checked(part).unwrap_or((bytes, &[]));
                    body.feed(now);
                    bytes = rest;
                    self.left -= now.len() as u64;
                    if self.left == 0 {
                        self.state = Chunks::Size(true);
                    }
                }
                Chunks::Size(after_data) => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.held.extend_from_slice(bytes);
                        if self.held.len() > MAX_LINE {
                            self.state = Chunks::Bad;
                        }
                        return;
                    };
                    let (now, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
                    self.held.extend_from_slice(now);
                    bytes = rest;
                    let line = std::mem::take(&mut self.held);
                    let line = line.trim_ascii_end();
                    self.state = match (line.is_empty(), after_data, chunk_size(line)) {
                        (true, true, _) => Chunks::Size(false),
                        (false, false, Some(0)) => Chunks::Over,
                        (false, false, Some(size)) => {
                            self.left = size;
                            Chunks::Data
                        }
                        _ => Chunks::Bad,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_no_content() {
        let chunks = b"5;chunk-signature=abc\r\nhello\r\n6;chunk-signature=def\r\n world\r\n\
            0;chunk-signature=0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        for cut in 0..chunks.len() {
            let mut body = Body::content().signed();
            body.feed(&chunks[..cut]);
            assert_eq!(body.digest().is_some(), cut + 29 >= chunks.len());
            body.feed(&chunks[cut..]);
            assert_eq!(body.digest(), Some((Digest::of(b"hello world"), 11)));
        }
        let mut body = Body::content().signed();
        body.feed(b"5\r\nhelloX6\r\n");
        body.feed(b"0\r\n\r\n");
        assert_eq!(body.digest(), None);
    }
}
