//! JSON as security needs it: no member twice, at any depth; bounded depth; nothing after the end.
//!
//! Two parsers that disagree about which of two `sub` members counts are how tokens are forged.
//! RFC 8725 §3.12, RFC 7515 §4 (names within the header must be unique), RFC 7519 §4.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deeply values may be nested.
pub(crate) const DEEPEST: u8 = 32;

/// Reads a member name without copying it where it has no escapes.
pub(crate) struct Name<'de>(pub(crate) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The names seen so far in one object. Objects in tokens are small: a list is faster than a set,
/// and [`Self::MOST`] keeps it from becoming slow on purpose.
#[derive(Default)]
pub(crate) struct Seen<'de>(Vec<Cow<'de, str>>);

impl<'de> Seen<'de> {
    const MOST: usize = 256;

    /// Notes a name, or says that it has been seen.
    pub(crate) fn note<E: Error>(&mut self, name: Cow<'de, str>) -> Result<(), E> {
        if self.0.len() >= Self::MOST {
            return Err(E::custom("an object has too many members"));
        }
        if self.0.contains(&name) {
            return Err(E::custom("a member stands twice"));
        }
        self.0.push(name);
        Ok(())
    }
}

/// Passes over a value that nobody asked for, but holds it to the same rules.
#[derive(Clone, Copy)]
pub(crate) struct Skim(pub(crate) u8);

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut seen = Seen::default();
        while let Some(Name(name)) = map.next_key()? {
            seen.note(name)?;
            map.next_value_seed(deeper)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while items.next_element_seed(deeper)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl Skim {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("the nesting is too deep"))
    }
}

/// Whether `bytes` are one JSON object that keeps the rules of this module.
///
/// # Errors
/// Which rule is broken, without the content.
pub(crate) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let skimmed = Skim(DEEPEST).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match skimmed {
        Ok(()) if bytes.trim_ascii_start().first() == Some(&b'{') => Ok(()),
        Ok(()) => Err("it is not a JSON object"),
        Err(error) => Err(reason(&error)),
    }
}

/// Reads one JSON object that keeps the rules of this module, nested no deeper than this.
///
/// # Errors
/// Which rule is broken, without the content.
pub fn object(text: &str, deepest: u8) -> Result<Map<String, Value>, &'static str> {
    shallow(text, deepest)?;
    serde_json::from_str(text).map_err(|_| "it is not a JSON object")
}

/// Reads one JSON array of objects in the same way.
///
/// # Errors
/// Which rule is broken, without the content.
pub fn objects(text: &str, deepest: u8) -> Result<Vec<Map<String, Value>>, &'static str> {
    shallow(text, deepest)?;
    serde_json::from_str(text).map_err(|_| "it is not a JSON array of objects")
}

fn shallow(text: &str, deepest: u8) -> Result<(), &'static str> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let skimmed = Skim(deepest).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    skimmed.map_err(|error| reason(&error))
}

/// What to say of a parse error: one of a few fixed texts, never what the input held.
pub(crate) fn reason(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    ["a member stands twice", "the nesting is too deep", "an object has too many members"]
        .into_iter()
        .find(|known| text.starts_with(known))
        .unwrap_or("it is not valid JSON, or a member has the wrong type")
}

/// Reads a value of a nested claim strictly: checks it, then reads it as `T`.
pub(crate) fn nested<T: serde::de::DeserializeOwned, E: Error>(
    raw: &serde_json::value::RawValue,
) -> Result<T, E> {
    check(raw.get().as_bytes()).map_err(E::custom)?;
    serde_json::from_str(raw.get()).map_err(|_| E::custom("a member has the wrong type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_member_that_stands_twice_at_any_depth() {
        assert_eq!(check(br#"{"a":1,"b":{"c":[{"d":1}]}}"#), Ok(()));
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"c":[{"d":1,"d":2}]}}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(check(twice.as_bytes()), Err("a member stands twice"), "{twice}");
            assert_eq!(object(twice, 8), Err("a member stands twice"), "{twice}");
            assert_eq!(objects(&format!("[{twice}]"), 8), Err("a member stands twice"), "{twice}");
        }
    }

    #[test]
    fn bounds_depth_and_breadth() {
        let nest = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nest(31).as_bytes()), Ok(()));
        assert_eq!(check(nest(32).as_bytes()), Err("the nesting is too deep"));
        assert!(check(nest(5000).as_bytes()).is_err());
        let wide: Vec<_> = (0..300).map(|i| format!("\"{i}\":0")).collect();
        assert_eq!(
            check(format!("{{{}}}", wide.join(",")).as_bytes()),
            Err("an object has too many members")
        );
    }

    #[test]
    fn a_reader_says_how_deep_and_of_what_shape() {
        assert!(object(r#"{"a":{"b":[1]}}"#, 3).is_ok());
        assert_eq!(object(r#"{"a":{"b":[1]}}"#, 2), Err("the nesting is too deep"));
        assert_eq!(objects(r#"[{"a":1},{}]"#, 2).map(|all| all.len()), Ok(2));
        for bad in ["", "1", "null", "[]", "{} {}", "[{}]"] {
            assert!(object(bad, 8).is_err(), "{bad}");
        }
        for bad in ["", "{}", "null", "[1]", "[[]]", "[{}] ]", "[null]"] {
            assert!(objects(bad, 8).is_err(), "{bad}");
        }
    }

    #[test]
    fn wants_one_object_and_nothing_after_it() {
        for bad in ["", "[]", "1", "{}{}", "{} x", "{", "{\"a\":1,}", "{'a':1}", "\u{feff}{}"] {
            assert!(check(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(check(b"{\"a\":\"\xff\"}").is_err());
    }
}
