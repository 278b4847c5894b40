//! Orders about tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use tegata_token::{Family, usage::TokenUse};

use super::Refused;
use crate::compose::Composed;

/// What a token says, and whether it counts.
pub(crate) async fn inspect(composed: &Composed, token: &str) -> Result<Value, Refused> {
    if token.starts_with("rt_") {
        let found = composed.families.of_token(&composed.realm, token).await?;
        let Some((family, generation)) = found else {
            let why =
                "this is not a refresh token of this installation, or is from before a restore"
                    .to_owned();
            return Err(Refused::invalid("/token")(why));
        };
        let ended = family.ended.as_ref().map(|ended| &ended.reason);
        let why = match ended {
            Some(reason) => Some(format!("the token's family has ended: {reason}")),
            None if family.ends <= composed.node.now() => Some("the token has expired".to_owned()),
            None if generation < family.generation => {
                Some("the token was used already: there is a newer one".to_owned())
            }
            None => None,
        };
        let told = json!({
            "kind": "refresh token",
            "standing": why.as_deref().unwrap_or("valid"),
            "family": family.id,
            "client_id": family.client,
            "sub": family.user,
            "generation": generation,
            "current_generation": family.generation,
            "ends": family.ends.to_string(),
            "ended": family.ended.map(|ended| json!({"at": ended.at.to_string(), "reason": ended.reason})),
        });
        return match why {
            None => Ok(told),
            Some(why) => Err(Refused::from(why).after(told)),
        };
    }
    let token = &*composed.provider.resolved(token).await?;
    let (standing, counts, subject) = match composed.provider.inspect(token) {
        Ok((claims, None)) => ("valid".to_owned(), true, Some(claims.sub)),
        Ok((claims, Some(by))) => {
            (format!("revoked ({by:?})").to_lowercase(), false, Some(claims.sub))
        }
        Err(refusal) => (refusal.to_string(), false, None),
    };
    // What cannot be read is not a token, and is not shown: it may be a password.
    let Some((header, claims)) = read(token) else {
        return Err(Refused::invalid("/token")(standing));
    };
    let kind = header.get("typ").and_then(Value::as_str).map(kind);
    let mut told = json!({"kind": kind, "standing": standing, "header": header, "claims": claims});
    let known = claims.get("jti").and_then(Value::as_str).and_then(|jti| composed.usage.of(jti));
    if let Some(members) = told.as_object_mut() {
        // What hides it from its client hides it here from nobody.
        if let Some(sub) = subject.filter(|sub| claims.get("sub") != Some(&json!(sub))) {
            members.insert("sub".to_owned(), sub.into());
        }
        if let Some(known) = known {
            members.insert("use".to_owned(), used(&known));
        }
    }
    if counts { Ok(told) } else { Err(Refused::from(standing).after(told)) }
}

/// The tokens of a sign-in, as programs see them.
pub(crate) fn shown(family: &Family) -> Value {
    let ended = family.ended.as_ref();
    json!({
        "family": family.id,
        "user_id": family.user,
        "client_id": family.client,
        "session_id": family.session,
        "scope": family.grant.scope,
        "audience": family.audience(),
        "started": family.started.to_string(),
        "last_used": family.last_used().to_string(),
        "ends": family.ends.to_string(),
        "generation": family.generation,
        "jti": family.access.jti,
        "ended": ended.map(|ended| ended.at.to_string()),
        "reason": ended.map(|ended| &ended.reason),
    })
}

/// How a token is used, as far as this node knows.
fn used(known: &TokenUse) -> Value {
    json!({
        "revoked": known.revoked.is_raised(),
        "last_used": known.last_used.get().map(ToString::to_string),
        "usage_count": known.usage_count.total(),
        "service": known.service.get(),
    })
}

/// The header and the claims of a token, whoever signed it.
fn read(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let mut part = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    let both = (part()?, part()?);
    // The signature, and no more.
    parts.next()?;
    parts.next().is_none().then_some(both)
}

/// A `typ` in words.
fn kind(typ: &str) -> String {
    match typ {
        "at+jwt" => "access token".to_owned(),
        "txntoken+jwt" => "transaction token".to_owned(),
        "JWT" => "ID token, or another without a type".to_owned(),
        other => other.to_owned(),
    }
}
