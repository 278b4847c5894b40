//! The way of one request: which phases it went through, how long each took, and what was known there.

use std::fmt;

use serde::Serialize;
use tegata_policy::{Change, Held, PrincipalKind};

use super::line::Line;
use crate::reasons::Phase;

/// How a request came to be decided as it was. Written into its record, without what is not known. Nothing
/// of it is a credential.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walk<'r> {
    /// The phases that it went through.
    pub phases: Steps,
    /// What was known of it.
    pub inputs: Inputs<'r>,
    /// The smallest change after which the rule would have let it pass, where that refused it.
    pub change: Option<&'r Change>,
    /// The name that whoever asked for decisions gave the request, and that it was answered by.
    pub named: Option<&'r str>,
    /// What was decided for somebody who enforces it.
    pub evaluation: Option<Evaluation<'r>>,
}

/// A question that an application asked, and enforces the answer of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Evaluation<'r> {
    /// Which of those of its request, from 1.
    pub number: usize,
    /// How many of the request were decided.
    pub of: usize,
    /// Who. Nothing, with the action and the resource, where the question could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Thing<'r>>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'r str>,
    /// With what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Thing<'r>>,
    /// Which value the reason is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<&'r str>,
    /// How many policies determined it besides those that are named.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_policies: usize,
}

/// Something by its type and id.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Thing<'r> {
    /// The type.
    #[serde(rename = "type")]
    pub kind: &'r str,
    /// The id.
    pub id: &'r str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What was known of a request when it was decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'r> {
    /// With what the caller said who it is: `token`, `foreign`, `session`, `key` or `certificate`.
    pub credential: Option<&'static str>,
    /// Of which kind the caller was taken to be: `user`, `client` or `service`.
    pub kind: Option<PrincipalKind>,
    /// The roles that the caller had, as the policy knows them.
    pub roles: Roles<'r>,
    /// The scopes of its credential.
    pub scopes: Scopes<'r>,
    /// How it was authenticated.
    pub acr: Option<&'r str>,
    /// How many seconds ago that was.
    pub auth_age: Option<u64>,
    /// For how many milliseconds, at most, a revocation could have been acknowledged without being known here.
    pub stale_ms: Option<u64>,
    /// The tightest of the limits that applied.
    pub limit: Option<Limit<'r>>,
}

/// What a limit said.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limit<'r> {
    /// What clients are told it is called.
    pub label: &'r str,
    /// How many requests.
    pub quota: u32,
    /// In how many seconds.
    pub window: u64,
    /// How many more would have passed.
    pub left: u32,
    /// How many seconds until the next passes, where none does; otherwise until all of it is there again.
    pub wait: u64,
}

impl Inputs<'_> {
    /// Whether nothing was known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.credential.is_none() && self.limit.is_none()
    }
}

/// The names of roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Roles<'r>(pub Option<&'r Held>);

/// The names of scopes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scopes<'r>(pub Option<&'r Held>);

impl<'r> Roles<'r> {
    fn names(self) -> impl Iterator<Item = &'r str> {
        self.0.into_iter().flat_map(Held::roles)
    }
}

impl<'r> Scopes<'r> {
    fn names(self) -> impl Iterator<Item = &'r str> {
        self.0.into_iter().flat_map(Held::scopes)
    }
}

impl Walk<'_> {
    /// Writes it into a record.
    pub(super) fn write(&self, line: &mut Line<'_>) {
        if !self.phases.is_empty() {
            line.objects("phases", self.phases.each(), |step, (phase, micros, outcome)| {
                step.text("name", phase.as_str());
                step.number("micros", micros.into());
                step.text("outcome", outcome.as_str());
            });
        }
        if !self.inputs.is_empty() {
            line.object("inputs", |members| self.inputs.write(members));
        }
        if let Some(change) = self.change {
            line.value("change", change);
        }
        line.maybe("named", self.named);
        if let Some(evaluation) = &self.evaluation {
            line.value("evaluation", evaluation);
        }
    }
}

impl Inputs<'_> {
    fn write(&self, line: &mut Line<'_>) {
        line.maybe("credential", self.credential);
        if let Some(kind) = &self.kind {
            line.value("kind", kind);
        }
        line.texts("roles", self.roles.names());
        line.texts("scopes", self.scopes.names());
        line.maybe("acr", self.acr);
        if let Some(auth_age) = self.auth_age {
            line.number("auth_age", auth_age);
        }
        if let Some(stale_ms) = self.stale_ms {
            line.number("stale_ms", stale_ms);
        }
        if let Some(limit) = &self.limit {
            line.value("limit", limit);
        }
    }
}

/// How a phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The request went on.
    Passed,
    /// It was refused here.
    Refused,
    /// It had been let pass, and came to nothing here.
    Failed,
    /// Its client left.
    Left,
    /// It has not: the record was written before.
    Open,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Open => "open",
        }
    }
}

/// The phases of one request with their times, without anything on the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The microseconds of each phase, in the order of [`Phase::ALL`]. `None`: it was not gone through.
    took: [Option<u32>; Phase::ALL.len()],
    /// Where the request is, and when that began, in microseconds since the request did.
    now: Option<(Phase, u32)>,
    ended: Ended,
}

impl Default for Steps {
    fn default() -> Self {
        Self { took: [None; Phase::ALL.len()], now: None, ended: Ended::Open }
    }
}

impl Steps {
    /// At the beginning of the first phase.
    #[must_use]
    pub fn begun() -> Self {
        Self { now: Some((Phase::Admit, 0)), ..Self::default() }
    }

    /// Whether nothing is known of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.now.is_none()
    }

    /// Where the request is.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.now.map(|(phase, _)| phase)
    }

    /// Ends the phase in which the request is, and begins another, so many microseconds after its beginning.
    pub fn go_on(&mut self, phase: Phase, at: u32) {
        self.close(at);
        self.now = Some((phase, at));
    }

    /// The same steps, ended so many microseconds after the beginning.
    #[must_use]
    pub fn ended(mut self, how: Ended, at: u32) -> Self {
        self.close(at);
        self.ended = how;
        self
    }

    fn close(&mut self, at: u32) {
        let Some((phase, began)) = self.now else { return };
        if let Some(took) = self.took.get_mut(phase as usize) {
            // A phase can be come back to.
            *took = Some(took.unwrap_or(0).saturating_add(at.saturating_sub(began)));
        }
    }
}

impl Steps {
    /// The phases that were gone through: the microseconds of each, and how it ended.
    fn each(&self) -> impl Iterator<Item = (Phase, u32, Ended)> {
        let last = self.phase();
        Phase::ALL.into_iter().zip(self.took).filter_map(move |(phase, took)| {
            let is_last = last == Some(phase);
            let micros = took.or(is_last.then_some(0))?;
            Some((phase, micros, if is_last { self.ended } else { Ended::Passed }))
        })
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steps({:?}, {:?})", self.took, self.ended)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(phases: Steps) -> Value {
        let mut text = Vec::new();
        let mut line = Line::begin(&mut text);
        Walk { phases, ..Walk::default() }.write(&mut line);
        line.end();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn says_each_phase_with_its_time_and_how_the_last_one_ended() {
        assert!(Walk::default().phases.is_empty());
        assert_eq!(written(Steps::default()), json!({}));
        let mut steps = Steps::begun();
        steps.go_on(Phase::Identify, 7);
        steps.go_on(Phase::Decide, 30);
        let told = written(steps.ended(Ended::Refused, 42));
        assert_eq!(
            told["phases"],
            json!([
                {"name": "admit", "micros": 7, "outcome": "passed"},
                {"name": "identify", "micros": 23, "outcome": "passed"},
                {"name": "decide", "micros": 12, "outcome": "refused"},
            ])
        );
        // Time that seems to go back is none.
        let told = written(steps.ended(Ended::Left, 3));
        assert_eq!(told["phases"][2], json!({"name": "decide", "micros": 0, "outcome": "left"}));
    }
}
