//! Which signals an event of the journal is.
//!
//! One event may be several signals, or none. A session's end is told by `SESSION_ENDED`, which
//! stands beside every `USER_LOGGED_OUT`, so that one is not told again. That a browser signed in
//! anew, or left a session alone for too long, revokes nothing. A family that belongs to no session
//! is told to its own client alone, which knows it as the claim `fid`. One token that was taken back
//! is no signal of CAEP: status lists and introspection tell of it.

use serde_json::{Map, Value, json};
use tegata_core::{ClientId, Event, EventType, UserId};

use super::kind::SignalKind;

/// A signal, before it is written for a receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Which of the event's signals it is, from 0.
    pub number: u8,
    /// Its kind.
    pub kind: SignalKind,
    /// The person.
    pub user: UserId,
    /// The session, or what stands for one: a public handle.
    pub session: Option<String>,
    /// What belongs to it.
    pub payload: Map<String, Value>,
    /// The one client that may know, where not all may.
    pub only: Option<ClientId>,
}

/// The signals that an event is.
#[must_use]
pub fn told_by(event: &Event) -> Vec<Told> {
    let Some(user) = text(event, "user_id").and_then(|id| UserId::new(id).ok()) else {
        return Vec::new();
    };
    // What another system told is not told on: two that hear each other would end what the other has
    // left, and what began since.
    if text(event, "actor").is_some_and(|actor| actor.starts_with("transmitter:")) {
        return Vec::new();
    }
    let session = text(event, "session_id").map(str::to_owned);
    let tell = |number, kind, session, more: Value| Told {
        number,
        kind,
        user: user.clone(),
        session,
        payload: payload(event, &user, more),
        only: None,
    };
    match event.kind {
        EventType::SessionEnded if session.is_some() && is_revoked(event) => {
            vec![tell(0, SignalKind::SessionRevoked, session, json!({}))]
        }
        EventType::SessionCreated if session.is_some() => {
            vec![tell(0, SignalKind::SessionEstablished, session, json!({}))]
        }
        // Everything of a person up to now. One token that was taken back is no event of theirs.
        EventType::TokenRevoked if !event.data.contains_key("jti") => {
            vec![tell(0, SignalKind::SessionRevoked, None, json!({}))]
        }
        EventType::FamilyRevoked if session.is_none() => {
            let (Some(family), Some(client)) = (text(event, "family"), text(event, "client_id"))
            else {
                return Vec::new();
            };
            let family = Some(family.to_owned());
            let told = tell(0, SignalKind::SessionRevoked, family, json!({}));
            let only = ClientId::new(client).ok();
            only.map(|only| Told { only: Some(only), ..told }).into_iter().collect()
        }
        EventType::CredentialChanged => {
            let change = text(event, "change").unwrap_or("update");
            // An authenticator app is `app` there, a passkey is of the device or apart from it (CAEP
            // 1.0 §3.3.1); a list on paper is nothing, and neither is a passkey that was refused.
            let kind = match text(event, "credential").unwrap_or("password") {
                "totp" => "app",
                "passkey" if change == "cloned" => return Vec::new(),
                "passkey" if text(event, "attachment") == Some("platform") => "fido2-platform",
                "passkey" => "fido2-roaming",
                "recovery_code" => return Vec::new(),
                other => other,
            };
            let more = json!({"credential_type": kind, "change_type": change});
            vec![tell(0, SignalKind::CredentialChange, None, more)]
        }
        EventType::PermissionsChanged => {
            let changes = event.data.get("changes");
            let change = |name: &str| changes.and_then(|changes| changes.get(name));
            let mut all = Vec::new();
            if let Some(roles) = change("roles").and_then(|roles| roles.get("now")) {
                let more = json!({"claims": {"roles": roles}});
                all.push(tell(0, SignalKind::TokenClaimsChange, None, more));
            }
            match change("disabled").and_then(Value::as_bool) {
                Some(true) => all.push(tell(1, SignalKind::AccountDisabled, None, json!({}))),
                Some(false) => all.push(tell(1, SignalKind::AccountEnabled, None, json!({}))),
                None => {}
            }
            all
        }
        _ => Vec::new(),
    }
}

fn text<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.data.get(name).and_then(Value::as_str)
}

/// Whether a session that ended was taken from its person.
fn is_revoked(event: &Event) -> bool {
    !matches!(text(event, "reason"), Some("replaced" | "idle"))
}

/// What every signal says, and what this one says beside.
fn payload(event: &Event, user: &UserId, more: Value) -> Map<String, Value> {
    let mut payload = Map::new();
    payload.insert("event_timestamp".to_owned(), event.clock.wall().secs().into());
    let actor = text(event, "actor");
    let reason = text(event, "reason");
    let initiating = match (actor, reason) {
        _ if event.kind == EventType::SessionCreated => "user",
        (Some(actor), _) if actor == user.as_str() => "user",
        (_, Some("limit")) => "policy",
        (Some("system"), _) | (None, _) => "system",
        _ => "admin",
    };
    payload.insert("initiating_entity".to_owned(), initiating.into());
    payload.insert("reason_admin".to_owned(), json!({"en": words(event.kind, reason)}));
    if let Value::Object(more) = more {
        payload.extend(more);
    }
    payload
}

/// The reason in words that name nobody. What an operator wrote is for our own journal.
fn words(kind: EventType, reason: Option<&str>) -> &'static str {
    match (kind, reason) {
        (EventType::SessionCreated, _) => "the person signed in",
        (EventType::CredentialChanged, _) => "the credential was changed",
        (EventType::PermissionsChanged, _) => "an administrator changed what the person may do",
        (_, Some("logout")) => "the person signed out",
        (_, Some("limit")) => "the person had too many sessions",
        (_, Some("replayed" | "reused" | "code_replayed")) => "somebody else had a copy",
        (_, Some("disabled")) => "the account was disabled",
        (_, Some("password_changed")) => "the password was changed",
        (_, Some("holder_gone")) => "the person may no longer sign in",
        (_, Some("revoked")) => "the client gave it back",
        (_, Some("signal")) => "another system ended it",
        _ => "it was ended by order",
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Node, Realm};

    use super::*;

    fn event<const N: usize>(kind: EventType, data: [(&str, Value); N]) -> Event {
        Event::new(&Node::for_tests(1), &Realm::default(), kind, data)
    }

    fn ended(reason: &str, actor: &str) -> Vec<Told> {
        told_by(&event(
            EventType::SessionEnded,
            [
                ("user_id", json!("usr_1")),
                ("session_id", json!("1.20500.s")),
                ("reason", json!(reason)),
                ("actor", json!(actor)),
            ],
        ))
    }

    #[test]
    fn a_session_that_was_ended_is_revoked_and_one_that_passed_is_not() {
        for (reason, actor, initiating) in [
            ("logout", "usr_1", "user"),
            ("limit", "system", "policy"),
            ("replayed", "system", "system"),
            ("fired for fraud", "operator", "admin"),
        ] {
            let [told] = &ended(reason, actor)[..] else { panic!("{reason}") };
            assert_eq!(told.kind, SignalKind::SessionRevoked);
            assert_eq!(told.session.as_deref(), Some("1.20500.s"));
            assert_eq!(told.payload["initiating_entity"], initiating);
            assert_eq!(told.payload["event_timestamp"], 1_767_225_600);
            // What an operator wrote is not passed on.
            assert!(!json!(told.payload).to_string().contains("fraud"));
            assert!(!told.payload["reason_admin"]["en"].as_str().unwrap().is_empty());
        }
        assert!(ended("replaced", "usr_1").is_empty() && ended("idle", "system").is_empty());
        let data = [("user_id", json!("usr_1")), ("session_id", json!("1.20500.s"))];
        assert!(told_by(&event(EventType::UserLoggedOut, data)).is_empty());
    }

    #[test]
    fn a_change_of_roles_and_standing_is_two_signals() {
        let changes = json!({
            "roles": {"granted": ["admin"], "withdrawn": [], "now": ["admin", "customer"]},
            "disabled": true,
        });
        let data = [("user_id", json!("usr_1")), ("changes", changes), ("actor", json!("op"))];
        let told = told_by(&event(EventType::PermissionsChanged, data));
        let kinds: Vec<_> = told.iter().map(|told| (told.number, told.kind)).collect();
        assert_eq!(kinds, [(0, SignalKind::TokenClaimsChange), (1, SignalKind::AccountDisabled)]);
        assert_eq!(told[0].payload["claims"], json!({"roles": ["admin", "customer"]}));
        let data = [("user_id", json!("usr_1")), ("changes", json!({"disabled": false}))];
        let told = told_by(&event(EventType::PermissionsChanged, data));
        assert_eq!(told[0].kind, SignalKind::AccountEnabled);
    }

    #[test]
    fn a_family_is_told_to_its_client_alone_and_a_token_to_nobody() {
        let family = |session: Value| {
            told_by(&event(
                EventType::FamilyRevoked,
                [
                    ("family", json!("1.20500.f")),
                    ("user_id", json!("usr_1")),
                    ("client_id", json!("web")),
                    ("session_id", session),
                    ("reason", json!("stolen")),
                ],
            ))
        };
        let told = family(Value::Null);
        assert_eq!(told[0].only.as_ref().map(ClientId::as_str), Some("web"));
        assert_eq!(told[0].session.as_deref(), Some("1.20500.f"));
        assert!(family(json!("1.20500.s")).is_empty());
        let one = [
            ("jti", json!("1.a")),
            ("user_id", json!("usr_1")),
            ("client_id", json!("web")),
            ("reason", json!("x")),
            ("actor", json!("web")),
        ];
        assert!(told_by(&event(EventType::TokenRevoked, one)).is_empty());
        let echo = [("user_id", json!("usr_1")), ("actor", json!("transmitter:first"))];
        assert!(told_by(&event(EventType::TokenRevoked, echo)).is_empty());
        let told = told_by(&event(EventType::TokenRevoked, [("user_id", json!("usr_1"))]));
        assert_eq!((told[0].kind, &told[0].session), (SignalKind::SessionRevoked, &None));
        let told = told_by(&event(
            EventType::CredentialChanged,
            [("user_id", json!("usr_1")), ("credential", json!("password"))],
        ));
        assert_eq!(told[0].payload["credential_type"], "password");
        for (credential, change, said) in [
            ("totp", "create", Some(("app", "create"))),
            ("totp", "delete", Some(("app", "delete"))),
            ("recovery_code", "used", None),
            ("passkey", "create", Some(("fido2-roaming", "create"))),
            ("passkey", "cloned", None),
        ] {
            let data = [
                ("user_id", json!("usr_1")),
                ("credential", json!(credential)),
                ("change", json!(change)),
            ];
            let told = told_by(&event(EventType::CredentialChanged, data));
            let told = told.first().map(|told| &told.payload);
            let member = |name: &str| told.and_then(|it| it.get(name)).and_then(Value::as_str);
            assert_eq!(member("credential_type").zip(member("change_type")), said, "{credential}");
        }
    }

    #[test]
    fn what_names_nobody_of_ours_is_no_signal() {
        for kind in [EventType::SessionEnded, EventType::CredentialChanged, EventType::TokenRevoked]
        {
            assert!(told_by(&event(kind, [("user_id", json!("somebody"))])).is_empty());
            assert!(told_by(&event(kind, [("user_id", json!(7))])).is_empty());
        }
        assert!(told_by(&event(EventType::KeyRotated, [("kid", json!("k"))])).is_empty());
    }
}
