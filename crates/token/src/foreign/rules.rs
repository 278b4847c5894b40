//! What is accepted of another issuer, and what its claims become.

use std::time::Duration;

use serde_json::Value;

use super::{Names, here};
use crate::{
    Algorithm,
    claims::{Actor, Claims, Scope},
    verifier::Refusal,
};

/// What is accepted of another issuer's tokens, beside what every token must satisfy.
#[derive(Debug, Clone)]
pub struct ForeignRules {
    /// The values of `typ` that an access token of this issuer may have. RFC 9068 says `at+jwt`;
    /// older issuers write `JWT`, which says nothing.
    pub kinds: Vec<String>,
    /// What it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// How long its tokens may live. What was taken back is kept as long.
    pub longest: Duration,
    /// The claim that says what a token may be used for: its name, or a JSON pointer (RFC 6901)
    /// where it begins with `/`. `None`: for nothing.
    pub scope: Option<String>,
    /// The claim that holds the roles, written likewise. `None`: there are none.
    pub roles: Option<String>,
}

impl Default for ForeignRules {
    fn default() -> Self {
        Self {
            kinds: vec!["at+jwt".to_owned()],
            algorithms: Algorithm::ALL.to_vec(),
            longest: Duration::from_secs(86_400),
            scope: Some("scope".to_owned()),
            roles: None,
        }
    }
}

impl ForeignRules {
    /// What claims that were verified with the key of this name say here, and the names by which they can
    /// be taken back.
    ///
    /// What is compared with things of ours is either given a name that none of ours can have, or is
    /// left out: sessions, families and places in status lists are the other issuer's own, and how
    /// strongly it authenticated somebody is not measured by our measure.
    pub(crate) fn translate(
        &self,
        json: &[u8],
        claims: Claims,
        kid: &str,
    ) -> Result<(Claims, Names), Refusal> {
        if claims.jti.is_empty() {
            return Err(Refusal::Claims("`jti` is empty"));
        }
        let is_name = |text: &str| {
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let parties = [Some(&claims.sub), claims.client_id.as_ref()];
        if !parties.into_iter().flatten().all(|party| is_name(party)) {
            let rule = "`sub` and `client_id` must be 1 to 255 visible ASCII characters";
            return Err(Refusal::Claims(rule));
        }
        let said: Value =
            serde_json::from_slice(json).map_err(|_| Refusal::Claims("it is not valid JSON"))?;
        let azp = match said.get("azp") {
            None | Some(Value::Null) => None,
            Some(Value::String(azp)) => Some(azp.as_str()),
            Some(_) => return Err(Refusal::Claims("`azp` is not a text")),
        };
        // Other installations of Tegata say of a token that it outlives its session, and of a derived one when
        // the first was issued.
        let outlives_session = said.get("outlives_session") == Some(&Value::Bool(true));
        let claims = Claims { outlives_session, ..claims };
        let first = said.pointer("/lineage/iat").and_then(Value::as_u64);
        let first = first.unwrap_or(claims.iat).min(claims.iat);
        // INVARIANT: what takes something back is known for this long after what it takes back was issued first.
        if claims.exp > first.saturating_add(self.longest.as_secs()) {
            return Err(Refusal::TooLong);
        }
        let names = Names::of(&claims, azp, kid).first_issued(first);
        let (scope, roles) = self.rights(&said)?;
        let iss = &claims.iss;
        let here = |name: &str| here(iss, name);
        let claims = Claims {
            sub: here(&claims.sub),
            client_id: claims.client_id.as_deref().map(here),
            jti: here(&claims.jti),
            act: claims.act.map(|act| Box::new(actor(iss, *act))),
            scope,
            roles,
            sid: None,
            outlives_session: false,
            fid: None,
            acr: None,
            amr: Vec::new(),
            auth_time: None,
            permissions: None,
            status: None,
            original_jti: None,
            ..claims
        };
        Ok((claims, names))
    }

    /// What the token may be used for, and the roles of its subject.
    fn rights(&self, claims: &Value) -> Result<(Scope, Vec<String>), Refusal> {
        let scope = match self.scope.as_deref().and_then(|name| claim(claims, name)) {
            None => Scope::default(),
            Some(value) => {
                let texts = texts(value).ok_or(Refusal::Claims("the scope is not a text"))?;
                Scope::new(&texts.join(" "))
                    .map_err(|_| Refusal::Claims("the scope is no scope"))?
            }
        };
        let roles = match self.roles.as_deref().and_then(|name| claim(claims, name)) {
            None => Vec::new(),
            Some(value) => texts(value).ok_or(Refusal::Claims("the roles are not texts"))?,
        };
        Ok((scope, roles))
    }
}

fn actor(iss: &str, actor: Actor) -> Actor {
    let act = actor.act.map(|act| Box::new(self::actor(iss, *act)));
    Actor { sub: here(iss, &actor.sub), act }
}

fn claim<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// One text or several.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(several) => {
            several.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
