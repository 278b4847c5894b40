//! Why a request passed or was refused: the page that asks for one by its name, and says it phase by phase.

use askama::Template;
use serde_json::{Map, Value};

use super::{
    blocks::{At, text, texts},
    place::Place,
    words::moment_of,
};
use crate::{
    admin::{self, Operation, Refused, Wish},
    messages::{Lang, console::Words},
    pages::Trouble,
};

#[derive(Template)]
#[template(path = "console_requests.html")]
pub(super) struct Requests {
    w: &'static Words,
    /// What nobody knows, in words.
    unknown: Option<String>,
    records: Vec<One>,
    /// What took back what was shown.
    taken: Vec<(String, String)>,
    others: Vec<String>,
    /// Whether more records have that name than are shown.
    more: bool,
}

/// One record.
struct One {
    class: &'static str,
    result: &'static str,
    reason: String,
    means: String,
    changes: Vec<String>,
    facts: Vec<(String, String)>,
    phases: Vec<(String, String, String)>,
    known: Vec<(String, String)>,
    place: String,
    sound: bool,
    /// Where the life of its token is told.
    token: Option<String>,
}

/// What of a record is shown beside what is said in words, by its names.
const FACTS: [&str; 17] = [
    "request",
    "named",
    "trace",
    "client",
    "subject",
    "jti",
    "sid",
    "method",
    "path",
    "service",
    "route",
    "operation",
    "rule",
    "policies",
    "policy_set",
    "status",
    "micros",
];

impl At<'_> {
    /// What is said of the request that was asked for, if one was.
    pub(super) async fn requests(&self) -> Result<Option<Requests>, Trouble> {
        let Some(name) = self.narrowed.search.as_deref() else { return Ok(None) };
        let (w, lang) = (self.w(), self.lang);
        let nothing = |unknown| Requests {
            w,
            unknown: Some(unknown),
            records: Vec::new(),
            taken: Vec::new(),
            others: Vec::new(),
            more: false,
        };
        if !is_name(name) {
            return Ok(Some(nothing(w.request_no_name.to_owned())));
        }
        let wish = Wish {
            operation: Operation::Request,
            named: vec![name.to_owned()],
            query: "",
            body: Map::new(),
            version: None,
        };
        let told = match admin::ordered(self.app, self.by, wish).await {
            Ok(done) => done.body.unwrap_or_default(),
            Err(Refused::Store(error)) => return Err(error.into()),
            Err(Refused::Busy) => return Err(Trouble::TooMany(std::time::Duration::from_secs(1))),
            Err(Refused::Unknown(why)) => {
                let said = match lang {
                    Lang::En => why,
                    Lang::Ja => w.request_unknown.to_owned(),
                };
                return Ok(Some(nothing(said)));
            }
            Err(_) => return Ok(Some(nothing(w.request_unknown.to_owned()))),
        };
        let records = told.get("records").and_then(Value::as_array).into_iter().flatten();
        let taken = told.get("revoked").and_then(Value::as_array).into_iter().flatten();
        let taken = taken.map(|it| {
            let by = format!("{} · {}", text(it, "actor"), text(it, "reason"));
            (format!("{} · {}", text(it, "what"), moment_of(text(it, "at")).0), by)
        });
        Ok(Some(Requests {
            w,
            unknown: None,
            records: records.map(|it| self.one(it)).collect(),
            taken: taken.collect(),
            others: texts(&told, "not_asked"),
            more: told.get("more") == Some(&Value::Bool(true)),
        }))
    }

    fn one(&self, told: &Value) -> One {
        let jti = Some(text(&told["record"], "jti")).filter(|jti| !jti.is_empty());
        let token = jti.map(|jti| self.link(&Place::Token(jti.to_owned())));
        One { token, ..One::of(told, self.w(), self.lang) }
    }
}

impl One {
    fn of(told: &Value, w: &'static Words, lang: Lang) -> Self {
        let (record, explained) = (&told["record"], &told["explained"]);
        let said = |it: &Value| match lang {
            Lang::En => text(it, "en").to_owned(),
            Lang::Ja => text(it, "ja").to_owned(),
        };
        let reason = text(explained, "reason").to_owned();
        let allowed = explained["allowed"] == true;
        let (class, result) = match (text(record, "result"), reason.is_empty()) {
            ("answer", true) => ("", w.request_answer),
            (_, true) if allowed => ("good", w.request_passed),
            (_, false) if allowed => ("waits", w.request_failed),
            _ => ("bad", w.request_refused),
        };
        let all =
            |it: &Value| -> Vec<Value> { it.as_array().map(Vec::to_owned).unwrap_or_default() };
        let inputs = record["inputs"].as_object().cloned().unwrap_or_default();
        let known = inputs.iter().flat_map(|(name, value)| match value {
            Value::Object(members) => {
                let named =
                    |(inner, value): (&String, &Value)| (format!("{name}.{inner}"), shown(value));
                members.iter().map(named).collect::<Vec<_>>()
            }
            value => vec![(name.clone(), shown(value))],
        });
        let asked = record["evaluation"].as_object().cloned().unwrap_or_default();
        let asked = asked.iter().map(|(name, value)| {
            let value = match value.as_object() {
                Some(_) => format!("{} {}", text(value, "type"), text(value, "id")),
                None => shown(value),
            };
            (format!("evaluation.{name}"), value)
        });
        let fact = |name: &&str| {
            let value = record.get(*name).filter(|it| !it.is_null())?;
            Some(((*name).to_owned(), shown(value)))
        };
        let phase = |it: &Value| {
            let micros = format!("{} µs", it["micros"].as_u64().unwrap_or_default());
            (text(it, "name").to_owned(), micros, text(it, "outcome").to_owned())
        };
        Self {
            class,
            result,
            reason,
            means: said(&explained["means"]),
            changes: all(&explained["changes"]).iter().map(|it| said(&it["says"])).collect(),
            facts: FACTS.iter().filter_map(fact).collect(),
            phases: all(&record["phases"]).iter().map(phase).collect(),
            known: asked.chain(known).collect(),
            place: match text(told, "node") {
                "" => format!("{}:{}", told["segment"], told["line"]),
                node => format!("{node} {}:{}", told["segment"], told["line"]),
            },
            sound: told["sound"] == true,
            token: None,
        }
    }
}

/// Whether a request, a trace or a request for decisions can be called so: 32 hexadecimal digits, or a UUID.
fn is_name(name: &str) -> bool {
    let digits: String = name.chars().filter(|it| *it != '-').collect();
    let dashes: Vec<_> = name.match_indices('-').map(|(place, _)| place).collect();
    digits.len() == 32
        && digits.bytes().all(|it| it.is_ascii_hexdigit())
        && (dashes.is_empty() || dashes == [8, 13, 18, 23])
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
