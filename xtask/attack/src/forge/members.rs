//! JSON of cases, kept letter for letter: numbers that are none, and members that stand twice.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::case::Part;

/// What a part says: the members of a good token, but for those that the case names.
pub(super) fn said(good: &Map<String, Value>, part: &Part) -> Result<String> {
    let text = part.text.as_deref().unwrap_or("{}");
    if let Some(whole) = text.strip_prefix('=') {
        return Ok(whole.to_owned());
    }
    let mut kept = good.clone();
    for name in names(text)?.iter().chain(&part.without) {
        kept.shift_remove(name);
    }
    with(&Value::Object(kept).to_string(), text)
}

/// The members of one object, and behind them those of the other.
pub(super) fn with(first: &str, second: &str) -> Result<String> {
    let inner = |text: &str| -> Result<String> {
        let inner = text.trim().strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        Ok(inner.with_context(|| format!("`{text}` is no object"))?.trim().to_owned())
    };
    let both = [inner(first)?, inner(second)?];
    let both: Vec<_> = both.into_iter().filter(|it| !it.is_empty()).collect();
    Ok(format!("{{{}}}", both.join(",")))
}

fn names(text: &str) -> Result<Vec<String>> {
    let Names(names) =
        serde_json::from_str(text).with_context(|| format!("`{text}` has no members"))?;
    Ok(names)
}

/// The names of an object's members, as often as they stand there.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(NamesVisitor)
    }
}

/// A text with its places filled in: by `of`, or repeated (`{x*9}`). What has a quote in it is an object.
pub(super) fn filled(text: &str, of: impl Fn(&str) -> Result<Option<String>>) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled += before;
        let place = after.split_once('}').filter(|(place, _)| {
            !place.is_empty() && !place.contains(['"', '{', ':']) || place.starts_with("issuer/")
        });
        rest = match place {
            None => {
                filled.push('{');
                after
            }
            Some((place, after)) => {
                filled += &match (of(place)?, place.rsplit_once('*')) {
                    (Some(value), _) => value,
                    (None, Some((what, times))) => what.repeat(times.parse()?),
                    (None, None) => bail!("`{place}` is no place"),
                };
                after
            }
        };
    }
    Ok(filled + rest)
}
