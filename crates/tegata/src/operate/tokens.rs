//! Orders about tokens.

use serde_json::{Value, json};

use super::text;
use crate::compose::Composed;

/// What a token says, and whether it counts.
pub(super) async fn inspect(composed: &Composed, token: &str) -> Result<Value, String> {
    if token.starts_with("rt_") {
        let found = composed.families.of_token(&composed.realm, token).await.map_err(text)?;
        let Some((family, generation)) = found else {
            return Err("this is not a refresh token of this installation".to_owned());
        };
        return Ok(json!({
            "kind": "refresh token",
            "family": family.id,
            "client_id": family.client,
            "sub": family.user,
            "generation": generation,
            "current_generation": family.generation,
            "ends": family.ends.to_string(),
            "ended": family.ended.map(|ended| json!({"at": ended.at.to_string(), "reason": ended.reason})),
        }));
    }
    let inspected = composed.provider.inspect(token);
    let (claims, standing) = match inspected {
        Ok((claims, None)) => (claims, "valid".to_owned()),
        Ok((claims, Some(by))) => (claims, format!("revoked ({by:?})").to_lowercase()),
        Err(refusal) => return Err(refusal.to_string()),
    };
    Ok(json!({"kind": "access token", "standing": standing, "claims": claims}))
}
