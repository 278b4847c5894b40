//! Names of requests and traces.

use std::cell::Cell;

use http::HeaderValue;
use tegata_core::{Node, Timestamp};

/// Makes names that do not repeat. Each begins with its moment, by which its record is found among those of
/// years. Nobody needs to be kept from guessing them, so the system's randomness is asked once, for the
/// beginning of the sequence.
pub(crate) struct Names {
    node: Node,
    state: Cell<u64>,
    stream: u64,
}

impl Names {
    pub(crate) fn new(node: &Node) -> Self {
        let mut seed = [0; 16];
        node.entropy().fill(&mut seed);
        let (state, stream) = seed.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        Self { node: node.clone(), state: Cell::new(number(state)), stream: number(stream) }
    }

    /// 48 bits of milliseconds since 1970, and 80 that differ.
    pub(crate) fn next(&self) -> Name {
        let (high, low) = (self.word(), self.word() ^ self.stream);
        let at = self.node.now();
        let high = at.millis() << 16 | high & 0xffff;
        let mut text = [b'0'; 32];
        for (place, shift) in text.iter_mut().zip((0..16).rev()) {
            *place = digit(high >> (shift * 4));
        }
        for (place, shift) in text.iter_mut().skip(16).zip((0..16).rev()) {
            *place = digit(low >> (shift * 4));
        }
        Name { text, at }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn word(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const fn digit(number: u64) -> u8 {
    match number & 15 {
        #[expect(clippy::cast_possible_truncation, reason = "it is less than 16")]
        number @ 0..=9 => b'0' + number as u8,
        #[expect(clippy::cast_possible_truncation, reason = "it is less than 16")]
        number => b'a' + (number as u8 - 10),
    }
}

/// 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    text: [u8; 32],
    at: Timestamp,
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// When it was given: right after the request's head had come. What asks for the time of a request, and not
    /// for how long it took, is content with this, because to read the clock is not free.
    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    pub(crate) fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// A `traceparent` that starts a trace with this name (W3C Trace Context §3.2).
    pub(crate) fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        for (place, digit) in text.iter_mut().skip(3).zip(self.text) {
            *place = digit;
        }
        // The end: beginnings are alike.
        for (place, digit) in text.iter_mut().skip(36).take(16).zip(self.text.into_iter().skip(16))
        {
            *place = digit;
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// The trace that a sound `traceparent` names.
pub(crate) fn trace_of(traceparent: &HeaderValue) -> Option<&str> {
    let text = traceparent.to_str().ok()?;
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let named = |text: &str| text.bytes().any(|digit| digit != b'0');
    match parts.as_slice() {
        ["00", trace, span, flags]
            if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && named(trace) && named(span) =>
        {
            Some(*trace)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision_log::moment_of;

    #[test]
    fn names_differ_and_are_sound_traces_and_say_when() {
        let node = Node::for_tests(1);
        let names = Names::new(&node);
        let (first, second) = (names.next(), names.next());
        assert_ne!(first, second);
        assert!(first.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(trace_of(&first.traceparent()), Some(first.as_str()));
        let other = Names::new(&Node::for_tests(2)).next();
        assert_ne!(first, other);
        assert_eq!(moment_of(first.as_str()), Some(node.now()));
        let many: std::collections::HashSet<_> =
            (0..10_000).map(|_| names.next().as_str().to_owned()).collect();
        assert_eq!(many.len(), 10_000);
    }

    #[test]
    fn a_malformed_traceparent_names_nothing() {
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(trace_of(&HeaderValue::from_static(sound)).is_some());
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert_eq!(trace_of(&HeaderValue::from_str(bad).unwrap()), None, "{bad}");
        }
    }
}
