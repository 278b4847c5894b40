//! Watches the frames of an HTTP/2 connection (RFC 9113), and ends one that is kept busy for nothing.
//!
//! What is behind it answers each frame by itself, as the standard asks: a `PING` with a `PING`, a
//! `SETTINGS` with its acknowledgement, a stream that is reset with an exchange that was begun in vain. Nothing
//! there says how many of them are too many. The watch counts those that bring no request further, against
//! what the connection really carries: requests, and the bytes of answers. Clients that do much may say much.
//!
//! It reads the nine bytes before each payload, and skips the payload.

use std::fmt;

use super::target::Targets;

/// What ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flood {
    /// Requests that are taken back (CVE-2023-44487).
    #[error("too many requests are reset")]
    Resets,
    /// `PING`, `SETTINGS`, `PRIORITY`, empty `DATA` and the like (CVE-2019-9512, 9513, 9515, 9518).
    #[error("too many frames carry nothing")]
    Idle,
    /// `WINDOW_UPDATE` (CVE-2019-9517).
    #[error("windows are opened too often")]
    Windows,
    /// Targets that nobody waits for an answer about.
    #[error("too many targets are malformed")]
    Targets,
    /// What says behind a body what only a head says (RFC 9113 §8.1): somebody may take it for one.
    #[error("fields of a head stand behind a body")]
    Trailers,
    /// A head that does not come to its end in time (CVE-2024-27316).
    #[error("a head takes too long, or too much room")]
    Head,
}

/// The rest of the preface, whose first line was seen elsewhere (RFC 9113 §3.4).
const PREFACE: u8 = 8;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Codes of errors (RFC 9113 §7).
const PROTOCOL_ERROR: u32 = 1;
/// The same: whoever is told does too much.
pub const ENHANCE_YOUR_CALM: u32 = 11;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// More of a head than is kept behind the watch: it is refused there, or here.
const LARGEST_HEAD: usize = 128 * 1024;
/// How many targets are remembered that would be cut. Each is forgotten when its request is refused.
const MOST_CUT: usize = 100;

/// A browser that leaves a page takes back all that it has asked for: one hundred at most. A proxy that
/// brings many people takes back a small part all the time. Who has had an answer may well want no more of it:
/// some clients read the head alone.
const RESETS: Rule = Rule { most: 200, a_second: 20, bytes: 16 * 1024 };
/// So many answers may have begun whose streams the client has not reset yet: as many as may be open at a time.
const MOST_ANSWERED: u32 = 100;
/// Clients measure the round trip with a `PING` as often as there is data, and browsers of old say the
/// priority of all that they ask for.
const IDLE: Rule = Rule { most: 1000, a_second: 100, bytes: 256 };
/// Some clients open both windows for each piece that they read, be it as small as a letter.
const WINDOWS: Rule = Rule { most: 2000, a_second: 200, bytes: 4 };

/// `SETTINGS` have to be acknowledged, and change what the connection has agreed on.
const SETTINGS_WEIGH: u32 = 10;
/// So many frames that carry nothing belong to a request, and so many windows.
const WITH_A_REQUEST: u32 = 8;

/// The watch over the frames of one connection.
pub struct Frames {
    /// How much of the preface is still to come.
    preface: u8,
    /// The nine bytes before a payload, and how many of them have come.
    head: [u8; 9],
    have: u8,
    /// How much of a payload is still to come.
    left: u32,
    /// Whether its first byte says how much of it is padding.
    padded: bool,
    /// Whether a head has begun and not ended, and whether the payload belongs to one.
    in_block: bool,
    in_head: bool,
    /// What has come of a head, and what is known of those before.
    block: Vec<u8>,
    targets: Targets,
    /// What would be left of targets that would be cut.
    cut: Vec<Box<[u8]>>,
    /// The last stream that was asked on, and whether the head that comes is of one that was asked on before.
    last: u32,
    trailing: bool,
    /// How many heads have come to their end.
    heads: u64,
    /// How many bytes the client has been sent.
    sent: u64,
    /// Answers that have begun, whose streams may be reset.
    answered: u32,
    resets: Allowance,
    idle: Allowance,
    windows: Allowance,
}

/// How many frames of a kind may come: at once, each second, and for so many bytes that are sent.
#[derive(Debug)]
struct Rule {
    most: u32,
    a_second: u64,
    bytes: u64,
}

/// How many frames of a kind may still come.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// Up to when time was counted, in milliseconds, and up to which byte.
    at: u64,
    sent: u64,
}

impl Frames {
    /// A watch over a connection of which the first line of the preface has come. `now` is in milliseconds
    /// since any moment.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            preface: PREFACE,
            head: [0; 9],
            have: 0,
            left: 0,
            padded: false,
            in_block: false,
            in_head: false,
            block: Vec::new(),
            targets: Targets::default(),
            cut: Vec::new(),
            last: 0,
            trailing: false,
            heads: 0,
            sent: 0,
            answered: 0,
            resets: Allowance::full(&RESETS, now),
            idle: Allowance::full(&IDLE, now),
            windows: Allowance::full(&WINDOWS, now),
        }
    }

    /// Takes the next bytes. After a refusal it takes no more.
    ///
    /// # Errors
    /// The connection is to be ended.
    pub fn feed(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Flood> {
        while let Some(first) = bytes.first() {
            if self.preface > 0 {
                let here = usize::from(self.preface).min(bytes.len());
                self.preface -= u8::try_from(here).unwrap_or(PREFACE);
                bytes = bytes.get(here..).unwrap_or_default();
            } else if self.left > 0 {
                if std::mem::take(&mut self.padded) && u32::from(*first) + 1 == self.left {
                    self.idle.take(&IDLE, 1, self.sent, now).ok_or(Flood::Idle)?;
                }
                let here = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.left);
                let (payload, rest) = bytes.split_at(usize::try_from(here).unwrap_or(bytes.len()));
                bytes = rest;
                self.left -= here;
                if self.in_head {
                    self.block.extend_from_slice(payload);
                    if self.left == 0 {
                        self.end()?;
                    }
                }
            } else {
                let room = self.head.get_mut(usize::from(self.have)..).unwrap_or_default();
                let here = room.len().min(bytes.len());
                let (now_read, rest) = bytes.split_at(here);
                for (byte, read) in room.iter_mut().zip(now_read) {
                    *byte = *read;
                }
                bytes = rest;
                self.have += u8::try_from(here).unwrap_or(9);
                if self.have == 9 {
                    self.have = 0;
                    self.begin(now)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of what the client has been sent.
    pub const fn note_sent(&mut self, bytes: u64) {
        self.sent = self.sent.wrapping_add(bytes);
    }

    /// Takes note of an answer that begins. The stream was asked on for something.
    pub fn note_answer(&mut self) {
        self.answered = (self.answered + 1).min(MOST_ANSWERED);
    }

    /// Whether a part of a request's head has come.
    #[must_use]
    pub const fn is_in_head(&self) -> bool {
        self.in_block || self.in_head
    }

    /// How many heads have come to their end.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// The last stream that was asked on.
    #[must_use]
    pub const fn last_stream(&self) -> u32 {
        self.last
    }

    /// A frame begins.
    fn begin(&mut self, now: u64) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let has = |flag| flags & flag != 0;
        self.left = length;
        self.padded = false;
        match kind {
            DATA if has(END_STREAM) => {}
            DATA if length == 0 => {
                self.idle.take(&IDLE, 1, self.sent, now).ok_or(Flood::Idle)?;
            }
            // More than that cannot be padding alone.
            DATA => self.padded = has(PADDED) && length <= 256,
            HEADERS => {
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                self.trailing = stream <= self.last;
                self.last = self.last.max(stream);
                self.idle.earn(&IDLE, WITH_A_REQUEST);
                self.windows.earn(&WINDOWS, WITH_A_REQUEST);
            }
            CONTINUATION => {}
            RST_STREAM if self.answered > 0 => self.answered -= 1,
            RST_STREAM => self.resets.take(&RESETS, 1, self.sent, now).ok_or(Flood::Resets)?,
            WINDOW_UPDATE => {
                self.windows.take(&WINDOWS, 1, self.sent, now).ok_or(Flood::Windows)?;
            }
            _ => {
                let weighs = if kind == SETTINGS && !has(ACK) { SETTINGS_WEIGH } else { 1 };
                self.idle.take(&IDLE, weighs, self.sent, now).ok_or(Flood::Idle)?;
            }
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = !has(END_HEADERS);
            self.in_head = length > 0;
            if !self.in_head {
                self.end()?;
            }
        }
        Ok(())
    }

    /// A frame with a part of a head ends.
    fn end(&mut self) -> Result<(), Flood> {
        self.in_head = false;
        let [_, _, _, kind, flags, ..] = self.head;
        if kind == HEADERS {
            let padding = if flags & PADDED == 0 {
                0
            } else {
                1 + self.block.first().map_or(0, |it| usize::from(*it))
            };
            let before = usize::from(padding > 0) + if flags & PRIORITY == 0 { 0 } else { 5 };
            let whole = self.block.len();
            self.block.truncate((whole + usize::from(padding > 0)).saturating_sub(padding));
            self.block.drain(..before.min(self.block.len()));
        }
        if self.block.len() > LARGEST_HEAD {
            return Err(Flood::Head);
        }
        if !self.in_block {
            self.heads += 1;
            let cut = self.targets.read(&self.block);
            if self.trailing && self.targets.asked() {
                return Err(Flood::Trailers);
            }
            // What stands behind a body asks for nothing.
            self.cut.extend(cut.filter(|_| !self.trailing));
            self.block.clear();
            self.block.shrink_to(1024);
            if self.cut.len() > MOST_CUT {
                return Err(Flood::Targets);
            }
        }
        Ok(())
    }

    /// Whether this is what would be left of a target that would be cut. It is forgotten then.
    pub fn was_cut(&mut self, target: &[u8]) -> bool {
        let is_same = |(left, right): (&u8, &u8)| *left == 0xff || left == right;
        let of = |cut: &[u8]| cut.len() == target.len() && cut.iter().zip(target).all(is_same);
        // A target with nothing before the mark is taken for the shortest there is.
        let found = self.cut.iter().position(|cut| of(cut) || (cut.is_empty() && target == b"/"));
        found.map(|at| self.cut.swap_remove(at)).is_some()
    }

    /// Whether any target would be cut.
    #[must_use]
    pub const fn has_cut(&self) -> bool {
        !self.cut.is_empty()
    }
}

impl Allowance {
    const fn full(rule: &Rule, now: u64) -> Self {
        Self { left: rule.most, at: now, sent: 0 }
    }

    fn earn(&mut self, rule: &Rule, more: u32) {
        self.left = self.left.saturating_add(more).min(rule.most);
    }

    /// Takes so many, if they are left.
    fn take(&mut self, rule: &Rule, count: u32, sent: u64, now: u64) -> Option<()> {
        if self.left < count {
            // Only now is it worth looking what has been earned.
            let passed = now.saturating_sub(self.at);
            let earned = passed.saturating_mul(rule.a_second) / 1000;
            if earned > 0 {
                self.at = now;
            }
            let carried = sent.saturating_sub(self.sent) / rule.bytes;
            if carried > 0 {
                self.sent = sent;
            }
            self.earn(rule, u32::try_from(earned.saturating_add(carried)).unwrap_or(u32::MAX));
        }
        self.left = self.left.checked_sub(count)?;
        Some(())
    }
}

impl Flood {
    /// What its client is told (RFC 9113 §7).
    #[must_use]
    pub const fn code(self) -> u32 {
        if matches!(self, Self::Trailers) { PROTOCOL_ERROR } else { ENHANCE_YOUR_CALM }
    }
}

/// The frame that ends a connection: `GOAWAY` (RFC 9113 §6.8).
#[must_use]
pub fn goaway(code: u32, last_stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend(last_stream.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames(up to stream {})", self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn watch() -> Frames {
        let mut frames = Frames::new(0);
        frames.feed(b"\r\nSM\r\n\r\n", 0).unwrap();
        frames
    }

    /// How many of these pass at once.
    fn passing(bytes: &[u8]) -> usize {
        let mut frames = watch();
        (0..100_000).take_while(|_| frames.feed(bytes, 0).is_ok()).count()
    }

    #[test]
    fn each_kind_has_its_number() {
        assert_eq!(passing(&frame(PING, 0, 0, &[0; 8])), 1000);
        assert_eq!(passing(&frame(SETTINGS, 0, 0, &[])), 100);
        assert_eq!(passing(&frame(SETTINGS, ACK, 0, &[])), 1000);
        assert_eq!(passing(&frame(RST_STREAM, 0, 1, &[0; 4])), 200);
        assert_eq!(passing(&frame(WINDOW_UPDATE, 0, 1, &[0; 4])), 2000);
        assert_eq!(passing(&frame(2, 0, 1, &[0; 5])), 1000);
        assert_eq!(passing(&frame(0xbe, 0xff, 1, &[0; 5])), 1000);
        assert_eq!(passing(&frame(DATA, 0, 1, &[])), 1000);
        assert_eq!(passing(&frame(DATA, PADDED, 1, &[2, 0, 0])), 1000);
        // What carries something is never too much.
        for carries in [
            frame(DATA, 0, 1, b"x"),
            frame(DATA, PADDED, 1, &[1, b'x', 0]),
            frame(DATA, END_STREAM, 1, &[]),
            frame(HEADERS, END_HEADERS, 1, b"x"),
        ] {
            assert_eq!(passing(&carries), 100_000);
        }
    }

    #[test]
    fn time_and_what_is_carried_allow_more() {
        let (ping, reset) = (frame(PING, 0, 0, &[0; 8]), frame(RST_STREAM, 0, 1, &[0; 4]));
        let mut frames = watch();
        for _ in 0..1000 {
            frames.feed(&ping, 0).unwrap();
        }
        assert_eq!(frames.feed(&ping, 9), Err(Flood::Idle));
        let mut frames = watch();
        for second in 1..1000 {
            for _ in 0..100 {
                frames.feed(&ping, second * 1000).unwrap();
            }
            for _ in 0..20 {
                frames.feed(&reset, second * 1000).unwrap();
            }
        }
        // A window for each letter, and a round trip for each packet.
        let mut frames = watch();
        for _ in 0..100_000 {
            frames.note_sent(10);
            frames.feed(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(2), 0).unwrap();
        }
        for _ in 0..100_000 {
            frames.note_sent(1460);
            frames.feed(&ping, 0).unwrap();
        }
        // What has been answered may be reset, and what is still worked on may not.
        let get = frame(HEADERS, END_HEADERS, 1, b"x");
        let mut frames = watch();
        for _ in 0..10_000 {
            frames.feed(&get.repeat(2), 0).unwrap();
            frames.note_answer();
            frames.feed(&reset, 0).unwrap();
        }
        let often = (0..10_000)
            .take_while(|_| frames.feed(&get, 0).is_ok() && frames.feed(&reset, 0).is_ok());
        assert_eq!(often.count(), 200);
    }

    #[test]
    fn knows_where_heads_end() {
        let mut frames = watch();
        let head = frame(HEADERS, 0, 5, b"xy");
        for byte in &head[..9] {
            assert!(!frames.is_in_head());
            frames.feed(&[*byte], 0).unwrap();
        }
        assert!(frames.is_in_head());
        frames.feed(&head[9..], 0).unwrap();
        assert!(frames.is_in_head());
        frames.feed(&frame(CONTINUATION, 0, 5, b""), 0).unwrap();
        assert!(frames.is_in_head());
        frames.feed(&frame(CONTINUATION, END_HEADERS, 5, b"z")[..9], 0).unwrap();
        assert!(frames.is_in_head());
        frames.feed(b"z", 0).unwrap();
        assert!(!frames.is_in_head());
        frames.feed(&frame(DATA, 0, 5, b"data")[..10], 0).unwrap();
        assert!(!frames.is_in_head());
        assert_eq!(frames.last_stream(), 5);
        assert_eq!(goaway(Flood::Idle.code(), 5)[9..], [0, 0, 0, 5, 0, 0, 0, 11]);
    }

    #[test]
    fn nothing_behind_a_body_is_taken_for_a_head() {
        let head = frame(HEADERS, END_HEADERS, 1, &[0x82, 0x84, 0x86]);
        let (good, bad) = ([0x0f, 0x01, 1, b'x'], [0x0f, 0x01, 1, b'x', 0x84]);
        let mut frames = watch();
        frames.feed(&head, 0).unwrap();
        frames.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &good), 0).unwrap();
        frames.feed(&frame(HEADERS, END_HEADERS, 3, &[0x82, 0x84, 0x86]), 0).unwrap();
        let mut in_pieces = frame(HEADERS, END_STREAM, 3, &bad[..2]);
        in_pieces.extend(frame(CONTINUATION, END_HEADERS, 3, &bad[2..]));
        assert_eq!(frames.feed(&in_pieces, 0), Err(Flood::Trailers));
        assert_eq!(goaway(Flood::Trailers.code(), 3)[9..], [0, 0, 0, 3, 0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn the_same_bytes_in_other_pieces_give_the_same_answer(
            kinds in proptest::collection::vec((0_u8..12, any::<u8>(), 0_usize..20), 0..40),
            piece in 1_usize..40,
            times in 1_usize..60,
        ) {
            let one: Vec<u8> = kinds
                .iter()
                .flat_map(|(kind, flags, length)| frame(*kind, *flags, 1, &vec![2; *length]))
                .collect();
            let bytes = one.repeat(times);
            let mut whole = watch();
            let expected = whole.feed(&bytes, 0);
            let mut cut = watch();
            let answer = bytes.chunks(piece).try_for_each(|piece| cut.feed(piece, 0));
            prop_assert_eq!(answer, expected);
            prop_assert_eq!(cut.is_in_head(), whole.is_in_head());
        }
    }
}
