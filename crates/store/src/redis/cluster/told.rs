//! What a node of a cluster says of all of them.

use redis::Value;

use super::slot::SLOTS;
use crate::redis::address::Place;

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// The number of the last election that it knows of. Of two that say different things, the one
    /// that knows of the later is right; for a moment both may know of it.
    pub(super) epoch: u64,
    /// Whether it takes itself for a member that most others hear.
    pub(super) is_well: bool,
    pub(super) ranges: Vec<Range>,
}

/// Slots, and who has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Place,
    pub(super) replicas: Vec<Place>,
}

impl Told {
    /// Reads the answers to `CLUSTER INFO` and `CLUSTER SLOTS` of the node at `answered`. `None`: they
    /// are no such answers.
    pub(super) fn read(info: Option<Value>, slots: Value, answered: &str) -> Option<Self> {
        let info = info.and_then(text).unwrap_or_default();
        let line = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let Value::Array(items) = slots else { return None };
        let mut ranges: Vec<_> =
            items.into_iter().filter_map(|item| Range::read(item, answered)).collect();
        ranges.sort_unstable_by_key(|range| range.first);
        let epoch = line("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
        // Whoever may not ask knows no better than to believe it.
        let is_well = line("cluster_state").is_none_or(|state| state == "ok");
        Some(Self { epoch: epoch.unwrap_or_default(), is_well, ranges })
    }
}

impl Range {
    fn read(item: Value, answered: &str) -> Option<Self> {
        let Value::Array(parts) = item else { return None };
        let mut parts = parts.into_iter();
        let (first, last) = (slot(&parts.next()?)?, slot(&parts.next()?)?);
        let primary = place(parts.next()?, answered)?;
        let mut replicas: Vec<_> = parts.filter_map(|node| place(node, answered)).collect();
        replicas.sort_unstable();
        (first <= last).then_some(Self { first, last, primary, replicas })
    }
}

fn slot(value: &Value) -> Option<u16> {
    let Value::Int(slot) = value else { return None };
    u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS)
}

/// Where a node is, as its cluster announces it: a host, a port, an id, and in later versions what
/// else is known of it. Without a host it is reached where the one was that answered.
fn place(node: Value, answered: &str) -> Option<Place> {
    let Value::Array(parts) = node else { return None };
    let mut parts = parts.into_iter();
    let host = text(parts.next()?).unwrap_or_default();
    let Value::Int(port) = parts.next()? else { return None };
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    let host = match host.as_str() {
        "" | "0.0.0.0" | "::" => answered.to_owned(),
        // It is to be named, and has no name. Then its address is beside it.
        "?" => parts.nth(1).and_then(address).unwrap_or_else(|| answered.to_owned()),
        _ => host,
    };
    Some((host, port))
}

/// `ip` among names and values.
fn address(beside: Value) -> Option<String> {
    let pairs = match beside {
        Value::Map(pairs) => pairs,
        Value::Array(list) => {
            let mut list = list.into_iter();
            std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect()
        }
        _ => return None,
    };
    let named = |(name, value)| (text(name)? == "ip").then_some(text(value)?);
    pairs.into_iter().find_map(named).filter(|address| !address.is_empty())
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// A node in the answer to `CLUSTER NODES`: `id host:port@bus[,name] flags …`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Where it is. The host is empty where it is the one that answered.
    pub(super) place: Place,
    /// Its name, where it has one.
    pub(super) name: Option<String>,
}

impl Member {
    /// Reads a line. `None`: the node is known to be gone.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(1);
        let (address, flags) = (words.next()?, words.next()?);
        if flags.split(',').any(|flag| matches!(flag, "fail" | "handshake" | "noaddr")) {
            return None;
        }
        let (address, rest) = address.split_once('@').unwrap_or((address, ""));
        let (host, port) = address.rsplit_once(':')?;
        let name = rest.split(',').nth(1).filter(|name| !name.is_empty() && !name.contains('='));
        let place = (host.to_owned(), port.parse().ok().filter(|port| *port > 0)?);
        Some(Self { place, name: name.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64, beside: Value) -> Value {
        Value::Array(vec![host, Value::Int(port), bulk("id"), beside])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
    }

    fn read(slots: Vec<Value>) -> Vec<Range> {
        Told::read(None, Value::Array(slots), "asked").unwrap().ranges
    }

    fn at(host: &str, port: u16) -> Place {
        (host.to_owned(), port)
    }

    #[test]
    fn a_node_without_a_host_is_where_the_one_was_that_answered() {
        let none = || Value::Array(Vec::new());
        let map = Value::Map(vec![(bulk("hostname"), bulk("x")), (bulk("ip"), bulk("10.0.0.9"))]);
        let list = Value::Array(vec![bulk("ip"), bulk("10.0.0.8")]);
        for (host, beside, expected) in [
            (bulk("10.0.0.1"), none(), "10.0.0.1"),
            (bulk(""), none(), "asked"),
            (Value::Nil, none(), "asked"),
            (bulk("0.0.0.0"), none(), "asked"),
            (bulk("?"), none(), "asked"),
            (bulk("?"), map, "10.0.0.9"),
            (bulk("?"), list, "10.0.0.8"),
        ] {
            let ranges = read(vec![range(0, 5, vec![node(host, 7, beside)])]);
            assert_eq!(ranges[0].primary, at(expected, 7));
        }
        // Older servers say nothing more.
        let old = Value::Array(vec![bulk("a"), Value::Int(1)]);
        assert_eq!(read(vec![range(1, 1, vec![old])])[0].primary, at("a", 1));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let good = || node(bulk("a"), 1, Value::Nil);
        let odd = vec![
            range(5, 4, vec![good()]),
            range(-1, 4, vec![good()]),
            range(0, 16_384, vec![good()]),
            range(0, i64::MAX, vec![good()]),
            range(0, 1, vec![]),
            range(0, 1, vec![node(bulk("a"), 0, Value::Nil)]),
            range(0, 1, vec![node(bulk("a"), 65_536, Value::Nil)]),
            range(0, 1, vec![node(Value::Int(1), -1, Value::Nil)]),
            range(0, 1, vec![Value::Nil]),
            Value::Nil,
            Value::Array(Vec::new()),
            range(16_383, 16_383, vec![good(), Value::Nil, node(bulk("b"), 2, Value::Nil)]),
        ];
        let expected =
            Range { first: 16_383, last: 16_383, primary: at("a", 1), replicas: vec![at("b", 2)] };
        assert_eq!(read(odd), [expected]);
        assert_eq!(Told::read(None, Value::Nil, "asked"), None);
    }

    #[test]
    fn says_how_late_it_is_and_whether_it_is_well() {
        let told = |info: &str| Told::read(Some(bulk(info)), Value::Array(Vec::new()), "").unwrap();
        let well = told("cluster_state:ok\r\ncluster_current_epoch:7\r\n");
        assert_eq!((well.epoch, well.is_well), (7, true));
        assert!(!told("cluster_state:fail\r\ncluster_current_epoch:9\r\n").is_well);
        assert_eq!((told("").epoch, told("").is_well), (0, true));
    }

    #[test]
    fn reads_the_lines_of_all_versions() {
        let read = |line: &str| Member::read(line).map(|it| (it.place, it.name));
        let after = "- 0 0 1 connected 0-5460";
        assert_eq!(
            read(&format!("id 10.0.0.1:7@17 myself,master {after}")),
            Some((at("10.0.0.1", 7), None))
        );
        assert_eq!(
            read(&format!("id ::1:7@17,name,shard-id=x slave {after}")),
            Some((at("::1", 7), Some("name".to_owned())))
        );
        assert_eq!(read(&format!("id :7@17,,tls-port=0 master {after}")), Some((at("", 7), None)));
        for gone in ["master,fail", "handshake", "slave,noaddr"] {
            assert_eq!(read(&format!("id 10.0.0.1:7@17 {gone} {after}")), None);
        }
        // One that is only missed may still answer.
        assert!(read(&format!("id 10.0.0.1:7@17 master,fail? {after}")).is_some());
        for odd in ["", "id", "id a:b@c master", "id a:0@c master", "id nothing master"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
