//! From a service's JSON, the members that are told: read once, kept as they were written, and refused where two
//! readers could understand it differently.

use std::{borrow::Cow, collections::HashSet};

use tegata_mesh::bff::Chosen;

/// How deep objects and lists may stand in each other.
pub const DEEPEST: usize = 32;
/// How many members an object has at most of which something is told.
pub const MOST_MEMBERS: usize = 1000;
/// How many of them are looked through.
const FEW: usize = 16;

/// Why a document is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no JSON (RFC 8259), or not in UTF-8.
    #[error("it is no JSON")]
    Malformed,
    /// Objects and lists stand more than [`DEEPEST`] deep.
    #[error("it is too deep")]
    TooDeep,
    /// An object of which something is told says something twice, or has more than [`MOST_MEMBERS`] members.
    #[error("an object says something twice, or too much")]
    Ambiguous,
    /// It is neither an object nor a list, so that it has no members.
    #[error("it has no members")]
    NoMembers,
}

/// Writes what is chosen of a document behind `out`, without white space; lists with what is chosen of each of
/// theirs. What is chosen and is not there is left out, and so is what has no members where some of them
/// are chosen.
///
/// # Errors
/// Why nothing of it is told. What stands behind `out` then means nothing.
pub fn trim(document: &[u8], chosen: &Chosen, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let text = std::str::from_utf8(document).map_err(|_| Unfit::Malformed)?;
    let mut reader = Reader { text, at: 0 };
    reader.pass_space();
    if !chosen.is_all() && !reader.has_members() {
        // What is no JSON at all is not said to be of the wrong kind.
        reader.value(None, 0, out)?;
        reader.end()?;
        return Err(Unfit::NoMembers);
    }
    reader.value(Some(chosen), 0, out)?;
    reader.end()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// Reads a value; what is chosen of it is written. `None`: nothing is.
    fn value(
        &mut self,
        chosen: Option<&Chosen>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        let from = self.at;
        match self.peek().ok_or(Unfit::Malformed)? {
            b'{' => return self.object(chosen, depth + 1, out),
            b'[' => return self.list(chosen, depth + 1, out),
            b'"' => drop(self.string()?),
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        if chosen.is_some() {
            out.extend(self.text.as_bytes().get(from..self.at).unwrap_or_default());
        }
        Ok(())
    }

    fn object(
        &mut self,
        chosen: Option<&Chosen>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.enter(depth)?;
        let mut names = Names::default();
        let mut begun = false;
        if chosen.is_some() {
            out.push(b'{');
        }
        if self.take(b'}') {
            if chosen.is_some() {
                out.push(b'}');
            }
            return Ok(());
        }
        loop {
            let from = self.at;
            let name = self.string()?;
            let written = self.text.as_bytes().get(from..self.at).unwrap_or_default();
            self.pass_space();
            self.expect(b':')?;
            self.pass_space();
            let inner = chosen.and_then(|chosen| chosen.of_member(&name));
            // INVARIANT: names are compared as they are read, not as they are written.
            if chosen.is_some() && !names.add(name) {
                return Err(Unfit::Ambiguous);
            }
            let inner = inner.filter(|inner| inner.is_all() || self.has_members());
            if inner.is_some() {
                if begun {
                    out.push(b',');
                }
                begun = true;
                out.extend(written);
                out.push(b':');
            }
            self.value(inner, depth, out)?;
            self.pass_space();
            if !self.take(b',') {
                break;
            }
            self.pass_space();
        }
        self.expect(b'}')?;
        if chosen.is_some() {
            out.push(b'}');
        }
        Ok(())
    }

    fn list(
        &mut self,
        chosen: Option<&Chosen>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.enter(depth)?;
        let mut begun = false;
        if chosen.is_some() {
            out.push(b'[');
        }
        if self.take(b']') {
            if chosen.is_some() {
                out.push(b']');
            }
            return Ok(());
        }
        loop {
            let inner = chosen.filter(|chosen| chosen.is_all() || self.has_members());
            if inner.is_some() {
                if begun {
                    out.push(b',');
                }
                begun = true;
            }
            self.value(inner, depth, out)?;
            self.pass_space();
            if !self.take(b',') {
                break;
            }
            self.pass_space();
        }
        self.expect(b']')?;
        if chosen.is_some() {
            out.push(b']');
        }
        Ok(())
    }

    /// Steps behind the bracket of an object or a list.
    fn enter(&mut self, depth: usize) -> Result<(), Unfit> {
        if depth > DEEPEST {
            return Err(Unfit::TooDeep);
        }
        self.at += 1;
        self.pass_space();
        Ok(())
    }

    /// A string, as it is read.
    fn string(&mut self) -> Result<Cow<'t, str>, Unfit> {
        self.expect(b'"')?;
        let from = self.at;
        let mut escaped = false;
        loop {
            match self.peek().ok_or(Unfit::Malformed)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    // What is escaped is looked at below; that it is no quote is enough here.
                    self.at += 2;
                }
                0..=0x1f => return Err(Unfit::Malformed),
                _ => self.at += 1,
            }
        }
        let inner = self.text.get(from..self.at).ok_or(Unfit::Malformed)?;
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(inner));
        }
        let whole = self.text.get(from - 1..self.at).ok_or(Unfit::Malformed)?;
        serde_json::from_str(whole).map(Cow::Owned).map_err(|_| Unfit::Malformed)
    }

    fn number(&mut self) -> Result<(), Unfit> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        // What is infinite to one reader is an error to another.
        let number = self.text.get(from..self.at).and_then(|it| it.parse::<f64>().ok());
        if number.is_some_and(f64::is_finite) { Ok(()) } else { Err(Unfit::Malformed) }
    }

    fn digits(&mut self) -> Result<(), Unfit> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(Unfit::Malformed) }
    }

    fn word(&mut self, word: &str) -> Result<(), Unfit> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Unfit::Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Unfit> {
        self.pass_space();
        if self.at == self.text.len() { Ok(()) } else { Err(Unfit::Malformed) }
    }

    fn pass_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn has_members(&self) -> bool {
        matches!(self.peek(), Some(b'{' | b'['))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unfit> {
        if self.take(byte) { Ok(()) } else { Err(Unfit::Malformed) }
    }
}

/// The names of an object's members. Most have few, which are compared faster than they are hashed.
#[derive(Default)]
struct Names<'t> {
    few: Vec<Cow<'t, str>>,
    more: HashSet<Cow<'t, str>>,
}

impl<'t> Names<'t> {
    /// Whether it is new, and there is room for it.
    fn add(&mut self, name: Cow<'t, str>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(name);
            return true;
        }
        self.more.len() < MOST_MEMBERS - FEW && self.more.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn chosen(names: &[&str]) -> Chosen {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Chosen::of(&names).unwrap()
    }

    fn told(text: &str, names: &[&str]) -> Result<String, Unfit> {
        let mut out = Vec::new();
        trim(text.as_bytes(), &chosen(names), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_chosen_is_told_as_it_was_written_and_nothing_else() {
        let user = r#" {"id" : "usr_a","price":1.10, "big": 12345678901234567890123,
            "address": {"city": "Edo", "street": "x", "inner": [1, {"a": "b\u00e9"}]}, "tags": [ ],
            "none": null, "secret": {"deep": [[[]]]}, "list": [{"n": 1, "m": 2}, 3, {"m": 4}, [{"n": 5}]]} "#;
        for (names, expected) in [
            (&["id"][..], r#"{"id":"usr_a"}"#),
            (&["price", "big"], r#"{"price":1.10,"big":12345678901234567890123}"#),
            (&["address.city"], r#"{"address":{"city":"Edo"}}"#),
            (&["address.inner"], r#"{"address":{"inner":[1,{"a":"b\u00e9"}]}}"#),
            (&["tags", "none"], r#"{"tags":[],"none":null}"#),
            (&["list.n"], r#"{"list":[{"n":1},{},[{"n":5}]]}"#),
            (&["missing"], "{}"),
            // What has no members has none that are chosen.
            (&["id.x", "none.x", "tags.x"], r#"{"tags":[]}"#),
        ] {
            assert_eq!(told(user, names).as_deref(), Ok(expected), "{names:?}");
        }
        assert_eq!(
            told(r#"[{"id": 1}, {"id": 2, "x": 3}]"#, &["id"]).unwrap(),
            r#"[{"id":1},{"id":2}]"#
        );
        // A name that is written with an escape is the same name.
        assert_eq!(told(r#"{"\u0069d": 1}"#, &["id"]).unwrap(), r#"{"\u0069d":1}"#);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_not_told() {
        for (text, unfit) in [
            (r#"{"id": 1, "id": 2}"#, Unfit::Ambiguous),
            (r#"{"id": 1, "\u0069d": 2}"#, Unfit::Ambiguous),
            (r#"{"x": 1, "x": 2, "id": 3}"#, Unfit::Ambiguous),
            (r#"{"id": {"a": 1, "a": 2}}"#, Unfit::Ambiguous),
            ("", Unfit::Malformed),
            ("<html>", Unfit::Malformed),
            ("\u{feff}{}", Unfit::Malformed),
            ("{} {}", Unfit::Malformed),
            ("{\"id\": 1,}", Unfit::Malformed),
            ("{\"id\" 1}", Unfit::Malformed),
            ("{id: 1}", Unfit::Malformed),
            ("{'id': 1}", Unfit::Malformed),
            ("{\"id\": 01}", Unfit::Malformed),
            ("{\"id\": 1.}", Unfit::Malformed),
            ("{\"id\": +1}", Unfit::Malformed),
            ("{\"id\": NaN}", Unfit::Malformed),
            ("{\"id\": 1e999}", Unfit::Malformed),
            ("{\"id\": \"a\nb\"}", Unfit::Malformed),
            ("{\"id\": \"\\x\"}", Unfit::Malformed),
            ("{\"id\": \"\\ud800\"}", Unfit::Malformed),
            ("{\"id\": \"a", Unfit::Malformed),
            ("{\"id\": \"a\\", Unfit::Malformed),
            ("{\"id\": \"\\é", Unfit::Malformed),
            ("{\"other\": \"\\ud800\"}", Unfit::Malformed),
            ("[1, 2", Unfit::Malformed),
            ("[1 2]", Unfit::Malformed),
            ("12", Unfit::NoMembers),
            ("null", Unfit::NoMembers),
            ("\"text\"", Unfit::NoMembers),
            ("nul", Unfit::Malformed),
        ] {
            assert_eq!(told(text, &["id"]), Err(unfit), "{text}");
        }
        let mut out = Vec::new();
        assert_eq!(trim(b"{\"id\": \"\xff\"}", &chosen(&["id"]), &mut out), Err(Unfit::Malformed));
        let many: Vec<_> = (0..=MOST_MEMBERS).map(|number| format!("\"m{number}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(told(&many, &["m1"]), Err(Unfit::Ambiguous));
        let members = |last: &str| {
            let all: Vec<_> = (0..40).map(|number| format!("\"m{number}\":1")).collect();
            format!("{{{},\"{last}\":1}}", all.join(","))
        };
        for (last, expected) in [
            ("m40", Ok("{\"m1\":1}".to_owned())),
            ("m0", Err(Unfit::Ambiguous)),
            ("m15", Err(Unfit::Ambiguous)),
            ("m16", Err(Unfit::Ambiguous)),
            ("m39", Err(Unfit::Ambiguous)),
        ] {
            assert_eq!(told(&members(last), &["m1"]), expected, "{last}");
        }
        // Where nothing of it is told, it may be as large as it likes.
        assert_eq!(told(&format!("{{\"x\":{many},\"id\":1}}"), &["id"]).unwrap(), "{\"id\":1}");
    }

    #[test]
    fn depth_is_bounded_whether_it_is_told_or_not() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for name in ["id", "other"] {
            let with = |depth| format!("{{\"{name}\":{}}}", deep(depth));
            assert!(told(&with(DEEPEST - 1), &["id"]).is_ok(), "{name}");
            assert_eq!(told(&with(DEEPEST), &["id"]), Err(Unfit::TooDeep), "{name}");
            assert_eq!(told(&with(100_000), &["id"]), Err(Unfit::TooDeep), "{name}");
            assert_eq!(told(&"[".repeat(100_000), &["id"]), Err(Unfit::TooDeep), "{name}");
        }
    }

    /// What is chosen of a value, the slow way.
    fn slowly(value: &Value, chosen: &Chosen) -> Value {
        let fits = |value: &Value, chosen: &Chosen| {
            chosen.is_all() || value.is_object() || value.is_array()
        };
        match value {
            Value::Object(all) => {
                let kept = all.iter().filter_map(|(name, value)| {
                    let inner = chosen.of_member(name).filter(|inner| fits(value, inner))?;
                    Some((name.clone(), slowly(value, inner)))
                });
                Value::Object(kept.collect())
            }
            Value::Array(all) => {
                let kept = all.iter().filter(|value| fits(value, chosen));
                Value::Array(kept.map(|value| slowly(value, chosen)).collect())
            }
            other => other.clone(),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof!["[a-c]", ".{0,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_way(value in values(), pretty in any::<bool>()) {
            let chosen = chosen(&["a.b.c", "b", "c.a"]);
            let root = json!({"a": value, "b": value, "c": value, "d": value});
            let text = if pretty {
                serde_json::to_string_pretty(&root).unwrap()
            } else {
                root.to_string()
            };
            let mut out = Vec::new();
            trim(text.as_bytes(), &chosen, &mut out).unwrap();
            let told: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(told, slowly(&root, &chosen));
        }

        #[test]
        fn what_is_told_is_json_whatever_comes(text in r#"[\[\]{}:,"a-c0-9.eE+\\u \-]{0,24}"#) {
            let mut out = Vec::new();
            let sound = serde_json::from_str::<Value>(&text).is_ok();
            match trim(text.as_bytes(), &chosen(&["a", "b.c"]), &mut out) {
                Ok(()) => {
                    prop_assert!(sound);
                    serde_json::from_slice::<Value>(&out).unwrap();
                }
                Err(Unfit::Malformed) => prop_assert!(!sound),
                Err(_) => {}
            }
        }
    }
}
