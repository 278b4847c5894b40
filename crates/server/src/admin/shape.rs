//! What bodies look like: one description, by which requests are read and which the document renders.
//!
//! So what is documented cannot be something else than what is read, and whoever sends something
//! wrong is told where.

use serde_json::{Map, Value, json};

use crate::problem::Fault;

/// How many faults of a body are told.
const MOST_FAULTS: usize = 20;

/// How much of what somebody sent is said back.
const ECHOED: usize = 80;

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A text of so many bytes.
    Text {
        /// At least.
        least: usize,
        /// At most.
        most: usize,
    },
    /// A moment (RFC 3339).
    Moment,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count,
    /// Values of one shape.
    List(&'static Shape, usize),
    /// Members that are described elsewhere.
    Open,
    /// Any JSON.
    Any,
    /// Exactly these members.
    Object(&'static Form),
    /// The same, or `false` for nothing of the kind.
    ObjectOrFalse(&'static Form),
}

/// An object.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its name in the document.
    pub name: &'static str,
    /// What it is.
    pub says: &'static str,
    /// Whether it is sent to us: then it has no other members. To what we answer, some may be added.
    pub asked: bool,
    /// Its members.
    pub members: &'static [Member],
    /// Members that it shares with others.
    pub more: &'static [Member],
    /// Whether each of those may be `null`, too: in a change, that takes it away.
    pub removes: bool,
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
    /// Whether it is always there.
    pub required: bool,
    /// Whether it may be `null`.
    pub nullable: bool,
    /// What it means.
    pub says: &'static str,
}

/// A member that is always there.
pub(super) const fn must(name: &'static str, shape: Shape, says: &'static str) -> Member {
    Member { name, shape, required: true, nullable: false, says }
}

/// A member that may be missing.
pub(super) const fn may(name: &'static str, shape: Shape, says: &'static str) -> Member {
    Member { name, shape, required: false, nullable: false, says }
}

impl Form {
    /// With members that it shares with others.
    pub(super) const fn with(self, more: &'static [Member]) -> Self {
        Self { more, ..self }
    }

    /// Where each of those may be `null`, which takes it away.
    pub(super) const fn removing(self) -> Self {
        Self { removes: true, ..self }
    }
}

impl Member {
    /// The same where it may be `null`, too: in a change, that takes it away.
    pub(super) const fn or_null(mut self) -> Self {
        self.nullable = true;
        self
    }
}

impl Shape {
    /// Says what of a value is not as it must be.
    pub(super) fn check(&self, value: &Value, at: &str, faults: &mut Vec<Fault>) {
        if faults.len() >= MOST_FAULTS {
            return;
        }
        let mut wrong = |detail: String| faults.push(Fault { pointer: at.to_owned(), detail });
        match (self, value) {
            (Self::Text { least, most }, Value::String(text)) => {
                if !(*least..=*most).contains(&text.len()) {
                    wrong(format!("must have {least} to {most} bytes"));
                }
            }
            (Self::Word(words), Value::String(text)) => {
                if !words.contains(&text.as_str()) {
                    wrong(format!("must be one of {}", listed(words)));
                }
            }
            (Self::Moment, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Open, Value::Object(_))
            | (Self::Any, _) => {}
            (Self::Count, Value::Number(number)) if number.is_u64() => {}
            (Self::List(of, most), Value::Array(values)) => {
                if values.len() > *most {
                    wrong(format!("must have at most {most} values"));
                    return;
                }
                for (place, value) in values.iter().enumerate() {
                    of.check(value, &format!("{at}/{place}"), faults);
                }
            }
            (Self::ObjectOrFalse(_), Value::Bool(false)) => {}
            (Self::Object(form) | Self::ObjectOrFalse(form), Value::Object(members)) => {
                form.check(members, at, faults);
            }
            _ => wrong(format!("must be {}", self.what())),
        }
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Word(_) => "a string",
            Self::Moment => "a moment, as a string",
            Self::Flag => "`true` or `false`",
            Self::Count => "a whole number",
            Self::List(..) => "an array",
            Self::Open | Self::Object(_) => "an object",
            Self::Any => "anything",
            Self::ObjectOrFalse(_) => "an object, or `false`",
        }
    }

    /// The same as a JSON Schema. Forms are referred to by their names, and noted in `forms`.
    pub(super) fn schema(&self, forms: &mut Map<String, Value>) -> Value {
        match self {
            Self::Text { least, most } => {
                // There are characters of several bytes.
                json!({"type": "string", "minLength": (*least).min(1), "maxLength": most})
            }
            Self::Moment => json!({"type": "string", "format": "date-time"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Count => json!({"type": "integer", "minimum": 0}),
            Self::List(of, most) => {
                json!({"type": "array", "maxItems": most, "items": of.schema(forms)})
            }
            Self::Open => json!({"type": "object"}),
            Self::Any => json!({}),
            Self::Object(form) => form.schema(forms),
            Self::ObjectOrFalse(form) => {
                json!({"anyOf": [form.schema(forms), {"type": "boolean", "enum": [false]}]})
            }
        }
    }
}

impl Form {
    fn all(&self) -> impl Iterator<Item = &'static Member> {
        self.members.iter().chain(self.more)
    }

    fn may_be_null(&self, member: &Member) -> bool {
        let is_shared = self.more.iter().any(|shared| shared.name == member.name);
        member.nullable || (self.removes && is_shared)
    }

    /// Says what of an object is not as it must be.
    pub(super) fn check(&self, given: &Map<String, Value>, at: &str, faults: &mut Vec<Fault>) {
        for (name, value) in given {
            let at = format!("{at}/{}", escaped(name));
            match self.all().find(|member| member.name == name) {
                Some(member) if self.may_be_null(member) && value.is_null() => {}
                Some(member) => member.shape.check(value, &at, faults),
                None if faults.len() < MOST_FAULTS => {
                    let known: Vec<_> = self.all().map(|member| member.name).collect();
                    let detail = format!("is not known; there are {}", listed(&known));
                    faults.push(Fault { pointer: at, detail });
                }
                None => {}
            }
        }
        let missing = |member: &&Member| member.required && !given.contains_key(member.name);
        for member in self.all().filter(missing) {
            let pointer = format!("{at}/{}", member.name);
            faults.push(Fault { pointer, detail: "is missing".to_owned() });
        }
    }

    fn schema(&self, forms: &mut Map<String, Value>) -> Value {
        let reference = json!({"$ref": format!("#/components/schemas/{}", self.name)});
        if forms.contains_key(self.name) {
            return reference;
        }
        // Before its members: a form may hold itself.
        forms.insert(self.name.to_owned(), Value::Null);
        let mut properties = Map::new();
        for member in self.all() {
            let mut schema = member.shape.schema(forms);
            if self.may_be_null(member) {
                schema = json!({"anyOf": [schema, {"type": "null"}]});
            }
            if let Some(members) = schema.as_object_mut() {
                members.insert("description".to_owned(), member.says.into());
            }
            properties.insert(member.name.to_owned(), schema);
        }
        let required: Vec<_> =
            self.all().filter(|member| member.required).map(|it| it.name).collect();
        let mut schema = json!({
            "type": "object",
            "description": self.says,
            "properties": properties,
        });
        if let Some(members) = schema.as_object_mut() {
            if self.asked {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            if !required.is_empty() {
                members.insert("required".to_owned(), json!(required));
            }
        }
        forms.insert(self.name.to_owned(), schema);
        reference
    }
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// A name as a part of a JSON pointer (RFC 6901 §3), bounded.
fn escaped(name: &str) -> String {
    name.chars().take(ECHOED).collect::<String>().replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Form = Form {
        name: "Inner",
        says: "",
        asked: true,
        members: &[],
        more: &[must("n", Shape::Count, "")],
        removes: false,
    };
    const NAME: Shape = Shape::Text { least: 1, most: 4 };
    const OUTER: Form = Form {
        name: "Outer",
        says: "",
        asked: true,
        members: &[
            must("name", NAME, ""),
            may("mail", NAME, "").or_null(),
            may("words", Shape::List(&Shape::Word(&["a", "b"]), 2), ""),
            may("inner", Shape::Object(&INNER), ""),
            may("off", Shape::ObjectOrFalse(&INNER), ""),
        ],
        more: &[may("taken", NAME, "")],
        removes: true,
    };

    fn faults(value: &Value) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        Shape::Object(&OUTER).check(value, "", &mut faults);
        faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn says_where_something_is_not_as_it_must_be() {
        let good =
            json!({"name": "x", "mail": null, "taken": null, "words": ["a"], "inner": {"n": 1}});
        assert_eq!(faults(&good), []);
        assert_eq!(faults(&json!({"name": "x", "off": false})), []);
        assert_eq!(faults(&json!({"name": "x", "off": {"n": 1}})), []);
        for (value, pointer, word) in [
            (json!([]), "", "an object"),
            (json!({}), "/name", "missing"),
            (json!({"name": null}), "/name", "a string"),
            (json!({"name": ""}), "/name", "1 to 4"),
            (json!({"name": "12345"}), "/name", "1 to 4"),
            (json!({"name": "x", "a/b~": 1}), "/a~1b~0", "not known"),
            (json!({"name": "x", "words": ["c"]}), "/words/0", "`a`, `b`"),
            (json!({"name": "x", "words": ["a", "b", "a"]}), "/words", "at most 2"),
            (json!({"name": "x", "inner": {"n": -1}}), "/inner/n", "whole number"),
            (json!({"name": "x", "inner": {"n": 1.5}}), "/inner/n", "whole number"),
            (json!({"name": "x", "inner": false}), "/inner", "an object"),
            (json!({"name": "x", "off": true}), "/off", "an object, or `false`"),
            (json!({"name": "x", "off": {"n": "1"}}), "/off/n", "whole number"),
        ] {
            let told = faults(&value);
            assert!(
                matches!(told.as_slice(), [(at, said)] if at == pointer && said.contains(word)),
                "{value}: {told:?}"
            );
        }
    }

    #[test]
    fn what_is_said_back_is_bounded() {
        let many: Map<_, _> = (0..100).map(|n| (format!("m{n}"), Value::Null)).collect();
        assert!(faults(&many.into()).len() <= MOST_FAULTS + 1);
        let told = faults(&json!({"name": "x", "z".repeat(10_000): 1}));
        assert!(told[0].0.len() < 100);
    }
}
