//! JSON, written quickly. Every request leaves a record, and nearly no text in it needs an escape: what does not
//! is copied as it is, and what does is left to `serde_json`.

use serde::Serialize;

/// An object that is being written.
pub(super) struct Line<'b> {
    out: &'b mut Vec<u8>,
    begun: bool,
}

impl<'b> Line<'b> {
    /// Begins an object.
    pub(super) fn begin(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, begun: false }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_text(self.out, text);
    }

    /// A text, where there is one.
    pub(super) fn maybe(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// A text, where it says something.
    pub(super) fn unless_empty(&mut self, name: &'static str, text: &str) {
        self.maybe(name, Some(text).filter(|text| !text.is_empty()));
    }

    /// A number.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Something else.
    pub(super) fn value(&mut self, name: &'static str, value: &impl Serialize) {
        self.name(name);
        write_value(self.out, value);
    }

    /// Texts, where there are any.
    pub(super) fn texts<'t>(
        &mut self,
        name: &'static str,
        texts: impl IntoIterator<Item = &'t str>,
    ) {
        let mut texts = texts.into_iter().peekable();
        if texts.peek().is_none() {
            return;
        }
        self.name(name);
        let mut before = b'[';
        for text in texts {
            self.out.push(before);
            write_text(self.out, text);
            before = b',';
        }
        self.out.push(b']');
    }

    /// An object.
    pub(super) fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Line<'_>)) {
        self.name(name);
        let mut object = Line::begin(self.out);
        members(&mut object);
        object.end();
    }

    /// Objects.
    pub(super) fn objects<T>(
        &mut self,
        name: &'static str,
        all: impl Iterator<Item = T>,
        members: impl Fn(&mut Line<'_>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (at, one) in all.enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            let mut object = Line::begin(self.out);
            members(&mut object, one);
            object.end();
        }
        self.out.push(b']');
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// The name of a member: our own words, which need no escape.
    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(if self.begun { b",\"" } else { b"\"" });
        self.begun = true;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Without an early end, so that many bytes are looked at in one step.
    let escapes = |seen, byte: &u8| seen | (*byte < b' ') | (*byte == b'"') | (*byte == b'\\');
    if text.as_bytes().iter().fold(false, escapes) {
        write_value(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Texts and numbers always have a JSON form, and writing to memory does not fail.
    let _ = serde_json::to_writer(out, value);
}
