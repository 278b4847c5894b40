//! JSON with all that it says: members that stand twice, and numbers that are none.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// The members of an object, as often as they stand there.
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// `None`: it is no object.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// What a member says, the last of its name. What cannot be read is nothing.
    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        let said = self.0.iter().rev().find(|(own, _)| own == name)?;
        Some(serde_json::from_str(said.1.get()).unwrap_or_default())
    }

    /// Whether none stands twice, at any depth.
    pub(crate) fn are_unique(&self) -> bool {
        let names = || self.0.iter().map(|(name, _)| name);
        names().enumerate().all(|(at, name)| !names().take(at).any(|before| before == name))
            && self.0.iter().all(|(_, value)| is_unique(value))
    }
}

fn is_unique(value: &RawValue) -> bool {
    let text = value.get();
    match text.as_bytes().first() {
        // Nobody goes down there.
        _ if depth(text) > 100 => true,
        Some(b'{') => Members::read(text.as_bytes()).is_some_and(|members| members.are_unique()),
        Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(text)
            .is_ok_and(|items| items.iter().all(|item| is_unique(item))),
        _ => true,
    }
}

/// How deeply a text of JSON is nested.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
