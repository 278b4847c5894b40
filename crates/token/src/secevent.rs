//! Security event tokens (RFC 8417), as the Shared Signals Framework 1.0 §4 profiles them: what one
//! system tells another that happened.
//!
//! They must pass for no other token and no other token for them. So their `typ` says what they are,
//! `exp` and `sub` must not be there, `sub_id` says whom they are about, and `events` has one event.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tegata_core::Timestamp;

use crate::{
    claims::Audience,
    jws::{Compact, Malformed},
    strict,
    verifier::{KeySet, SecurityEvent, TokenKind as _, is_kind},
};

/// How far in the future `iat` may lie: clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest `jti` and `txn` that are read.
const LONGEST_NAME: usize = 256;

/// What a security event token says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecurityEventToken {
    /// Who tells it.
    pub iss: String,
    /// Whom it is told.
    pub aud: Audience,
    /// When it was told: seconds since 1970.
    pub iat: u64,
    /// Its name, by which a repetition is known.
    pub jti: String,
    /// What it has in common with others that tell of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// Whom or what it is about (RFC 9493).
    pub sub_id: Map<String, Value>,
    /// The event: its type, a URI, and what belongs to it.
    pub events: OneEvent,
}

/// The claim `events`, which has one event (SSF 1.0 §4.2.1).
#[derive(Debug, Clone, PartialEq)]
pub struct OneEvent {
    /// Its type: a URI.
    pub uri: String,
    /// What belongs to it.
    pub payload: Map<String, Value>,
}

impl Serialize for OneEvent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.uri, &self.payload)])
    }
}

/// Why a security event token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetRefused {
    /// It is not a token.
    #[error("the token is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is another kind of token.
    #[error("the token's `typ` is not `secevent+jwt`")]
    Kind,
    /// A claim is missing, is there although it must not be, or cannot be read.
    #[error("the token's claims cannot be used: {0}")]
    Claims(&'static str),
    /// Somebody else tells it.
    #[error("the token is from another issuer")]
    Issuer,
    /// Somebody else is told.
    #[error("the token is for another audience")]
    Audience,
    /// No key that counts is named, or another algorithm than the key's.
    #[error("the token names no key of its issuer, or another algorithm than the key's")]
    UnknownKey,
    /// The signature is not its key's.
    #[error("the token's signature is not valid")]
    Signature,
    /// It was told too long ago, or in the future.
    #[error("the token's `iat` is too long ago, or in the future")]
    Time,
}

impl SetRefused {
    /// The code that the sender is told (RFC 8935 §2.4).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Kind | Self::Claims(_) | Self::Time => "invalid_request",
            Self::Issuer => "invalid_issuer",
            Self::Audience => "invalid_audience",
            Self::UnknownKey | Self::Signature => "invalid_key",
        }
    }
}

/// What a security event token must say to be believed.
#[derive(Debug, Clone)]
pub struct ExpectedSet {
    /// Who tells it.
    pub issuer: String,
    /// Who we are to them: one of these must be in `aud`.
    pub audiences: Vec<String>,
    /// How long ago it may have been told.
    pub longest: Duration,
}

impl SecurityEventToken {
    /// The key that a token names, where it is a security event token that says it is from this
    /// issuer and for us. Nothing is believed yet: this is for finding the key to verify it with.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn claimed_key(text: &str, expected: &ExpectedSet) -> Result<String, SetRefused> {
        let (compact, _) = Self::read(text, expected)?;
        compact.header.kid.ok_or(SetRefused::UnknownKey)
    }

    /// Verifies a token with the keys of its issuer.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(
        text: &str,
        keys: &KeySet,
        expected: &ExpectedSet,
        now: Timestamp,
    ) -> Result<Self, SetRefused> {
        let (compact, token) = Self::read(text, expected)?;
        let kid = compact.header.kid.as_deref().ok_or(SetRefused::UnknownKey)?;
        let key = keys.named(kid).ok_or(SetRefused::UnknownKey)?;
        // RFC 8725 §3.1: the algorithm is the key's. What the token says must agree, and that is all.
        if !key.algorithm().is_called(&compact.header.alg) {
            return Err(SetRefused::UnknownKey);
        }
        if !key.verifies(compact.signed.as_bytes(), &compact.signature) {
            return Err(SetRefused::Signature);
        }
        let told = Timestamp::from_secs(token.iat);
        if told > now + LEEWAY || told + expected.longest < now {
            return Err(SetRefused::Time);
        }
        Ok(token)
    }

    /// The claims as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads claims.
    ///
    /// # Errors
    /// Which rule the JSON breaks; nothing of its content.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        strict::check(json)?;
        let mut claims: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| "it is not a JSON object")?;
        // SSF 1.0 §4.1: so that no verifier of other tokens takes it for one.
        if claims.contains_key("exp") {
            return Err("`exp` must not be there");
        }
        if claims.contains_key("sub") {
            return Err("`sub` must not be there");
        }
        let iss = text(&mut claims, "iss").ok_or("`iss` is missing or no string")?;
        let jti = text(&mut claims, "jti").ok_or("`jti` is missing or no string")?;
        if jti.is_empty() || jti.len() > LONGEST_NAME {
            return Err("`jti` must be 1 to 256 bytes long");
        }
        let iat = claims.get("iat").and_then(Value::as_u64);
        let iat = iat.ok_or("`iat` is missing or no whole number of seconds")?;
        let aud = claims.remove("aud").ok_or("`aud` is missing")?;
        let aud = serde_json::from_value(aud).map_err(|_| "`aud` is not a string or a list")?;
        let txn = match claims.remove("txn") {
            None => None,
            Some(Value::String(txn)) if txn.len() <= LONGEST_NAME => Some(txn),
            Some(_) => return Err("`txn` is no string of at most 256 bytes"),
        };
        let sub_id = match claims.remove("sub_id") {
            Some(Value::Object(sub_id)) => sub_id,
            _ => return Err("`sub_id` is missing or no object"),
        };
        let Some(Value::Object(events)) = claims.remove("events") else {
            return Err("`events` is missing or no object");
        };
        let mut events = events.into_iter();
        let (Some((uri, Value::Object(payload))), None) = (events.next(), events.next()) else {
            return Err("`events` must have one event, which is an object");
        };
        Ok(Self { iss, aud, iat, jti, txn, sub_id, events: OneEvent { uri, payload } })
    }

    fn read<'t>(text: &'t str, expected: &ExpectedSet) -> Result<(Compact<'t>, Self), SetRefused> {
        let compact = Compact::parse(text)?;
        if !is_kind(compact.header.typ.as_deref(), SecurityEvent::TYP) {
            return Err(SetRefused::Kind);
        }
        let token = Self::parse(&compact.claims).map_err(SetRefused::Claims)?;
        if token.iss != expected.issuer {
            return Err(SetRefused::Issuer);
        }
        if !expected.audiences.iter().any(|ours| token.aud.contains(ours)) {
            return Err(SetRefused::Audience);
        }
        Ok((compact, token))
    }
}

fn text(claims: &mut Map<String, Value>, name: &str) -> Option<String> {
    match claims.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
