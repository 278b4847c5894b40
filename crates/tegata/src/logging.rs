//! What the program says while it runs: one line for each event, on standard error.
//!
//! Much of what is said was chosen by others: paths, addresses, what a store or another server answers. In
//! a line, whatever could end it, hide a part of it or command a terminal is written as an escape, whoever
//! said it and in either form, so that nothing can look like another line.

use std::{fmt::Write as _, io};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, reload, util::SubscriberInitExt as _};

use crate::{
    command::Failed,
    config::{LogForm, Observability},
    supervisor,
};

/// How much is said, which can change while the program runs.
pub(crate) struct Level(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl Level {
    /// From now on so much is said.
    pub(crate) fn set(&self, filter: EnvFilter) -> Result<(), String> {
        (self.0)(filter).map_err(|error| format!("[observability] level: {error}"))
    }
}

/// Starts logging to standard error, panics included. Answers what changes how much is said.
pub(crate) fn start(observability: &Observability) -> Result<Level, Failed> {
    let (subscriber, level) = to(observability, io::stderr)?;
    let started = subscriber.try_init();
    started.map_err(|error| Failed::Operation(format!("logging: {error}")))?;
    supervisor::note_panics();
    Ok(level)
}

/// What `[observability] level` lets pass.
pub(crate) fn filter(observability: &Observability) -> Result<EnvFilter, Failed> {
    let filter = EnvFilter::try_new(&observability.level).map_err(|error| {
        Failed::Usage(format!("[observability] level `{}`: {error}", observability.level))
    })?;
    // It tells of every connection; what follows from one that is lost, the feed says itself.
    let quiet = !observability.level.contains("async_nats");
    Ok(match "async_nats=warn".parse() {
        Ok(directive) if quiet => filter.add_directive(directive),
        _ => filter,
    })
}

/// What logs to the writers that `make` makes.
pub(crate) fn to<W: io::Write + 'static>(
    observability: &Observability,
    make: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(Box<dyn Subscriber + Send + Sync>, Level), Failed> {
    let form = observability.log;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(observability)?)
        .with_writer(Lines { make, form })
        // Whoever reads the log may go away: a log that cannot be written stops nobody.
        .log_internal_errors(false);
    Ok(match form {
        LogForm::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            let level = Level(Box::new(move |filter| handle.reload(filter)));
            (Box::new(subscriber.finish()), level)
        }
        LogForm::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_filter_reloading();
            let handle = subscriber.reload_handle();
            let level = Level(Box::new(move |filter| handle.reload(filter)));
            (Box::new(subscriber.finish()), level)
        }
    })
}

/// Makes writers of whole lines.
struct Lines<M> {
    make: M,
    form: LogForm,
}

impl<'a, W: io::Write, M: Fn() -> W> MakeWriter<'a> for Lines<M> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { writer: (self.make)(), form: self.form }
    }
}

/// Writes a line, which comes whole: as one event, with the line feed that ends it.
struct Line<W> {
    writer: W,
    form: LogForm,
}

impl<W: io::Write> io::Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(is_unseen) {
            self.writer.write_all(format!("{}\n", escaped(line, self.form)).as_bytes())?;
        } else {
            self.writer.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Whether a character does something in place of being seen: it ends a line, moves a cursor, turns the
/// direction of a text, or takes no room.
const fn is_unseen(it: char) -> bool {
    matches!(it,
        // C0 and C1, among them ESC, NEL and the CSI of eight bits.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Marks of direction, and what takes no room.
        | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{feff}'
        // Ends of lines and paragraphs, embeddings, overrides and isolates.
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        // Between lines of a note, and letters that only machines read.
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        // Fillers, joiners and selectors of variants.
        | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}')
}

/// A line with escapes in the place of what is not seen. In JSON they are those of its strings, for
/// outside of those there is nothing of the kind.
fn escaped(line: &str, form: LogForm) -> String {
    let mut escaped = String::with_capacity(line.len() + 16);
    for it in line.chars() {
        // Writing to a string does not fail.
        let _ = match (it, form) {
            (it, _) if !is_unseen(it) => escaped.write_char(it),
            (it, LogForm::Text) => write!(escaped, "{}", it.escape_default()),
            (it, LogForm::Json) => it
                .encode_utf16(&mut [0; 2])
                .iter()
                .try_for_each(|unit| write!(escaped, "\\u{unit:04x}")),
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while something is done.
    fn logged(form: LogForm, act: impl FnOnce()) -> String {
        let log = Log::default();
        let written = log.clone();
        let set = Observability { log: form, ..Observability::default() };
        tracing::subscriber::with_default(to(&set, move || log.clone()).unwrap().0, act);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// What somebody sends who wants a line of their own.
    const FORGED: [&str; 12] = [
        "a\n2026-01-01T00:00:00Z  INFO tegata: nothing happened",
        "a\r\nb",
        "a\rb",
        "\u{1b}[2K\u{1b}[1Ab",
        "\u{9b}2Kb",
        "a\u{85}b",
        "a\u{2028}b\u{2029}c",
        "\u{202e}gpj.exe",
        "a\u{2066}b\u{2069}",
        "a\0\u{8}\u{7f}b",
        "a\u{200b}\u{feff}b",
        "a\u{e0041}b",
    ];

    /// Says it in every way in which something is said.
    fn say(hostile: &str) {
        let error = io::Error::other(hostile.to_owned());
        let span =
            tracing::info_span!("request", path = %hostile, seen = ?hostile, plain = hostile);
        span.in_scope(|| {
            tracing::info!(path = %hostile, seen = ?hostile, plain = hostile, %error, "it was {hostile}");
        });
    }

    #[test]
    fn nothing_that_others_say_ends_a_line_or_commands_a_terminal() {
        for form in [LogForm::Text, LogForm::Json] {
            for hostile in FORGED {
                let text = logged(form, || say(hostile));
                assert_eq!(text.matches('\n').count(), 1, "{text:?}");
                let line = text.strip_suffix('\n').unwrap();
                let unseen = |it: char| {
                    it.is_control() || (!it.is_ascii() && format!("{it:?}").starts_with("'\\u"))
                };
                assert!(!line.contains(unseen) && !line.contains(is_unseen), "{line:?}");
            }
        }
    }

    #[test]
    fn how_much_is_said_changes_while_it_runs() {
        for form in [LogForm::Text, LogForm::Json] {
            let log = Log::default();
            let written = log.clone();
            let set = Observability { log: form, level: "warn".to_owned() };
            let (subscriber, level) = to(&set, move || log.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                let say = |it: &str| tracing::info!("it was {it}");
                say("before");
                let set = Observability { level: "info".to_owned(), ..set.clone() };
                level.set(filter(&set).unwrap()).unwrap();
                say("after");
            });
            let text = String::from_utf8(written.0.lock().clone()).unwrap();
            assert!(text.contains("it was after") && !text.contains("it was before"), "{text}");
        }
    }

    #[test]
    fn machines_read_what_was_said() {
        for hostile in FORGED {
            let text = logged(LogForm::Json, || say(hostile));
            let line: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(line["plain"], hostile);
            assert_eq!(line["message"], format!("it was {hostile}"));
            assert_eq!(line["span"]["path"], hostile);
        }
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for form in [LogForm::Text, LogForm::Json] {
            let text = logged(form, || tracing::warn!(name = "山田 é \\n", "it is `well`"));
            assert!(text.contains("山田 é") && text.contains("it is `well`"), "{text}");
        }
    }
}
