//! What people have agreed to.

use serde_json::{Value, json};
use tegata_core::{ClientId, UserId};
use tegata_oauth::consent::Consent;

use super::Refused;
use crate::compose::Composed;

pub(crate) fn shown(consent: &Consent) -> Value {
    json!({
        "user_id": consent.user,
        "client_id": consent.client,
        "scope": consent.scope,
        "at": consent.at.to_string(),
    })
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
