//! `tegata explain`: why a request passed or was refused.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::Value;
use tegata_core::Timestamp;

use super::{Context, Failed};
use crate::{
    admin, compose, decisions,
    operate::{
        Order,
        explain::{self, Wanted},
    },
    show::{self, Format},
};

#[derive(Args)]
pub(crate) struct Explain {
    /// The `X-Request-ID` of its answer, or the id of its trace.
    request: String,
    /// Takes it for the name that an application gave a request for decisions (AuthZEN), whatever it looks like.
    #[arg(long)]
    named: bool,
    /// Looks through the log from this moment on: `2026-11-22T09:14:00Z`.
    #[arg(long, value_name = "MOMENT", value_parser = explain::moment, conflicts_with = "from")]
    at: Option<Timestamp>,
    /// Looks through the log from this segment back.
    #[arg(long, value_name = "SEGMENT")]
    from: Option<u64>,
    /// Reads this log of decisions, of another node for example, in place of that of this node.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Explain {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let wanted = self.wanted();
        if let Some(why) = wanted.fault() {
            return Err(Failed::Usage(why.to_owned()));
        }
        let told = match &self.log {
            Some(directory) => self.read(directory.clone()).await?,
            None => {
                let (config, source) = context.load()?;
                let data = compose::data_dir(&config, &source);
                let order = Order::Explain(wanted);
                let answered = admin::order(&data, &order, None).await.map_err(|error| {
                    let socket = admin::socket(&data);
                    Failed::Operation(format!("`{}` does not answer: {error}", socket.display()))
                })?;
                match answered {
                    Some(answered) => answered?,
                    // The log says it without a server, and without a store.
                    None => self.read(decisions::directory(&data)).await?,
                }
            }
        };
        if !explain::is_known(&told) {
            let why = explain::unknown(&told);
            return Err(Failed::Operation(printable(&why)));
        }
        if context.format == Format::Json {
            return context.show(&told);
        }
        show::write(&text(&told))
            .map_err(|error| Failed::Operation(format!("standard output: {error}")))
    }

    fn wanted(&self) -> Wanted {
        let Self { request, named, at, from, .. } = self;
        Wanted { request: request.clone(), named: *named, at: *at, from: *from }
    }

    async fn read(&self, directory: PathBuf) -> Result<Value, Failed> {
        if let Err(error) = std::fs::metadata(&directory) {
            let why = format!("`{}` cannot be read: {error}", directory.display());
            return Err(match self.log {
                Some(_) => Failed::Usage(why),
                None => Failed::Operation(why),
            });
        }
        let search = explain::look(directory, &self.wanted()).await.map_err(Failed::Operation)?;
        Ok(explain::told(&self.request, &search).into())
    }
}

/// Text that moves nothing on a terminal: what a client wrote into a path is among it.
fn printable(text: &str) -> String {
    // Neither controls, nor what turns the direction of text, nor what has no width.
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let shown = |c: char| {
        if hides(c) { c.escape_unicode().to_string() } else { c.to_string() }
    };
    text.chars().map(shown).collect()
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The answer, for people.
fn text(told: &Value) -> String {
    let mut all = String::new();
    let lines = &mut all;
    let items = |name: &str| told[name].as_array().map(Vec::as_slice).unwrap_or_default();
    line(lines, 0, "request", &word(&told["request"]));
    for record in items("records") {
        one(lines, record, &told["request"]);
    }
    if told["more"] == true {
        line(lines, 0, "more", "there are more records of this name");
    }
    for revoked in items("revoked") {
        let said = ["what", "at", "reason", "actor"].map(|name| word(&revoked[name]));
        let [what, at, reason, actor] = said;
        line(lines, 0, "taken back", &format!("{what}, at {at}, by {actor}: {reason}"));
    }
    let others = items("not_asked");
    if !others.is_empty() {
        line(lines, 0, "not asked", &word(&told["not_asked"]));
    }
    all
}

fn line(all: &mut String, depth: usize, name: &str, value: &str) {
    let _ = writeln!(all, "{:indent$}{name:<12} {value}", "", indent = depth * 2);
}

/// One record, phase by phase. What has not the name that was `asked` for was given it: it says its own.
fn one(all: &mut String, told: &Value, asked: &Value) {
    let (record, explained) = (&told["record"], &told["explained"]);
    let known = |name: &str| record.get(name).filter(|it| !it.is_null());
    all.push('\n');
    let result = match (word(&record["result"]).as_str(), explained["reason"].as_str()) {
        ("answer", None) => "how it went, that was decided before".to_owned(),
        (_, None) if explained["allowed"] == true => "let pass".to_owned(),
        (_, Some(reason)) if explained["allowed"] == true => {
            format!("let pass, and came to nothing: {}", printable(reason))
        }
        (_, Some(reason)) => format!("refused: {}", printable(reason)),
        (other, None) => other.to_owned(),
    };
    line(all, 0, "result", &result);
    if let Some(means) = explained.pointer("/means/en").and_then(Value::as_str) {
        line(all, 0, "because", &printable(means));
    }
    if let Some(at) = record["at"].as_u64() {
        line(all, 0, "at", &Timestamp::from_millis(at).to_string());
    }
    if let Some(other) = known("request").filter(|own| *own != asked) {
        line(all, 0, "of request", &word(other));
    }
    if let Some(method) = known("method") {
        line(all, 0, "asked", &format!("{} {}", word(method), word(&record["path"])));
    }
    if let Some(of) = known("evaluation") {
        evaluation(all, of);
    }
    let names =
        ["named", "client", "trace", "subject", "jti", "sid", "service", "route", "operation"];
    for name in names.into_iter().chain(["rule", "policies", "policy_set", "status", "micros"]) {
        if let Some(value) = known(name) {
            line(all, 0, name, &word(value));
        }
    }
    if record["unchecked"] == true {
        line(all, 0, "unchecked", "revocations could not be learnt, and the route does not wait");
    }
    for (name, value) in record["inputs"].as_object().into_iter().flatten() {
        if name == "limit" {
            let [label, quota, window, left, wait] =
                ["label", "quota", "window", "left", "wait"].map(|name| word(&value[name]));
            let said = format!("{label}: {quota} in {window} s, {left} left, {wait} s to wait");
            line(all, 1, "limit", &said);
        } else {
            line(all, 1, &printable(name), &word(value));
        }
    }
    for phase in record["phases"].as_array().into_iter().flatten() {
        let [name, micros, outcome] = ["name", "micros", "outcome"].map(|it| word(&phase[it]));
        line(all, 1, &name, &format!("{micros:>8} µs  {outcome}"));
    }
    for change in explained["changes"].as_array().into_iter().flatten() {
        line(all, 0, "to pass", &word(change.pointer("/says/en").unwrap_or(&Value::Null)));
    }
    let place = format!("segment {}, line {}", told["segment"], told["line"]);
    let place = match told["node"].as_str() {
        Some(node) => format!("{place}, of the node {}", printable(node)),
        None => place,
    };
    let place = match told["sound"] == true {
        true => place,
        false => format!("{place}: THIS LINE IS NOT WHAT WAS WRITTEN (`tegata audit-log verify`)"),
    };
    line(all, 0, "record", &place);
}

/// What an application asked, and enforces.
fn evaluation(all: &mut String, of: &Value) {
    let [number, count] = ["number", "of"].map(|name| word(&of[name]));
    let thing = |it: &Value| format!("{} {}", word(&it["type"]), word(&it["id"]));
    line(all, 0, "evaluation", &format!("{number} of {count}"));
    for name in ["subject", "resource"] {
        if of[name].is_object() {
            line(all, 1, name, &thing(&of[name]));
        }
    }
    for name in ["action", "about", "more_policies"] {
        if !of[name].is_null() {
            line(all, 1, name, &word(&of[name]));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_client_wrote_into_a_path_moves_nothing_on_a_terminal() {
        let told = json!({"request": "r", "records": [{"segment": 1, "line": 2, "sound": true, "record": {
            "result": "deny", "method": "GET", "path": "/\u{1b}[2J\u{202e}x\n\u{9b}y", "at": 0,
            "inputs": {"acr": "\u{7}"},
        }, "explained": {"changes": []}}]});
        let text = text(&told);
        assert!(text.contains(r"/\u{1b}[2J\u{202e}x\u{a}\u{9b}y"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn a_line_that_was_changed_is_said_to_be() {
        let told = json!({"request": "r", "records": [{"segment": 1, "line": 2, "sound": false,
            "record": {"result": "allow"}, "explained": {}}]});
        assert!(text(&told).contains("NOT WHAT WAS WRITTEN"));
    }
}
