//! Counts what happened, and writes down what was decided.

use std::{cell::Cell, net::IpAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, request::Parts, uri::PathAndQuery};
use tegata_core::{SinceBoot, Timestamp, step_up};
use tegata_policy::{ReasonId, RuleId};
use tegata_token::Claims;

use crate::{
    access,
    decision_log::{
        DecisionLog, Ended, Inputs, Limit, Mode, Outcome, Record, Roles, Scopes, Steps, Walk,
    },
    gate::{Begun, Gate},
    metrics::OfService,
    passport::{Caller, Passport},
    phase::{decide::Decided, forward::TRACEPARENT},
    reasons::Phase,
    refusal::{Refusal, Refused},
    tally::Verdict,
    trace::{Name, trace_of},
};

/// The status of requests whose client left before the answer. It is in no registry, but widespread.
const LEFT: u16 = 499;

/// Why a request goes no further on which something has panicked.
pub(crate) const FAILED: &str = "gateway_failed";

/// What the phases learn of a request, for the record. Holds no more than a few references where no
/// decision log is kept.
///
/// A client that leaves takes its request with it, wherever that is, and so does a panic; the record
/// is made all the same, when this is dropped.
#[derive(Debug)]
pub(crate) struct Trail {
    gate: Begun,
    /// The name of the request.
    pub(crate) name: Name,
    finished: Cell<bool>,
    traceparent: Option<HeaderValue>,
    noted: Option<Noted>,
    /// The client; the peer, until it is known better.
    pub(crate) client: IpAddr,
    /// The service that it leads to, to be counted.
    pub(crate) metrics: Arc<OfService>,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) route: Option<Arc<str>>,
    /// The operations of GraphQL that were asked for.
    pub(crate) operation: Box<str>,
    pub(crate) passport: Option<Rc<Passport>>,
    /// Who was known, where that did not count.
    pub(crate) seen: Option<Caller>,
    pub(crate) decided: Decided,
    /// It passed without knowledge of the latest revocations.
    pub(crate) unchecked: bool,
    refused: Option<&'static str>,
    /// It was let pass. What goes wrong behind that is no decision.
    passed: bool,
    /// Whether the decision has been made durable.
    committed: bool,
    /// When it began, by both clocks: the request, or the part of it that this is about.
    at: Timestamp,
    began: SinceBoot,
}

/// What of the head is written down.
#[derive(Debug)]
struct Noted {
    method: Method,
    /// As it was sent.
    sent: Option<PathAndQuery>,
    /// As everybody behind the gateway reads it, where that is another.
    read: Option<String>,
    /// The name that it came with, where it asks for decisions.
    named: Option<HeaderValue>,
    steps: Steps,
    /// The tightest limit that applied.
    limit: Option<Verdict>,
    /// How much of what was taken back could have been unknown.
    stale: Option<Duration>,
}

impl Noted {
    fn path(&self) -> &str {
        let sent = self.sent.as_ref().map_or("", |sent| sent.path());
        self.read.as_deref().unwrap_or(sent)
    }
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    status: Option<u16>,
    took: Option<Duration>,
}

impl Trail {
    pub(crate) fn new(
        parts: &Parts,
        peer: IpAddr,
        gate: &Begun,
        name: Name,
        metrics: &Arc<OfService>,
        began: SinceBoot,
    ) -> Self {
        let noted = gate.decisions.is_some().then(|| Noted {
            method: parts.method.clone(),
            sent: parts.uri.path_and_query().cloned(),
            read: None,
            named: access::name(parts),
            steps: Steps::begun(),
            limit: None,
            stale: None,
        });
        let traceparent = parts.headers.get(&TRACEPARENT);
        Self {
            at: name.at(),
            gate: Rc::clone(gate),
            name,
            finished: Cell::new(false),
            traceparent: traceparent.filter(|_| gate.config.keep_traceparent).cloned(),
            noted,
            client: peer,
            metrics: Arc::clone(metrics),
            service: None,
            route: None,
            operation: Box::default(),
            passport: None,
            seen: None,
            decided: Decided::default(),
            unchecked: false,
            refused: None,
            passed: false,
            committed: false,
            began,
        }
    }

    /// That of a part of this request, which begins now.
    pub(crate) fn part(
        &self,
        parts: &Parts,
        client: IpAddr,
        metrics: &Arc<OfService>,
        now: SinceBoot,
    ) -> Self {
        let mut part = Self::new(parts, client, &self.gate, self.name, metrics, now);
        part.at = self.at + now.since(self.began);
        part
    }

    /// Takes note of the path as everybody behind the gateway will read it.
    pub(crate) fn note_path(&mut self, path: &str) {
        if let Some(noted) = &mut self.noted
            && noted.path() != path
        {
            noted.read = Some(path.to_owned());
        }
    }

    /// Takes note that another phase begins. Reads no clock where nothing is written down.
    pub(crate) fn go_on(&mut self, phase: Phase) {
        if let Some(noted) = &mut self.noted {
            noted.steps.go_on(phase, micros(self.gate.node.elapsed(self.began)));
        }
    }

    /// Takes note of what limits said: of the tightest.
    pub(crate) fn note_limits(&mut self, told: &[Verdict]) {
        if let Some(noted) = &mut self.noted {
            let tightest = told.iter().min_by_key(|it| (it.answer.passes, it.answer.remaining));
            noted.limit = tightest.cloned();
        }
    }

    /// Takes note of how old what is known of revocations may be.
    pub(crate) fn note_stale(&mut self, stale: impl FnOnce() -> Option<Duration>) {
        if let Some(noted) = &mut self.noted {
            noted.stale = stale();
        }
    }

    pub(crate) fn note_passed(&mut self) {
        self.passed = true;
        let (Some(usage), Some(service)) = (&self.gate.usage, &self.service) else { return };
        if let Some(Caller::Token(token)) = self.passport.as_deref().map(|it| &it.caller) {
            usage.used(&token.claims().jti, service, self.now());
        }
    }

    pub(crate) fn note_refused(&mut self, refusal: &Refusal) {
        self.refused = Some(refusal.id);
        if let Some(limit) = &refusal.limit {
            self.note_limits(std::slice::from_ref(limit));
        }
    }

    /// What time it is: when it began, and how long it has taken since, so that a clock that is set meanwhile
    /// makes no record older than the request.
    pub(crate) fn now(&self) -> Timestamp {
        self.at + self.took()
    }

    fn took(&self) -> Duration {
        self.gate.node.elapsed(self.began)
    }

    /// The trace that the client's request belongs to.
    pub(crate) fn trace(&self) -> Option<&str> {
        self.traceparent.as_ref().and_then(trace_of)
    }

    /// Where the log is required, makes the decision durable before anything follows from it. Once
    /// is enough.
    pub(crate) async fn commit(&mut self) -> Result<(), Refused> {
        let required = |log: &&DecisionLog| log.mode() == Mode::Required;
        let Some(log) = self.gate.decisions.as_ref().filter(required) else { return Ok(()) };
        let Some(record) = self.record(Answered::default(), self.took()) else { return Ok(()) };
        if !self.committed {
            Box::pin(log.commit(&record)).await.map_err(|_| {
                self.gate.metrics.lost.inc();
                unrecorded()
            })?;
            self.committed = true;
        }
        Ok(())
    }

    /// Counts the answer, and records it. The first answer counts.
    pub(crate) fn finish(&self, status: u16) {
        if self.finished.replace(true) {
            return;
        }
        let gate = &self.gate;
        let took = self.took();
        self.metrics.count(status);
        self.metrics.duration.observe(took);
        let answered = Answered { status: Some(status), took: Some(took) };
        if let (Some(log), Some(mut record)) = (&gate.decisions, self.record(answered, took)) {
            if self.committed {
                record.result = Outcome::Answer;
            }
            if !log.append(&record) {
                gate.metrics.lost.inc();
            }
        }
    }

    fn record(&self, answered: Answered, after: Duration) -> Option<Record<'_>> {
        let noted = self.noted.as_ref()?;
        let caller = self.passport.as_deref().map(|passport| &passport.caller);
        let claims = caller.or(self.seen.as_ref()).map(Caller::claims);
        let reason = self.decided.reason.map(ReasonId::as_str).or(self.refused);
        let now = self.at + after;
        Some(Record {
            at: now,
            request: self.name.as_str(),
            trace: self.trace(),
            client: self.client,
            subject: claims.map(|claims| claims.sub.as_str()),
            jti: claims.map(|claims| claims.jti.as_str()).filter(|jti| !jti.is_empty()),
            sid: claims.and_then(Claims::session),
            method: noted.method.as_str(),
            path: noted.path(),
            service: self.service.as_deref(),
            route: self.route.as_deref(),
            operation: &self.operation,
            result: if reason.is_some() && !self.passed { Outcome::Deny } else { Outcome::Allow },
            reason,
            rule: self.decided.rule.as_ref().map(RuleId::as_str),
            policies: &self.decided.policies,
            policy_set: self
                .gate
                .routing
                .policy_digest
                .as_deref()
                .filter(|_| self.decided.is_made()),
            risk: None,
            unchecked: self.unchecked,
            status: answered.status,
            micros: answered.took.and_then(|took| u64::try_from(took.as_micros()).ok()),
            walk: Walk {
                phases: self.steps(noted, reason, (answered, after)),
                inputs: self.inputs(noted, now),
                change: self.decided.change.as_deref(),
                named: noted.named.as_ref().and_then(|name| name.to_str().ok()),
                evaluation: None,
            },
        })
    }

    fn steps(
        &self,
        noted: &Noted,
        reason: Option<&str>,
        (answered, after): (Answered, Duration),
    ) -> Steps {
        let how = match (reason, answered.status) {
            (Some(_), _) if self.passed => Ended::Failed,
            (Some(_), _) => Ended::Refused,
            (None, None) => Ended::Open,
            (None, Some(LEFT)) => Ended::Left,
            (None, Some(_)) => Ended::Passed,
        };
        noted.steps.ended(how, micros(after))
    }

    fn inputs<'r>(&'r self, noted: &'r Noted, now: Timestamp) -> Inputs<'r> {
        let passport = self.passport.as_deref();
        let caller = passport.map(|passport| &passport.caller).or(self.seen.as_ref());
        let claims = caller.map(Caller::claims);
        let held = passport.map(|passport| &passport.held);
        let auth_time = claims.and_then(|claims| claims.auth_time);
        let stale = noted.stale.filter(|_| caller.is_some());
        Inputs {
            credential: caller.map(Caller::kind),
            kind: passport.map(|passport| passport.kind),
            roles: Roles(held),
            scopes: Scopes(held),
            acr: claims.and_then(|claims| claims.acr.as_deref()),
            auth_age: step_up::age(auth_time, now),
            stale_ms: stale.map(|stale| u64::try_from(stale.as_millis()).unwrap_or(u64::MAX)),
            limit: noted.limit.as_ref().map(|it| Limit {
                label: &it.label,
                quota: it.quota.limit.count().get(),
                window: it.quota.limit.per().as_secs(),
                left: it.answer.remaining,
                wait: it.answer.seconds(),
            }),
        }
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.refused.get_or_insert(FAILED);
            self.finish(StatusCode::INTERNAL_SERVER_ERROR.as_u16());
        } else {
            self.finish(LEFT);
        }
    }
}

/// Answers when a decision is durable, or why the request is refused instead.
pub(crate) type Recording = Pin<Box<dyn Future<Output = Result<(), Refused>>>>;

/// Writes down a request that was refused before anything of it could be read, and counts what is answered to
/// it as one of `metrics`. Where the log is required, nothing is answered before that is durable, and what is
/// answered is known no sooner.
pub(crate) fn unread(
    gate: &Gate,
    name: &Name,
    peer: IpAddr,
    refused: &Refusal,
    metrics: &Arc<OfService>,
) -> Option<Recording> {
    let Some(log) = gate.decisions.as_ref() else {
        metrics.count(refused.status.as_u16());
        return None;
    };
    let record = Record {
        at: gate.node.now(),
        request: name.as_str(),
        trace: None,
        client: peer.to_canonical(),
        subject: None,
        jti: None,
        sid: None,
        method: "",
        path: "",
        service: None,
        route: None,
        operation: "",
        result: Outcome::Deny,
        reason: Some(refused.id),
        rule: None,
        policies: &[],
        policy_set: None,
        risk: None,
        unchecked: false,
        status: Some(refused.status.as_u16()),
        micros: None,
        walk: Walk { phases: Steps::begun().ended(Ended::Refused, 0), ..Walk::default() },
    };
    if log.mode() == Mode::Required {
        let (recording, lost) = (log.committing(&record), gate.metrics.lost.clone());
        let (count, status) = (Count::new(metrics), refused.status.as_u16());
        return Some(Box::pin(async move {
            let recorded = recording.await.map_err(|_| {
                lost.inc();
                unrecorded().closing()
            });
            count.answered(recorded.as_ref().err().map_or(status, |it| it.status.as_u16()));
            recorded
        }));
    }
    metrics.count(refused.status.as_u16());
    if !log.append(&record) {
        gate.metrics.lost.inc();
    }
    None
}

/// Counts an answer when it is dropped: that the client has left, until it is known what is answered.
struct Count {
    metrics: Arc<OfService>,
    status: u16,
}

impl Count {
    fn new(metrics: &Arc<OfService>) -> Self {
        Self { metrics: Arc::clone(metrics), status: LEFT }
    }

    fn answered(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.metrics.count(self.status);
    }
}

fn unrecorded() -> Refused {
    let detail = "decisions must be recorded, and cannot be at present";
    Refusal::unavailable("decision_log_unavailable", detail)
}
