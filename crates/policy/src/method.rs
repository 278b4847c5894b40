//! Methods as bits.

/// The methods of which policies speak by name, and `other`, which is every other.
pub(crate) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "other"];

/// The place of a method in [`METHODS`].
pub(crate) fn place(method: &str) -> usize {
    bit(method).map_or(METHODS.len() - 1, |bit| bit.trailing_zeros() as usize)
}

/// A set of methods. The methods of RFC 9110 and `PATCH` are bits; others are kept by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Methods {
    any: bool,
    known: u16,
    others: Box<[Box<str>]>,
}

impl Methods {
    /// These methods, or every method where there are none.
    pub(crate) fn of(names: &[String]) -> Self {
        let known = names.iter().filter_map(|name| bit(name)).fold(0, |all, bit| all | bit);
        let others = names.iter().filter(|name| bit(name).is_none());
        Self {
            any: names.is_empty(),
            known,
            others: others.map(|name| name.as_str().into()).collect(),
        }
    }

    pub(crate) fn contains(&self, method: &str) -> bool {
        self.any
            || match bit(method) {
                Some(bit) => self.known & bit != 0,
                None => self.others.iter().any(|other| other.as_ref() == method),
            }
    }
}

fn bit(method: &str) -> Option<u16> {
    Some(match method {
        "GET" => 1,
        "HEAD" => 2,
        "POST" => 4,
        "PUT" => 8,
        "DELETE" => 16,
        "PATCH" => 32,
        "OPTIONS" => 64,
        "TRACE" => 128,
        "CONNECT" => 256,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_place() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(place(method), index);
        }
        assert_eq!(METHODS[place("PURGE")], "other");
        assert_eq!(METHODS[place("get")], "other");
    }

    #[test]
    fn holds_what_was_named_in_that_spelling() {
        let some = Methods::of(&["GET".into(), "DELETE".into(), "PURGE".into()]);
        for method in ["GET", "DELETE", "PURGE"] {
            assert!(some.contains(method));
        }
        for method in ["HEAD", "POST", "get", "Get", "purge", "REPORT", "", "GET "] {
            assert!(!some.contains(method), "{method}");
        }
        assert!(Methods::of(&[]).contains("REPORT"));
    }
}
