//! What is known of a revocation or a node, as people read it.

use std::time::Duration;

use tegata_core::Timestamp;

use crate::{
    lookout::{Confirmed, Sight, TakenBack},
    messages::{Counted, console::Words},
    pages::home::minutes,
};

/// How many names are listed.
const NAMED: usize = 5;

/// A time, for people and for programs.
pub(super) type Moment = (String, String);

pub(super) fn moment(at: Timestamp) -> Moment {
    (minutes(&at.to_string()), at.to_string())
}

/// The same of a time as it stands in an answer of administration.
pub(super) fn moment_of(text: &str) -> Moment {
    (minutes(text), text.to_owned())
}

/// The clock of a time, to the second.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let clock = text.split_once('T').and_then(|(_, clock)| clock.get(..8)).unwrap_or_default();
    format!("{clock} UTC")
}

/// A span as people read it: `420 ms`, `3.2 s`, `2 min`.
pub(super) fn span(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        millis @ 1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        millis => format!("{} min", millis / 60_000),
    }
}

/// Who refuses something: how it stands, and that in words.
pub(super) struct Said {
    /// `good`, `waits` or `bad`.
    pub(super) class: &'static str,
    pub(super) lines: Vec<String>,
}

pub(super) fn confirmed(it: &Confirmed, w: &Words) -> Said {
    let all = it.by.len() + it.pending.len() + it.fenced.len();
    let counted = |words: &Counted| {
        let millis = it.after.map_or(0, |after| after.as_millis());
        let text = words.of(u64::try_from(all).unwrap_or(u64::MAX));
        text.replace("{by}", &it.by.len().to_string()).replace("{ms}", &millis.to_string())
    };
    if it.pending.is_empty() && it.fenced.is_empty() {
        let words = if it.after.is_some() { &w.refused_by_all_after } else { &w.refused_by_all };
        return Said { class: "good", lines: vec![counted(words)] };
    }
    let mut lines = vec![counted(&w.refused_by)];
    if !it.pending.is_empty() {
        let until = it.until.map(clock).unwrap_or_default();
        lines.push(w.pending.replace("{until}", &until).replace("{names}", &named(&it.pending)));
    }
    if !it.fenced.is_empty() {
        lines.push(w.fenced.replace("{names}", &named(&it.fenced)));
    }
    if it.unchecked {
        lines.push(w.unchecked.to_owned());
    }
    let class = if it.pending.is_empty() { "bad" } else { "waits" };
    Said { class, lines }
}

fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!(" + {more}"));
    }
    text
}

/// A row of what was taken back.
pub(super) struct Row {
    pub(super) position: u64,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) at: Moment,
    pub(super) reason: String,
    pub(super) actor: String,
    pub(super) said: Said,
}

impl Row {
    pub(super) fn of(it: &TakenBack, w: &Words) -> Self {
        Self {
            position: it.position,
            kind: w.kind(it.kind).split(['(', '（']).next().unwrap_or_default().trim_end(),
            name: it.name.clone(),
            at: moment(it.at),
            reason: it.reason.clone(),
            actor: it.actor.clone(),
            said: confirmed(&it.confirmed, w),
        }
    }
}

/// A row of the nodes.
pub(super) struct Point {
    pub(super) name: String,
    pub(super) own: bool,
    pub(super) position: u64,
    pub(super) class: &'static str,
    pub(super) lines: Vec<String>,
}

/// How long a node may be silent before that is worth a word.
const SILENT: Duration = Duration::from_secs(5);

impl Point {
    pub(super) fn of(it: &Sight, ahead: u64, w: &Words) -> Self {
        let behind = ahead.saturating_sub(it.position);
        let is_stale =
            it.stale.is_some_and(|stale| stale > SILENT) || (it.own && it.stale.is_none());
        let is_silent = !it.own && it.heard.is_none_or(|heard| heard > SILENT);
        let mut lines = vec![match behind {
            0 => w.up_to_date.to_owned(),
            behind => w.behind.replace("{n}", &behind.to_string()),
        }];
        if it.own {
            lines.push(match it.stale {
                Some(stale) => w.stale.replace("{age}", &span(stale)),
                None => w.not_read.to_owned(),
            });
        } else {
            lines.push(match it.heard {
                Some(heard) => format!("{} {}", w.heard, span(heard)),
                None => w.silent.to_owned(),
            });
        }
        let class = if is_stale || is_silent {
            "bad"
        } else if behind > 0 {
            "waits"
        } else {
            "good"
        };
        Self { name: it.name.clone(), own: it.own, position: it.position, class, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Lang;

    #[test]
    fn the_laggard_is_named_and_until_when_it_may_accept() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = Confirmed {
            by: names(&["a", "b"]),
            after: Some(Duration::from_millis(41)),
            ..Confirmed::default()
        };
        let late = Confirmed {
            by: names(&["a"]),
            pending: names(&["node-c"]),
            until: Some(Timestamp::from_secs(1_800_000_000)),
            ..Confirmed::default()
        };
        for lang in Lang::ALL {
            let w = lang.console();
            let said = confirmed(&all, w).lines.join(" ");
            assert!(said.contains("41") && said.contains('2') && !said.contains('{'), "{said}");
            let said = confirmed(&late, w);
            let text = said.lines.join(" ");
            assert!(
                text.contains("node-c") && text.contains("UTC") && !text.contains('{'),
                "{text}"
            );
            assert_eq!(said.class, "waits");
        }
        let fenced = Confirmed { fenced: names(&["c"]), pending: vec![], ..late };
        assert_eq!(confirmed(&fenced, Lang::En.console()).class, "bad");
    }

    #[test]
    fn one_of_something_is_not_all_of_it() {
        let one = Confirmed { by: vec!["a".to_owned()], ..Confirmed::default() };
        let late = Confirmed { pending: one.by.clone(), ..Confirmed::default() };
        let (measured, w) = (Some(Duration::from_millis(41)), Lang::En.console());
        let first = |it: &Confirmed| confirmed(it, w).lines.swap_remove(0);
        assert_eq!(first(&one), "Refused by the only point");
        assert_eq!(
            first(&Confirmed { after: measured, ..one }),
            "Refused by the only point after 41 ms"
        );
        assert_eq!(first(&late), "Not refused yet by the only point");
        for (count, text) in [(0, "0 passkeys"), (1, "1 passkey"), (2, "2 passkeys")] {
            assert_eq!(w.passkeys.of(count), text);
        }
        for lang in Lang::ALL {
            let w = lang.console();
            for words in [&w.passkeys, &w.codes, &w.signed_in, &w.refused, &w.seen_by] {
                for count in [0, 1, 7] {
                    let text = words.of(count).replace("{seen}", "0");
                    assert!(text.contains(&count.to_string()) && !text.contains('{'), "{text}");
                }
            }
        }
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (3250, "3.2 s"), (125_000, "2 min")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
