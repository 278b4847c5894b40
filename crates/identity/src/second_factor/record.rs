//! All second factors of a person, as they are kept: what they are after one was used, added or taken
//! away.

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Stored, Timestamp, UserId};

use super::{Enrolled, EnrolledPasskey, SECOND_FACTOR_KIND};
use crate::credential::{
    passkey::{Handle, Passkey},
    recovery::RecoveryCodes,
    totp::Totp,
    typed::{Form, TypedCode},
};

/// All second factors of a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    pub(crate) user: UserId,
    /// At least one.
    pub(crate) factors: Vec<Factor>,
    #[serde(default)]
    pub(crate) recovery: Option<RecoveryCodes>,
    /// How authenticators call the person, from their first passkey on.
    #[serde(default)]
    pub(crate) handle: Option<Handle>,
}

/// One second factor. A program that does not know one of them refuses the record, and so the
/// sign-in: it must not take a person for one without.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Factor {
    Totp(Totp),
    Passkey(Passkey),
}

impl Stored for FactorRecord {
    const KIND: &'static Kind = &SECOND_FACTOR_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.user.as_str()
    }
}

impl Factor {
    const fn totp(&self) -> Option<&Totp> {
        match self {
            Self::Totp(totp) => Some(totp),
            Self::Passkey(_) => None,
        }
    }

    const fn passkey(&self) -> Option<&Passkey> {
        match self {
            Self::Passkey(passkey) => Some(passkey),
            Self::Totp(_) => None,
        }
    }

    const fn added(&self) -> Timestamp {
        match self {
            Self::Totp(totp) => totp.added,
            Self::Passkey(passkey) => passkey.added,
        }
    }
}

impl FactorRecord {
    /// The record with this app in place of the one before.
    ///
    /// INVARIANT: the last step that was used never goes back, whatever is enrolled how often.
    pub(crate) fn with_totp(&self, mut totp: Totp) -> Self {
        for before in self.factors.iter().filter_map(Factor::totp) {
            totp.used = totp.used.max(before.used);
        }
        let others = self.factors.iter().filter(|factor| factor.totp().is_none());
        let factors = others.cloned().chain([Factor::Totp(totp)]).collect();
        Self { factors, ..self.clone() }
    }

    /// The record with this passkey, in place of the same one before.
    pub(crate) fn with_passkey(&self, passkey: Passkey) -> Self {
        let mut factors = self.factors.clone();
        let same = |factor: &&mut Factor| {
            factor.passkey().is_some_and(|known| known.key() == passkey.key())
        };
        match factors.iter_mut().find(same) {
            Some(factor) => *factor = Factor::Passkey(passkey),
            None => factors.push(Factor::Passkey(passkey)),
        }
        Self { factors, ..self.clone() }
    }

    /// The record without the app. `None`: nothing is left. Recovery codes stand for what is left, and
    /// go with the last of it.
    pub(crate) fn without_totp(&self) -> Option<Self> {
        self.of(|factor| factor.totp().is_none())
    }

    /// The record without the passkey of this name. `None`: nothing is left.
    pub(crate) fn without_passkey(&self, key: &str) -> Option<Self> {
        self.of(|factor| factor.passkey().is_none_or(|passkey| passkey.key() != key))
    }

    fn of(&self, stays: impl Fn(&Factor) -> bool) -> Option<Self> {
        let factors: Vec<_> = self.factors.iter().filter(|it| stays(it)).cloned().collect();
        (!factors.is_empty()).then(|| Self { factors, ..self.clone() })
    }

    pub(crate) fn passkeys(&self) -> impl Iterator<Item = &Passkey> {
        self.factors.iter().filter_map(Factor::passkey)
    }

    /// The passkey of this name.
    pub(crate) fn passkey(&self, key: &str) -> Option<&Passkey> {
        self.passkeys().find(|passkey| passkey.key() == key)
    }

    /// Since when each of them is enrolled. It is another list as soon as anything was added,
    /// replaced or taken away, and the same whatever was used.
    pub(crate) fn since(&self) -> Vec<Timestamp> {
        let mut since: Vec<_> = self.factors.iter().map(Factor::added).collect();
        since.sort_unstable();
        since
    }

    pub(crate) fn enrolled(&self) -> Enrolled {
        let shown = |passkey: &Passkey| EnrolledPasskey {
            id: passkey.key(),
            name: passkey.name.as_str().to_owned(),
            since: passkey.added,
            used: passkey.used,
        };
        Enrolled {
            totp_since: self.factors.iter().find_map(Factor::totp).map(|totp| totp.added),
            passkeys: self.passkeys().map(shown).collect(),
            recovery_codes: self.recovery_codes(),
            paper: self.recovery.as_ref().map(RecoveryCodes::name),
        }
    }

    pub(crate) fn recovery_codes(&self) -> usize {
        self.recovery.as_ref().map_or(0, RecoveryCodes::left)
    }

    /// The record after `code` was used. `None`: the code does not count.
    pub(super) fn after(&self, code: &TypedCode, now: Timestamp) -> Option<Self> {
        match code.form() {
            Form::Totp(digits) => {
                let mut apps = self.factors.iter().filter_map(Factor::totp);
                apps.find_map(|totp| totp.after(digits.expose(), now))
                    .map(|totp| self.with_totp(totp))
            }
            Form::Recovery(code) => {
                let left = self.recovery.as_ref()?.without(code.expose())?;
                Some(Self { recovery: Some(left), ..self.clone() })
            }
        }
    }
}
