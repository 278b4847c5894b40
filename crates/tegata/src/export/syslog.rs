//! Messages of RFC 5424.

use super::{Item, ascii};

/// Security and authorisation messages (RFC 5424 §6.2.1).
const FACILITY: u8 = 10;

/// What our members of structured data are called: a number for examples (RFC 5612), until there is one of
/// our own.
const NAMED: &str = "tegata@32473";

/// What of a decision is among the structured data.
const OF_DECISIONS: [&str; 12] = [
    "request", "trace", "client", "subject", "jti", "sid", "method", "path", "service", "result",
    "reason", "rule",
];

/// What of an event is.
const OF_EVENTS: [&str; 4] = ["id", "type", "realm", "trace_id"];

/// One message, without a line feed: all of it is printable ASCII.
pub(super) fn message(item: &Item) -> String {
    let severity = match (item.own(), item.is_bad()) {
        (Some(_), _) => 3,
        (None, true) => 4,
        (None, false) => 6,
    };
    let priority = FACILITY * 8 + severity;
    let data = data(item);
    let (time, host, kind) = (item.time(), name(item.source(), 255), name(item.kind(), 32));
    let says = ascii::json(&item.whole());
    format!("<{priority}>1 {time} {host} tegata - {kind} [{NAMED}{data}] {says}")
}

fn data(item: &Item) -> String {
    let names: &[&str] = match item {
        Item::Decision(_) => &OF_DECISIONS,
        Item::Event { .. } => &OF_EVENTS,
    };
    let mut data = format!(" uid=\"{}\"", value(&item.uid()));
    for member in names {
        if let Some(text) = item.text(member) {
            data.push_str(&format!(" {member}=\"{}\"", value(text)));
        }
    }
    if let Some(status) = item.number("status") {
        data.push_str(&format!(" status=\"{status}\""));
    }
    data
}

/// The value of a parameter: `"`, `\` and `]` would end it (RFC 5424 §6.3.3).
fn value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in ascii::text(text).chars() {
        if matches!(letter, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A field of the header: printable, without spaces, not longer than allowed.
fn name(text: &str, longest: usize) -> String {
    let plain: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if plain.is_empty() { "-".to_owned() } else { plain }
}
