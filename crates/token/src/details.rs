//! Authorization details: what a token may be used for, where a scope says too little (RFC 9396).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict;

/// The longest text: the details stand in every access token.
const LONGEST: usize = 2048;
/// How deeply they are nested: the list, an object, and what its type has within.
const DEEPEST: u8 = 8;
/// How many objects there are at most.
const MOST: usize = 16;

/// The members that are lists whose length says how much is allowed (RFC 9396 §2.2).
const LISTS: [&str; 4] = ["locations", "actions", "datatypes", "privileges"];

/// A list of objects, each of a type. What comes from outside is read by [`Details::parse`]; records
/// of our own hold what it read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Details(Vec<Map<String, Value>>);

/// The text is not a list of authorization details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authorization details cannot be used: {0}")]
pub struct InvalidDetails(pub &'static str);

impl Details {
    /// Reads `authorization_details` (RFC 9396 §2).
    ///
    /// # Errors
    /// [`InvalidDetails`] names the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidDetails> {
        if text.len() > LONGEST {
            return Err(InvalidDetails("they are longer than 2048 bytes"));
        }
        let all = strict::objects(text, DEEPEST).map_err(InvalidDetails)?;
        if all.len() > MOST {
            return Err(InvalidDetails("there are more than 16"));
        }
        for one in &all {
            let named = one.get("type").and_then(Value::as_str);
            if !named.is_some_and(|name| (1..=128).contains(&name.len())) {
                return Err(InvalidDetails("an object has no `type`"));
            }
            let list = |name: &&str| one.get(*name).is_none_or(is_list);
            if !LISTS.iter().all(list) {
                return Err(InvalidDetails("a list is none, is empty, or holds no strings"));
            }
        }
        Ok(Self(all))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The types, in order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|one| one.get("type").and_then(Value::as_str))
    }

    /// Each with its type and all that it says, as JSON.
    pub fn each(&self) -> impl Iterator<Item = (&str, String)> {
        let named = |one: &Map<String, Value>| serde_json::to_string(one).unwrap_or_default();
        self.types().zip(self.0.iter().map(named))
    }

    /// Whether whoever has these has all that `other` says: each of `other` is one of these, or one
    /// of these with shorter lists.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|asked| self.0.iter().any(|own| is_within(asked, own)))
    }
}

/// A member that is missing may mean "any", so what is narrower has the same members.
fn is_within(asked: &Map<String, Value>, own: &Map<String, Value>) -> bool {
    let narrower = |name: &str, asked: &Value, own: &Value| match (asked, own) {
        (Value::Array(asked), Value::Array(own)) if LISTS.contains(&name) => {
            asked.iter().all(|one| own.contains(one))
        }
        (asked, own) => asked == own,
    };
    asked.len() == own.len()
        && asked
            .iter()
            .all(|(name, value)| own.get(name).is_some_and(|known| narrower(name, value, known)))
}

fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(text: &str) -> Details {
        Details::parse(text).unwrap()
    }

    #[test]
    fn reads_objects_with_a_type_and_nothing_else() {
        let read = details(r#"[{"type":"payment","actions":["pay"],"amount":{"value":"1"}}]"#);
        assert_eq!(read.types().collect::<Vec<_>>(), ["payment"]);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(details(&json), read);
        let deep = format!("[{{\"type\":\"t\",\"a\":{}{}}}]", "[".repeat(7), "]".repeat(7));
        let long = format!("[{{\"type\":\"t\",\"a\":\"{}\"}}]", "x".repeat(LONGEST));
        let many = format!("[{}]", [r#"{"type":"t"}"#; 17].join(","));
        for bad in [
            "",
            "{}",
            r#"{"type":"t"}"#,
            "[1]",
            "[{}]",
            r#"[{"type":""}]"#,
            r#"[{"type":1}]"#,
            r#"[{"type":"t","type":"u"}]"#,
            r#"[{"type":"t","a":{"b":1,"b":2}}]"#,
            r#"[{"type":"t","actions":[]}]"#,
            r#"[{"type":"t","actions":"pay"}]"#,
            r#"[{"type":"t","locations":[1]}]"#,
            r#"[{"type":"t"}] []"#,
            &deep,
            &long,
            &many,
        ] {
            assert!(Details::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_says_less_is_covered() {
        let own = details(
            r#"[{"type":"p","actions":["read","pay"],"to":"A"},{"type":"q","actions":["x"]}]"#,
        );
        for narrower in [
            r#"[{"type":"p","actions":["pay"],"to":"A"}]"#,
            r#"[{"type":"q","actions":["x"]},{"type":"p","actions":["pay","read"],"to":"A"}]"#,
            "[]",
        ] {
            assert!(own.covers(&details(narrower)), "{narrower}");
        }
        for wider in [
            r#"[{"type":"p","actions":["pay","refund"],"to":"A"}]"#,
            r#"[{"type":"p","actions":["pay"],"to":"B"}]"#,
            // Without a limit is more than with one.
            r#"[{"type":"p","to":"A"}]"#,
            r#"[{"type":"p","actions":["pay"]}]"#,
            r#"[{"type":"p","actions":["pay"],"to":"A","fast":true}]"#,
            r#"[{"type":"r"}]"#,
            r#"[{"type":"q","actions":["pay"]}]"#,
        ] {
            assert!(!own.covers(&details(wider)), "{wider}");
        }
    }
}
