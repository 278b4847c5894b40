//! What people have agreed to.

use serde_json::{Value, json};
use tegata_core::{ClientId, Stored as _, UserId, port::Page};
use tegata_oauth::consent::Consent;

use super::{Refused, users};
use crate::compose::Composed;

pub(crate) fn shown(consent: &Consent) -> Value {
    json!({
        "user_id": consent.user,
        "client_id": consent.client,
        "scope": consent.scope,
        "at": consent.at.to_string(),
    })
}

/// What one person has agreed to, or all have.
pub(super) async fn list(composed: &Composed, username: Option<&str>) -> Result<Value, Refused> {
    let user = match username {
        Some(username) => Some(users::find(composed, username).await?.id),
        None => None,
    };
    let mut all = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let found = composed.provider.consents(user.as_ref(), page.clone()).await?;
        let Some(last) = found.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.key().to_owned());
        all.extend(found.iter().map(shown));
    }
}

/// As [`withdraw`], of a person who is named as commands name them.
pub(super) async fn of_named(
    composed: &Composed,
    actor: &str,
    username: &str,
    client: &str,
) -> Result<Value, Refused> {
    let user = users::find(composed, username).await?.id;
    withdraw(composed, actor, &user, &ClientId::new(client)?).await
}

/// Forgets that a person agreed, and takes back what the client had by it.
pub(crate) async fn withdraw(
    composed: &Composed,
    actor: &str,
    user: &UserId,
    client: &ClientId,
) -> Result<Value, Refused> {
    let families = composed.provider.take_back_consent(user, client, actor).await?;
    let families = families
        .ok_or_else(|| Refused::unknown(format!("`{user}` has agreed to nothing of `{client}`")))?;
    Ok(json!({"user_id": user, "client_id": client, "families": families}))
}
