//! A case of the corpus: what is said, what must come of it, and why.
//!
//! A file begins with keys, `key: value`, after comments that say what it is about. Then either the keys
//! `target`, `method`, `field` and `body` say a request, which is sent over HTTP/1.1 and over HTTP/2; or, after a
//! line `---`, everything is said byte for byte. There, line breaks count for nothing, and `\r`, `\n`, `\t`, `\\` and
//! `\xNN` stand for bytes. In cases of `http2/` each line is a frame: its type, its stream, its flags by their
//! names, and after `|` its payload. In it, `[name|value]` is a header field that is not compressed.
//!
//! `{open}` stands for a path that everybody may ask for, `{guarded}` for one that needs a token, `{GUARDED}` for the
//! same in capitals, `{host}` for the host, `{canary}` for an address that nobody may fetch from, and `{x*100}` for that many `x`.
//!
//! `{token}` stands for a token, which is a good one but for what further keys say (`case/token.rs`). A request that has such keys
//! and shows the token nowhere shows it in `Authorization`, by the scheme `Bearer`. `token: x` shows `x` there.
//!
//! `expect` is `served`, `refused`, a status, or the statuses of several answers on one connection: `200, 400`.
//! `problem` is how Tegata names it. `rule` is what a verifier must lack to take the token: the tests of this crate
//! show that one which lacks it does, and that it breaks no other. `-`: nobody could take it for a token.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

pub use self::token::{How, Part, PublicForm, Shape, Signature, Token, Which};
use crate::frames;

mod token;

/// What a gateway is asked about, and where.
#[derive(Debug, Clone)]
pub struct Places {
    /// The host that it answers for.
    pub host: String,
    /// A path that everybody may ask for, without a slash at its end.
    pub open: String,
    /// A path that needs a token, without a slash at its end.
    pub guarded: String,
    /// An address that nobody may fetch from.
    pub canary: String,
    /// The token of the case, where it shows one.
    pub token: Option<String>,
}

impl Places {
    /// The same with a token.
    #[must_use]
    pub fn showing(&self, token: String) -> Self {
        Self { token: Some(token), ..self.clone() }
    }
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its directory and name.
    pub name: String,
    /// Where it comes from: a CVE, or a clause of a standard.
    pub why: String,
    /// What must come of it.
    pub expect: Expect,
    /// How Tegata names the problem.
    pub problem: Option<String>,
    /// What the answer may not hold.
    pub absent: Option<String>,
    /// What the answer must hold, in letters of either case.
    pub present: Option<String>,
    /// Whether the path for everybody must lead to a service that answers with what it was sent, and the other path
    /// where that is what is asked for.
    pub needs_echo: bool,
    /// The token that it shows.
    pub token: Option<Token>,
    /// What a verifier must lack to take it.
    pub rule: Option<String>,
    /// What is said.
    pub say: Say,
}

/// What must come of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// One answer, with this status. Over HTTP/2, a client error may also be a stream or a connection that is reset.
    Status(u16),
    /// As many answers on one connection, with these statuses.
    Statuses(Vec<u16>),
    /// It is served, once.
    Served,
    /// It is not served: an error, or the end of the connection.
    Refused,
}

/// What is said.
#[derive(Debug, Clone)]
pub enum Say {
    /// A request, in both versions.
    Request {
        /// The method.
        method: String,
        /// The target.
        target: String,
        /// The fields.
        fields: Vec<(String, String)>,
        /// The body.
        body: Option<String>,
    },
    /// Bytes of HTTP/1.
    Bytes(String),
    /// Frames of HTTP/2.
    Frames(String),
}

/// All cases beneath a directory, by their names.
///
/// # Errors
/// A file cannot be read, or is no case.
pub fn read_all(directory: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for group in entries(directory)? {
        for file in entries(&group)? {
            let name = format!("{}/{}", stem(&group), stem(&file));
            let text =
                fs::read_to_string(&file).with_context(|| format!("`{name}` cannot be read"))?;
            cases.push(Case::parse(&name, &text).with_context(|| format!("`{name}` is no case"))?);
        }
    }
    Ok(cases)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let read = fs::read_dir(directory)
        .with_context(|| format!("`{}` cannot be read", directory.display()))?;
    let mut all = read.map(|it| Ok(it?.path())).collect::<Result<Vec<_>>>()?;
    all.retain(|path| path.is_dir() || path.extension().is_some_and(|it| it == "case"));
    all.sort();
    Ok(all)
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// It says nothing, expects nothing, or has a key that is not known.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let (keys, bytes) = match text.split_once("\n---\n") {
            Some((keys, bytes)) => (keys, Some(bytes)),
            None => (text, None),
        };
        let (mut why, mut expect, mut problem, mut rule) = (None, None, None, None);
        let (mut absent, mut present, mut needs_echo) = (None, None, false);
        let (mut method, mut target, mut fields, mut body) = ("GET", None, Vec::new(), None);
        let mut token = token::Keys::default();
        for line in keys.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (key, value) =
                line.split_once(": ").with_context(|| format!("`{line}` is no key"))?;
            match key {
                "why" => why = Some(value.to_owned()),
                "expect" => expect = Some(Expect::parse(value)?),
                "problem" => problem = Some(value.to_owned()),
                "rule" => rule = Some(value.to_owned()),
                "absent" => absent = Some(value.to_owned()),
                "present" => present = Some(value.to_owned()),
                "needs" if value == "echo" => needs_echo = true,
                "method" => method = value,
                "target" => target = Some(value.to_owned()),
                "token" => fields.push(("authorization".to_owned(), format!("Bearer {value}"))),
                "field" => {
                    let (name, value) = value.split_once(": ").context("a field has a value")?;
                    fields.push((name.to_owned(), value.to_owned()));
                }
                "body" => body = Some(value.to_owned()),
                _ if token.take(key, value)? => {}
                _ => bail!("`{key}` is not known"),
            }
        }
        let mut say = match (bytes, target) {
            (Some(bytes), None) if name.starts_with("http2/") => Say::Frames(bytes.to_owned()),
            (Some(bytes), None) => Say::Bytes(bytes.to_owned()),
            (None, Some(target)) => {
                Say::Request { method: method.to_owned(), target, fields, body }
            }
            _ => bail!("there is either a target or bytes"),
        };
        let is_shown = text.lines().any(|line| !line.starts_with('#') && line.contains("{token}"));
        let token = token.token(is_shown);
        if token.is_some() && !is_shown {
            say.show_token()?;
        }
        Ok(Self {
            name: name.to_owned(),
            why: why.context("why?")?,
            expect: expect.context("what is expected?")?,
            problem,
            absent,
            present,
            needs_echo,
            token,
            rule,
            say,
        })
    }
}

impl Expect {
    fn parse(text: &str) -> Result<Self> {
        let status = |text: &str| text.trim().parse().context("what is expected?");
        Ok(match text {
            "served" => Self::Served,
            "refused" => Self::Refused,
            several if several.contains(',') => {
                Self::Statuses(several.split(',').map(status).collect::<Result<_>>()?)
            }
            one => Self::Status(status(one)?),
        })
    }
}

impl Say {
    /// Shows the token where tokens are shown (RFC 6750 §2.1).
    fn show_token(&mut self) -> Result<()> {
        let Self::Request { fields, .. } = self else { bail!("`{{token}}` is nowhere") };
        if fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            bail!("`{{token}}` is not what `Authorization` says");
        }
        fields.push(("authorization".to_owned(), "Bearer {token}".to_owned()));
        Ok(())
    }
}

/// The bytes of a text.
///
/// # Errors
/// An escape or a place that is not known.
pub fn bytes(text: &str, places: &Places) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
        match next {
            '\n' => {}
            '\\' => {
                let escape = rest.chars().next().context("an escape ends")?;
                rest = rest.get(escape.len_utf8()..).unwrap_or_default();
                bytes.push(match escape {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    'x' => {
                        let two = rest.get(..2).context("two digits follow `\\x`")?;
                        rest = rest.get(2..).unwrap_or_default();
                        u8::from_str_radix(two, 16)?
                    }
                    other => bail!("`\\{other}` is no escape"),
                });
            }
            '{' => {
                let (place, after) = rest.split_once('}').context("a place ends with `}`")?;
                rest = after;
                match place {
                    "open" => bytes.extend(places.open.bytes()),
                    "guarded" => bytes.extend(places.guarded.bytes()),
                    "GUARDED" => bytes.extend(places.guarded.to_ascii_uppercase().bytes()),
                    "host" => bytes.extend(places.host.bytes()),
                    "canary" => bytes.extend(places.canary.bytes()),
                    "token" => {
                        let token = places.token.as_ref().context("there is no token")?;
                        bytes.extend(token.bytes());
                    }
                    _ => {
                        let (what, times) =
                            place.rsplit_once('*').context("what place is this?")?;
                        bytes.extend(self::bytes(what, places)?.repeat(times.parse()?));
                    }
                }
            }
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Ok(bytes)
}

/// The bytes of frames, one in each line.
///
/// # Errors
/// A line is no frame.
pub fn frames(text: &str, places: &Places) -> Result<Vec<u8>> {
    use frames::{flag, frame, kind};
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (head, payload) = line.split_once(" |").unwrap_or((line, ""));
        let mut words = head.split_whitespace();
        let (mut times, mut name) = (1, words.next().context("a frame has a type")?);
        if let Some(many) = name.strip_suffix('x').and_then(|many| many.parse().ok()) {
            (times, name) = (many, words.next().context("a frame has a type")?);
        }
        if name == "RAW" {
            all.extend(bytes(payload.trim_start(), places)?.repeat(times));
            continue;
        }
        let kind = match name {
            "DATA" => kind::DATA,
            "HEADERS" => kind::HEADERS,
            "PRIORITY" => kind::PRIORITY,
            "RST_STREAM" => kind::RST_STREAM,
            "SETTINGS" => kind::SETTINGS,
            "PUSH_PROMISE" => kind::PUSH_PROMISE,
            "PING" => kind::PING,
            "GOAWAY" => kind::GOAWAY,
            "WINDOW_UPDATE" => kind::WINDOW_UPDATE,
            "CONTINUATION" => kind::CONTINUATION,
            other => other.parse().with_context(|| format!("`{other}` is no type"))?,
        };
        let stream = words.next().context("a frame has a stream")?.parse()?;
        let mut flags = 0;
        for word in words {
            flags |= match word {
                "END_STREAM" | "ACK" => flag::END_STREAM,
                "END_HEADERS" => flag::END_HEADERS,
                "PADDED" => flag::PADDED,
                "PRIORITY" => flag::PRIORITY,
                other => bail!("`{other}` is no flag"),
            };
        }
        all.extend(frame(kind, flags, stream, &payload_of(payload, places)?).repeat(times));
    }
    Ok(all)
}

/// A payload: bytes, and header fields in brackets.
fn payload_of(text: &str, places: &Places) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    let mut rest = text.trim_start();
    while let Some((before, after)) = rest.split_once('[') {
        payload.extend(bytes(before.trim_end(), places)?);
        let (field, after) = after.split_once(']').context("a field ends with `]`")?;
        let (name, value) = field.split_once('|').context("a field has a value")?;
        let name = String::from_utf8(bytes(name, places)?)?;
        payload.extend(frames::block(&[(&name, &bytes(value, places)?)]));
        rest = after.trim_start();
    }
    payload.extend(bytes(rest, places)?);
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            host: "a.example".into(),
            open: "/open".into(),
            guarded: "/guarded".into(),
            canary: "http://127.0.0.1:9/".into(),
            token: None,
        }
    }

    #[test]
    fn bytes_are_what_they_say() {
        let text = "GET {open}/\\x00\\\\ {{x*2}*3}\n\\r\\n";
        assert!(bytes(text, &places()).is_err());
        let text = "GET {open}/\\x00\\\\ {ab*3}\n\\r\\n";
        assert_eq!(bytes(text, &places()).unwrap(), b"GET /open/\0\\ ababab\r\n");
        for wrong in ["\\q", "{nowhere}", "\\x1", "{open"] {
            assert!(bytes(wrong, &places()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn frames_are_what_they_say() {
        let text = "HEADERS 1 END_HEADERS END_STREAM | [:path|{open}/x] \\x80\n2x PING 0 | 12345678\nRAW | ab\n";
        let all = frames(text, &places()).unwrap();
        let head = b"\0\0\x10\x01\x05\0\0\0\x01\0\x05:path\x07/open/x\x80";
        let ping = b"\0\0\x08\x06\0\0\0\0\x0012345678";
        assert_eq!(all, [&head[..], ping, ping, b"ab"].concat());
    }

    #[test]
    fn a_case_says_one_thing_and_why() {
        let case = Case::parse("paths/x", "# a\nwhy: b\nexpect: 400\ntarget: {open}/x\n").unwrap();
        assert_eq!(case.expect, Expect::Status(400));
        for wrong in [
            "why: b\ntarget: /x",
            "expect: 400\ntarget: /x",
            "why: b\nexpect: maybe\ntarget: /x",
            "why: b\nexpect: 400",
            "why: b\nexpect: 400\nodd: 1\ntarget: /x",
            "why: b\nexpect: 400\ntarget: /x\n---\nGET",
            "why: b\nexpect: 200,\ntarget: /x",
            "why: b\nexpect: 400\nsignature: good\ntarget: /x",
            "why: b\nexpect: 400\nshape: padded\ntarget: /x",
            "why: b\nexpect: 400\nsignature: none\n---\nGET",
            "why: b\nexpect: 400\nsignature: none\ntarget: /x\nfield: Authorization: x",
        ] {
            assert!(Case::parse("paths/x", wrong).is_err(), "{wrong}");
        }
        let several = Case::parse("paths/x", "why: b\nexpect: 200, 400\n---\nGET").unwrap();
        assert_eq!(several.expect, Expect::Statuses(vec![200, 400]));
    }

    #[test]
    fn a_token_is_shown_where_a_case_says_and_otherwise_in_authorization() {
        let shown = |text: &str| {
            let text = format!("why: b\nexpect: 401\n{text}");
            let case = Case::parse("tokens/x", &text).unwrap();
            let Say::Request { target, fields, .. } = case.say else { panic!("{text}") };
            (case.token, target, fields)
        };
        let (token, target, fields) = shown("target: /x?t={token}\n");
        assert_eq!((token, fields), (Some(Token::default()), vec![]));
        let places = places().showing("a.{b}.c".to_owned());
        assert_eq!(bytes(&target, &places).unwrap(), b"/x?t=a.{b}.c");
        let (token, _, fields) = shown("target: /x\nsignature: hmac key\nclaims-without: a b\n");
        assert_eq!(fields, [("authorization".to_owned(), "Bearer {token}".to_owned())]);
        let token = token.unwrap();
        assert_eq!(token.signature, Signature::Hmac("key".to_owned()));
        assert_eq!(token.claims.without, ["a", "b"]);
        assert_eq!(shown("target: /x\n").0, None);
        assert!(bytes("{token}", &self::places()).is_err());
    }
}
