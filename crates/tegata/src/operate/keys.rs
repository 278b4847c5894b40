//! Orders about signing keys.

use serde_json::{Value, json};
use tegata_core::KeyId;
use tegata_token::{Algorithm, Keys, SigningKey, ring::KeyState};

use super::{Refused, text};
use crate::{compose::Composed, key_readers};

/// How many are named who have not fetched a key.
const NAMED: usize = 20;

/// All keys; of those that do not sign yet, also who fetches the key set and has not been given them.
pub(super) async fn list(composed: &Composed) -> Value {
    let (snapshot, readers) = (composed.keys.now(), key_readers::all(composed).await);
    let keys = snapshot.list().map(|(kid, algorithm, state)| {
        let mut key = json!({
            "kid": kid, "algorithm": algorithm, "state": state.name(), "at": state.at().to_string(),
            "in_token": snapshot.is_held(kid),
        });
        if let (KeyState::Next { published }, Some(members)) = (state, key.as_object_mut()) {
            let (seen, unseen): (Vec<_>, Vec<_>) =
                readers.iter().partition(|reader| reader.has_seen(published));
            let named = unseen.iter().take(NAMED);
            let named: Vec<_> =
                named.map(|it| format!("{}, last at {}", it.name, it.last)).collect();
            members.insert("seen_by".to_owned(), seen.len().into());
            members.insert("readers".to_owned(), readers.len().into());
            members.insert("not_seen_by".to_owned(), named.into());
        }
        key
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
        let fresh = fresh(composed, algorithm).await?;
        keys.rotate(&fresh, force).await?;
        let now = keys.now().signer(algorithm).map(|key| key.kid().clone());
        signing.push(json!({"algorithm": algorithm, "kid": now}));
    }
    Ok(Value::Array(signing))
}

/// Rotates the rings whose key has signed for long enough. One node does it for all.
pub(crate) async fn rotate_due(composed: &Composed) -> Result<(), String> {
    for algorithm in composed.keys.due() {
        if replace(composed, &composed.keys, algorithm).await? {
            tracing::info!(%algorithm, "a ring of keys was due and is rotated");
        }
    }
    Ok(())
}

/// Rotates a ring that is due, or fills its empty place, by these keys. Answers whether it was done here.
pub(super) async fn replace(
    composed: &Composed,
    keys: &Keys,
    algorithm: Algorithm,
) -> Result<bool, String> {
    let fresh = fresh(composed, algorithm).await.map_err(|refused| refused.why)?;
    keys.rotate_due(&fresh).await.map_err(text)
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

/// A new key, made in the token, or on a thread that nobody waits on.
pub(super) async fn fresh(
    composed: &Composed,
    algorithm: Algorithm,
) -> Result<SigningKey, Refused> {
    if let Some(made) = composed.keys.make(algorithm).await? {
        return Ok(made);
    }
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm));
    Ok(made.await.map_err(text)?.map_err(text)?)
}
