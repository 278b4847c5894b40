//! What policies would have decided about the requests of a log of decisions.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tegata_policy::{Auth, Bundle, DecideBy, PolicySet, ReasonId, Requirement, Rules};

use super::question::Question;

/// The longest line that is read, in bytes: a path, and what a caller has.
const LONGEST: u64 = 1 << 20;

/// How many differences are told.
const TOLD: usize = 1_000;

/// How many routes are decided about: what a log names besides is passed over.
const ROUTES: usize = 10_000;

/// The hash that a line begins with, and a space.
const HASH: usize = 65;

/// What of a record is looked at.
#[derive(Debug, Deserialize)]
struct Record {
    at: u64,
    request: String,
    client: IpAddr,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    route: Option<String>,
    result: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    inputs: Inputs,
}

/// What was known of the caller.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inputs {
    kind: Option<String>,
    roles: Vec<String>,
    scopes: Vec<String>,
    acr: Option<String>,
    auth_age: Option<u64>,
}

/// What differs, so that requests which differ in the same way are counted together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    change: &'static str,
    route: String,
    decided: Option<String>,
    then: Option<ReasonId>,
    by: Vec<String>,
}

/// What came of a log.
#[derive(Default)]
pub(crate) struct Replayed {
    records: u64,
    /// Requests that policies decide about: what was refused before they are asked, or says nothing of the
    /// caller, is none.
    asked: u64,
    differing: u64,
    differences: BTreeMap<Kind, (u64, Value)>,
    /// Records about which policies have nothing to say, or that say too little of the caller.
    passed_over: u64,
}

/// Asks policies about everything in the log of this directory, from its first segment to its last. Whether
/// the log is what was written, `tegata audit-log verify` says. Blocks.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn replay(bundle: &Arc<Bundle>, log: &Path) -> Result<Replayed, String> {
    let failed = |path: &Path, error: std::io::Error| format!("`{}`: {error}", path.display());
    let mut segments: Vec<PathBuf> = fs::read_dir(log)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| failed(log, error))?;
    segments.retain(|path| path.extension().is_some_and(|it| it == "log"));
    segments.sort();
    if segments.is_empty() {
        return Err(format!("`{}` has no segments of a log of decisions", log.display()));
    }
    let (mut replayed, mut sets) = (Replayed::default(), HashMap::new());
    for segment in segments {
        let mut lines = BufReader::new(File::open(&segment).map_err(|it| failed(&segment, it))?);
        loop {
            let mut line = Vec::new();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            if read.map_err(|error| failed(&segment, error))? == 0 {
                break;
            }
            replayed.take(bundle, &mut sets, &line);
        }
    }
    Ok(replayed)
}

/// A set for each route, and for whether it needs a permit.
type Sets = HashMap<(String, String, bool), PolicySet>;

impl Replayed {
    fn take(&mut self, bundle: &Arc<Bundle>, sets: &mut Sets, line: &[u8]) {
        let json = line.get(HASH..).unwrap_or_default();
        // What is none is what the log says of itself: where it begins and ends, and what is signed.
        let Ok(record) = serde_json::from_slice::<Record>(json) else { return };
        self.records += 1;
        if self.ask(bundle, sets, record).is_none() {
            self.passed_over += 1;
        }
    }

    /// `None`: policies have nothing to say about it.
    fn ask(&mut self, bundle: &Arc<Bundle>, sets: &mut Sets, record: Record) -> Option<()> {
        let allowed = match record.result.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return None,
        };
        let of_policies = ["policy_forbids", "policy_error", "no_policy"];
        let reason = record.reason.filter(|_| !allowed);
        if reason.as_deref().is_some_and(|reason| !of_policies.contains(&reason)) {
            return None;
        }
        let (service, route) = (record.service?, record.route?);
        // A route needs a permit where one was named, or missing. Of what was forbidden nobody knows.
        let needs_permit = match reason.as_deref() {
            None => !record.policies.is_empty(),
            Some(reason) => reason == "no_policy",
        };
        let inputs = record.inputs;
        let principal = match (inputs.kind, record.subject) {
            (None, None) => "anonymous".to_owned(),
            (Some(kind), Some(subject)) => format!("{kind}:{subject}"),
            _ => return None,
        };
        let question = Question {
            principal,
            roles: inputs.roles,
            scopes: inputs.scopes,
            acr: inputs.acr,
            auth_age: inputs.auth_age,
            ip: Some(record.client),
            now: Some(record.at / 1000),
            method: record.method,
            service,
            route,
            path: record.path,
        };
        let place = (question.service.clone(), question.route.clone(), needs_permit);
        if sets.len() >= ROUTES && !sets.contains_key(&place) {
            return None;
        }
        let set = sets.entry(place).or_insert_with(|| of_route(bundle, &question, needs_permit));
        let (then, by) = question
            .ask(set, |request| {
                let decision = set.decide(request);
                let by = decision.policies().iter().map(|policy| policy.id.to_string()).collect();
                (decision.reason(), by)
            })
            .ok()?;
        self.asked += 1;
        let change = match (&reason, then) {
            (None, None) => return Some(()),
            (None, Some(_)) => "would_deny",
            (Some(_), None) => "would_allow",
            (Some(now), Some(then)) if now == then.as_str() => return Some(()),
            (Some(_), Some(_)) => "other_reason",
        };
        self.differing += 1;
        let route = format!("{}:{}", question.service, question.route);
        let kind = Kind { change, route, decided: reason, then, by };
        if self.differences.len() < TOLD || self.differences.contains_key(&kind) {
            let first = || {
                json!({
                    "request": record.request,
                    "principal": question.principal,
                    "method": question.method,
                    "path": question.path,
                })
            };
            self.differences.entry(kind).or_insert_with(|| (0, first())).0 += 1;
        }
        Some(())
    }

    /// For whoever asked.
    pub(crate) fn json(&self) -> Value {
        let differences: Vec<_> = self
            .differences
            .iter()
            .map(|(kind, (count, first))| {
                json!({
                    "change": kind.change,
                    "count": count,
                    "rule": kind.route,
                    "decided": kind.decided,
                    "then": kind.then.map(ReasonId::as_str),
                    "by": kind.by,
                    "first": first,
                })
            })
            .collect();
        json!({
            "records": self.records,
            "asked": self.asked,
            "passed_over": self.passed_over,
            "differing": self.differing,
            "differences": differences,
        })
    }
}

/// A set in which there is this route, which asks for nothing but policies.
fn of_route(bundle: &Arc<Bundle>, question: &Question, needs_permit: bool) -> PolicySet {
    let mut rules = Rules::default();
    rules.bundle(Arc::clone(bundle));
    let decide_by = if needs_permit { DecideBy::Policies } else { DecideBy::Table };
    let asked = Requirement { auth: Auth::Optional, decide_by, ..Requirement::default() };
    rules.permit(&question.service, &question.route, asked);
    // Rules that ask for nothing contradict nothing.
    PolicySet::compile(rules).unwrap_or_default()
}
