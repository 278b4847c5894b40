//! A case of the corpus: what is said, what must come of it, and why.
//!
//! A file begins with keys, `key: value`, after comments that say what it is about. Then either the keys
//! `target`, `method`, `token` and `field` say a request (with `typ`, `header` or `claims`, one with a token that is
//! signed as a good one is, and of which those members are otherwise, or missing where they are `null`), which is
//! sent over HTTP/1.1 and over HTTP/2; or, after a line `---`, everything is said byte for byte. There, line breaks count for nothing, and `\r`, `\n`, `\t`, `\\` and
//! `\xNN` stand for bytes. In cases of `http2/` each line is a frame: its type, its stream, its flags by their
//! names, and after `|` its payload. In it, `[name|value]` is a header field that is not compressed.
//!
//! `{open}` stands for a path that everybody may ask for, `{guarded}` for one that needs a token, `{host}` for the
//! host, `{canary}` for an address that nobody may fetch from, and `{x*100}` for that many `x`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::frames;

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
    /// Whether the path for everybody must lead to a service that answers with what it was sent.
    pub needs_echo: bool,
    /// What is otherwise than in a good token, where one is shown that is signed with the right key.
    pub signed: Option<Signed>,
    /// What is said.
    pub say: Say,
}

/// A token that is signed with the right key, and what of it is not as it must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// What it says that it is; empty: nothing.
    pub typ: Option<String>,
    /// Members of its header, in JSON.
    pub header: Option<String>,
    /// Members of its claims, in JSON. `{now+5}` and `{now-5}` stand for so many seconds from now.
    pub claims: Option<String>,
}

/// What must come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// This status. Over HTTP/2, a client error may also be a stream or a connection that is reset.
    Status(u16),
    /// It is served.
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
        let (mut why, mut expect, mut problem, mut absent) = (None, None, None, None);
        let mut signed: Option<Signed> = None;
        let (mut method, mut target, mut fields, mut needs_echo) = ("GET", None, Vec::new(), false);
        for line in keys.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (key, value) =
                line.split_once(": ").with_context(|| format!("`{line}` is no key"))?;
            match key {
                "why" => why = Some(value.to_owned()),
                "expect" => {
                    expect = Some(match value {
                        "served" => Expect::Served,
                        "refused" => Expect::Refused,
                        status => Expect::Status(status.parse().context("what is expected?")?),
                    });
                }
                "problem" => problem = Some(value.to_owned()),
                "absent" => absent = Some(value.to_owned()),
                "needs" if value == "echo" => needs_echo = true,
                "typ" | "header" | "claims" => {
                    let signed = signed.get_or_insert_default();
                    let member = match key {
                        "typ" => &mut signed.typ,
                        "header" => &mut signed.header,
                        _ => &mut signed.claims,
                    };
                    *member = Some(value.trim().to_owned());
                }
                "method" => method = value,
                "target" => target = Some(value.to_owned()),
                "token" => fields.push(("authorization".to_owned(), format!("Bearer {value}"))),
                "field" => {
                    let (name, value) = value.split_once(": ").context("a field has a value")?;
                    fields.push((name.to_owned(), value.to_owned()));
                }
                _ => bail!("`{key}` is not known"),
            }
        }
        let say = match (bytes, target) {
            (Some(bytes), None) if name.starts_with("http2/") => Say::Frames(bytes.to_owned()),
            (Some(bytes), None) => Say::Bytes(bytes.to_owned()),
            (None, Some(target)) => Say::Request { method: method.to_owned(), target, fields },
            _ => bail!("there is either a target or bytes"),
        };
        if signed.is_some() && !matches!(say, Say::Request { .. }) {
            bail!("a token is signed for requests alone");
        }
        Ok(Self {
            name: name.to_owned(),
            why: why.context("why?")?,
            expect: expect.context("what is expected?")?,
            problem,
            absent,
            needs_echo,
            signed,
            say,
        })
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        let mut case = self.clone();
        if let Say::Request { fields, .. } = &mut case.say {
            fields.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        case
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
                    "host" => bytes.extend(places.host.bytes()),
                    "canary" => bytes.extend(places.canary.bytes()),
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
        ] {
            assert!(Case::parse("paths/x", wrong).is_err(), "{wrong}");
        }
    }
}
