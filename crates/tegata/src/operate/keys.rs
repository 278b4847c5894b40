//! Orders about signing keys.

use serde_json::{Value, json};
use tegata_core::KeyId;
use tegata_token::{Algorithm, SigningKey};

use super::{Refused, text};
use crate::compose::Composed;

pub(super) fn list(composed: &Composed) -> Value {
    let snapshot = composed.keys.now();
    let keys = snapshot.list().map(|(kid, algorithm, state)| {
        json!({"kid": kid, "algorithm": algorithm, "state": state.name(), "at": state.at().to_string()})
    });
    Value::Array(keys.collect())
}

/// The public keys by which what this installation signed can be told, however old it is.
pub(super) fn known(composed: &Composed) -> Value {
    json!({"keys": composed.keys.now().remembered_jwks()})
}

/// Rotates one ring, or all of them. Making RSA keys takes a while, so it is done aside.
pub(super) async fn rotate(
    composed: &Composed,
    actor: &str,
    algorithm: Option<Algorithm>,
    force: bool,
) -> Result<Value, Refused> {
    let chosen: Vec<_> = match algorithm {
        Some(algorithm) => vec![algorithm],
        None => composed.config.keys.algorithms.clone(),
    };
    // All of them or none: half a rotation would have to be waited for all over again.
    if !force {
        chosen.iter().try_for_each(|it| composed.keys.check_rotation(*it))?;
    }
    let keys = composed.keys.at_wish_of(actor);
    let mut signing = Vec::new();
    for algorithm in chosen {
        let fresh = generate(algorithm).await?;
        keys.rotate(&fresh, force).await?;
        let now = keys.now().signer(algorithm).map(|key| key.kid().clone());
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

pub(super) async fn retire(composed: &Composed, actor: &str, kid: &str) -> Result<Value, Refused> {
    let kid = KeyId::new(kid)?;
    composed.keys.at_wish_of(actor).retire(&kid).await?;
    Ok(json!({"retired": kid}))
}

pub(super) async fn import(
    composed: &Composed,
    actor: &str,
    pem: &str,
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
) -> Result<Value, Refused> {
    let kid = kid.map(KeyId::new).transpose()?;
    let key = SigningKey::from_pem(pem.as_bytes(), algorithm, kid).map_err(text)?;
    composed.keys.at_wish_of(actor).import(&key).await?;
    Ok(json!({"kid": key.kid(), "algorithm": key.algorithm()}))
}

/// A new key, made on a thread that nobody waits on.
pub(super) async fn generate(algorithm: Algorithm) -> Result<SigningKey, String> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm));
    made.await.map_err(text)?.map_err(text)
}
