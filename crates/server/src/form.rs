//! `application/x-www-form-urlencoded`, read strictly: a `%` without two digits and bytes that are
//! no UTF-8 are errors, not characters, so that no two readers see different fields.

use tegata_core::Secret;

/// The most fields that are read.
const MOST: usize = 200;

/// The fields of a form or of a query, in order.
pub struct Fields(Vec<(String, String)>);

/// The text is not a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAForm;

/// Decodes a form or a query.
///
/// # Errors
/// [`NotAForm`].
pub fn decode(bytes: &[u8]) -> Result<Fields, NotAForm> {
    let mut fields = Vec::new();
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if fields.len() >= MOST {
            return Err(NotAForm);
        }
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (pair.get(..at), pair.get(at + 1..)),
            None => (Some(pair), None),
        };
        fields.push((text(name.unwrap_or_default())?, text(value.unwrap_or_default())?));
    }
    Ok(Fields(fields))
}

/// Whether a `Content-Type` says that the body is a form. Forms are UTF-8 whatever else is said.
#[must_use]
pub fn is_form(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

fn text(encoded: &[u8]) -> Result<String, NotAForm> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push(high * 16 + low);
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| NotAForm)
}

fn digit(byte: Option<&u8>) -> Result<u8, NotAForm> {
    match byte {
        Some(byte @ b'0'..=b'9') => Ok(byte - b'0'),
        Some(byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
        Some(byte @ b'A'..=b'F') => Ok(byte - b'A' + 10),
        _ => Err(NotAForm),
    }
}

impl Fields {
    /// The value of a field that stands once.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        value.filter(|_| values.next().is_none())
    }

    /// The value of a field that nobody else may see.
    #[must_use]
    pub fn secret(&self, name: &str) -> Secret<String> {
        Secret::new(self.one(name).unwrap_or_default().to_owned())
    }

    /// The fields themselves.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_browsers_encode() {
        let fields = decode(b"a=1+2&b=%C3%A9%26&c&=d&&e=f=g").unwrap().into_pairs();
        let pairs = [("a", "1 2"), ("b", "é&"), ("c", ""), ("", "d"), ("e", "f=g")];
        assert_eq!(fields, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1", "a=%C3%28", "a=%u0041"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode(b"a=\xff").is_err());
        assert!(decode("a=1&".repeat(MOST + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_field_that_stands_twice_has_no_value() {
        let fields = decode(b"a=1&b=2&a=1").unwrap();
        assert_eq!((fields.one("a"), fields.one("b"), fields.one("c")), (None, Some("2"), None));
    }
}
