//! The journal: our own record of state changes. Users meet it as the audit log and as events on
//! the bus.
//!
//! An [`Event`] is written in the same [`crate::Batch`] as the change it tells of, so neither can
//! exist without the other; one that tells of no change ([`EventType::SignInFailed`]) is written soon after.
//! It is published afterwards, at least once; `id` tells a repetition.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    clock::Hybrid,
    id::{EventId, NodeId, Realm},
    node::Node,
};

/// The kinds of event, named as on the bus (`auth-events.<TYPE>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// A person signed out: `user_id`, `session_id`.
    UserLoggedOut,
    /// Roles or permissions changed: `user_id`, `changes`.
    PermissionsChanged,
    /// A service token was issued: `service`, `target`, `jti`.
    TokenIssued,
    /// One token was taken back: `jti`, `reason`, `actor`.
    TokenRevoked,
    /// A family was ended: `family`, `reason`, and `verdict` where a presentation caused it.
    FamilyRevoked,
    /// A session began: `user_id`, `session_id`, and how and from where: `amr`, `acr`, `address`.
    SessionCreated,
    /// Somebody tried to sign in, or to show once more who they are, and failed: `method`, `error`,
    /// `address`, and `user_id` where it was the account of somebody; `retry_after` in seconds, where it was
    /// not looked at; `left_out`, how many such attempts no event tells of. What was typed stands nowhere.
    SignInFailed,
    /// A session ended: `user_id`, `session_id`, `reason`.
    SessionEnded,
    /// A session was presented by somebody it is not bound to: `session_id`, `part`.
    SuspiciousSessionAccess,
    /// A password or another credential changed: `user_id`, `credential`.
    CredentialChanged,
    /// A signing key changed its state: `kid`, `algorithm`, `state`.
    KeyRotated,
    /// An API key takes the place of another, which counts beside it for a while: `old_id`, `new_id`,
    /// `overlap_end`, `client_id`.
    ApiKeyRotated,
    /// A user, client or service was registered, changed or removed: `subject`, `change`.
    RegistryChanged,
    /// The store was brought back from a backup, and what had been issued is refused: `epoch`,
    /// `before`, `actor`.
    BackupRestored,
    /// Another system told of something, and it was acted on: `transmitter`, `event`, `jti`,
    /// `action`, `user_ids`, and `session_id` where it named one of ours.
    SignalReceived,
    /// Somebody chose which cookies they agree to: `version`, `categories`, `withdrawn`, and `user_id`
    /// where they were signed in.
    CookieConsentChanged,
    /// Other policies decide: `version`, `digest`, `policies` (how many there are), `mode`, `shadow` (the digest
    /// of those that are tried), and `actor` where somebody ordered it.
    PolicyChanged,
}

impl EventType {
    /// The name on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserLoggedOut => "USER_LOGGED_OUT",
            Self::PermissionsChanged => "PERMISSIONS_CHANGED",
            Self::TokenIssued => "TOKEN_ISSUED",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::FamilyRevoked => "FAMILY_REVOKED",
            Self::SessionCreated => "SESSION_CREATED",
            Self::SignInFailed => "SIGN_IN_FAILED",
            Self::SessionEnded => "SESSION_ENDED",
            Self::SuspiciousSessionAccess => "SUSPICIOUS_SESSION_ACCESS",
            Self::CredentialChanged => "CREDENTIAL_CHANGED",
            Self::KeyRotated => "KEY_ROTATED",
            Self::ApiKeyRotated => "API_KEY_ROTATED",
            Self::RegistryChanged => "REGISTRY_CHANGED",
            Self::BackupRestored => "BACKUP_RESTORED",
            Self::SignalReceived => "SIGNAL_RECEIVED",
            Self::CookieConsentChanged => "COOKIE_CONSENT_CHANGED",
            Self::PolicyChanged => "POLICY_CHANGED",
        }
    }
}

/// One state change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique; a repeated delivery has the same.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The form of this document: `1.0`.
    pub version: String,
    /// When, as RFC 3339.
    pub timestamp: String,
    /// The hybrid reading that orders this event among those of other nodes.
    pub clock: Hybrid,
    /// Where.
    pub realm: Realm,
    /// Which node wrote it.
    pub node: NodeId,
    /// The trace that caused it. Written also where there is none: nobody has to guess what a missing one
    /// means.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// What it is about: see [`EventType`].
    pub data: Map<String, Value>,
}

impl Event {
    /// An event of `kind` in `realm`, with `data` as an object of named values.
    #[must_use]
    pub fn new<const N: usize>(
        node: &Node,
        realm: &Realm,
        kind: EventType,
        data: [(&str, Value); N],
    ) -> Self {
        Self {
            id: EventId::generate(node.entropy()),
            kind,
            version: "1.0".to_owned(),
            timestamp: node.now().to_string(),
            clock: node.tick(),
            realm: realm.clone(),
            node: node.id(),
            trace_id: crate::cause::current(),
            data: data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// The bytes that are stored and published: one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_published_form() {
        let node = Node::for_tests(1);
        let event = Event::new(
            &node,
            &Realm::default(),
            EventType::FamilyRevoked,
            [("reason", "reused".into())],
        );
        let json: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(json["type"], event.kind.name());
        assert_eq!(json["version"], "1.0");
        assert_eq!(json["timestamp"], "2026-01-01T00:00:00.000Z");
        assert_eq!(json["realm"], "default");
        assert_eq!(json["data"]["reason"], "reused");
        // Nothing caused it, and that is said.
        assert_eq!(json.get("trace_id"), Some(&Value::Null));
        let mut earlier = json.clone();
        earlier.as_object_mut().unwrap().remove("trace_id");
        assert_eq!(serde_json::from_value::<Event>(earlier).unwrap(), event);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}
