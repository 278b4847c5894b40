//! Paths of the administration: segments that are decoded once, and compared as they are.

/// The segments after `/admin/v1`, decoded. `None`: it is no path beneath it, or a segment is no text.
/// What is decoded is never split again, so that no encoded slash begins another segment.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix(super::PATH)?.strip_prefix('/')?;
    rest.split('/').map(decoded).collect()
}

/// What a pattern of the table finds in the places of a path. `None`: it is another path.
pub(super) fn matched(pattern: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut pattern = pattern.split('/').skip(1);
    let mut named = Vec::new();
    for segment in segments {
        let expected = pattern.next()?;
        if expected.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            named.push(segment.clone());
        } else if expected != segment {
            return None;
        }
    }
    pattern.next().is_none().then_some(named)
}

/// Percent-decodes a segment. `None`: it is malformed, or no UTF-8.
pub(crate) fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// A name as a segment of a path.
#[must_use]
pub fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, path: &str) -> Option<Vec<String>> {
        matched(pattern, &segments(path)?)
    }

    #[test]
    fn finds_names_decoded_once() {
        let one = |name: &str| Some(vec![name.to_owned()]);
        assert_eq!(found("/users/{id}", "/admin/v1/users/usr_1"), one("usr_1"));
        assert_eq!(found("/users/{id}", "/admin/v1/users/a%2Fb%252F"), one("a/b%2F"));
        assert_eq!(found("/users/{id}", "/admin/v1/users/%2e%2e"), one(".."));
        assert_eq!(found("/users/{id}", "/admin/v1/users/%00"), one("\0"));
        assert_eq!(found("/users", "/admin/v1/users"), Some(vec![]));
        assert_eq!(found("/%75sers", "/admin/v1/%75sers"), None);
        let name = "a/b c%é\0..";
        assert_eq!(found("/x/{id}", &format!("/admin/v1/x/{}", encoded(name))), one(name));
    }

    #[test]
    fn what_is_malformed_or_longer_or_shorter_is_another_path() {
        for path in [
            "/admin/v1",
            "/admin/v1/",
            "/admin/v1/users",
            "/admin/v1/users/",
            "/admin/v1/users/a/",
            "/admin/v1/users/a/b",
            "/admin/v1//users/a",
            "/admin/v1/users/%",
            "/admin/v1/users/%g0",
            "/admin/v1/users/%ff",
            "/admin/v1/users/%+1",
            "/admin/v1/clients/a",
            "/admin/v2/users/a",
            "/users/a",
            "/admin/v1users/a",
        ] {
            assert_eq!(found("/users/{id}", path), None, "{path}");
        }
    }
}
