//! Users.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, Stored, Timestamp, UserId};

use crate::{
    credential::password::Phc,
    name::{EmailAddress, Locale, Role},
    username::Username,
};

mod address;
mod imported;
mod profile;
mod registry;

pub use imported::{Imported, NotImported};
pub use profile::{InvalidClaim, Profile, ProfileChange};
pub use registry::{ChangeRefused, Narrowing, Provided, RegisterRefused, Users};

/// Where users are kept. They are found by the form of their address, too.
pub static USER_KIND: Kind =
    Kind { name: "user", indexes: &["email"], lifetime: Lifetime::Kept, secret: false };

/// Where names are claimed: one record for each name, so that a name has one user.
pub static USERNAME_KIND: Kind =
    Kind { name: "username", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// The language of whoever is known to read none.
const USUAL: &str = "en";

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// For ever the same, and never another's.
    pub id: UserId,
    /// The name to sign in with.
    pub username: Username,
    /// Where mail reaches the person.
    #[serde(default)]
    pub email: Option<EmailAddress>,
    /// Whether the person has answered mail that was sent there.
    #[serde(default)]
    pub email_verified: bool,
    /// What the person may do.
    pub roles: BTreeSet<Role>,
    /// Whether the person may not sign in.
    pub disabled: bool,
    /// Since when the user exists.
    pub created: Timestamp,
    /// Rises with every change of `roles` and `disabled`, and with every second factor that is taken away
    /// or replaced. Whoever issued something under a smaller number looks again before renewing it.
    pub authority: u64,
    /// What it was when an app or a passkey was last taken away or replaced. Zero: none was.
    #[serde(default)]
    pub lost_factor_at: u64,
    /// The language the person reads.
    #[serde(default)]
    pub locale: Option<Locale>,
    /// What else is known of the person.
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
    /// When something of what clients are told of the person was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
}

impl User {
    /// What the person is called: the user name, and the address.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let address = self.email.iter().map(EmailAddress::as_str);
        std::iter::once(self.username.as_str()).chain(address).collect()
    }

    /// The language in which they are written to.
    pub(crate) fn reads(&self) -> Option<Locale> {
        self.locale.clone().or_else(|| Locale::new(USUAL).ok())
    }
}

/// A user to register.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name to sign in with.
    pub username: Username,
    /// Where mail reaches the person.
    pub email: Option<EmailAddress>,
    /// What the person may do.
    pub roles: BTreeSet<Role>,
    /// The language the person reads.
    pub locale: Option<Locale>,
    /// What else is known of the person.
    pub profile: Profile,
    /// The password, hashed. Without one, the person cannot sign in by password.
    pub password: Option<Phc>,
}

/// How roles change. `Grant` and `Withdraw` of two administrators at once both take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleChange {
    /// These are the roles.
    Set(BTreeSet<Role>),
    /// These too.
    Grant(BTreeSet<Role>),
    /// Not these.
    Withdraw(BTreeSet<Role>),
}

impl RoleChange {
    fn applied_to(&self, roles: &BTreeSet<Role>) -> BTreeSet<Role> {
        match self {
            Self::Set(these) => these.clone(),
            Self::Grant(these) => roles | these,
            Self::Withdraw(these) => roles - these,
        }
    }
}

/// What of a user is to be different. What is not named stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amendment {
    /// The e-mail address, or that there is none.
    pub email: Option<Option<EmailAddress>>,
    /// The language, or that none is known.
    pub locale: Option<Option<Locale>>,
    /// What else is known of the person: claims of [`Profile`] in place of theirs.
    pub claims: Option<ProfileChange>,
    /// All roles.
    pub roles: Option<BTreeSet<Role>>,
    /// Whether the person may not sign in.
    pub disabled: Option<bool>,
}

impl Amendment {
    fn apply_to(&self, user: &mut User) {
        if let Some(email) = &self.email {
            let form = |email: &Option<EmailAddress>| email.as_ref().map(EmailAddress::form);
            // Nobody has answered mail at another address.
            user.email_verified &= form(email) == form(&user.email);
            user.email.clone_from(email);
        }
        if let Some(locale) = &self.locale {
            user.locale.clone_from(locale);
        }
        if let Some(change) = &self.claims {
            user.profile = change.apply_to(&user.profile);
        }
        if let Some(roles) = &self.roles {
            user.roles.clone_from(roles);
        }
        user.disabled = self.disabled.unwrap_or(user.disabled);
    }
}

impl Stored for User {
    const KIND: &'static Kind = &USER_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        self.email.iter().map(|email| ("email", email.form())).collect()
    }
}

/// A name and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    name: Username,
    user: UserId,
}

impl Stored for Claim {
    const KIND: &'static Kind = &USERNAME_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.name.as_str()
    }
}
