//! Where a request goes, in the one form in which two spellings of a place are compared
//! (RFC 9449 §4.3: RFC 3986 §6.2.2 and §6.2.3, without query and fragment).

/// An absolute `http` or `https` URI without query and fragment, in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetUri(String);

impl TargetUri {
    /// Reads a URI. What stands behind `?` or `#` is passed over. `None`: it is not absolute, names
    /// a user, or is no URI of HTTP.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, default) = match scheme {
            it if it.eq_ignore_ascii_case("https") => ("https", "443"),
            it if it.eq_ignore_ascii_case("http") => ("http", "80"),
            _ => return None,
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority_of(authority)?;
        let mut normal = format!("{scheme}://{}", host.to_ascii_lowercase());
        if !port.is_empty() && port != default {
            normal.push(':');
            normal.push_str(port);
        }
        normal.push_str(&path_of(path)?);
        Some(Self(normal))
    }

    /// The URI, in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Host and port. A port is written without leading zeros, so that it has one form.
fn authority_of(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let end = inner.find(']')? + 2;
        let (host, rest) = authority.split_at_checked(end)?;
        let legal =
            |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'[' | b']');
        (host.bytes().all(legal).then_some(host)?, rest)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, rest) = authority.split_at(end);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        (host.bytes().all(legal).then_some(host).filter(|host| !host.is_empty())?, rest)
    };
    let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
    let is_port = port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (!port.starts_with('0'));
    is_port.then_some((host, port))
}

/// A path in normal form: escapes in upper case and only where they are needed, no dot segments, and
/// not empty.
fn path_of(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
                let value = u8::try_from(value).ok()?;
                if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
                    decoded.push(char::from(value));
                } else {
                    decoded.push_str(&format!("%{value:02X}"));
                }
            }
            0x21..=0x7e => decoded.push(char::from(byte)),
            _ => return None,
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = true;
    for segment in decoded.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    // RFC 3986 §5.2.4: what ends in a dot segment ends in a slash.
    if ends_open {
        kept.push("");
    }
    Some(format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        TargetUri::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn spellings_of_one_place_are_one() {
        for text in [
            "https://a.example/b/c",
            "HTTPS://A.Example/b/c",
            "https://a.example:443/b/c",
            "https://a.example:/b/c",
            "https://a.example/b/c?d=e#f",
            "https://a.example/b/c#f?g",
            "https://a.example/%62/c",
            "https://a.example/x/../b/./c",
        ] {
            assert_eq!(normal(text), "https://a.example/b/c", "{text}");
        }
        assert_eq!(normal("http://h"), "http://h/");
        assert_eq!(normal("http://h?x"), "http://h/");
        assert_eq!(normal("http://[::1]:8000/a%2fb"), "http://[::1]:8000/a%2Fb");
        assert_eq!(normal("http://h:80/a/"), "http://h/a/");
        assert_eq!(normal("http://h/a/b/.."), "http://h/a/");
        assert_eq!(normal("http://h/../../a"), "http://h/a");
    }

    #[test]
    fn other_places_stay_apart() {
        let one = TargetUri::parse("https://a.example/b").unwrap();
        for other in [
            "http://a.example/b",
            "https://a.example:8443/b",
            "https://a.example/B",
            "https://a.example/b/",
            "https://a.example/b%2F",
            "https://a.example//b",
            "https://b.example/b",
            "https://a.example.evil/b",
        ] {
            assert_ne!(TargetUri::parse(other).as_ref(), Some(&one), "{other}");
        }
    }

    #[test]
    fn refuses_what_is_no_absolute_uri_of_http() {
        for bad in [
            "",
            "/b",
            "a.example/b",
            "//a.example/b",
            "ftp://a.example/b",
            "https:///b",
            "https://user@a.example/b",
            "https://a.example@evil.example/b",
            "https://a.example\\@evil.example/b",
            "https://a.example:x/b",
            "https://a.example:0443/b",
            "https://a.example:123456/b",
            "https://[::1/b",
            "https://[::1]x/b",
            "https://ä.example/b",
            "https://a.example/b c",
            "https://a.example/%zz",
            "https://a.example/%4",
            "https://a.example/\u{e4}",
        ] {
            assert_eq!(TargetUri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn is_read_as_it_was_written() {
        for text in ["https://a.example/b/c", "http://[::1]:8000/%2F", "http://h//a/"] {
            assert_eq!(normal(&normal(text)), normal(text));
        }
    }
}
