//! Orders that take back what another issuer issued.

use std::time::Duration;

use serde_json::{Value, json};
use tegata_token::{Order, Target, verifier::said_issuer};

use super::{
    Foreigner, Kind, Refused,
    revoke::{commit, moment},
};
use crate::{
    compose::Composed,
    foreign::{Foreign, Issuer},
};

/// By how much the clock of another issuer may be ahead of ours: what it issued by now may say that it
/// was issued so much later.
const APART: Duration = Duration::from_secs(30);

/// Takes back what an issuer calls so. It need not be known here: nobody but the issuer knows what it
/// has issued.
pub(super) async fn revoke(
    composed: &Composed,
    issuer: &str,
    named: Foreigner,
    order: &Order,
) -> Result<Value, Refused> {
    find(composed, issuer)?;
    let issuer = issuer.to_owned();
    if named.text().is_empty() {
        return Err("the name is empty: say what is to be revoked".to_owned().into());
    }
    let (target, revoked) = match named {
        Foreigner::Jti(jti) => {
            let revoked = json!({"issuer": issuer, "jti": jti});
            (Target::ForeignToken { issuer, jti }, json!({"revoked": revoked}))
        }
        Foreigner::Session(sid) => {
            let revoked = json!({"issuer": issuer, "session": sid});
            (Target::ForeignSession { issuer, sid }, json!({"revoked": revoked}))
        }
        Foreigner::User(sub) => {
            let up_to = moment(composed) + APART;
            let revoked = json!({"issuer": issuer, "user": sub});
            let told = json!({"revoked": revoked, "up_to": up_to.to_string()});
            (Target::ForeignSubject { issuer, sub, up_to }, told)
        }
        Foreigner::Client(client) => {
            let up_to = moment(composed) + APART;
            let revoked = json!({"issuer": issuer, "client": client});
            let told = json!({"revoked": revoked, "up_to": up_to.to_string()});
            (Target::ForeignClient { issuer, client, up_to }, told)
        }
        Foreigner::Key(kid) => {
            let revoked = json!({"issuer": issuer, "key": kid});
            (Target::ForeignKey { issuer, kid }, json!({"revoked": revoked}))
        }
    };
    // The commit makes sure of it; this says it in words.
    if let Some(why) = composed.revoker.unreadable(&target).await? {
        return Err(Refused::new(Kind::Conflict, why));
    }
    commit(composed, vec![(target, None)], data(&revoked), order).await?;
    Ok(revoked)
}

/// Takes back a token that says it is of one of the issuers. `None`: it says it is not.
pub(super) async fn token(
    composed: &Composed,
    token: &str,
    order: &Order,
) -> Option<Result<Value, Refused>> {
    let said = said_issuer(token)?;
    let issuer = composed.foreign.as_ref()?.issuer(&said)?;
    Some(match jti(issuer, token).await {
        Ok(jti) => revoke(composed, &said, Foreigner::Jti(jti), order).await,
        Err(why) => Err(Refused::invalid("/token")(why)),
    })
}

/// The name of a token that its issuer signed, whenever that was.
async fn jti(issuer: &Issuer, token: &str) -> Result<String, String> {
    let name = issuer.name();
    let instead = "name the token with `--issuer` and `--jti`";
    issuer.refresh().await.map_err(|error| format!("{error}; or {instead}"))?;
    let verified = issuer.tokens.danger_verify_at_any_time(token);
    let verified = verified.map_err(|why| format!("this is not a token of `{name}`: {why}"))?;
    // What the token says here begins with its issuer.
    let jti = verified.claims().jti.strip_prefix(name).and_then(|jti| jti.strip_prefix(' '));
    jti.map(str::to_owned).ok_or_else(|| format!("the token has no name; {instead}"))
}

fn find<'c>(composed: &'c Composed, issuer: &str) -> Result<&'c Issuer, String> {
    let known = composed.foreign.as_deref().map(Foreign::names).unwrap_or_default();
    let found = composed.foreign.as_ref().and_then(|foreign| foreign.issuer(issuer));
    found.map(AsRef::as_ref).ok_or_else(|| match known.as_slice() {
        [] => {
            "no other issuer is configured; `[[issuer]]` in the configuration names one".to_owned()
        }
        known => format!("`{issuer}` is not one of the issuers configured: {}", known.join(", ")),
    })
}

/// What the journal says of it.
fn data(revoked: &Value) -> Vec<(&'static str, Value)> {
    let part = |name: &str| revoked.pointer(&format!("/revoked/{name}")).cloned();
    // Neither is a person or a client of ours.
    let names = [
        ("issuer", "issuer"),
        ("jti", "jti"),
        ("session_id", "session"),
        ("sub", "user"),
        ("client", "client"),
        ("kid", "key"),
    ];
    names.into_iter().filter_map(|(said, name)| Some((said, part(name)?))).collect()
}

impl Foreigner {
    fn text(&self) -> &str {
        match self {
            Self::Jti(text)
            | Self::Session(text)
            | Self::User(text)
            | Self::Client(text)
            | Self::Key(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;

    #[tokio::test]
    async fn an_issuer_that_is_not_configured_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests(place.path()).await;
        let order = Order { reason: "test".into(), actor: "system".into() };
        let named = Foreigner::Jti("x".into());
        let refused = revoke(&composed, "https://idp.example", named, &order).await;
        assert!(refused.unwrap_err().why.contains("no other issuer is configured"));
        assert!(token(&composed, "a.b.c", &order).await.is_none());
    }
}
