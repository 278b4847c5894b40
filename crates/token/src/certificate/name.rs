//! Distinguished names, as text (RFC 4514) and in certificates: compared by what they say.

use serde::{Deserialize, Serialize};
use x509_parser::{asn1_rs::Class, x509::X509Name};

/// The longest name, as text.
const LONGEST: usize = 2048;

/// Attribute types that have a name: those of RFC 4514 §3, and those that common tools write.
const TYPES: [(&str, &str); 20] = [
    ("cn", "2.5.4.3"),
    ("l", "2.5.4.7"),
    ("st", "2.5.4.8"),
    ("o", "2.5.4.10"),
    ("ou", "2.5.4.11"),
    ("c", "2.5.4.6"),
    ("street", "2.5.4.9"),
    ("dc", "0.9.2342.19200300.100.1.25"),
    ("uid", "0.9.2342.19200300.100.1.1"),
    ("emailaddress", "1.2.840.113549.1.9.1"),
    ("serialnumber", "2.5.4.5"),
    ("sn", "2.5.4.4"),
    ("gn", "2.5.4.42"),
    ("givenname", "2.5.4.42"),
    ("title", "2.5.4.12"),
    ("postalcode", "2.5.4.17"),
    ("businesscategory", "2.5.4.15"),
    ("organizationidentifier", "2.5.4.97"),
    ("jurisdictionc", "1.3.6.1.4.1.311.60.2.1.3"),
    ("jurisdictioncountryname", "1.3.6.1.4.1.311.60.2.1.3"),
];

/// A distinguished name that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistinguishedName {
    /// As it was written.
    text: String,
    /// Its parts, in the order of the text: the most specific first.
    parts: Vec<Part>,
}

/// What stands between two commas: attributes in no order.
type Part = Vec<(String, Value)>;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// A text, in whichever of the types of ASN.1 for text.
    Text(String),
    /// Something else: its tag and its content.
    Other(u32, Vec<u8>),
}

/// The text is not a distinguished name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a distinguished name as RFC 4514 writes it, such as `CN=billing,O=Example,C=JP`; \
     `openssl x509 -noout -subject -nameopt RFC2253 -in FILE` shows that of a certificate"
)]
pub struct InvalidName;

impl DistinguishedName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.len() > LONGEST {
            return Err(InvalidName);
        }
        let mut reader = Reader { rest: text.as_bytes() };
        let mut parts = Vec::new();
        loop {
            let mut part = vec![reader.attribute()?];
            while reader.takes(b'+') {
                part.push(reader.attribute()?);
            }
            part.sort_unstable();
            parts.push(part);
            if reader.rest.is_empty() {
                return Ok(Self { text: text.to_owned(), parts });
            }
            if !reader.takes(b',') {
                return Err(InvalidName);
            }
        }
    }

    /// The name in a certificate. `None`: it is empty.
    pub(super) fn of(name: &X509Name<'_>) -> Option<Self> {
        let part = |part: &x509_parser::x509::RelativeDistinguishedName<'_>| {
            let attributes = part.iter().map(|attribute| {
                let value = attribute.attr_value();
                let value = match value.class() {
                    Class::Universal => Value::of(value.tag().0, value.as_bytes()),
                    _ => Value::Other(u32::MAX, value.as_bytes().to_vec()),
                };
                (attribute.attr_type().to_id_string(), value)
            });
            let mut attributes: Part = attributes.collect();
            attributes.sort_unstable();
            attributes
        };
        let mut parts: Vec<_> = name.iter_rdn().map(part).collect();
        // RFC 4514 §2.1: the text begins with the last.
        parts.reverse();
        (!parts.is_empty()).then(|| Self { text: String::new(), parts })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both say the same.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl TryFrom<String> for DistinguishedName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<DistinguishedName> for String {
    fn from(name: DistinguishedName) -> Self {
        name.text
    }
}

impl Value {
    /// The value of an attribute in DER. Text that is in no order of bytes that is known stays what it
    /// is.
    fn of(tag: u32, bytes: &[u8]) -> Self {
        let text = match tag {
            // UTF8String; PrintableString, NumericString, IA5String and TeletexString.
            12 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            18 | 19 | 20 | 22 if bytes.is_ascii() => {
                std::str::from_utf8(bytes).ok().map(str::to_owned)
            }
            // UniversalString.
            28 => text_of(bytes, |four: [u8; 4]| char::from_u32(u32::from_be_bytes(four))),
            // BMPString.
            30 => text_of(bytes, |two: [u8; 2]| char::from_u32(u16::from_be_bytes(two).into())),
            _ => None,
        };
        text.map_or_else(|| Self::Other(tag, bytes.to_vec()), Self::Text)
    }

    /// A value that is written as its encoding (RFC 4514 §2.4).
    fn of_encoding(der: &[u8]) -> Option<Self> {
        let (tag, rest) = der.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, content) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
            0x82 => {
                let ([high, low], rest) = rest.split_first_chunk()?;
                (usize::from(*high) << 8 | usize::from(*low), rest)
            }
            _ => return None,
        };
        // Tags of one byte, of which the last five bits are the number.
        let universal = *tag < 0x1f;
        (universal && content.len() == length).then(|| Self::of(u32::from(*tag), content))
    }
}

/// Text whose characters have all the same number of bytes.
fn text_of<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> Option<char>) -> Option<String> {
    let (characters, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { characters.iter().map(|one| read(*one)).collect() } else { None }
}

/// What is left of a text.
struct Reader<'t> {
    rest: &'t [u8],
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.rest.first() == Some(&byte);
        if is_next {
            self.next();
        }
        is_next
    }

    /// Spaces around the signs: RFC 2253 §4 has them read, and tools write them.
    fn pass_spaces(&mut self) {
        while self.takes(b' ') {}
    }

    fn attribute(&mut self) -> Result<(String, Value), InvalidName> {
        self.pass_spaces();
        let end = self.rest.iter().position(|byte| *byte == b'=').ok_or(InvalidName)?;
        let (name, rest) = self.rest.split_at_checked(end).ok_or(InvalidName)?;
        let name = attribute_type(name.trim_ascii_end()).ok_or(InvalidName)?;
        self.rest = rest;
        self.next();
        self.pass_spaces();
        let value = if self.takes(b'#') { self.encoded()? } else { self.text()? };
        Ok((name, value))
    }

    /// What follows `#`.
    fn encoded(&mut self) -> Result<Value, InvalidName> {
        let mut der = Vec::new();
        while self.rest.first().is_some_and(u8::is_ascii_hexdigit) {
            der.push(self.hex_pair()?);
        }
        self.pass_spaces();
        Value::of_encoding(&der).ok_or(InvalidName)
    }

    /// A value up to the next sign that is not escaped.
    fn text(&mut self) -> Result<Value, InvalidName> {
        let (mut bytes, mut kept) = (Vec::new(), 0);
        while let Some(byte) = self.rest.first().copied().filter(|it| !matches!(it, b',' | b'+')) {
            self.next();
            match byte {
                b'\\' => {
                    bytes.push(self.escaped()?);
                    kept = bytes.len();
                }
                b'"' | b';' | b'<' | b'>' | 0 => return Err(InvalidName),
                b' ' => bytes.push(b' '),
                other => {
                    bytes.push(other);
                    kept = bytes.len();
                }
            }
        }
        // Spaces before the next sign are none of the value's.
        bytes.truncate(kept);
        let text = String::from_utf8(bytes).map_err(|_| InvalidName)?;
        if text.is_empty() { Err(InvalidName) } else { Ok(Value::Text(text)) }
    }

    /// What follows a backslash: a sign, or two hexadecimal digits.
    fn escaped(&mut self) -> Result<u8, InvalidName> {
        match self.rest.first() {
            Some(sign) if b" \"#+,;<=>\\".contains(sign) => self.next().ok_or(InvalidName),
            _ => self.hex_pair(),
        }
    }

    fn hex_pair(&mut self) -> Result<u8, InvalidName> {
        let mut digit = || {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(InvalidName)
        };
        Ok(digit()? << 4 | digit()?)
    }
}

/// The object identifier of an attribute type, by its name or as it is.
fn attribute_type(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let is_number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits && (part == "0" || !part.starts_with('0'))
        };
        let is_identifier = text.contains('.') && text.split('.').all(is_number);
        return is_identifier.then(|| text.to_owned());
    }
    let named = TYPES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    named.map(|(_, identifier)| (*identifier).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let read = |text: &str| DistinguishedName::parse(text).unwrap();
        read(one).is_same_as(&read(other))
    }

    #[test]
    fn names_are_the_same_however_they_are_written() {
        for (one, other) in [
            ("CN=billing,O=Example,C=JP", "cn=billing, o=Example, c=JP"),
            ("CN=billing,O=Example", "2.5.4.3=billing,2.5.4.10=Example"),
            ("CN=a+UID=b,O=c", "UID=b+CN=a,O=c"),
            ("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić"),
            ("CN=a\\, b", "CN=a\\2C b"),
            ("CN=#0C0161", "CN=a"),
            ("CN=#130161", "CN=a"),
            ("CN=#1E020061", "CN=a"),
            ("CN=#1C0400000061", "CN=a"),
            ("CN=a\\ ", "CN=a\\20"),
            ("CN = a , O = b", "CN=a,O=b"),
            ("CN=a=b", "CN=a\\=b"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn names_that_say_something_else_are_not_the_same() {
        for (one, other) in [
            ("CN=billing,O=Example", "O=Example,CN=billing"),
            ("CN=billing", "CN=Billing"),
            ("CN=billing", "OU=billing"),
            ("CN=billing", "CN=billing,O=Example"),
            ("CN=a+UID=b", "CN=a,UID=b"),
            ("CN=a\\,O=b", "CN=a,O=b"),
            ("CN=a\\+UID\\=b", "CN=a+UID=b"),
            ("CN=a\\ ", "CN=a"),
            ("CN=#020101", "CN=1"),
            ("CN=#040161", "CN=a"),
            ("CN=a\\00", "CN=a"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("CN={}", "a".repeat(LONGEST));
        for bad in [
            "",
            " ",
            "CN",
            "CN=",
            "=a",
            "XX=a",
            "CN=a,",
            ",CN=a",
            "CN=a+",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN=a<b",
            "CN=a\\",
            "CN=a\\z",
            "CN=a\\4",
            "CN=\\FF",
            "CN=#",
            "CN=#0C",
            "CN=#0C026",
            "CN=#0C0261",
            "CN=#0C01616",
            "CN=#0C0161x",
            "02.5=a",
            "2.=a",
            "2=a",
            "2.5.4.3.=a",
            "/CN=a",
            &long,
        ] {
            assert_eq!(DistinguishedName::parse(bad), Err(InvalidName), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_or_is_not(text in r#"[CNO=,+\\#a-f0-9 "é]{0,40}"#) {
            if let Ok(name) = DistinguishedName::parse(&text) {
                proptest::prop_assert_eq!(name.as_str(), text.as_str());
                proptest::prop_assert!(!name.parts.is_empty());
            }
        }
    }
}
