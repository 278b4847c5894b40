//! Orders about signing keys.

use serde_json::{Value, json};
use tegata_core::KeyId;
use tegata_token::{Algorithm, SigningKey};

use super::text;
use crate::compose::Composed;

pub(super) fn list(composed: &Composed) -> Value {
    let snapshot = composed.keys.now();
    let keys = snapshot.list().map(|(kid, algorithm, state)| {
        json!({"kid": kid, "algorithm": algorithm, "state": state.name(), "at": state.at().to_string()})
    });
    Value::Array(keys.collect())
}

/// Rotates one ring, or all of them. Making RSA keys takes a while, so it is done aside.
pub(super) async fn rotate(
    composed: &Composed,
    algorithm: Option<Algorithm>,
    force: bool,
) -> Result<Value, String> {
    let chosen: Vec<_> = match algorithm {
        Some(algorithm) => vec![algorithm],
        None => composed.config.keys.algorithms.clone(),
    };
    // All of them or none: half a rotation would have to be waited for all over again.
    if !force {
        let checked = chosen.iter().try_for_each(|it| composed.keys.check_rotation(*it));
        checked.map_err(text)?;
    }
    let mut signing = Vec::new();
    for algorithm in chosen {
        let fresh = generate(algorithm).await?;
        composed.keys.rotate(&fresh, force).await.map_err(text)?;
        let now = composed.keys.now().signer(algorithm).map(|key| key.kid().clone());
        signing.push(json!({"algorithm": algorithm, "kid": now}));
    }
    Ok(Value::Array(signing))
}

/// Rotates the rings whose key has signed for long enough. One node does it for all.
pub(crate) async fn rotate_due(composed: &Composed) -> Result<(), String> {
    for algorithm in composed.keys.due() {
        let fresh = generate(algorithm).await?;
        if composed.keys.rotate_due(&fresh).await.map_err(text)? {
            tracing::info!(%algorithm, "the next key signs, as `keys.rotate_every` says");
        }
    }
    Ok(())
}

pub(super) async fn retire(composed: &Composed, kid: &str) -> Result<Value, String> {
    let kid = KeyId::new(kid).map_err(text)?;
    composed.keys.retire(&kid).await.map_err(text)?;
    Ok(json!({"retired": kid}))
}

pub(super) async fn import(
    composed: &Composed,
    pem: &str,
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
) -> Result<Value, String> {
    let kid = kid.map(KeyId::new).transpose().map_err(text)?;
    let key = SigningKey::from_pem(pem.as_bytes(), algorithm, kid).map_err(text)?;
    composed.keys.import(&key).await.map_err(text)?;
    Ok(json!({"kid": key.kid(), "algorithm": key.algorithm()}))
}

/// A new key, made on a thread that nobody waits on.
pub(super) async fn generate(algorithm: Algorithm) -> Result<SigningKey, String> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm));
    made.await.map_err(text)?.map_err(text)
}
