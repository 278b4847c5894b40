//! A record: what was decided about one request.

use serde::Serialize;
use tegata_core::Timestamp;

/// What was decided about a request. Written as one line of JSON, in this order, without what is not
/// known. Nothing in it is a credential.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Record<'r> {
    /// When: milliseconds since 1970.
    #[serde(serialize_with = "millis")]
    pub at: Timestamp,
    /// The request.
    pub request: &'r str,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'r str>,
    /// The address of the client.
    pub client: std::net::IpAddr,
    /// Who asked: a user id or a client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'r str>,
    /// With which token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'r str>,
    /// In which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<&'r str>,
    /// The method; empty where it cannot be read.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: &'r str,
    /// The path, normalised; as it was sent where it could not be; empty where it cannot be read.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub path: &'r str,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'r str>,
    /// The route's prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'r str>,
    /// What was decided.
    pub result: Outcome,
    /// Why, where it was refused, or passed and came to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'r str>,
    /// The rule that determined it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'r str>,
    /// How unusual it was, from 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// It was let pass although revocations could not be learnt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
    /// The status of the answer, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From the request's head to the answer's, in microseconds, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The request may pass, whatever becomes of it.
    Allow,
    /// It may not.
    Deny,
    /// This is how it went; the decision stands in an earlier record.
    Answer,
}

fn millis<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.millis())
}

impl Record<'_> {
    /// Writes the record, without a line feed: JSON escapes those.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        // Texts and numbers always have a JSON form, and writing to memory does not fail.
        let _ = serde_json::to_writer(buffer, self);
    }
}
