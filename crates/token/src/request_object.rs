//! Request objects: the parameters of an authorization request, signed by the client (RFC 9101).

use std::time::Duration;

use serde_json::{Map, Value};
use tegata_core::Timestamp;

use crate::{
    Algorithm,
    jws::{Compact, Malformed},
    strict,
    verifier::KeySet,
};

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long a bounded object may live, and how long ago it may have begun (FAPI 2.0 Message Signing
/// §5.3.1).
const LONGEST: Duration = Duration::from_secs(3600);

/// Claims that are about the object and not of the request.
const ABOUT: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// The parameters that are read here, and so must be of the type that they should.
const READ: [&str; 24] = [
    "acr_values",
    "audience",
    "authorization_details",
    "claims",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "display",
    "dpop_jkt",
    "id_token_hint",
    "login_hint",
    "max_age",
    "nonce",
    "prompt",
    "redirect_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "ui_locales",
    "claims_locales",
    "request",
    "request_uri",
];

/// A request object that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestObject {
    /// The parameters, each as it would stand in a form.
    pub parameters: Vec<(String, String)>,
}

/// Whose request objects are accepted, and which.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedObject<'a> {
    /// The client that must have made it.
    pub client: &'a str,
    /// The client's keys.
    pub keys: &'a KeySet,
    /// The only algorithm that counts, where one was registered.
    pub algorithm: Option<Algorithm>,
    /// The issuer that it must be for.
    pub issuer: &'a str,
    /// Whether it must say from when and until when it counts.
    pub bounded: bool,
}

/// Why a request object is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectRefused {
    /// It is not a signed token.
    #[error("the request object is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is another kind of token.
    #[error("the request object's `typ` is not that of a request object")]
    Kind,
    /// None of the client's keys is named, or the algorithm is not the key's or the registered one.
    #[error("the request object names no key of the client, or another algorithm than may be")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the request object's signature is not valid")]
    Signature,
    /// The claims cannot be read.
    #[error("the request object's claims cannot be used: {0}")]
    Claims(&'static str),
    /// `iss` and `client_id` are not both the client, or there is a `sub`.
    #[error("`iss` and `client_id` must both be the client's id, and there must be no `sub`")]
    Issuer,
    /// The issuer is not in `aud`.
    #[error("the issuer identifier is not in `aud`")]
    Audience,
    /// It has expired, is not valid yet, or does not say so as it must.
    #[error("the request object has expired, is not valid yet, or lives too long")]
    Time,
    /// It holds, or points to, another request object.
    #[error("`request` and `request_uri` must not stand in a request object")]
    Nested,
}

impl RequestObject {
    /// Verifies a request object.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(
        object: &str,
        expected: &ExpectedObject<'_>,
        now: Timestamp,
    ) -> Result<Self, ObjectRefused> {
        let compact = Compact::parse(object)?;
        // RFC 9101 §10.8: the explicit type, or what was usual before there was one. The type of an
        // assertion or of a token is neither.
        let typ = compact.header.typ.as_deref().map(str::to_ascii_lowercase);
        if typ.is_some_and(|typ| !["jwt", "oauth-authz-req+jwt"].contains(&typ.as_str())) {
            return Err(ObjectRefused::Kind);
        }
        // `none` is no key's algorithm (RFC 9101 §10.1).
        let key = expected
            .keys
            .of_client(compact.header.kid.as_deref(), &compact.header.alg)
            .filter(|key| expected.algorithm.is_none_or(|only| only == key.algorithm()))
            .ok_or(ObjectRefused::UnknownKey)?;
        if !key.verifies(compact.signed.as_bytes(), &compact.signature) {
            return Err(ObjectRefused::Signature);
        }
        strict::check(&compact.claims).map_err(ObjectRefused::Claims)?;
        let claims: Map<String, Value> = serde_json::from_slice(&compact.claims)
            .map_err(|_| ObjectRefused::Claims("it is not a JSON object"))?;
        check_claims(&claims, expected, now)?;
        let mut parameters = Vec::new();
        for (name, value) in claims {
            if !ABOUT.contains(&name.as_str()) {
                read_parameter(&name, value, &mut parameters)?;
            }
        }
        Ok(Self { parameters })
    }
}

fn check_claims(
    claims: &Map<String, Value>,
    expected: &ExpectedObject<'_>,
    now: Timestamp,
) -> Result<(), ObjectRefused> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // RFC 9101 §10.8: a `sub` would make it look like a client assertion, which always has one.
    let client = Some(expected.client);
    if text("iss") != client || text("client_id") != client || claims.contains_key("sub") {
        return Err(ObjectRefused::Issuer);
    }
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == expected.issuer,
        Some(Value::Array(several)) => {
            several.iter().any(|one| one.as_str() == Some(expected.issuer))
        }
        _ => false,
    };
    if !for_us {
        return Err(ObjectRefused::Audience);
    }
    // RFC 9101 §4: neither holds nor points to another.
    if claims.contains_key("request") || claims.contains_key("request_uri") {
        return Err(ObjectRefused::Nested);
    }
    check_times(claims, expected.bounded, now)
}

fn check_times(
    claims: &Map<String, Value>,
    bounded: bool,
    now: Timestamp,
) -> Result<(), ObjectRefused> {
    let date = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            // 2^53: beyond it, numbers are not read alike everywhere.
            let secs = value.as_u64().filter(|secs| *secs < 1 << 53);
            secs.map(Timestamp::from_secs)
                .map(Some)
                .ok_or(ObjectRefused::Claims("a date is not a number of seconds"))
        }
    };
    let (exp, nbf, iat) = (date("exp")?, date("nbf")?, date("iat")?);
    let over = exp.is_some_and(|exp| now >= exp + LEEWAY);
    let early = [nbf, iat].into_iter().flatten().any(|from| from > now + LEEWAY);
    let loose = match (exp, nbf) {
        (Some(exp), Some(nbf)) => exp > nbf + LONGEST || now > nbf + LONGEST + LEEWAY,
        _ => true,
    };
    if over || early || (bounded && loose) { Err(ObjectRefused::Time) } else { Ok(()) }
}

/// Reads a claim as the parameter of its name. Numbers, and what is JSON within a parameter, stand
/// as they are in an object (RFC 9101 §4).
fn read_parameter(
    name: &str,
    value: Value,
    parameters: &mut Vec<(String, String)>,
) -> Result<(), ObjectRefused> {
    let wrong = ObjectRefused::Claims("a parameter has the wrong type");
    match (name, value) {
        (_, Value::String(text)) => parameters.push((name.to_owned(), text)),
        ("max_age", Value::Number(number)) => {
            parameters.push((name.to_owned(), number.to_string()));
        }
        ("claims", value @ Value::Object(_))
        | ("authorization_details", value @ Value::Array(_)) => {
            parameters.push((name.to_owned(), value.to_string()));
        }
        ("resource" | "audience", Value::Array(several)) => {
            for one in several {
                let Value::String(text) = one else { return Err(wrong) };
                parameters.push((name.to_owned(), text));
            }
        }
        (known, _) if READ.contains(&known) => return Err(wrong),
        // RFC 6749 §3.1: what nobody here knows is passed over.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
