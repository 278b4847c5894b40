//! Where frames of WebSockets begin and end (RFC 6455 §5.2). Nothing of them is changed: this finds out where
//! one of the gateway's own fits between them.

/// The longest beginning of a frame: two bytes, eight of length, four of mask.
const LONGEST: usize = 14;

/// How far the frames of one direction have come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; LONGEST],
    /// So many bytes of the head have come.
    have: usize,
    /// So many bytes of the frame are still to come.
    left: u64,
    /// A frame has said that none follows.
    closed: bool,
}

impl Frames {
    /// Takes note of bytes that were passed on.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(self.left);
                self.left -= here;
                let here = usize::try_from(here).unwrap_or(usize::MAX);
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            let Some((next, rest)) = bytes.split_first() else { return };
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *next;
            }
            self.have += 1;
            bytes = rest;
            if self.have == self.head_length() {
                self.left = self.length();
                self.closed |= self.head.first().is_some_and(|first| first & 0x0f == 8);
                self.have = 0;
            }
        }
    }

    /// Whether the last frame is whole, and another may follow.
    pub(super) const fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.closed
    }

    fn second(&self) -> u8 {
        self.head.get(1).copied().unwrap_or_default()
    }

    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.second() & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.second() & 0x80 == 0 { 0 } else { 4 }
    }

    fn length(&self) -> u64 {
        let of = |bytes: Option<&[u8]>| {
            bytes.unwrap_or_default().iter().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte))
        };
        match self.second() & 0x7f {
            126 => of(self.head.get(2..4)),
            127 => of(self.head.get(2..10)),
            short => u64::from(short),
        }
    }
}

/// The frame that ends a socket. Toward a service it is masked, as a client's are (RFC 6455 §5.1).
pub(super) fn close(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    match mask {
        None => vec![0x88, 2, high, low],
        Some([a, b, c, d]) => vec![0x88, 0x82, a, b, c, d, high ^ a, low ^ b],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(bit | u8::try_from(length).unwrap()),
            126..65536 => {
                frame.push(bit | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(vec![0x88; length + if masked { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn frames_end_where_they_end_in_whatever_pieces_they_come() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65535, 65536] {
                for first in [0x81, 0x02, 0x80, 0x89] {
                    let frame = frame(first, length, masked);
                    for piece in [1, 3, frame.len()] {
                        let mut frames = Frames::default();
                        assert!(frames.is_between());
                        let (last, before) = frame.split_last().unwrap();
                        for piece in before.chunks(piece) {
                            frames.pass(piece);
                            assert!(!frames.is_between(), "{length} {masked}");
                        }
                        frames.pass(&[*last]);
                        assert!(frames.is_between(), "{length} {masked}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_follows_the_frame_that_ends_it() {
        for frame in [close(1001, None), close(1008, Some([1, 2, 3, 4]))] {
            let mut frames = Frames::default();
            frames.pass(&frame);
            assert!(frames.left == 0 && frames.have == 0 && !frames.is_between());
        }
    }
}
