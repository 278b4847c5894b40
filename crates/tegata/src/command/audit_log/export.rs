//! `tegata audit-log export`: hands on what was decided, or what happened.

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue};
use serde_json::json;
use tegata_gateway::decision_log::{Position, Reader};

use super::super::{Context, Failed};
use crate::{
    background::pause,
    compose,
    config::Span,
    decisions,
    export::{
        Form, Item, messages,
        sink::{Sink, Target, Undelivered, Way},
        state::State,
    },
    operate::{Order, events::Events},
};

/// So many records are handed over at once.
const TOGETHER: usize = 500;

/// Or so many bytes of them.
const LARGEST: usize = 1 << 20;

/// How often it is looked whether there is more, by whoever follows.
const LOOKS: Duration = Duration::from_millis(500);

/// The pause after a first attempt that failed; each further one is twice as long, up to a minute.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum What {
    /// The log of decisions of this node.
    #[default]
    Decisions,
    /// The journal of events of the installation.
    Events,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Events => "events",
        }
    }
}

#[derive(Args)]
pub(crate) struct Export {
    /// The directory of a log of decisions; the one of the data directory, if nothing is said.
    path: Option<PathBuf>,
    /// What is handed on.
    #[arg(long, value_enum, default_value_t)]
    what: What,
    /// In which form.
    #[arg(long = "as", value_enum, default_value_t, value_name = "FORM")]
    form: Form,
    /// Where to: a file, `-`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `http://…` or `https://…`.
    #[arg(long, default_value = "-")]
    to: String,
    /// The position to go on from, which an earlier export said.
    #[arg(long, value_name = "POSITION", conflicts_with = "first")]
    from: Option<String>,
    /// The first segment, where those before were moved away.
    #[arg(long, value_name = "SEGMENT")]
    first: Option<u64>,
    /// A file in which it is kept how far it has come, and from where it goes on.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Goes on with what comes, until it is ended.
    #[arg(long)]
    follow: bool,
    /// How long a collector may take to accept something.
    #[arg(long, default_value = "30s", value_name = "SPAN", value_parser = span)]
    timeout: Span,
    /// How often something is tried that a collector does not accept; for ever, where it is followed.
    #[arg(long, default_value_t = 5)]
    attempts: u32,
    /// Certificates of the authorities that sign the collector's, in PEM; the system's if nothing is said.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with lines `Name: value`, fields of the header of HTTP requests: credentials, for example.
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// Allows `tcp://` and `http://` to other machines: where the network encrypts.
    #[arg(long)]
    danger_plaintext: bool,
}

fn span(text: &str) -> Result<Span, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Where records come from.
enum Source {
    Decisions(Box<Reader>),
    Events { after: u64 },
}

/// How much arrived.
#[derive(Default)]
struct Count {
    exported: u64,
    rejected: u64,
}

impl Export {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let usage = |why: String| Failed::Usage(why);
        let target = Target::read(&self.to, self.form).map_err(usage)?;
        let kept = match &self.state {
            Some(path) => State::read(path).map_err(usage)?,
            None => None,
        };
        if let Some(kept) = &kept {
            let (what, to) = (self.what.name(), &self.to);
            if kept.what != what || kept.to != *to {
                return Err(Failed::Usage(format!(
                    "the state is of an export of {} to `{}`, and this is one of {what} to `{to}`: \
                     give each a file of its own",
                    kept.what, kept.to
                )));
            }
        }
        let from = self.from.clone();
        // Whoever says from where knows better, and whatever was written stays.
        let kept = kept.filter(|_| from.is_none() && self.first.is_none());
        let from = from.or_else(|| kept.as_ref().map(|kept| kept.position.clone()));
        let mut source = self.source(context, from.as_deref())?;
        let way = Way {
            timeout: self.timeout.get(),
            ca_file: self.ca_file.clone(),
            headers: self.headers()?,
            danger_plaintext: self.danger_plaintext,
        };
        let length = kept.as_ref().and_then(|kept| kept.length);
        let mut sink = Sink::open(&target, &way, length).map_err(usage)?;
        let mut count = Count::default();
        let mut position = from.unwrap_or_default();
        let ended = self.go_on(context, &mut source, &mut sink, (&mut count, &mut position)).await;
        let ended = match ended {
            Ok(()) => sink.close().await.map_err(|error| error.why().to_owned()),
            Err(why) => Err(why),
        };
        let told = json!({
            "what": self.what.name(),
            "exported": count.exported,
            "rejected": count.rejected,
            "position": position,
        });
        match (ended, target) {
            // Standard output has the records.
            (Ok(()), Target::Out) => {
                let Count { exported, .. } = count;
                warn_line!("exported {exported}; `--from {position}` goes on");
                Ok(())
            }
            (Ok(()), _) => context.show(&told),
            (Err(why), Target::Out) => Err(Failed::Operation(at(&why, &position))),
            (Err(why), _) => Err(Failed::Partly { shown: told, why: at(&why, &position) }),
        }
    }

    /// Where records come from.
    fn source(&self, context: &Context, from: Option<&str>) -> Result<Source, Failed> {
        if self.what == What::Events {
            if self.path.is_some() || self.first.is_some() {
                let why = "events are in the store: they have no directory and no segments";
                return Err(Failed::Usage(why.to_owned()));
            }
            let after = from.map_or(Ok(0), str::parse);
            let after = after
                .map_err(|_| Failed::Usage("the position of an event is a number".to_owned()))?;
            return Ok(Source::Events { after });
        }
        let directory = match &self.path {
            Some(path) => path.clone(),
            None => {
                let (config, source) = context.load()?;
                decisions::directory(&compose::data_dir(&config, &source))
            }
        };
        let reader = match from {
            Some(from) => {
                let position: Position =
                    from.parse().map_err(|why| Failed::Usage(format!("`{from}`: {why}")))?;
                Reader::after(&directory, &position)
            }
            None => Reader::from_segment(&directory, self.first),
        };
        let reader = reader.map_err(|stopped| Failed::Operation(stopped.to_string()))?;
        Ok(Source::Decisions(Box::new(reader)))
    }

    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Failed> {
        let Some(file) = &self.header_file else { return Ok(Vec::new()) };
        let name = file.display();
        let text = fs::read_to_string(file)
            .map_err(|error| Failed::Usage(format!("`{name}` cannot be read: {error}")))?;
        let read = |(number, line): (usize, &str)| {
            let wrong = || Failed::Usage(format!("`{name}`:{}: give `Name: value`", number + 1));
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name = name.trim().parse().map_err(|_| wrong())?;
            let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(read).collect()
    }

    /// Hands on what there is, and what comes.
    async fn go_on(
        &self,
        context: &Context,
        source: &mut Source,
        sink: &mut Sink,
        (count, position): (&mut Count, &mut String),
    ) -> Result<(), String> {
        loop {
            let (batch, stopped) = source.batch(context).await;
            if let Some(last) = batch.last().map(Item::position) {
                self.deliver(sink, &batch, (count, position)).await?;
                *position = last;
                self.keep(sink, position)?;
            }
            // What came before is handed on all the same.
            stopped?;
            if batch.is_empty() {
                if !self.follow {
                    return Ok(());
                }
                pause(LOOKS).await;
            }
        }
    }

    fn keep(&self, sink: &Sink, position: &str) -> Result<(), String> {
        let Some(path) = &self.state else { return Ok(()) };
        let (what, to) = (self.what.name().to_owned(), self.to.clone());
        State { what, to, position: position.to_owned(), length: sink.length() }.write(path)
    }

    /// Hands over records until they have arrived.
    async fn deliver(
        &self,
        sink: &mut Sink,
        mut items: &[Item],
        (count, position): (&mut Count, &mut String),
    ) -> Result<(), String> {
        let (mut most, mut tries, mut wait) = (items.len(), 0, FIRST_PAUSE);
        while !items.is_empty() {
            let (now, later) = items.split_at(most.min(items.len()));
            let why = match sink.send(self.form, &messages(self.form, now)).await {
                Ok(taken) => {
                    if taken.rejected > 0 {
                        let why = taken.why.unwrap_or_default();
                        warn_line!("tegata: {} records were not kept: {why}", taken.rejected);
                    }
                    count.exported += u64::try_from(now.len()).unwrap_or(u64::MAX);
                    count.rejected += taken.rejected;
                    if let Some(last) = now.last() {
                        *position = last.position();
                        self.keep(sink, position)?;
                    }
                    (items, tries, wait) = (later, 0, FIRST_PAUSE);
                    continue;
                }
                Err(Undelivered::TooMany(_)) if now.len() > 1 => {
                    most = now.len() / 2;
                    continue;
                }
                Err(Undelivered::TooMany(why) | Undelivered::Never(why)) => return Err(why),
                Err(Undelivered::Later { why, after }) => {
                    wait = after.unwrap_or(wait);
                    why
                }
            };
            tries += 1;
            if tries >= self.attempts && !self.follow {
                return Err(format!("{why}; it was tried {tries} times"));
            }
            warn_line!("tegata: {why}; trying again in {} ms", wait.as_millis());
            pause(wait).await;
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }
}

/// Why it ended, and from where it can go on.
fn at(why: &str, position: &str) -> String {
    match position {
        "" => why.to_owned(),
        position => format!("{why}; `--from {position}` goes on"),
    }
}

impl Source {
    /// Some records, and why there are no more, where something is wrong.
    async fn batch(&mut self, context: &Context) -> (Vec<Item>, Result<(), String>) {
        match self {
            Self::Decisions(reader) => {
                let (mut items, mut size) = (Vec::new(), 0);
                while items.len() < TOGETHER && size < LARGEST {
                    match reader.next() {
                        Ok(Some(entry)) => {
                            let item = Item::from(entry);
                            size += item.size();
                            items.push(item);
                        }
                        Ok(None) => break,
                        Err(stopped) => return (items, Err(stopped.to_string())),
                    }
                }
                (items, Ok(()))
            }
            Self::Events { after } => match events(context, *after).await {
                Ok(events) if events.tail > *after + 1 && events.head > *after => {
                    let (first, last) = (*after + 1, events.tail - 1);
                    let why = format!(
                        "the events {first} to {last} are not kept any more: `--from {last}` begins \
                         behind them"
                    );
                    (Vec::new(), Err(why))
                }
                Ok(events) => {
                    *after = events.entries.last().map_or(*after, |entry| entry.position);
                    (events.entries.into_iter().map(Item::from).collect(), Ok(()))
                }
                Err(why) => (Vec::new(), Err(why)),
            },
        }
    }
}

async fn events(context: &Context, after: u64) -> Result<Events, String> {
    let limit = u32::try_from(TOGETHER).unwrap_or(u32::MAX);
    let answer = context.order(Order::Events { after, limit }).await.map_err(Failed::why)?;
    serde_json::from_value(answer).map_err(|error| error.to_string())
}
