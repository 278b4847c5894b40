//! What is filled into the target of a part: what is known of the caller, and what the client says in its query.

use std::borrow::Cow;

use http::StatusCode;
use tegata_mesh::bff::{Part, Segment};
use tegata_token::Claims;

use crate::refusal::{Refusal, Refused};

/// How long a value may be, in bytes.
const LONGEST: usize = 256;

/// The target of a part.
///
/// # Errors
/// Nobody is known of whom it would tell, or the client does not say what it should, or says it twice.
pub(crate) fn target(
    part: &Part,
    caller: Option<&Claims>,
    query: Option<&str>,
) -> Result<String, Refused> {
    let mut wrong = None;
    let filled = part.path.fill(|segment| {
        let value = match segment {
            Segment::Plain(_) => return None,
            Segment::Subject => caller.map(|claims| Cow::Borrowed(claims.sub.as_str())),
            Segment::Client => {
                caller.and_then(|claims| claims.client_id.as_deref()).map(Cow::Borrowed)
            }
            Segment::Query(name) => {
                said(query.unwrap_or_default(), name).filter(|value| fits(value))
            }
        };
        if value.as_ref().is_none_or(|value| value.is_empty()) {
            wrong = Some(match segment {
                Segment::Subject if caller.is_none() => Refusal::not_authenticated(),
                Segment::Query(name) => Refusal::bad_request(
                    "part_parameter",
                    format!(
                        "the query must say `{name}`, once, in UTF-8, in at most {LONGEST} bytes"
                    ),
                ),
                Segment::Plain(_) | Segment::Subject | Segment::Client => Refusal::new(
                    StatusCode::FORBIDDEN,
                    "part_parameter",
                    "of this caller nothing is known that belongs into the path",
                ),
            });
        }
        value
    });
    filled.ok_or_else(|| wrong.unwrap_or_else(path))
}

/// A target that is none, or is elsewhere than it was declared to be.
pub(crate) fn path() -> Refused {
    let detail = "what the request says does not fit into one segment of a path";
    Refusal::bad_request("part_path", detail)
}

fn fits(value: &str) -> bool {
    value.len() <= LONGEST
}

/// What a query says under a name, once (as HTML forms write it).
fn said<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut found = None;
    for pair in query.split('&') {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(own).is_some_and(|own| own == name) && found.replace(value).is_some() {
            return None;
        }
    }
    decoded(found?)
}

/// `None`: it is malformed, or not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use tegata_mesh::{DeclaredBff, ServiceMap};

    use super::*;

    fn part(path: &str) -> Part {
        let declared: DeclaredBff = serde_json::from_value(serde_json::json!({
            "name": "home", "part": [{"name": "a", "path": path, "select": ["id"]}],
        }))
        .unwrap();
        ServiceMap::default().with_bffs(&[declared]).unwrap().bff("home").unwrap().parts[0].clone()
    }

    fn claims(sub: &str) -> Claims {
        Claims { sub: sub.to_owned(), ..Claims::default() }
    }

    #[test]
    fn a_query_says_a_thing_once() {
        let one = part("/users/{query.id}");
        let asked = |query| target(&one, None, query).map_err(|refused| refused.id);
        for (query, expected) in [
            (Some("id=7"), Ok("/users/7")),
            (Some("x=1&id=a%20b&y"), Ok("/users/a%20b")),
            (Some("id=a+b"), Ok("/users/a%20b")),
            (Some("i%64=7"), Ok("/users/7")),
            (Some("id=%C3%A9"), Ok("/users/%C3%A9")),
            (Some("id=a%26b%3Dc"), Ok("/users/a%26b%3Dc")),
            (None, Err("part_parameter")),
            (Some(""), Err("part_parameter")),
            (Some("id"), Err("part_parameter")),
            (Some("id="), Err("part_parameter")),
            (Some("id=7&id=8"), Err("part_parameter")),
            (Some("id=7&i%64=8"), Err("part_parameter")),
            (Some("id=%"), Err("part_parameter")),
            (Some("id=%zz"), Err("part_parameter")),
            (Some("id=%ff"), Err("part_parameter")),
            (Some("Id=7"), Err("part_parameter")),
        ] {
            assert_eq!(asked(query), expected.map(str::to_owned), "{query:?}");
        }
        let long = format!("id={}", "a".repeat(LONGEST + 1));
        assert_eq!(asked(Some(&long)), Err("part_parameter"));
    }

    #[test]
    fn of_nobody_nothing_is_known() {
        let one = part("/users/{sub}");
        let asked = |caller: Option<&Claims>| target(&one, caller, None).map_err(|it| it.id);
        assert_eq!(asked(Some(&claims("usr_a"))), Ok("/users/usr_a".to_owned()));
        assert_eq!(asked(Some(&claims("a/b"))), Ok("/users/a%2Fb".to_owned()));
        assert_eq!(asked(None), Err("not_authenticated"));
        let one = part("/clients/{client_id}");
        let asked = target(&one, Some(&claims("usr_a")), None).map_err(|refused| refused.id);
        assert_eq!(asked, Err("part_parameter"));
    }
}
