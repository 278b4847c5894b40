//! A token that the root key is in.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Hidden, Keys, Span};

/// No token signs faster with more sessions than this.
const MOST_SESSIONS: u16 = 64;

/// The token, and the key in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pkcs11 {
    /// The library through which the token is reached, by its full path.
    pub(crate) module: PathBuf,
    /// The label of the token.
    pub(crate) token: String,
    /// The label of the key in it.
    pub(crate) key: String,
    /// The file that the PIN is in, relative to the configuration file.
    pub(crate) pin_file: Option<PathBuf>,
    /// The PIN itself: for the environment, never for a file.
    pub(crate) pin: Option<Hidden>,
    /// How long an answer of the token may take.
    pub(crate) timeout: Span,
    /// Whether new signing keys are made in the token, too, and never leave it.
    pub(crate) signing: bool,
    /// With how many sessions the token signs at once.
    pub(crate) signing_sessions: u16,
}

impl Default for Pkcs11 {
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            token: String::new(),
            key: "tegata-root".to_owned(),
            pin_file: None,
            pin: None,
            timeout: Span::secs(5),
            signing: false,
            signing_sessions: 4,
        }
    }
}

impl Keys {
    /// What contradicts itself about the token.
    pub(super) fn of_token(&self, found: &mut Vec<String>) {
        let Some(pkcs11) = &self.pkcs11 else { return };
        let both = [
            ("root_key", self.root_key.is_some()),
            ("root_key_file", self.root_key_file.is_some()),
        ];
        for (name, _) in both.into_iter().filter(|(_, is_set)| *is_set) {
            found.push(format!(
                "[keys] {name} and [keys.pkcs11] both say where the root key is: keep the one that \
                 has wrapped the data keys, and remove the other"
            ));
        }
        if !pkcs11.module.is_absolute() {
            found.push(
                "[keys.pkcs11] module must be the full path of a library, so that nobody can put \
                 another one in its place"
                    .to_owned(),
            );
        }
        for (name, label) in [("token", &pkcs11.token), ("key", &pkcs11.key)] {
            if label.is_empty() {
                found.push(format!("[keys.pkcs11] {name} is missing: say its label"));
            }
        }
        match (&pkcs11.pin, &pkcs11.pin_file) {
            (Some(_), Some(_)) => found
                .push("[keys.pkcs11] pin and pin_file are both set: keep one of them".to_owned()),
            (None, None) => found.push(
                "[keys.pkcs11] has no PIN: set `pin_file`, or `TEGATA_KEYS__PKCS11__PIN` in the \
                 environment"
                    .to_owned(),
            ),
            _ => {}
        }
        if !(1..=MOST_SESSIONS).contains(&pkcs11.signing_sessions) {
            found.push(format!(
                "[keys.pkcs11] signing_sessions must be between 1 and {MOST_SESSIONS}: each is a thread"
            ));
        }
        if pkcs11.timeout.get().is_zero() {
            found.push("[keys.pkcs11] timeout is 0: nothing would be answered in time".to_owned());
        }
    }
}
