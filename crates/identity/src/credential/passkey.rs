//! Passkeys (WebAuthn Level 3): keys that a browser or a phone holds for a person, and that sign for
//! our pages alone.
//!
//! A page asks for a signature over a *challenge*. What comes back is read strictly and without trust
//! ([`Registration`], [`Assertion`]), and checked against the [`RelyingParty`] and the key that was enrolled. No
//! attestation is asked for: which model somebody uses is their affair, so nothing is said of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use tegata_core::{Realm, Timestamp};
use unicode_normalization::UnicodeNormalization as _;

mod authenticator;
mod cbor;
pub(crate) mod challenge;
mod client;
mod key;
pub(crate) mod options;
mod party;
mod shown;

pub use party::{NotAParty, RelyingParty};
pub use shown::{Assertion, Malformed, Registration};

use challenge::Purpose;
use client::Ceremony;
use key::PublicKey;

/// The most passkeys of one person.
pub const MOST: usize = 20;

/// The longest name that a person gives one, in characters.
const LONGEST_NAME: usize = 64;

/// The bytes of a user handle.
const HANDLE: usize = 32;

/// How authenticators call a person: something random that is nobody's name (WebAuthn §14.6.1).
pub(crate) type Handle = [u8; HANDLE];

/// What is wrong with what a page sent of a passkey. It is for logs: whoever sent it is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is something else that a browser was asked for.
    #[error("it answers another question")]
    Ceremony,
    /// The challenge is not one of ours, for something else, too old, or used.
    #[error("the challenge was not given out for this, is too old, or was used")]
    Challenge,
    /// A page of another origin asked.
    #[error("the page that asked is of an origin that is not ours: see `public.rp_id`")]
    Origin,
    /// The page that asked was within another.
    #[error("the page that asked was within another")]
    WithinAnother,
    /// It is for another relying party.
    #[error("it was made for another domain: see `public.rp_id`")]
    Party,
    /// Nobody was there.
    #[error("the authenticator says that nobody was there")]
    Absent,
    /// The authenticator has not made sure who was there.
    #[error("the authenticator has not made sure who was there")]
    Unverified,
    /// What it says of copies contradicts itself, or what it said before.
    #[error("what the authenticator says of copies cannot be so")]
    Backup,
    /// It is of another person.
    #[error("the authenticator says that it is somebody else's")]
    Handle,
    /// The key has not signed it.
    #[error("the signature is not the passkey's")]
    Signature,
    /// It was signed before something that was shown before: there are two of the same key.
    #[error("the counter went back: there is a copy of the passkey")]
    Counter,
}

/// What a passkey must have proven.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) purpose: Purpose<'a>,
    /// Whether it is all that is shown: then the authenticator must say who was there, and whose the
    /// passkey is.
    pub(crate) alone: bool,
    pub(crate) now: Timestamp,
}

/// A passkey of a person, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Passkey {
    id: Vec<u8>,
    key: PublicKey,
    counter: u32,
    backup_eligible: bool,
    backed_up: bool,
    /// Whether the authenticator made sure who was there when it was enrolled. Whoever finds a key that
    /// never did could make it say so: it takes its first PIN from anybody.
    #[serde(default)]
    verified: bool,
    transports: Vec<String>,
    pub(crate) platform: bool,
    pub(crate) name: PasskeyName,
    /// Since when.
    pub(crate) added: Timestamp,
    /// When it was used last.
    pub(crate) used: Option<Timestamp>,
}

/// How a person calls a passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyName(String);

impl PasskeyName {
    /// Reads a name as somebody typed it. Characters that nobody sees are left out, and so is what is
    /// too much; where nothing is left, the name is `Passkey`.
    #[must_use]
    pub fn new(typed: &str) -> Self {
        // What is far too long is not even brought into its form.
        let typed = typed.chars().take(4 * LONGEST_NAME).collect::<String>();
        let seen = |c: &char| !c.is_control() && !is_format(*c);
        let name: String = typed.nfc().filter(seen).collect();
        let name: String = name.trim().chars().take(LONGEST_NAME).collect();
        let name = name.trim_end();
        Self(if name.is_empty() { "Passkey" } else { name }.to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character changes how others are shown, and is not seen itself.
#[must_use]
pub const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl Passkey {
    /// The passkey that was made, if it was made as `challenge` asked, for this party.
    pub(crate) fn made(
        registration: &Registration,
        party: &RelyingParty,
        challenge: &[u8],
        name: PasskeyName,
        now: Timestamp,
    ) -> Result<Self, Flaw> {
        let Registration { client, data, made, transports, platform } = registration;
        party.check(Ceremony::Create, client, data)?;
        if !tegata_core::secret::matches(&client.challenge, challenge) {
            return Err(Flaw::Challenge);
        }
        Ok(Self {
            id: made.id.clone(),
            key: made.key.clone(),
            counter: data.counter,
            backup_eligible: data.backup_eligible,
            backed_up: data.backed_up,
            verified: data.verified,
            transports: transports.clone(),
            platform: *platform,
            name,
            added: now,
            used: None,
        })
    }

    /// Whether this was used as it was asked for, by the person with this handle. The counter is for
    /// [`Self::after`], which decides.
    pub(crate) fn check(
        &self,
        assertion: &Assertion,
        party: &RelyingParty,
        handle: Option<&Handle>,
        asked: &Asked<'_>,
    ) -> Result<(), Flaw> {
        let Assertion { client, data, handle: said, .. } = assertion;
        party.check(Ceremony::Get, client, data)?;
        if !party.asked(client, asked.realm, &asked.purpose, asked.now) {
            return Err(Flaw::Challenge);
        }
        if asked.alone && !self.proves_who(assertion) {
            return Err(Flaw::Unverified);
        }
        let is_theirs = match (said, handle) {
            (Some(said), Some(handle)) => said == handle,
            // Whoever chose among the passkeys of one person has said whose it is.
            (None, _) => !asked.alone,
            (Some(_), None) => false,
        };
        if !is_theirs {
            return Err(Flaw::Handle);
        }
        if data.backup_eligible != self.backup_eligible {
            return Err(Flaw::Backup);
        }
        if assertion.id != self.id || !assertion.is_signed_by(&self.key) {
            return Err(Flaw::Signature);
        }
        Ok(())
    }

    /// Whether the authenticator made sure who was there, as it did when this was enrolled (WebAuthn
    /// level 3, `uvInitialized`).
    pub(crate) const fn proves_who(&self, assertion: &Assertion) -> bool {
        self.verified && assertion.data.verified
    }

    /// The passkey after it was used like this. `None`: the counter went back, or stayed
    /// (WebAuthn §6.1.1).
    pub(crate) fn after(&self, assertion: &Assertion, now: Timestamp) -> Option<Self> {
        let data = &assertion.data;
        let counts = data.counter != 0 || self.counter != 0;
        if counts && data.counter <= self.counter {
            return None;
        }
        let (counter, backed_up) = (data.counter, data.backed_up);
        Some(Self { counter, backed_up, used: Some(now), ..self.clone() })
    }

    /// The name under which it is found: a digest of its id.
    pub(crate) fn key(&self) -> String {
        shown::name_of(&self.id)
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passkey({})", self.key())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
