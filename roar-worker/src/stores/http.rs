//! HTTP/1.1 as it passes by (RFC 9112): heads, bodies and ends of messages, from one
//! direction of a connection. What cannot be understood ends the watching, and nothing else.

use httparse::{EMPTY_HEADER, Status};

/// Longest head (bytes).
const MAX_HEAD: usize = 64 << 10;
/// Most header fields.
const MAX_FIELDS: usize = 128;
/// Longest line of a chunked body's framing (bytes).
const MAX_LINE: usize = 8 << 10;

/// How a body is framed (RFC 9112, section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// All that comes until the connection is closed.
    Close,
}

/// The first line of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FirstLine {
    /// Method and target.
    Request(String, String),
    /// Status code.
    Response(u16),
}

/// A message's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Its first line.
    pub(super) first: FirstLine,
    fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first field with this name (in lower case), as text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// All fields, names in lower case.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |value| std::str::from_utf8(value).ok().map(str::trim);
        self.fields
            .iter()
            .filter_map(move |(name, value)| Some((name.as_str(), text(value)?)))
    }

    /// How the body is framed. `None`: it contradicts itself, or is no content as it is.
    pub(super) fn framing(&self) -> Option<Framing> {
        let mut codings = self
            .fields()
            .filter(|(name, _)| *name == "transfer-encoding");
        match (codings.next(), codings.next()) {
            (None, _) => {}
            (Some((_, coding)), None) if coding.eq_ignore_ascii_case("identity") => {}
            (Some((_, coding)), None) if coding.eq_ignore_ascii_case("chunked") => {
                return Some(Framing::Chunked);
            }
            // It is also compressed.
            _ => return None,
        }
        match (self.field("content-length"), &self.first) {
            (Some(length), _) => length.parse().ok().map(Framing::Length),
            (None, FirstLine::Request(..)) => Some(Framing::None),
            (None, FirstLine::Response(_)) => Some(Framing::Close),
        }
    }

    /// `Content-Range`: first and last byte, and the size of the whole (RFC 9110, 14.4).
    pub(super) fn range(&self) -> Option<((u64, u64), Option<u64>)> {
        let value = self.field("content-range")?.strip_prefix("bytes ")?;
        let (range, size) = value.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let size: Option<u64> = size.parse().ok();
        let fits = |size: u64| last < size && size <= i64::MAX.cast_unsigned();
        let is_sound = first <= last && last < i64::MAX.cast_unsigned() && size.is_none_or(fits);
        is_sound.then_some(((first, last), size))
    }
}

/// Who is told of messages.
pub(super) trait Listener {
    /// A head; gives how the body that follows is framed. `None` ends the watching.
    fn head(&mut self, head: Head) -> Option<Framing>;
    /// A part of the body.
    fn body(&mut self, part: &[u8]);
    /// The message is over; whether all of it was there.
    fn end(&mut self, is_whole: bool);
}

/// What comes next.
enum State {
    Head,
    Length(u64),
    Close,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// Not understood, or not HTTP.
    Lost,
}

/// One direction of a connection.
pub(super) struct Messages {
    state: State,
    is_response: bool,
    /// The beginning of a head or of a line.
    held: Vec<u8>,
    /// Whether the body that was announced may not come.
    may_be_left_out: bool,
}

impl Messages {
    pub(super) fn of_requests() -> Self {
        Self::new(false)
    }

    pub(super) fn of_responses() -> Self {
        Self::new(true)
    }

    fn new(is_response: bool) -> Self {
        Self {
            state: State::Head,
            is_response,
            held: Vec::new(),
            may_be_left_out: false,
        }
    }

    /// The body that was announced may not come: the answer came without it (RFC 9110,
    /// section 10.1.1).
    pub(super) fn body_may_be_left_out(&mut self) {
        self.may_be_left_out = true;
    }

    /// Whether nothing more will be told.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Nothing more will be told.
    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
        self.held = Vec::new();
    }

    /// Takes what has passed by.
    pub(super) fn feed(&mut self, mut bytes: &[u8], listener: &mut impl Listener) {
        if std::mem::take(&mut self.may_be_left_out) && begins_request(bytes) {
            self.held.clear();
            self.state = State::Head;
        }
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Lost => return,
                State::Head => self.head(bytes, listener),
                State::Length(left) | State::Chunk(left) => {
                    let part = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= part as u64;
                    listener.body(bytes.get(..part).unwrap_or_default());
                    if *left == 0 {
                        self.part_ended(listener);
                    }
                    Some(part)
                }
                State::Close => {
                    listener.body(bytes);
                    Some(bytes.len())
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => self.line(bytes, listener),
            };
            let Some(rest) = taken.and_then(|taken| bytes.get(taken..)) else {
                self.lose();
                return;
            };
            bytes = rest;
        }
    }

    /// The connection is closed. What has no other end than that is only whole where its
    /// sender closed it, in order.
    pub(super) fn close(&mut self, is_in_order: bool, listener: &mut impl Listener) {
        match self.state {
            State::Head | State::Lost => {}
            State::Close => listener.end(is_in_order),
            _ => listener.end(false),
        }
        self.lose();
    }

    fn part_ended(&mut self, listener: &mut impl Listener) {
        self.state = match self.state {
            State::Chunk(_) => State::ChunkEnd,
            _ => {
                listener.end(true);
                State::Head
            }
        };
    }

    /// Takes bytes of a head; gives how many.
    fn head(&mut self, bytes: &[u8], listener: &mut impl Listener) -> Option<usize> {
        let before = self.held.len();
        // Empty lines before a request are ignored (section 2.2).
        if before == 0 && matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Some(1);
        }
        self.held.extend_from_slice(bytes);
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let (first, length) = if self.is_response {
            let mut response = httparse::Response::new(&mut fields);
            match response.parse(&self.held).ok()? {
                Status::Complete(length) => (FirstLine::Response(response.code?), length),
                Status::Partial => return (self.held.len() < MAX_HEAD).then_some(bytes.len()),
            }
        } else {
            let mut request = httparse::Request::new(&mut fields);
            match request.parse(&self.held).ok()? {
                Status::Complete(length) => {
                    let (method, target) = (request.method?, request.path?);
                    let first = FirstLine::Request(method.to_owned(), target.to_owned());
                    (first, length)
                }
                Status::Partial => return (self.held.len() < MAX_HEAD).then_some(bytes.len()),
            }
        };
        let fields = fields
            .iter()
            .take_while(|field| !field.name.is_empty())
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
        let head = Head {
            first,
            fields: fields.collect(),
        };
        self.held.clear();
        self.state = match listener.head(head)? {
            Framing::None | Framing::Length(0) => {
                listener.end(true);
                State::Head
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Close => State::Close,
        };
        length.checked_sub(before)
    }

    /// Takes bytes of a line of a chunked body's framing (section 7.1); gives how many.
    fn line(&mut self, bytes: &[u8], listener: &mut impl Listener) -> Option<usize> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.held.extend_from_slice(bytes);
            return (self.held.len() < MAX_LINE).then_some(bytes.len());
        };
        self.held.extend_from_slice(bytes.get(..end)?);
        let line = std::mem::take(&mut self.held);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.state = match self.state {
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::Trailer if line.is_empty() => {
                listener.end(true);
                State::Head
            }
            State::Trailer => State::Trailer,
            _ => return None,
        };
        Some(end + 1)
    }
}

/// Whether these are the first bytes of a request.
fn begins_request(bytes: &[u8]) -> bool {
    let methods: [&[u8]; 5] = [b"GET /", b"PUT /", b"HEAD /", b"POST /", b"DELETE /"];
    methods.iter().any(|method| bytes.starts_with(method))
}

/// The size at the beginning of a chunk's line, before extensions.
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(digits).ok()?.trim();
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    struct First(Option<Head>);

    impl Listener for First {
        fn head(&mut self, head: Head) -> Option<Framing> {
            self.0.get_or_insert(head);
            None
        }
        fn body(&mut self, _: &[u8]) {}
        fn end(&mut self, _: bool) {}
    }

    /// The head with this method and target, and these fields.
    pub(in super::super) fn head_of(line: &str, fields: &str) -> Head {
        let mut first = First(None);
        let text = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        Messages::of_requests().feed(text.as_bytes(), &mut first);
        first.0.unwrap()
    }

    #[derive(Default, PartialEq, Debug)]
    struct Heard(Vec<(String, Vec<u8>, bool)>);

    impl Listener for Heard {
        fn head(&mut self, head: Head) -> Option<Framing> {
            let framing = head.framing();
            self.0
                .push((format!("{:?}", head.first), Vec::new(), false));
            framing
        }
        fn body(&mut self, part: &[u8]) {
            self.0.last_mut().unwrap().1.extend_from_slice(part);
        }
        fn end(&mut self, is_whole: bool) {
            self.0.last_mut().unwrap().2 = is_whole;
        }
    }

    const RESPONSES: &[u8] = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\
        t: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\nrest";

    fn heard(pieces: &[&[u8]]) -> Heard {
        let (mut heard, mut messages) = (Heard::default(), Messages::of_responses());
        for piece in pieces {
            messages.feed(piece, &mut heard);
        }
        messages.close(true, &mut heard);
        heard
    }

    #[test]
    fn every_framing_is_followed() {
        let bodies: Vec<_> = heard(&[RESPONSES])
            .0
            .into_iter()
            .map(|(_, body, whole)| (String::from_utf8(body).unwrap(), whole))
            .collect();
        let expected = ["", "hello world", "abc", "rest"].map(|body| (body.to_owned(), true));
        assert_eq!(bodies, expected);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in proptest::collection::vec(0..RESPONSES.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, RESPONSES.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &RESPONSES[pair[0]..pair[1]]).collect();
            prop_assert_eq!(heard(&pieces), heard(&[RESPONSES]));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut messages = Messages::of_requests();
            messages.feed(&[b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", &bytes[..]].concat(), &mut Heard::default());
            heard(&[&bytes]);
        }
    }

    #[test]
    fn what_is_cut_short_is_not_whole() {
        let cut = heard(&[b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"]);
        assert!(!cut.0[0].2);
        let (mut cut, mut messages) = (Heard::default(), Messages::of_responses());
        messages.feed(b"HTTP/1.1 200 OK\r\n\r\nabc", &mut cut);
        messages.close(false, &mut cut);
        assert!(!cut.0[0].2);
    }
    #[test]
    fn what_is_compressed_on_its_way_is_no_content() {
        let framing = |fields| head_of("GET /", fields).framing();
        let chunked = "transfer-encoding: Chunked\r\n";
        assert_eq!(framing(chunked), Some(Framing::Chunked));
        assert_eq!(framing("transfer-encoding: gzip, chunked\r\n"), None);
        let both = format!("transfer-encoding: gzip\r\n{chunked}");
        assert_eq!(framing(&both), None);
    }
}
