//! API keys.

use http::{HeaderMap, HeaderName, StatusCode};
use tegata_mesh::Route;
use tegata_token::api_key::form::looks_like_one;

use super::token::Shown;
use crate::{
    gate::Gate,
    key::{KeyIdentity, KeyUnfit},
    passport::Caller,
    refusal::{Refusal, Refused},
};

/// Where keys are sent, beside `Authorization`.
pub(crate) static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The API key of an `Authorization: Bearer`, where that is what it carries.
pub(super) fn of_bearer(shown: Shown<'_>) -> Option<&str> {
    (shown.is_bearer() && looks_like_one(shown.text.as_bytes())).then_some(shown.text)
}

/// The service that a key stands for.
pub(super) async fn check(text: &str, gate: &Gate) -> Result<Caller, Refused> {
    let began = gate.node.since_boot();
    let checked = match &gate.keys {
        Some(keys) => keys.check(text).await,
        None => Err(KeyUnfit::Unknown),
    };
    let took = gate.node.elapsed(began);
    match checked {
        Ok(key) => {
            gate.metrics.valid.observe(took);
            Ok(Caller::Key(key))
        }
        Err(unfit) => {
            gate.metrics.invalid.observe(took);
            Err(refused(unfit))
        }
    }
}

/// Whether the key is for this service and route.
pub(super) fn check_covers(key: &KeyIdentity, route: &Route) -> Result<(), Refused> {
    if key.grant.covers(route.service.as_str(), &route.path) {
        return Ok(());
    }
    let detail = "the API key is not for this service";
    Err(Refusal::new(StatusCode::FORBIDDEN, "key_elsewhere", detail))
}

/// Whether a field of a request holds what says that it is a key: then it is nobody else's to see.
pub(crate) fn carries_key(headers: &HeaderMap) -> bool {
    headers.get_all(&X_API_KEY).iter().any(|value| looks_like_one(value.as_bytes().trim_ascii()))
}

fn refused(unfit: KeyUnfit) -> Refused {
    match unfit {
        KeyUnfit::Malformed => {
            Refusal::invalid_token("key_malformed", "this is no API key, or it was mistyped")
        }
        KeyUnfit::Unknown => {
            Refusal::invalid_token("key_unknown", "the API key does not count here")
        }
        KeyUnfit::Expired => Refusal::invalid_token("key_expired", "the API key has expired"),
        KeyUnfit::Unavailable => {
            let detail = "the API key cannot be looked up at present";
            Refusal::unavailable("keys_unavailable", detail)
        }
    }
}
