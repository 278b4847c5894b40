//! A record: what was decided about one request.

use tegata_core::Timestamp;
use tegata_policy::PolicyId;

use super::{line::Line, walk::Walk};

/// What was decided about a request. Written as one line of JSON, in this order, without what is not
/// known. Nothing in it is a credential.
#[derive(Debug, Clone, Copy)]
pub struct Record<'r> {
    /// When: milliseconds since 1970.
    pub at: Timestamp,
    /// The request.
    pub request: &'r str,
    /// The trace that it belongs to.
    pub trace: Option<&'r str>,
    /// The address of the client.
    pub client: std::net::IpAddr,
    /// Who asked: a user id or a client id.
    pub subject: Option<&'r str>,
    /// With which token.
    pub jti: Option<&'r str>,
    /// In which session.
    pub sid: Option<&'r str>,
    /// The method; empty where it cannot be read.
    pub method: &'r str,
    /// The path, normalised; as it was sent where it could not be; empty where it cannot be read.
    pub path: &'r str,
    /// The service.
    pub service: Option<&'r str>,
    /// The route's prefix.
    pub route: Option<&'r str>,
    /// The operations of GraphQL that were asked for, where they have names.
    pub operation: &'r str,
    /// What was decided.
    pub result: Outcome,
    /// Why, where it was refused, or passed and came to nothing.
    pub reason: Option<&'r str>,
    /// The rule that determined it.
    pub rule: Option<&'r str>,
    /// The policies that determined it.
    pub policies: &'r [PolicyId],
    /// The digest of the set of policies that it was decided by.
    pub policy_set: Option<&'r str>,
    /// How unusual it was, from 0 to 100.
    pub risk: Option<u8>,
    /// It was let pass although revocations could not be learnt.
    pub unchecked: bool,
    /// The status of the answer, where it is known.
    pub status: Option<u16>,
    /// From the request's head to the answer's, in microseconds, where it is known.
    pub micros: Option<u64>,
    /// How it came to be decided so.
    pub walk: Walk<'r>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass, whatever becomes of it.
    Allow,
    /// It may not.
    Deny,
    /// This is how it went; the decision stands in an earlier record.
    Answer,
}

impl Outcome {
    /// The stable name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Answer => "answer",
        }
    }
}

impl Record<'_> {
    /// Writes the record, without a line feed: JSON escapes those.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        let mut line = Line::begin(buffer);
        line.number("at", self.at.millis());
        line.text("request", self.request);
        line.maybe("trace", self.trace);
        line.value("client", &self.client);
        line.maybe("subject", self.subject);
        line.maybe("jti", self.jti);
        line.maybe("sid", self.sid);
        line.unless_empty("method", self.method);
        line.unless_empty("path", self.path);
        line.maybe("service", self.service);
        line.maybe("route", self.route);
        line.unless_empty("operation", self.operation);
        line.text("result", self.result.as_str());
        line.maybe("reason", self.reason);
        line.maybe("rule", self.rule);
        line.texts("policies", self.policies.iter().map(PolicyId::as_str));
        line.maybe("policy_set", self.policy_set);
        if let Some(risk) = self.risk {
            line.number("risk", risk.into());
        }
        if self.unchecked {
            line.value("unchecked", &true);
        }
        if let Some(status) = self.status {
            line.number("status", status.into());
        }
        if let Some(micros) = self.micros {
            line.number("micros", micros);
        }
        self.walk.write(&mut line);
        line.end();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        decision_log::{Ended, Inputs, Limit, Steps},
        reasons::Phase,
    };

    fn full(text: &str) -> Record<'_> {
        let mut phases = Steps::begun();
        phases.go_on(Phase::Decide, 3);
        Record {
            at: Timestamp::from_secs(1),
            request: text,
            trace: Some(text),
            client: [192, 0, 2, 1].into(),
            subject: Some(text),
            jti: Some(text),
            sid: Some(text),
            method: text,
            path: text,
            service: Some(text),
            route: Some(text),
            operation: text,
            result: Outcome::Deny,
            reason: Some(text),
            rule: Some(text),
            policies: &[],
            policy_set: Some(text),
            risk: Some(7),
            unchecked: true,
            status: Some(403),
            micros: Some(u64::MAX),
            walk: Walk {
                phases: phases.ended(Ended::Refused, 5),
                inputs: Inputs {
                    credential: Some("token"),
                    acr: Some(text),
                    auth_age: Some(60),
                    stale_ms: Some(12),
                    limit: Some(Limit { label: text, quota: 1, window: 2, left: 3, wait: 4 }),
                    ..Inputs::default()
                },
                named: Some(text),
                ..Walk::default()
            },
        }
    }

    fn written(record: &Record<'_>) -> String {
        let mut text = Vec::new();
        record.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_back_and_stays_on_one_line(
            text in r#"[\x00-\x7fäé…\u{2028}😀"\\]{1,40}"#
        ) {
            let written = written(&full(&text));
            prop_assert!(!written.contains(['\n', '\r']));
            let read: Value = serde_json::from_str(&written).unwrap();
            let expected = json!({
                "at": 1000, "request": text, "trace": text, "client": "192.0.2.1", "subject": text,
                "jti": text, "sid": text, "method": text, "path": text, "service": text,
                "route": text, "operation": text, "result": "deny", "reason": text, "rule": text,
                "policy_set": text, "risk": 7, "unchecked": true, "status": 403,
                "micros": u64::MAX,
                "phases": [
                    {"name": "admit", "micros": 3, "outcome": "passed"},
                    {"name": "decide", "micros": 2, "outcome": "refused"},
                ],
                "inputs": {
                    "credential": "token", "acr": text, "auth_age": 60, "stale_ms": 12,
                    "limit": {"label": text, "quota": 1, "window": 2, "left": 3, "wait": 4},
                },
                "named": text,
            });
            prop_assert_eq!(read.to_string(), expected.to_string());
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let (nothing, known) = (full(""), full("x"));
        let bare = Record {
            trace: None,
            subject: None,
            jti: None,
            sid: None,
            service: None,
            route: None,
            reason: None,
            rule: None,
            policy_set: None,
            risk: None,
            unchecked: false,
            status: None,
            micros: None,
            walk: Walk::default(),
            request: known.request,
            ..nothing
        };
        let expected = r#"{"at":1000,"request":"x","client":"192.0.2.1","result":"deny"}"#;
        assert_eq!(written(&bare), expected);
    }
}
