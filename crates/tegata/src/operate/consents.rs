//! What people have agreed to.

use serde_json::{Value, json};
use tegata_core::{ClientId, UserId, port::Page};
use tegata_oauth::consent::Consent;
use tegata_token::{Holder, Order};

use super::Refused;
use crate::compose::Composed;

/// How many of a person's sign-ins are looked at together.
const TOGETHER: u32 = 500;

pub(crate) fn shown(consent: &Consent) -> Value {
    json!({
        "user_id": consent.user,
        "client_id": consent.client,
        "scope": consent.scope,
        "at": consent.at.to_string(),
    })
}

/// Forgets that a person agreed, then takes back what the client had by it: in this order, so that it
/// gets nothing new without asking.
pub(crate) async fn withdraw(
    composed: &Composed,
    actor: &str,
    user: &UserId,
    client: &ClientId,
) -> Result<Value, Refused> {
    let realm = &composed.realm;
    let had = composed.provider.withdraw_consent(user, client, actor).await?;
    let order = Order { reason: "consent_withdrawn".to_owned(), actor: actor.to_owned() };
    let holder = Holder::User(user.clone());
    let mut page = Page { after: None, limit: TOGETHER };
    let mut families = 0_u64;
    loop {
        let found = composed.families.page(realm, Some(&holder), page.clone()).await?;
        let Some(last) = found.last() else { break };
        page.after = Some(last.id.as_str().to_owned());
        let theirs = found.iter().filter(|it| it.client == *client && it.ended.is_none());
        for family in theirs {
            families += u64::from(composed.families.revoke(realm, &family.id, &order).await?);
        }
    }
    if !had && families == 0 {
        return Err(Refused::unknown(format!("`{user}` has agreed to nothing of `{client}`")));
    }
    Ok(json!({"user_id": user, "client_id": client, "families": families}))
}
