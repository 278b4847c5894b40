//! What a page asks the browser for: the JSON of WebAuthn §5.1
//! (`PublicKeyCredentialCreationOptionsJSON`, `PublicKeyCredentialRequestOptionsJSON`).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Handle, Passkey, RelyingParty, challenge::LIFETIME, key::ALGORITHMS};

/// What makes a passkey for a person: `username` is what authenticators show.
pub(crate) fn creation<'p>(
    party: &RelyingParty,
    challenge: &[u8],
    handle: &Handle,
    username: &str,
    theirs: impl Iterator<Item = &'p Passkey>,
) -> Value {
    let algorithm = |alg: i64| json!({"type": "public-key", "alg": alg});
    json!({
        "rp": {"id": party.id(), "name": party.id()},
        "user": {"id": encoded(handle), "name": username, "displayName": username},
        "challenge": encoded(challenge),
        "pubKeyCredParams": ALGORITHMS.map(algorithm),
        "timeout": millis(),
        "excludeCredentials": theirs.map(descriptor).collect::<Vec<_>>(),
        // One that names nobody by itself is good for a second factor still.
        "authenticatorSelection": {
            "residentKey": "preferred",
            "requireResidentKey": false,
            "userVerification": "preferred",
        },
        "attestation": "none",
    })
}

/// What uses one of these passkeys; where there are none, any that the authenticator knows for this
/// party. Then it is all that is shown, and must say who was there.
pub(crate) fn request<'p>(
    party: &RelyingParty,
    challenge: &[u8],
    theirs: Option<impl Iterator<Item = &'p Passkey>>,
) -> Value {
    let verification = if theirs.is_some() { "preferred" } else { "required" };
    let allowed: Vec<_> = theirs.into_iter().flatten().map(descriptor).collect();
    json!({
        "challenge": encoded(challenge),
        "timeout": millis(),
        "rpId": party.id(),
        "allowCredentials": allowed,
        "userVerification": verification,
    })
}

fn descriptor(passkey: &Passkey) -> Value {
    let (id, transports) = (encoded(&passkey.id), &passkey.transports);
    if transports.is_empty() {
        return json!({"type": "public-key", "id": id});
    }
    json!({"type": "public-key", "id": id, "transports": transports})
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn millis() -> u64 {
    u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX)
}
