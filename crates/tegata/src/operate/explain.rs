//! Why a request passed or was refused: what the log of decisions of this node says of it, spelt out.
//!
//! Each node has a log of its own, and no node reads another's: of a request of which this one knows nothing the
//! others are asked. The answer names those that did not answer, and those that were not asked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_core::Timestamp;
use tegata_gateway::{
    decision_log::{self, Search, Seen, Stretch, is_given, is_name},
    explain::explain as explained,
};

use super::{
    Refused,
    others::{self, Asked},
    trace,
};
use crate::{background::pause, cluster, compose::Composed, decisions, export};

/// For how long at most a record waits to be written: twice as long as it waits for others.
const WRITTEN: Duration = decision_log::GATHER.saturating_mul(2);

/// What is no name of a request.
pub(crate) const NO_NAME: &str = "a request is named by 32 hexadecimal digits: the `X-Request-ID` of its answer, or its trace id; \
     one for decisions also by the UUID that it came with, or with `--named` by any other name";

/// What cannot be a name that a request for decisions came with.
const NO_GIVEN: &str = "a request for decisions is named by 1 to 256 visible characters of ASCII";

/// How many records of other nodes are told.
const MOST_TOLD: usize = 200;

/// How many requests of one given name are told of with all their records.
const MOST_OTHERS: usize = 20;

/// Which request, and where it is looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Its name, that of its trace, or the one that it was given.
    pub(crate) request: String,
    /// Whether that is a name that somebody gave a request for decisions, whatever it looks like.
    #[serde(default)]
    pub(crate) named: bool,
    /// When it came: the log is looked through from then on.
    #[serde(default)]
    pub(crate) at: Option<Timestamp>,
    /// The segment to look through first, on the way back.
    #[serde(default)]
    pub(crate) from: Option<u64>,
}

impl Wanted {
    /// Why it cannot be looked for, if it cannot.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let fits = if self.named { is_given(&self.request) } else { is_name(&self.request) };
        match (fits, self.at, self.from) {
            (false, _, _) if self.named => Some(NO_GIVEN),
            (false, _, _) => Some(NO_NAME),
            (true, Some(_), Some(_)) => Some("a moment and a segment are two places; say one"),
            (true, _, _) => None,
        }
    }

    fn within(&self) -> Stretch {
        Stretch { at: self.at, from: self.from, ..Stretch::default() }
    }
}

/// Reads a moment (RFC 3339, UTC): `2026-11-22T09:14:00Z`, with milliseconds or without.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let at = export::millis(text).map(Timestamp::from_millis);
    // What cannot be read in this way is another moment, or none.
    let is_it = |at: &Timestamp| {
        let written = at.to_string();
        let seconds = written.get(..19).map(|seconds| format!("{seconds}Z"));
        text == written || seconds.as_deref() == Some(text)
    };
    let why = "must be a moment in UTC, such as `2026-11-22T09:14:00Z`";
    at.filter(is_it).ok_or_else(|| why.to_owned())
}

/// Explains a request.
pub(super) async fn explain(composed: &Composed, wanted: &Wanted) -> Result<Value, Refused> {
    if let Some(why) = wanted.fault() {
        return Err(Refused::invalid("request")(why));
    }
    let directory = decisions::directory(composed.data.path());
    let mut search = look(directory.clone(), wanted).await.map_err(Refused::from)?;
    if search.seen.is_empty() {
        pause(WRITTEN).await;
        // What was written meanwhile is at the end; all else was looked through.
        let last = look_within(directory, wanted, 1).await.map_err(Refused::from)?;
        if !last.seen.is_empty() {
            search = last;
        }
    }
    let mut told = told(&wanted.request, &search);
    told.insert("node".to_owned(), json!(composed.cluster.name()));
    let mut records: Vec<Value> = search.seen.into_iter().map(|seen| seen.record).collect();
    // A name that somebody else chose, of a trace for example, ends nothing here: who knows the name of a request
    // can have others found by it. A segment is one of this log, so that nobody else is asked about it.
    let is_own = |record: &Value| record.get("request") == told.get("request");
    if wanted.from.is_none() && !records.iter().any(is_own) {
        // Where they cannot be asked, what this log says is said all the same.
        let (answers, silent) = match others::ask(composed, &Asked::Explain(wanted.clone())).await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::warn!(%error, "the other nodes are not asked about a request");
                (Vec::new(), cluster::others(composed).await)
            }
        };
        records.extend(taken_over(&mut told, answers));
        told.insert("not_asked".to_owned(), json!(silent));
    } else {
        told.insert("not_asked".to_owned(), json!(cluster::others(composed).await));
    }
    told.insert("revoked".to_owned(), Value::Array(revoked(composed, &records).await));
    Ok(told.into())
}

/// Takes over what other nodes said, beside what is known here, and answers their records.
fn taken_over(told: &mut Map<String, Value>, answers: Vec<others::Answer>) -> Vec<Value> {
    let (mut records, mut asked) = (Vec::new(), Vec::new());
    let mut all = match told.remove("records") {
        Some(Value::Array(here)) => here,
        _ => Vec::new(),
    };
    for others::Answer { node, told: said } in answers {
        let Some(Value::Object(mut said)) = said else { continue };
        if let Some(Value::Array(theirs)) = said.remove("records") {
            for mut one in theirs {
                records.extend(one.get("record").cloned());
                if let Value::Object(members) = &mut one {
                    members.insert("node".to_owned(), json!(node));
                }
                all.push(one);
            }
        }
        if said.get("more") == Some(&Value::Bool(true)) {
            told.insert("more".to_owned(), json!(true));
        }
        said.retain(|name, _| !matches!(name.as_str(), "request" | "more"));
        said.insert("node".to_owned(), json!(node));
        asked.push(Value::Object(said));
    }
    own_first(&mut all, told.get("request").and_then(Value::as_str).unwrap_or_default());
    if all.len() > MOST_TOLD {
        told.insert("more".to_owned(), json!(true));
    }
    all.truncate(MOST_TOLD);
    told.insert("records".to_owned(), Value::Array(all));
    told.insert("asked".to_owned(), Value::Array(asked));
    records
}

/// Puts those records first that are of the request itself, before those that were given its name.
pub(super) fn own_first(records: &mut [Value], name: &str) {
    records.sort_by_key(|one| {
        let request = one.pointer("/record/request").and_then(Value::as_str);
        !request.is_some_and(|own| own.eq_ignore_ascii_case(name))
    });
}

/// Looks through a log, on a thread that nobody waits on.
pub(crate) async fn look(directory: PathBuf, wanted: &Wanted) -> Result<Search, String> {
    look_within(directory, wanted, decision_log::BYTES).await
}

async fn look_within(directory: PathBuf, wanted: &Wanted, bytes: u64) -> Result<Search, String> {
    let (name, within) = (wanted.request.clone(), Stretch { bytes, ..wanted.within() });
    let found = tokio::task::spawn_blocking(move || {
        let failed = |error| format!("`{}` cannot be read: {error}", directory.display());
        let found = decision_log::find(&directory, &name, &within).map_err(failed)?;
        Ok::<_, String>(with_others(&directory, found))
    });
    found.await.map_err(|error| error.to_string())?
}

/// Adds what else the log has of requests that were found by the name that somebody gave them: a request that
/// came through the gateway has a record of each listener, and only that of the gateway has the name.
fn with_others(directory: &Path, mut found: Search) -> Search {
    let mut names: Vec<String> = Vec::new();
    for seen in &found.seen {
        let name = seen.record.get("request").and_then(Value::as_str).unwrap_or_default();
        let is_named = seen.record.get("named").is_some();
        if is_named && names.len() < MOST_OTHERS && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    for name in names {
        // What cannot be read is missing beside what was found.
        // Where the name says its moment, and in what is newest: whoever gives names chooses how many there are.
        let near = Stretch { bytes: 1, ..Stretch::default() };
        let more = decision_log::find(directory, &name, &near).unwrap_or_default();
        for seen in more.seen {
            let known = |it: &Seen| (it.segment, it.line) == (seen.segment, seen.line);
            if !found.seen.iter().any(known) {
                found.seen.push(seen);
            }
        }
    }
    found.seen.sort_unstable_by_key(|seen| (seen.segment, seen.line));
    found.more |= found.seen.len() > MOST_TOLD;
    found.seen.truncate(MOST_TOLD);
    found
}

/// What a log says of a request.
pub(crate) fn told(name: &str, search: &Search) -> Map<String, Value> {
    let records = search.seen.iter().map(|seen| {
        let Seen { record, segment, line, sound } = seen;
        json!({
            "segment": segment,
            "line": line,
            "sound": sound,
            "record": record,
            "explained": explained(record),
        })
    });
    let lost = search.lost.iter().map(
        |lost| json!({"count": lost.count, "at": Timestamp::from_millis(lost.at).to_string()}),
    );
    let mut told = Map::new();
    let is_ours = name.len() == 32 && is_name(name);
    let name = if is_ours { name.to_ascii_lowercase() } else { name.to_owned() };
    told.insert("request".to_owned(), json!(name));
    told.insert("records".to_owned(), records.collect());
    told.insert("more".to_owned(), json!(search.more));
    told.insert("segments".to_owned(), json!(search.segments));
    told.insert("of".to_owned(), json!(search.of));
    let moment = |at: Option<Timestamp>| at.map(|at| json!(at.to_string()));
    let further = [
        ("since", moment(search.since)),
        ("next", search.next.map(Value::from)),
        ("onwards", moment(search.onwards)),
    ];
    for (name, value) in further {
        told.extend(value.map(|value| (name.to_owned(), value)));
    }
    told.insert("lost".to_owned(), lost.collect());
    told
}

/// Whether something is known of it.
pub(crate) fn is_known(told: &Value) -> bool {
    told["records"].as_array().is_some_and(|records| !records.is_empty())
}

/// What is said where nothing is.
pub(crate) fn unknown(told: &Value) -> String {
    let request = told["request"].as_str().unwrap_or_default();
    let [segments, of] = ["segments", "of"].map(|name| told[name].as_u64().unwrap_or_default());
    let mut why = format!(
        "no record of the request `{request}` is in {segments} of the {of} segments of this log"
    );
    match (told["next"].as_u64(), told["onwards"].as_str(), told["since"].as_str()) {
        (Some(next), _, since) => {
            let back = since.map(|since| format!(", back to {since}")).unwrap_or_default();
            why += &format!(
                "{back}; older ones were not looked through: `--from {next}` goes on there, and \
                 `--at MOMENT` looks where that is"
            );
        }
        (None, Some(onwards), _) => {
            why += &format!("; newer ones were not looked through: `--at {onwards}` goes on there");
        }
        (None, None, _) => {}
    }
    for lost in told["lost"].as_array().into_iter().flatten() {
        let at = lost["at"].as_str().unwrap_or_default();
        why += &format!("; {} records were lost until {at}", lost["count"]);
    }
    for asked in told["asked"].as_array().into_iter().flatten() {
        let [segments, of] =
            ["segments", "of"].map(|name| asked[name].as_u64().unwrap_or_default());
        let node = asked["node"].as_str().unwrap_or_default();
        why += &format!("; nor in {segments} of the {of} of the node `{node}`");
    }
    let others: Vec<_> = told["not_asked"].as_array().into_iter().flatten().collect();
    if !others.is_empty() {
        let named: Vec<_> = others.iter().filter_map(|name| name.as_str()).collect();
        let named = named.join("`, `");
        why += &format!(
            "; these nodes were not asked or did not answer, each has a log of its own: `{named}`"
        );
    }
    why
}

/// When, why and by whom what was shown was taken back, as far as the log of revocations knows.
async fn revoked(composed: &Composed, records: &[Value]) -> Vec<Value> {
    let taken = ["token_revoked", "key_revoked", "token_inactive"];
    let is_taken = |record: &Value| record["reason"].as_str().is_some_and(|it| taken.contains(&it));
    let of = records.iter().find(|record| is_taken(record));
    let Some(record) = of else { return Vec::new() };
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    // What nobody knows any more is not told.
    let found = trace::taken_back(composed, text("jti"), text("sid"), text("subject"));
    found.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written_and_nothing_else_is() {
        let at = moment("2026-11-22T09:14:03.518Z").unwrap();
        assert_eq!(at.to_string(), "2026-11-22T09:14:03.518Z");
        assert_eq!(moment("2026-11-22T09:14:03Z").unwrap().secs(), at.secs());
        for wrong in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-11-31T09:14:03Z",
            "2026-13-22T09:14:03Z",
            "2026-11-22T25:14:03Z",
            "2026-11-22T09:14:03+09:00",
            "2026-11-22 09:14:03Z",
            "2026-11-22T09:14:03.5Z",
            "1000-01-01T00:00:00Z",
            "2026-11-22T09:14:0\u{661}Z",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_not_looked_through_is_said_with_how_to_go_on() {
        let unknown_of = |search: &Search| unknown(&Value::Object(told("x", search)));
        let whole = Search { segments: 3, of: 3, ..Search::default() };
        assert!(unknown_of(&whole).ends_with("3 of the 3 segments of this log"));
        let since = Some(Timestamp::from_secs(1_767_225_600));
        let back = Search { segments: 3, of: 9, next: Some(6), since, ..Search::default() };
        let said = unknown_of(&back);
        assert!(said.contains("back to 2026-01-01T00:00:00.000Z") && said.contains("--from 6"));
        let on = Search { segments: 3, of: 9, onwards: since, ..Search::default() };
        assert!(unknown_of(&on).contains("`--at 2026-01-01T00:00:00.000Z` goes on"));
    }
}
