//! Which slot of a cluster a key lies in (Redis Cluster specification, "Key distribution model" and
//! "Hash tags").

/// How many slots there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key. Where it has braces with something between, what is between the first two
/// decides alone.
pub(super) fn slot(key: &[u8]) -> u16 {
    checksum(tag(key).unwrap_or(key)) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = key.get(open + 1..)?;
    let close = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..close).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM: polynomial 0x1021, from 0, nothing reflected.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ REMAINDERS.get(usize::from(high ^ byte)).copied().unwrap_or_default()
    })
}

/// What each byte leaves.
static REMAINDERS: [u16; 256] = remainders();

#[expect(clippy::indexing_slicing, reason = "256 remainders, of the bytes up to 255")]
const fn remainders() -> [u16; 256] {
    let mut all = [0; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        all[byte as usize] = crc;
        byte += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_one_of_the_specification() {
        // "The following is the output for 123456789".
        assert_eq!(checksum(b"123456789"), 0x31c3);
        assert_eq!(checksum(b""), 0);
        // As `CLUSTER KEYSLOT` answers.
        for (key, expected) in [("", 0), ("foo", 12_182), ("bar", 5061), ("hello", 866)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn is_decided_by_the_first_tag_alone() {
        let same = |a: &str, b: &str| assert_eq!(slot(a.as_bytes()), slot(b.as_bytes()), "{a} {b}");
        same("{user1000}.following", "{user1000}.followers");
        same("{user1000}.following", "user1000");
        same("foo{{bar}}zap", "{bar");
        same("foo{bar}{zap}", "bar");
        // With nothing between them they decide nothing, and no later ones do.
        assert_eq!(tag(b"foo{}{bar}"), None);
        for none in ["foo", "foo{bar", "foo}bar{", "{}", "{", "}"] {
            assert_eq!(tag(none.as_bytes()), None, "{none}");
        }
        assert_eq!(tag(b"{a}"), Some(&b"a"[..]));
    }
}
