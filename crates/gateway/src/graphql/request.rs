//! What came over HTTP (GraphQL over HTTP §5): an operation and its variables, or several together.
//!
//! A member that stands twice is a mistake: whoever reads the other of the two would read another
//! request. What is not an object of JSON sent as JSON is none: a form or plain text is what a browser sends
//! from a foreign page without asking.

use std::{cell::Cell, fmt};

use http::{HeaderMap, Method, StatusCode, header};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::wrong::{Wrong, line};

/// How deep values of variables may be.
const DEEPEST: usize = 32;

/// What came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// What says of which kind the body is.
    pub headers: &'r HeaderMap,
    /// What stands behind `?`.
    pub query: Option<&'r str>,
    /// The body.
    pub body: &'r [u8],
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Came {
    One(Box<Asked>),
    Batch(Vec<Asked>),
}

/// One operation.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) query: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) variables: Option<Map<String, Value>>,
    /// Whether it names a document that a service is to know.
    pub(super) is_persisted: bool,
}

impl Request<'_> {
    /// Whether it may change nothing.
    pub(super) fn is_get(&self) -> bool {
        *self.method == Method::GET
    }

    /// Reads it. No more than `batch` may come together.
    pub(super) fn read(&self, batch: u32) -> Result<Came, Wrong> {
        match *self.method {
            Method::POST => self.post(batch),
            Method::GET if self.body.is_empty() => get(self.query.unwrap_or_default()),
            Method::GET => Err(malformed("a `GET` has no body")),
            _ => Err(Wrong::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "graphql_method",
                "ask with `POST`, or with `GET` for what changes nothing",
            )
            .allowing_post()),
        }
    }

    fn post(&self, batch: u32) -> Result<Came, Wrong> {
        let media =
            |detail| Wrong::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "graphql_media_type", detail);
        if !is_json(self.headers) {
            return Err(media("the body is `application/json`, in UTF-8, and says so"));
        }
        let codings = self.headers.get_all(header::CONTENT_ENCODING).iter();
        let is_plain =
            |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if !codings.into_iter().all(is_plain) {
            return Err(media("a compressed body is not looked into: send it as it is"));
        }
        if self.query.is_some_and(|query| !query.is_empty()) {
            return Err(malformed("what is asked stands in the body, and not behind `?`, too"));
        }
        let too_many = Cell::new(false);
        let reading =
            Reading { batch: usize::try_from(batch).unwrap_or(usize::MAX), too_many: &too_many };
        let mut json = serde_json::Deserializer::from_slice(self.body);
        let came = reading.deserialize(&mut json).and_then(|came| json.end().map(|()| came));
        let came = came.map_err(|error| {
            if too_many.get() {
                let detail = format!("more than {batch} operations come together");
                return Wrong::bad("graphql_batch", detail);
            }
            malformed(&line(&error.to_string()))
        })?;
        let all = match &came {
            Came::One(asked) => std::slice::from_ref(&**asked),
            Came::Batch(all) => all,
        };
        if all.is_empty() {
            return Err(malformed("nothing is asked"));
        }
        for asked in all {
            check(asked)?;
        }
        Ok(came)
    }
}

fn malformed(detail: &str) -> Wrong {
    Wrong::bad("graphql_malformed", detail)
}

fn check(asked: &Asked) -> Result<(), Wrong> {
    let deep = asked.variables.iter().flat_map(Map::values).any(|value| is_deeper(value, DEEPEST));
    if deep {
        return Err(Wrong::bad("graphql_variables", "values stand in values more than 32 times"));
    }
    Ok(())
}

/// Whether values stand in values more often. The reader of JSON has bounded it already, so that this ends.
fn is_deeper(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else { return true };
    match value {
        Value::Array(all) => all.iter().any(|value| is_deeper(value, left)),
        Value::Object(all) => all.values().any(|value| is_deeper(value, left)),
        _ => false,
    }
}

/// Whether a body says that it is JSON, in UTF-8. Said twice, it says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(said), None) = (said.next(), said.next()) else { return false };
    let Ok(said) = said.to_str() else { return false };
    let mut parts = said.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.filter(|part| !part.is_empty()).all(|part| {
            part.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim_matches('"');
                name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
            })
        })
}

/// The members of a `GET` stand behind `?`.
fn get(query: &str) -> Result<Came, Wrong> {
    let mut asked = Asked::default();
    let mut seen = [false; 4];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or_else(|| malformed("what stands behind `?` is no text"))?;
        let value = decoded(value).ok_or_else(|| malformed("what stands behind `?` is no text"))?;
        let members = ["query", "operationName", "variables", "extensions"];
        let Some(place) = members.iter().position(|known| *known == name) else { continue };
        if seen.get_mut(place).is_none_or(|seen| std::mem::replace(seen, true)) {
            return Err(malformed(&format!("`{name}` stands twice")));
        }
        let empty = value.is_empty();
        match place {
            0 => asked.query = Some(value),
            1 => asked.operation = Some(value).filter(|_| !empty),
            2 if empty => {}
            2 => {
                let read = serde_json::from_str::<Option<Map<String, Value>>>(&value);
                asked.variables =
                    read.map_err(|error| malformed(&line(&format!("`variables`: {error}"))))?;
            }
            _ => asked.is_persisted = value.contains("persistedQuery"),
        }
    }
    check(&asked)?;
    Ok(Came::One(Box::new(asked)))
}

/// What a form says (WHATWG URL §5.1). `None`: it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Reads one object, or a list of some. Nothing else is a request: in particular not a list in a list, which
/// would otherwise be taken for an object by the order of its members.
struct Reading<'c> {
    batch: usize,
    too_many: &'c Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Came;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Came, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Came;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Came, A::Error> {
        AskedVisitor.visit_map(members).map(|asked| Came::One(Box::new(asked)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Came, A::Error> {
        let mut batch = Vec::new();
        while let Some(asked) = all.next_element::<Asked>()? {
            if batch.len() >= self.batch {
                self.too_many.set(true);
                return Err(A::Error::custom("too many"));
            }
            batch.push(asked);
        }
        Ok(Came::Batch(batch))
    }
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AskedVisitor)
    }
}

struct AskedVisitor;

impl<'de> Visitor<'de> for AskedVisitor {
    type Value = Asked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `query`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Asked, A::Error> {
        let mut asked = Asked::default();
        let mut seen = [false; 4];
        while let Some(name) = members.next_key::<String>()? {
            let known = ["query", "operationName", "variables", "extensions"];
            let Some(place) = known.iter().position(|known| *known == name) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.get_mut(place).is_none_or(|seen| std::mem::replace(seen, true)) {
                return Err(A::Error::custom(format_args!("`{name}` stands twice")));
            }
            match place {
                0 => asked.query = members.next_value()?,
                1 => asked.operation = members.next_value()?,
                2 => asked.variables = members.next_value()?,
                _ => {
                    let said = members.next_value::<Option<Map<String, Value>>>()?;
                    asked.is_persisted = said.is_some_and(|it| it.contains_key("persistedQuery"));
                }
            }
        }
        Ok(asked)
    }
}
