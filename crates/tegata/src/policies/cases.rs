//! What policies are expected to decide: the cases of `*.test.toml`, which stand beside them. Policies
//! whose cases fail are not taken over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tegata_core::Timestamp;
use tegata_policy::{
    Auth, Bundle, DecideBy, Evaluation, Fault, Policy, PolicySet, ReasonId, Requirement, Rules,
    evaluate::Thing,
};
use toml::{Spanned, value::Offset};

use super::{
    files::Unsound,
    question::{self, Question},
};

/// The most cases of one directory.
const CASES: usize = 10_000;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Who is asked for a permit, where a case says nothing of its own: `policies`.
    #[serde(default = "policies")]
    decide_by: DecideBy,
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

const fn policies() -> DecideBy {
    DecideBy::Policies
}

/// One case: a request, and what is expected of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows, in words.
    name: String,
    /// Who asks: `user:ID`, `client:ID`, `service:NAME` or `anonymous`.
    #[serde(default)]
    principal: Option<String>,
    /// In its place, any subject: `{ type = "user", id = "…", properties = { … } }`.
    #[serde(default)]
    subject: Option<ThingForm>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    acr: Option<String>,
    /// Seconds since the caller was authenticated.
    #[serde(default)]
    auth_age: Option<u64>,
    #[serde(default)]
    ip: Option<IpAddr>,
    /// `2026-11-23T12:00:00Z`.
    #[serde(default)]
    now: Option<toml::value::Datetime>,
    /// A method, or with `subject` any action.
    action: String,
    /// `SERVICE:/route`, or with `subject` a table of `type`, `id` and `properties`.
    resource: ResourceForm,
    /// The path; that of the route where nothing is said.
    #[serde(default)]
    path: Option<String>,
    /// With `subject`: what is known besides.
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    decide_by: Option<DecideBy>,
    expect: Expected,
    /// Why it is refused.
    #[serde(default)]
    reason: Option<String>,
    /// The policies that determine it, by their names.
    #[serde(default)]
    by: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThingForm {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum ResourceForm {
    Route(String),
    Thing(ThingForm),
}

/// How one case went.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) name: String,
    /// What is not as it was expected. `None`: all of it is.
    pub(crate) wrong: Option<String>,
    allowed: bool,
    reason: Option<ReasonId>,
    by: Vec<String>,
}

impl Outcome {
    /// For whoever asked.
    pub(crate) fn json(&self) -> Value {
        let mut told = json!({
            "case": self.name,
            "place": format!("{}:{}", self.file, self.line),
            "passed": self.wrong.is_none(),
            "decision": if self.allowed { "allow" } else { "deny" },
            "reason": self.reason.map(ReasonId::as_str),
            "by": self.by,
        });
        if let (Some(members), Some(wrong)) = (told.as_object_mut(), &self.wrong) {
            members.insert("wrong".to_owned(), wrong.as_str().into());
        }
        told
    }
}

/// The cases that fail, as faults of their files.
///
/// # Errors
/// Files that hold no cases.
pub(super) fn failing(
    files: &BTreeMap<String, String>,
    bundle: &Arc<Bundle>,
) -> Result<Vec<Fault>, Unsound> {
    let outcomes = run(files, bundle)?;
    let failed = outcomes.into_iter().filter_map(|outcome| {
        let Outcome { file, line, name, wrong, .. } = outcome;
        let what = format!("the case `{name}` fails: {}", wrong?);
        Some(Fault { file, line, column: 1, what, mend: None })
    });
    Ok(failed.collect())
}

/// Decides every case of these files.
///
/// # Errors
/// Files that hold no cases, with their places.
pub(crate) fn run(
    files: &BTreeMap<String, String>,
    bundle: &Arc<Bundle>,
) -> Result<Vec<Outcome>, Unsound> {
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    for (name, text) in files {
        match toml::from_str::<File>(text) {
            Ok(file) => {
                if file.case.is_empty() {
                    faults.push(fault(name, text, 0, "there is no `[[case]]` in this file"));
                }
                read.extend(file.case.into_iter().map(|case| (name, text, file.decide_by, case)));
            }
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                faults.push(fault(name, text, at, &error.message().replace('\n', " ")));
            }
        }
    }
    if read.len() > CASES {
        faults.push(fault(".", "", 0, &format!("there are more than {CASES} cases")));
    }
    if !faults.is_empty() {
        return Err(Unsound { faults });
    }
    let sets = Sets::of(bundle, &read);
    let mut outcomes = Vec::with_capacity(read.len());
    for (file, text, decide_by, case) in read {
        let at = case.span().start;
        let case = case.into_inner();
        let by = case.decide_by.unwrap_or(decide_by);
        match case.decided(&sets, by) {
            Ok(mut outcome) => {
                (outcome.file, outcome.line) = (file.clone(), place(text, at).0);
                outcomes.push(outcome);
            }
            Err(what) => {
                faults.push(fault(file, text, at, &format!("the case `{}`: {what}", case.name)));
            }
        }
    }
    if faults.is_empty() { Ok(outcomes) } else { Err(Unsound { faults }) }
}

fn fault(file: &str, text: &str, at: usize, what: &str) -> Fault {
    let (line, column) = place(text, at);
    Fault { file: file.to_owned(), line, column, what: what.to_owned(), mend: None }
}

/// The line and the column of a place; both begin at 1.
fn place(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..text.floor_char_boundary(at.min(text.len()))).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column))
}

/// The policies with the routes that cases name, which ask for nothing but them: a set for each way to
/// decide.
struct Sets(Vec<(DecideBy, PolicySet)>);

impl Sets {
    fn of(bundle: &Arc<Bundle>, cases: &[(&String, &String, DecideBy, Spanned<Case>)]) -> Self {
        let sets = [DecideBy::Table, DecideBy::Policies, DecideBy::Both].map(|by| {
            let routes = cases.iter().filter_map(|(_, _, of_file, case)| {
                let case = case.get_ref();
                let ResourceForm::Route(named) = &case.resource else { return None };
                let same = case.decide_by.unwrap_or(*of_file) == by;
                same.then(|| question::route(named).ok()).flatten()
            });
            let mut rules = Rules::default();
            rules.bundle(Arc::clone(bundle));
            for (service, route) in routes.collect::<BTreeSet<_>>() {
                let asked =
                    Requirement { auth: Auth::Optional, decide_by: by, ..Requirement::default() };
                rules.permit(service, route, asked);
            }
            // Rules that ask for nothing contradict nothing.
            (by, PolicySet::compile(rules).unwrap_or_default())
        });
        Self(sets.into())
    }

    fn by(&self, by: DecideBy) -> Option<&PolicySet> {
        self.0.iter().find(|(of, _)| *of == by).map(|(_, set)| set)
    }
}

impl Case {
    fn decided(&self, sets: &Sets, by: DecideBy) -> Result<Outcome, String> {
        let set = sets.by(by).ok_or("it cannot be asked")?;
        let (reason, policies) = match (&self.principal, &self.subject, &self.resource) {
            (Some(principal), None, ResourceForm::Route(route)) => {
                let question = self.question(principal, route)?;
                question.ask(set, |request| {
                    let decision = set.decide(request);
                    (decision.reason(), names(decision.policies()))
                })?
            }
            (None, Some(subject), ResourceForm::Thing(resource)) => {
                let none = Map::new();
                let answer = set.evaluate(&Evaluation {
                    subject: subject.thing(),
                    action: &self.action,
                    action_properties: &none,
                    resource: resource.thing(),
                    context: &self.context,
                    now: self.moment()?.map(Timestamp::from_secs),
                });
                (answer.reason, names(&answer.policies))
            }
            _ => {
                return Err("`principal` goes with a `resource` like \"orders:/orders\", and `subject` with a \
                            table of `type` and `id`"
                    .to_owned());
            }
        };
        Ok(self.outcome(reason, policies))
    }

    fn question(&self, principal: &str, named: &str) -> Result<Question, String> {
        if !self.context.is_empty() {
            return Err(
                "`context` goes with `subject`; say `scopes`, `acr`, `auth_age`, `ip`, `now`"
                    .to_owned(),
            );
        }
        let (service, route) = question::route(named)?;
        Ok(Question {
            principal: principal.to_owned(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            acr: self.acr.clone(),
            auth_age: self.auth_age,
            ip: self.ip,
            now: self.moment()?,
            method: self.action.clone(),
            service: service.to_owned(),
            route: route.to_owned(),
            path: self.path.clone().unwrap_or_else(|| route.to_owned()),
        })
    }

    /// When it is, in seconds since 1970.
    fn moment(&self) -> Result<Option<u64>, &'static str> {
        let read = |now| {
            seconds(now).ok_or("`now` is no moment in UTC; write it as `2026-11-23T12:00:00Z`")
        };
        self.now.as_ref().map(read).transpose()
    }

    fn outcome(&self, reason: Option<ReasonId>, by: Vec<String>) -> Outcome {
        let allowed = reason.is_none();
        let shown = match (reason, by.as_slice()) {
            (None, []) => "it is allowed".to_owned(),
            (None, by) => format!("it is allowed by {}", quoted(by)),
            (Some(reason), []) => format!("it is refused: {reason}"),
            (Some(reason), by) => format!("it is refused: {reason}, by {}", quoted(by)),
        };
        let wrong = if allowed != (self.expect == Expected::Allow) {
            Some(shown)
        } else if self.reason.as_deref().is_some_and(|it| Some(it) != reason.map(ReasonId::as_str))
        {
            Some(format!("another reason is expected; {shown}"))
        } else if self.by.as_ref().is_some_and(|wanted| !same(wanted, &by)) {
            Some(format!("other policies are expected; {shown}"))
        } else {
            None
        };
        Outcome {
            file: String::new(),
            line: 0,
            name: self.name.clone(),
            wrong,
            allowed,
            reason,
            by,
        }
    }
}

impl ThingForm {
    fn thing(&self) -> Thing<'_> {
        Thing { kind: &self.kind, id: &self.id, properties: &self.properties }
    }
}

fn names(policies: &[&Policy]) -> Vec<String> {
    policies.iter().map(|policy| policy.id.to_string()).collect()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Whether both name the same, in whatever order.
fn same(one: &[String], other: &[String]) -> bool {
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    set(one) == set(other)
}

/// The seconds since 1970 of a moment in UTC.
fn seconds(at: &toml::value::Datetime) -> Option<u64> {
    let (date, time) = (at.date?, at.time?);
    matches!(at.offset, Some(Offset::Z | Offset::Custom { minutes: 0 })).then_some(())?;
    // Days since 0000-03-01, so that the day which not every year has is the last one.
    let (year, month) = (u64::from(date.year), u64::from(date.month));
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5;
    let days = (days + u64::from(date.day)).checked_sub(719_469)?;
    let of_day = [time.hour, time.minute, time.second.unwrap_or(0)];
    let of_day = of_day.iter().fold(0, |sum, part| sum * 60 + u64::from(*part));
    Some(days * 86_400 + of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_as_calendars_do() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2026-11-23T12:00:00Z", Some(1_795_435_200)),
            ("2026-11-23T12:00:00+00:00", Some(1_795_435_200)),
            ("2026-11-23T12:00:00+09:00", None),
            ("2026-11-23", None),
            ("12:00:00", None),
        ] {
            assert_eq!(seconds(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
