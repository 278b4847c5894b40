//! JSON in which nothing ends a line, hides a part of it or commands a terminal: all of it is printable ASCII.

use std::io;

use serde::Serialize as _;
use serde_json::{Serializer, Value, ser::Formatter};

/// Writes what is not printable ASCII as escapes.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut units = [0; 2];
        for letter in fragment.chars() {
            if letter == ' ' || letter.is_ascii_graphic() {
                writer.write_all(letter.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                for unit in letter.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// A value in one line.
pub(super) fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    // Values always have a JSON form, and writing to memory does not fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, Ascii));
    String::from_utf8(bytes).unwrap_or_default()
}

/// A text in which what is not printable ASCII stands as in JSON.
pub(super) fn text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut units = [0; 2];
    for letter in text.chars() {
        if letter == ' ' || letter.is_ascii_graphic() {
            plain.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut units) {
                plain.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    plain
}
