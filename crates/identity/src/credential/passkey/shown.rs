//! What a page sends of a passkey that was made or used: the JSON of WebAuthn §5.1
//! (`RegistrationResponseJSON`, `AuthenticationResponseJSON`), read with all that is in it.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    authenticator::{AuthenticatorData, Made},
    cbor::{self, Item},
    client::ClientData,
    key::PublicKey,
};

/// The longest text that is looked at.
const LONGEST: usize = 16 * 1024;

/// The longest user handle (WebAuthn §5.4.3).
const LONGEST_HANDLE: usize = 64;

/// How many ways to reach an authenticator are kept, and how long the name of one may be.
const MOST_TRANSPORTS: usize = 8;
const LONGEST_TRANSPORT: usize = 32;

/// What was sent is nothing that a browser would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is nothing that a browser sends of a passkey")]
pub struct Malformed;

/// A passkey that was made.
#[derive(Clone)]
pub struct Registration {
    pub(super) client: ClientData,
    pub(super) data: AuthenticatorData,
    pub(super) made: Made,
    /// By which ways its authenticator is reached, as the browser says.
    pub(super) transports: Vec<String>,
    /// Whether that is a part of the device, as the browser says.
    pub(super) platform: bool,
}

/// A passkey that was used.
#[derive(Clone)]
pub struct Assertion {
    pub(super) id: Vec<u8>,
    pub(super) client: ClientData,
    pub(super) data: AuthenticatorData,
    /// What was signed.
    pub(super) signed: Vec<u8>,
    pub(super) signature: Vec<u8>,
    /// Whose it is, as the authenticator says.
    pub(super) handle: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Written<R> {
    id: String,
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "authenticatorAttachment", default)]
    attachment: Option<String>,
    response: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attested {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    attestation_object: String,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asserted {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

impl Registration {
    /// Reads what a page sends.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(json: &str) -> Result<Self, Malformed> {
        let (id, written) = written::<Attested>(json)?;
        let Attested { client_data, attestation_object, transports } = written.response;
        let read = Self::of(&decoded(&client_data)?, &decoded(&attestation_object)?)?;
        if read.made.id != id {
            return Err(Malformed);
        }
        let plain = |name: &String| {
            (1..=LONGEST_TRANSPORT).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        let transports = transports.into_iter().filter(plain).take(MOST_TRANSPORTS).collect();
        let platform = written.attachment.as_deref() == Some("platform");
        Ok(Self { transports, platform, ..read })
    }

    /// The same from its two parts: what the browser says, and what the authenticator says.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn of(client_data: &[u8], attestation_object: &[u8]) -> Result<Self, Malformed> {
        let client = ClientData::read(client_data).ok_or(Malformed)?;
        let object = cbor::whole(attestation_object).ok_or(Malformed)?;
        let (data, made) = attested(&object, &client.digest).ok_or(Malformed)?;
        Ok(Self { client, data, made, transports: Vec::new(), platform: false })
    }
}

/// What an attestation object holds (WebAuthn §6.5.4). No attestation is asked for, so there is none,
/// or the passkey vouches for itself (§8.2), which browsers let pass.
fn attested(object: &Item<'_>, client: &[u8; 32]) -> Option<(AuthenticatorData, Made)> {
    let bytes = member(object, "authData")?.bytes()?;
    let mut data = AuthenticatorData::read(bytes)?;
    let made = data.made.take()?;
    let statement = member(object, "attStmt")?;
    let is_so = match member(object, "fmt")?.text()? {
        "none" => statement.map()?.is_empty(),
        "packed" => {
            let algorithm = member(statement, "alg")?.integer()?;
            let signature = member(statement, "sig")?.bytes()?;
            let signed = [bytes, client.as_slice()].concat();
            // What has more members is vouched for by somebody else.
            statement.map()?.len() == 2
                && algorithm == made.key.algorithm()
                && made.key.verifies(&signed, signature)
        }
        _ => false,
    };
    (is_so && object.map()?.len() == 3).then_some((data, made))
}

fn member<'i, 'a>(map: &'i Item<'a>, name: &str) -> Option<&'i Item<'a>> {
    map.map()?.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
}

impl Assertion {
    /// Reads what a page sends.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(json: &str) -> Result<Self, Malformed> {
        let (id, written) = written::<Asserted>(json)?;
        let Asserted { client_data, authenticator_data, signature, user_handle } = written.response;
        let read = Self::of(&decoded(&client_data)?, &decoded(&authenticator_data)?)?;
        let handle = user_handle.map(|handle| decoded(&handle)).transpose()?;
        if handle.as_ref().is_some_and(|handle| handle.len() > LONGEST_HANDLE) {
            return Err(Malformed);
        }
        Ok(Self { id, signature: decoded(&signature)?, handle, ..read })
    }

    /// The same from its two parts: what the browser says, and what the authenticator says.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn of(client_data: &[u8], authenticator_data: &[u8]) -> Result<Self, Malformed> {
        let client = ClientData::read(client_data).ok_or(Malformed)?;
        let data = AuthenticatorData::read(authenticator_data).ok_or(Malformed)?;
        // Only what makes a passkey says what it made (WebAuthn §6.1).
        if data.made.is_some() {
            return Err(Malformed);
        }
        let signed = [authenticator_data, client.digest.as_slice()].concat();
        let (id, signature) = (Vec::new(), Vec::new());
        Ok(Self { id, client, data, signed, signature, handle: None })
    }

    /// The name under which the passkey is kept.
    pub(crate) fn name(&self) -> String {
        name_of(&self.id)
    }

    /// The name under which it is kept that this was used.
    pub(crate) fn used(&self) -> String {
        name_of(&self.client.challenge)
    }

    /// Whether `key` has signed this.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed, &self.signature)
    }
}

/// The digest by which something long is named.
pub(super) fn name_of(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

/// The members that both have in common, and the credential's id.
fn written<R: DeserializeOwned>(json: &str) -> Result<(Vec<u8>, Written<R>), Malformed> {
    if json.len() > LONGEST || !json.starts_with('{') {
        return Err(Malformed);
    }
    let written: Written<R> = serde_json::from_str(json).map_err(|_| Malformed)?;
    if written.kind != "public-key" || written.id != written.raw_id {
        return Err(Malformed);
    }
    Ok((decoded(&written.id)?, written))
}

fn decoded(text: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({})", name_of(&self.made.id))
    }
}

impl fmt::Debug for Assertion {
    /// Without the signature, which signs somebody in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assertion({})", self.name())
    }
}
