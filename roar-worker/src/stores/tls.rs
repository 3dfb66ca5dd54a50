//! What passes a connection by TLS, where its client has told its secrets: records are
//! deciphered as they are copied, and nobody who passes them on notices.
//!
//! TLS 1.3 (RFC 8446) and 1.2 (RFC 5246) with the AEAD ciphers that clients and stores agree
//! on, until one of the two changes its keys. What is not understood is lost, never guessed:
//! each record proves itself by its tag.

use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

use super::keys::Keys;

/// Most that waits for secrets that were not told yet (bytes).
const MAX_HELD: usize = 1 << 20;
/// Largest message of a handshake (bytes).
const MAX_MESSAGE: usize = 128 << 10;
/// Head of a record: type, version, length.
const HEAD: usize = 5;

/// Types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// Types of messages of a handshake.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const FINISHED: u8 = 20;

/// `SHA-256("HelloRetryRequest")`, in the place of a server's random (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// The extension that names the version that is spoken (RFC 8446, 4.2.1).
const SUPPORTED_VERSIONS: u16 = 43;

/// It cannot be read any further.
struct Lost;

/// One connection, from its first byte on.
#[derive(Default)]
pub(super) struct Session {
    agreed: Agreed,
    sent: Way,
    answered: Way,
    is_lost: bool,
}

/// What both sides have agreed on, in the clear.
#[derive(Default)]
struct Agreed {
    client_random: Option<[u8; 32]>,
    server: Option<Server>,
    /// Whether the server has asked for another hello.
    is_retried: bool,
}

#[derive(Clone, Copy)]
struct Server {
    random: [u8; 32],
    suite: Suite,
    is_13: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    is_servers: bool,
    held: Vec<u8>,
    messages: Vec<u8>,
    phase: Phase,
    /// Whether nothing more is said, in so many words (`close_notify`).
    has_ended: bool,
}

#[derive(Default)]
enum Phase {
    /// Nothing is enciphered yet.
    #[default]
    Clear,
    /// TLS 1.2: what comes next is enciphered.
    Changed,
    /// TLS 1.3: the rest of a handshake.
    Handshake(Cipher),
    /// TLS 1.3: a handshake has ended.
    Finished,
    /// What the two say to each other.
    Data(Cipher),
}

impl Session {
    /// A connection about which nothing is known yet.
    pub(super) fn new() -> Self {
        let mut session = Self::default();
        session.answered.is_servers = true;
        session
    }

    /// Whether it cannot be read any further.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// It will not be read.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Whether the store has said that this is all: who cuts a connection cannot.
    pub(super) fn has_ended(&self) -> bool {
        self.answered.has_ended
    }

    /// Whether something waits that could not be read.
    pub(super) fn is_waiting(&self) -> bool {
        !self.sent.held.is_empty() || !self.answered.held.is_empty()
    }

    /// Takes what the client (or the store) has sent, and gives each piece of what they say:
    /// whether the store says it, and the piece. A request comes before its answer.
    pub(super) fn feed(
        &mut self,
        is_servers: bool,
        bytes: &[u8],
        keys: &mut Keys,
        mut say: impl FnMut(bool, &[u8]),
    ) {
        if self.is_lost {
            return;
        }
        let way = if is_servers {
            &mut self.answered
        } else {
            &mut self.sent
        };
        way.held.extend_from_slice(bytes);
        let is_bounded = way.held.len() <= MAX_HELD + bytes.len();
        self.is_lost = self.advance(keys, &mut say).is_err() || !is_bounded;
    }

    /// Reads records for as long as there are any that can be: all of the client's before
    /// one of the store's.
    fn advance(&mut self, keys: &mut Keys, say: &mut impl FnMut(bool, &[u8])) -> Result<(), Lost> {
        let (mut sent, mut answered) = (0, 0);
        let agreed = &mut self.agreed;
        loop {
            while self.sent.read_one(&mut sent, agreed, keys, say)? {}
            if !self.answered.read_one(&mut answered, agreed, keys, say)? {
                break;
            }
        }
        self.sent.held.drain(..sent);
        self.answered.held.drain(..answered);
        Ok(())
    }
}

impl Way {
    /// Reads the record at `at`, and moves that on. False when it is not all there, or cannot
    /// be read yet.
    fn read_one(
        &mut self,
        at: &mut usize,
        agreed: &mut Agreed,
        keys: &mut Keys,
        say: &mut impl FnMut(bool, &[u8]),
    ) -> Result<bool, Lost> {
        let Some(&[kind, v0, v1, l0, l1]) = self.held.get(*at..).and_then(<[u8]>::first_chunk)
        else {
            return Ok(false);
        };
        let head = [kind, v0, v1, l0, l1];
        if !(CHANGE_CIPHER_SPEC..=DATA).contains(&kind) || v0 != 3 {
            return Err(Lost);
        }
        let end = *at + HEAD + usize::from(u16::from_be_bytes([l0, l1]));
        if self.held.len() < end {
            return Ok(false);
        }
        // What the client says after its hello depends on the server's.
        let is_greeted = agreed.server.is_some() || agreed.is_retried;
        if !self.is_servers && agreed.client_random.is_some() && !is_greeted {
            return Ok(false);
        }
        let is_enciphered = match (&self.phase, agreed.server) {
            (Phase::Clear, _) => kind == DATA,
            (_, Some(server)) if server.is_13 => kind == DATA,
            _ => true,
        };
        if is_enciphered && !self.is_ready(agreed, keys)? {
            return Ok(false);
        }
        let record = *at + HEAD..end;
        *at = end;
        let is_servers = self.is_servers;
        let mut held = std::mem::take(&mut self.held);
        let body = held.get_mut(record).unwrap_or_default();
        let read = match &mut self.phase {
            Phase::Handshake(cipher) | Phase::Data(cipher) if is_enciphered => {
                cipher.decipher(head, body).and_then(|(kind, text)| {
                    if kind == DATA {
                        say(is_servers, text);
                        return Ok(());
                    }
                    self.hear(kind, text, agreed)
                })
            }
            _ => self.hear(kind, body, agreed),
        };
        self.held = held;
        read.map(|()| true)
    }

    /// Takes the secrets for what comes next, where they are needed. False: they were not
    /// told yet.
    fn is_ready(&mut self, agreed: &Agreed, keys: &mut Keys) -> Result<bool, Lost> {
        if let Phase::Handshake(_) | Phase::Data(_) = self.phase {
            return Ok(true);
        }
        let (Some(client_random), Some(server)) = (agreed.client_random, agreed.server) else {
            return Ok(false);
        };
        if !server.is_13 {
            let Some(master) = keys.find(&client_random, "CLIENT_RANDOM") else {
                return Ok(false);
            };
            let cipher = Cipher::of_12(server, &client_random, &master, self.is_servers)?;
            self.phase = Phase::Data(cipher);
            return Ok(true);
        }
        let side = if self.is_servers { "SERVER" } else { "CLIENT" };
        let has_finished = matches!(self.phase, Phase::Finished);
        let (what, phase): (_, fn(Cipher) -> Phase) = if has_finished {
            ("TRAFFIC_SECRET_0", Phase::Data)
        } else {
            ("HANDSHAKE_TRAFFIC_SECRET", Phase::Handshake)
        };
        let Some(secret) = keys.find(&client_random, &format!("{side}_{what}")) else {
            return Ok(false);
        };
        self.phase = phase(Cipher::of_13(server.suite, &secret)?);
        Ok(true)
    }

    /// Takes what is said of the connection itself.
    fn hear(&mut self, kind: u8, text: &[u8], agreed: &mut Agreed) -> Result<(), Lost> {
        match kind {
            // TLS 1.3 sends it for the sake of those between.
            CHANGE_CIPHER_SPEC => {
                let is_12 = agreed.server.is_some_and(|server| !server.is_13);
                if is_12 && matches!(self.phase, Phase::Clear) {
                    self.phase = Phase::Changed;
                }
                return Ok(());
            }
            ALERT => {
                self.has_ended |= matches!((&self.phase, text), (Phase::Data(_), [_, 0]));
                return Ok(());
            }
            HANDSHAKE => {}
            _ => return Err(Lost),
        }
        self.messages.extend_from_slice(text);
        while let Some(&[kind, a, b, c]) = self.messages.first_chunk() {
            let end = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            if end > MAX_MESSAGE {
                return Err(Lost);
            }
            if self.messages.len() < end {
                break;
            }
            let message: Vec<u8> = self.messages.drain(..end).collect();
            self.understand(kind, message.get(4..).unwrap_or_default(), agreed)?;
        }
        Ok(())
    }

    fn understand(&mut self, kind: u8, message: &[u8], agreed: &mut Agreed) -> Result<(), Lost> {
        match (kind, &self.phase) {
            (CLIENT_HELLO, Phase::Clear) if !self.is_servers => {
                let random = message.get(2..34).and_then(<[u8]>::first_chunk).copied();
                agreed.client_random = Some(random.ok_or(Lost)?);
            }
            (SERVER_HELLO, Phase::Clear) if self.is_servers => {
                agreed.server = server_hello(message).ok_or(Lost)?;
                agreed.is_retried |= agreed.server.is_none();
            }
            (FINISHED, Phase::Handshake(_)) => self.phase = Phase::Finished,
            _ => {}
        }
        Ok(())
    }
}

/// What a server has chosen. `Some(None)`: it asks for another hello.
fn server_hello(message: &[u8]) -> Option<Option<Server>> {
    let random = *message.get(2..34)?.first_chunk::<32>()?;
    if random == RETRY {
        return Some(None);
    }
    let session = usize::from(*message.get(34)?);
    let rest = message.get(35 + session..)?;
    let &[s0, s1, _compression] = rest.first_chunk::<3>()?;
    let mut is_13 = false;
    let mut extensions = rest.get(5..).unwrap_or_default();
    while let Some(&[k0, k1, l0, l1]) = extensions.first_chunk() {
        let end = 4 + usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([k0, k1]) == SUPPORTED_VERSIONS {
            is_13 = extensions.get(4..end)? == [3, 4];
        }
        extensions = extensions.get(end..)?;
    }
    let suite = Suite::of(u16::from_be_bytes([s0, s1]))?;
    let server = Server {
        random,
        suite,
        is_13,
    };
    Some(Some(server))
}

/// A cipher suite.
#[derive(Clone, Copy)]
struct Suite {
    aead: &'static aead::Algorithm,
    is_sha384: bool,
    /// Whether a record of TLS 1.2 has a part of its nonce (RFC 5288; not RFC 7905).
    has_nonce: bool,
}

impl Suite {
    /// One that is understood, by its number.
    fn of(number: u16) -> Option<Self> {
        let (aead, is_sha384) = match number {
            0x1301 | 0x009c | 0x009e | 0xc02b | 0xc02f => (&aead::AES_128_GCM, false),
            0x1302 | 0x009d | 0x009f | 0xc02c | 0xc030 => (&aead::AES_256_GCM, true),
            0x1303 | 0xcca8 | 0xcca9 | 0xccaa => (&aead::CHACHA20_POLY1305, false),
            _ => return None,
        };
        Some(Self {
            aead,
            is_sha384,
            has_nonce: aead != &aead::CHACHA20_POLY1305,
        })
    }

    fn hkdf(self) -> hkdf::Algorithm {
        if self.is_sha384 {
            hkdf::HKDF_SHA384
        } else {
            hkdf::HKDF_SHA256
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        if self.is_sha384 {
            hmac::HMAC_SHA384
        } else {
            hmac::HMAC_SHA256
        }
    }
}

/// What one direction is enciphered by.
struct Cipher {
    suite: Suite,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// Number of the next record.
    number: u64,
    is_13: bool,
}

impl Cipher {
    /// By a traffic secret of TLS 1.3 (RFC 8446, section 7.3).
    fn of_13(suite: Suite, secret: &[u8]) -> Result<Self, Lost> {
        let key = expand(suite, secret, b"key", suite.aead.key_len())?;
        let iv = expand(suite, secret, b"iv", NONCE_LEN)?;
        let cipher = Self::new(suite, &key, &iv)?;
        Ok(Self {
            is_13: true,
            ..cipher
        })
    }

    /// By the master secret of TLS 1.2 (RFC 5246, section 6.3).
    fn of_12(
        server: Server,
        client_random: &[u8; 32],
        master: &[u8],
        is_servers: bool,
    ) -> Result<Self, Lost> {
        let suite = server.suite;
        let key = suite.aead.key_len();
        let iv = if suite.has_nonce { 4 } else { NONCE_LEN };
        let seed = [b"key expansion", &server.random[..], client_random].concat();
        let block = pseudorandom(suite, master, &seed, 2 * (key + iv));
        let side = usize::from(is_servers);
        let part = |at: usize, length: usize| block.get(at..at + length).ok_or(Lost);
        Self::new(
            suite,
            part(side * key, key)?,
            part(2 * key + side * iv, iv)?,
        )
    }

    fn new(suite: Suite, key: &[u8], iv_part: &[u8]) -> Result<Self, Lost> {
        let mut iv = [0; NONCE_LEN];
        iv.get_mut(..iv_part.len())
            .ok_or(Lost)?
            .copy_from_slice(iv_part);
        let key = UnboundKey::new(suite.aead, key).map_err(|_| Lost)?;
        Ok(Self {
            suite,
            key: LessSafeKey::new(key),
            iv,
            number: 0,
            is_13: false,
        })
    }

    /// What a record says, and of what type that is.
    fn decipher<'a>(
        &mut self,
        head: [u8; HEAD],
        body: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), Lost> {
        let number = self.number.to_be_bytes();
        self.number += 1;
        let mut nonce = self.iv;
        let (text, aad) = if self.is_13 {
            (body, head.to_vec())
        } else {
            let explicit = if self.suite.has_nonce { 8 } else { 0 };
            let (part, text) = body.split_at_mut_checked(explicit).ok_or(Lost)?;
            if let Some(place) = nonce.get_mut(4..).filter(|_| explicit > 0) {
                place.copy_from_slice(part);
            }
            let length = text.len().checked_sub(self.suite.aead.tag_len());
            let length = u16::try_from(length.ok_or(Lost)?).map_err(|_| Lost)?;
            let [kind, v0, v1, ..] = head;
            let [l0, l1] = length.to_be_bytes();
            let aad = [&number[..], &[kind, v0, v1, l0, l1]].concat();
            (text, aad)
        };
        if self.is_13 || !self.suite.has_nonce {
            for (byte, counted) in nonce.iter_mut().skip(4).zip(number) {
                *byte ^= counted;
            }
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(aad), text);
        let opened: &[u8] = opened.map_err(|_| Lost)?;
        if !self.is_13 {
            return Ok((head[0], opened));
        }
        // The type is the last byte that is not zero (RFC 8446, section 5.4).
        let end = opened.iter().rposition(|byte| *byte != 0).ok_or(Lost)?;
        let (text, rest) = opened.split_at_checked(end).ok_or(Lost)?;
        Ok((*rest.first().ok_or(Lost)?, text))
    }
}

/// `HKDF-Expand-Label` without a context (RFC 8446, section 7.1).
fn expand(suite: Suite, secret: &[u8], label: &[u8], length: usize) -> Result<Vec<u8>, Lost> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prefixed = [b"tls13 ", label].concat();
    let byte = |length: usize| u8::try_from(length).map_err(|_| Lost);
    let info = [
        &[0, byte(length)?, byte(prefixed.len())?][..],
        &prefixed,
        &[0],
    ]
    .concat();
    let info = [info.as_slice()];
    let secret = hkdf::Prk::new_less_safe(suite.hkdf(), secret);
    let mut key = vec![0; length];
    let expanded = secret.expand(&info, Length(length)).map_err(|_| Lost)?;
    expanded.fill(&mut key).map_err(|_| Lost)?;
    Ok(key)
}

/// `P_hash` of TLS 1.2 (RFC 5246, section 5).
fn pseudorandom(suite: Suite, secret: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let key = hmac::Key::new(suite.hmac(), secret);
    let mut block = Vec::new();
    let mut a = hmac::sign(&key, seed);
    while block.len() < length {
        let mixed = [a.as_ref(), seed].concat();
        block.extend_from_slice(hmac::sign(&key, &mixed).as_ref());
        a = hmac::sign(&key, a.as_ref());
    }
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys;
    use super::*;

    fn record() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![Just(20u8), Just(21), Just(22), Just(23), any::<u8>()];
        let message = prop_oneof![Just(1u8), Just(2), Just(20), any::<u8>()];
        let body = prop::collection::vec(any::<u8>(), 0..120);
        (kind, message, body).prop_map(|(kind, message, body)| {
            let length = body.len() as u8;
            let told = [&[message, 0, 0, length][..], &body].concat();
            [&[kind, 3, 3, 0, told.len() as u8][..], &told].concat()
        })
    }

    proptest! {
        #[test]
        fn nothing_is_said_without_secrets(
            records in prop::collection::vec((any::<bool>(), record()), 0..40),
        ) {
            let (mut keys, _) = keys::log().unwrap();
            let mut session = Session::new();
            let mut said = 0;
            for (is_servers, bytes) in records {
                session.feed(is_servers, &bytes, &mut keys, |_, _| said += 1);
            }
            prop_assert_eq!(said, 0);
        }
    }

    #[test]
    fn what_waits_for_secrets_is_bounded() {
        let (mut keys, _) = keys::log().unwrap();
        let mut session = Session::new();
        let record = [&[DATA, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
        for _ in 0..MAX_HELD / record.len() + 2 {
            session.feed(false, &record, &mut keys, |_, _| ());
        }
        assert!(session.is_lost());
    }
}
