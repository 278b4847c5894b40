//! What was decided and what happened, in the forms that other systems read.
//!
//! | module | subject |
//! |---|---|
//! | `ascii` | JSON in which nothing ends a line or commands a terminal |
//! | `ocsf` | Open Cybersecurity Schema Framework 1.3 |
//! | `syslog` | RFC 5424 |
//! | `otlp` | OpenTelemetry logs, OTLP/HTTP in JSON |
//! | `sink` | where it goes |
//! | `state` | how far it has gone |

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tegata_core::Timestamp;
use tegata_gateway::decision_log;

use crate::operate::events;

mod ascii;
mod ocsf;
mod otlp;
pub(crate) mod sink;
pub(crate) mod state;
mod syslog;

/// The form of what is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Form {
    /// A JSON object in each line, as it was written down, with its place.
    #[default]
    Jsonl,
    /// A JSON object in each line, of OCSF 1.3.
    Ocsf,
    /// Messages of RFC 5424: in a file one in each line, over TCP after their lengths (RFC 6587).
    Syslog,
    /// OpenTelemetry logs (OTLP/HTTP, JSON).
    Otlp,
}

/// Something that was decided, or that happened.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A record of the log of decisions.
    Decision(Record),
    /// An event of the journal.
    Event { position: u64, event: Map<String, Value> },
}

/// A record of the log of decisions, read.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    place: decision_log::Entry,
    says: Map<String, Value>,
}

impl From<decision_log::Entry> for Item {
    fn from(entry: decision_log::Entry) -> Self {
        // What the log holds was JSON when it was written, and its hash says that it still is.
        let says = serde_json::from_str(&entry.record).unwrap_or_default();
        Self::Decision(Record { place: entry, says })
    }
}

impl From<events::Entry> for Item {
    fn from(entry: events::Entry) -> Self {
        let event = match entry.event {
            Value::Object(event) => event,
            other => [("unread".to_owned(), other)].into_iter().collect(),
        };
        Self::Event { position: entry.position, event }
    }
}

impl Item {
    /// The place after it, to go on from.
    pub(crate) fn position(&self) -> String {
        match self {
            Self::Decision(record) => record.place.position().to_string(),
            Self::Event { position, .. } => position.to_string(),
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Decision(record) => record.place.record.len(),
            Self::Event { event, .. } => {
                64 + event.values().map(|it| it.to_string().len()).sum::<usize>()
            }
        }
    }

    /// What names it among all that are ever handed on, so that whoever gets it twice notices.
    fn uid(&self) -> String {
        match self {
            Self::Decision(Record { place, .. }) => {
                format!("{}:{}", place.chain.as_deref().unwrap_or("log"), place.number)
            }
            Self::Event { position, event } => match event.get("id").and_then(Value::as_str) {
                Some(id) => id.to_owned(),
                None => format!("journal:{position}"),
            },
        }
    }

    fn says(&self) -> &Map<String, Value> {
        match self {
            Self::Decision(record) => &record.says,
            Self::Event { event, .. } => event,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.says().get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.says().get(name).and_then(Value::as_u64)
    }

    /// When, in milliseconds since 1970.
    fn at(&self) -> u64 {
        match self {
            Self::Decision(_) => self.number("at").unwrap_or_default(),
            // The hybrid clock of an event begins with the wall time of its node.
            Self::Event { event, .. } => {
                let timestamp = event.get("timestamp").and_then(Value::as_str);
                timestamp.and_then(millis).unwrap_or_default()
            }
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.at())
    }

    /// Which record of the log about itself it is, if it is one.
    fn own(&self) -> Option<&str> {
        match self {
            Self::Decision(_) => self.text("log"),
            Self::Event { .. } => None,
        }
    }

    /// Whether other systems are told of it: that segments begin and are signed is for the log itself.
    fn is_told(&self) -> bool {
        matches!(self.own(), None | Some("lost"))
    }

    /// What happened, in a word.
    fn kind(&self) -> &str {
        match self {
            Self::Decision(_) if self.own().is_some() => "lost",
            Self::Decision(_) => "decision",
            Self::Event { .. } => self.text("type").unwrap_or("event"),
        }
    }

    /// Whether it is a refusal, or worse.
    fn is_bad(&self) -> bool {
        match self {
            Self::Decision(_) => self.own().is_some() || self.text("result") == Some("deny"),
            Self::Event { .. } => {
                matches!(self.kind(), "SIGN_IN_FAILED" | "SUSPICIOUS_SESSION_ACCESS")
            }
        }
    }

    /// A sentence for people.
    fn sentence(&self) -> String {
        match self {
            Self::Decision(_) if self.own().is_some() => {
                format!("{} decisions were not recorded", self.number("count").unwrap_or_default())
            }
            Self::Decision(_) => {
                let part = |name| self.text(name).unwrap_or("-");
                let reason = self.text("reason").map(|it| format!(" ({it})")).unwrap_or_default();
                format!("{} {}: {}{reason}", part("method"), part("path"), part("result"))
            }
            Self::Event { .. } => self.kind().to_owned(),
        }
    }

    /// Who or what it is of.
    fn source(&self) -> &str {
        match self {
            Self::Decision(Record { place, .. }) => place.chain.as_deref().unwrap_or("-"),
            Self::Event { .. } => self.text("node").unwrap_or("-"),
        }
    }

    /// All that was written down, with its place.
    fn whole(&self) -> Value {
        match self {
            Self::Decision(Record { place, says }) => {
                let mut whole = Map::new();
                whole.insert("number".to_owned(), place.number.into());
                whole.insert("segment".to_owned(), place.segment.into());
                whole.insert("hash".to_owned(), place.hash.clone().into());
                whole.insert("chain".to_owned(), json!(place.chain));
                // What the record says of itself does not stand over its place.
                for (name, value) in says {
                    whole.entry(name.clone()).or_insert_with(|| value.clone());
                }
                whole.into()
            }
            Self::Event { position, event } => {
                let mut whole = event.clone();
                whole.insert("position".to_owned(), (*position).into());
                whole.into()
            }
        }
    }
}

/// Reads a time as our own events have it (RFC 3339, UTC, milliseconds).
pub(crate) fn millis(text: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let milli = text.get(20..23).and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    // Days since 1970 of a date in the Gregorian calendar, counted from March.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let of_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    let days = (year * 365 + year / 4 - year / 100 + year / 400 + of_year).checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milli)
}

/// Messages, each of which is one record.
pub(crate) fn messages(form: Form, items: &[Item]) -> Vec<String> {
    match form {
        Form::Jsonl => items.iter().map(|item| ascii::json(&item.whole())).collect(),
        Form::Ocsf => told(items).map(|item| ascii::json(&ocsf::event(item))).collect(),
        Form::Syslog => told(items).map(syslog::message).collect(),
        Form::Otlp => {
            let told: Vec<_> = told(items).collect();
            if told.is_empty() { Vec::new() } else { vec![ascii::json(&otlp::request(&told))] }
        }
    }
}

/// Gives an object another member.
fn add(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

fn told(items: &[Item]) -> impl Iterator<Item = &Item> {
    items.iter().filter(|item| item.is_told())
}

#[cfg(test)]
mod tests;
