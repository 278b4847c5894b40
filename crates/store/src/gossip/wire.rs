//! What is said in a datagram, once it is opened.
//!
//! A byte for its sort and one for how many records follow. A record is its length (2 bytes) and that
//! many bytes: id, heartbeat, revision, start and position (8 each), flags (1), the address (4 or 6 for
//! its family, that address, 2 for its port), and two texts, each after its length (1). Numbers begin
//! with their greatest byte. What stands behind that in a record is for newer releases, and skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tegata_core::{Node, NodeId, Timestamp, port::Facts};

const DRAINING: u8 = 1;

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// It is to be answered with what the other knows.
    Question,
    /// It is not to be answered.
    Answer,
}

/// What is known of a node, as the node itself has said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: NodeId,
    /// Grows as long as the node lives.
    pub(super) heartbeat: u64,
    /// Grows whenever it says something else about itself.
    pub(super) revision: u64,
    pub(super) since: Timestamp,
    pub(super) address: SocketAddr,
    pub(super) name: String,
    pub(super) facts: Facts,
}

impl Record {
    /// A node that begins.
    pub(super) fn of(node: &Node, name: &str, address: SocketAddr, facts: Facts) -> Self {
        let (id, since) = (node.id(), node.now());
        let name = cut(name).to_owned();
        Self { id, heartbeat: 1, revision: 1, since, address, name, facts: bounded(facts) }
    }

    /// Says something else about it.
    pub(super) fn publish(&mut self, facts: Facts) {
        self.facts = bounded(facts);
        self.revision = self.revision.saturating_add(1);
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(128);
        for number in
            [self.id.0, self.heartbeat, self.revision, self.since.millis(), self.facts.revocations]
        {
            body.extend(number.to_be_bytes());
        }
        body.push(if self.facts.draining { DRAINING } else { 0 });
        match self.address.ip() {
            IpAddr::V4(ip) => {
                body.push(4);
                body.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                body.push(6);
                body.extend(ip.octets());
            }
        }
        body.extend(self.address.port().to_be_bytes());
        for text in [&self.name, &self.facts.version] {
            let text = cut(text);
            body.push(u8::try_from(text.len()).unwrap_or(0));
            body.extend(text.as_bytes());
        }
        to.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
        to.extend(body);
    }

    fn read(mut body: &[u8]) -> Option<Self> {
        let from = &mut body;
        let id = NodeId(number(from)?);
        let (heartbeat, revision) = (number(from)?, number(from)?);
        let (since, revocations) = (Timestamp::from_millis(number(from)?), number(from)?);
        let draining = take::<1>(from)? == [DRAINING];
        let ip = match take::<1>(from)? {
            [4] => IpAddr::V4(Ipv4Addr::from(take::<4>(from)?)),
            [6] => IpAddr::V6(Ipv6Addr::from(take::<16>(from)?)),
            _ => return None,
        };
        let address = SocketAddr::new(ip, u16::from_be_bytes(take(from)?));
        let (name, version) = (text(from)?, text(from)?);
        let facts = Facts { version, revocations, draining };
        Some(Self { id, heartbeat, revision, since, address, name, facts })
    }
}

/// Writes as many of these records, from the first, as there is room for.
pub(super) fn write<'a>(
    sort: Sort,
    records: impl Iterator<Item = &'a Record>,
    room: usize,
) -> Vec<u8> {
    let mut said = vec![if sort == Sort::Question { 1 } else { 2 }, 0];
    let mut count = 0_u8;
    for record in records {
        let before = said.len();
        record.write(&mut said);
        if said.len() > room || count == u8::MAX {
            said.truncate(before);
            break;
        }
        count = count.saturating_add(1);
    }
    if let Some(place) = said.get_mut(1) {
        *place = count;
    }
    said
}

/// Reads what was said; the first record is that of who said it.
pub(super) fn read(mut said: &[u8]) -> Option<(Sort, Vec<Record>)> {
    let from = &mut said;
    let sort = match take::<1>(from)? {
        [1] => Sort::Question,
        [2] => Sort::Answer,
        _ => return None,
    };
    let [count] = take::<1>(from)?;
    let mut records = Vec::with_capacity(usize::from(count).min(32));
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes(take(from)?));
        let (body, rest) = from.split_at_checked(length)?;
        *from = rest;
        records.push(Record::read(body)?);
    }
    Some((sort, records))
}

/// As much of a text as is told.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(Facts::LONGEST)).unwrap_or_default()
}

fn bounded(mut facts: Facts) -> Facts {
    facts.version.truncate(cut(&facts.version).len());
    facts
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

fn number(from: &mut &[u8]) -> Option<u64> {
    take(from).map(u64::from_be_bytes)
}

/// A text that may be shown: whoever has the key may yet be a broken release.
fn text(from: &mut &[u8]) -> Option<String> {
    let [length] = take::<1>(from)?;
    let (text, rest) = from.split_at_checked(usize::from(length))?;
    *from = rest;
    let text = std::str::from_utf8(text).ok()?;
    Some(cut(text).chars().filter(|character| !character.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use tegata_core::{Entropy as _, SeededEntropy};

    use super::*;

    fn records() -> Vec<Record> {
        ["127.0.0.1:7000", "[2001:db8::1]:9"]
            .iter()
            .zip(1..)
            .map(|(address, n)| Record {
                id: NodeId(n),
                heartbeat: n << 40,
                revision: 7,
                since: Timestamp::from_secs(n),
                address: address.parse().unwrap(),
                name: format!("node-{n}"),
                facts: Facts { version: "0.1.0".into(), revocations: n, draining: n == 2 },
            })
            .collect()
    }

    #[test]
    fn what_is_said_is_heard() {
        for sort in [Sort::Question, Sort::Answer] {
            let said = write(sort, records().iter(), 4096);
            assert_eq!(read(&said), Some((sort, records())));
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_whole() {
        let all = write(Sort::Answer, records().iter(), 4096).len();
        for room in 0..all {
            let said = write(Sort::Answer, records().iter(), room);
            let (_, heard) = read(&said).unwrap();
            assert!(said.len() <= room.max(2) && heard.len() < 2);
            assert_eq!(heard, records()[..heard.len()]);
        }
    }

    #[test]
    fn what_a_newer_release_adds_is_skipped() {
        let mut said = write(Sort::Answer, records().iter().take(1), 4096);
        let length = u16::from_be_bytes([said[2], said[3]]) + 5;
        said[2..4].copy_from_slice(&length.to_be_bytes());
        said.extend(b"newer");
        assert_eq!(read(&said), Some((Sort::Answer, records()[..1].to_vec())));
    }

    #[test]
    fn texts_are_bounded_and_can_be_shown() {
        let mut record = records().remove(0);
        record.name = "é".repeat(300);
        record.facts.version = "1\n\u{1b}[2J".to_owned();
        let (_, heard) = read(&write(Sort::Answer, [record].iter(), 4096)).unwrap();
        assert_eq!(heard[0].name, "é".repeat(32));
        assert_eq!(heard[0].facts.version, "1[2J");
    }

    #[test]
    fn garbage_is_refused() {
        let said = write(Sort::Question, records().iter(), 4096);
        for length in 0..said.len() {
            assert_eq!(read(&said[..length]), None, "{length} bytes");
        }
        let chance = SeededEntropy::new(1);
        for _ in 0..20_000 {
            let mut garbage = said.clone();
            let mut draw = [0; 3];
            chance.fill(&mut draw);
            let at = usize::from(draw[0]) * garbage.len() / 256;
            garbage[at] = draw[1];
            garbage.truncate(garbage.len() - usize::from(draw[2] % 4));
            let _read = read(&garbage);
        }
    }
}
