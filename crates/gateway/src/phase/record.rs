//! Counts what happened, and writes down what was decided.

use std::{cell::Cell, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderValue, Method, request::Parts, uri::PathAndQuery};
use tegata_core::SinceBoot;
use tegata_policy::{ReasonId, RuleId};

use crate::{
    decision_log::{DecisionLog, Mode, Outcome, Record},
    gate::{Begun, Gate},
    metrics::OfService,
    passport::{Caller, Passport},
    phase::{decide::Decided, forward::TRACEPARENT},
    refusal::{Refusal, Refused},
    trace::{Name, trace_of},
};

/// The status of requests whose client left before the answer. It is in no registry, but widespread.
const LEFT: u16 = 499;

/// What the phases learn of a request, for the record. Holds no more than a few references where no
/// decision log is kept.
///
/// A client that leaves takes its request with it, wherever that is; the record is made all the
/// same, when this is dropped.
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
    pub(crate) passport: Option<Rc<Passport>>,
    pub(crate) decided: Decided,
    /// It passed without knowledge of the latest revocations.
    pub(crate) unchecked: bool,
    refused: Option<&'static str>,
    /// It was let pass. What goes wrong behind that is no decision.
    passed: bool,
    /// Whether the decision has been made durable.
    committed: bool,
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
        });
        let traceparent = parts.headers.get(&TRACEPARENT);
        Self {
            gate: Rc::clone(gate),
            name,
            finished: Cell::new(false),
            traceparent: traceparent.filter(|_| gate.config.keep_traceparent).cloned(),
            noted,
            client: peer,
            metrics: Arc::clone(metrics),
            service: None,
            route: None,
            passport: None,
            decided: Decided::default(),
            unchecked: false,
            refused: None,
            passed: false,
            committed: false,
            began,
        }
    }

    /// Takes note of the path as everybody behind the gateway will read it.
    pub(crate) fn note_path(&mut self, path: &str) {
        if let Some(noted) = &mut self.noted
            && noted.path() != path
        {
            noted.read = Some(path.to_owned());
        }
    }

    pub(crate) fn note_passed(&mut self) {
        self.passed = true;
        let (Some(usage), Some(service)) = (&self.gate.usage, &self.service) else { return };
        if let Some(Caller::Token(token)) = self.passport.as_deref().map(|it| &it.caller) {
            usage.used(&token.claims().jti, service);
        }
    }

    pub(crate) fn note_refused(&mut self, refusal: &Refusal) {
        self.refused = Some(refusal.id);
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
        let Some(record) = self.record(Answered::default()) else { return Ok(()) };
        if !self.committed {
            log.commit(&record).await.map_err(|_| {
                self.gate.metrics.lost.inc();
                let detail = "decisions must be recorded, and cannot be at present";
                Refusal::unavailable("decision_log_unavailable", detail)
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
        let took = gate.node.elapsed(self.began);
        self.metrics.count(status);
        self.metrics.duration.observe(took);
        let answered = Answered { status: Some(status), took: Some(took) };
        if let (Some(log), Some(mut record)) = (&gate.decisions, self.record(answered)) {
            if self.committed {
                record.result = Outcome::Answer;
            }
            if !log.append(&record) {
                gate.metrics.lost.inc();
            }
        }
    }

    fn record(&self, answered: Answered) -> Option<Record<'_>> {
        let noted = self.noted.as_ref()?;
        let claims = self.passport.as_deref().map(|passport| passport.caller.claims());
        let reason = self.decided.reason.map(ReasonId::as_str).or(self.refused);
        Some(Record {
            at: self.gate.node.now(),
            request: self.name.as_str(),
            trace: self.trace(),
            client: self.client,
            subject: claims.map(|claims| claims.sub.as_str()),
            jti: claims.map(|claims| claims.jti.as_str()).filter(|jti| !jti.is_empty()),
            sid: claims.and_then(|claims| claims.sid.as_deref()),
            method: noted.method.as_str(),
            path: noted.path(),
            service: self.service.as_deref(),
            route: self.route.as_deref(),
            result: if reason.is_some() && !self.passed { Outcome::Deny } else { Outcome::Allow },
            reason,
            rule: self.decided.rule.as_ref().map(RuleId::as_str),
            risk: None,
            unchecked: self.unchecked,
            status: answered.status,
            micros: answered.took.and_then(|took| u64::try_from(took.as_micros()).ok()),
        })
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.finish(LEFT);
    }
}

/// Writes down a request that was refused before anything of it could be read.
pub(crate) fn unread(gate: &Gate, name: &Name, peer: IpAddr, refused: &Refusal) {
    let Some(log) = &gate.decisions else { return };
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
        result: Outcome::Deny,
        reason: Some(refused.id),
        rule: None,
        risk: None,
        unchecked: false,
        status: Some(refused.status.as_u16()),
        micros: None,
    };
    if !log.append(&record) {
        gate.metrics.lost.inc();
    }
}
