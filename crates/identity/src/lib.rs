//! People: who they are, and how they prove it.
//!
//! | module | subject |
//! |---|---|
//! | [`user`] | users, and the registry that keeps them |
//! | [`username`] | the one form of a user name |
//! | [`name`] | roles, e-mail addresses, locales |
//! | [`credential`] | what people prove it with: passwords, codes, passkeys |
//! | [`second_factor`] | what a person has beside a password, and what of it was used |
//! | [`enrol`] | enrolling a second factor |
//! | [`letters`] | mail to people, and what its links let them do |
//! | [`sign_in`] | from a name and a password, and a code, to an [`Assurance`] |
//! | [`throttle`] | how often it may be tried |
//! | [`workers`] | where expensive work runs |
//!
//! [`KINDS`] are the records kept, [`SPACES`] the values with a lifetime.

pub mod credential;
pub mod enrol;
pub mod letters;
pub mod name;
pub mod second_factor;
pub mod sign_in;
pub mod throttle;
pub mod user;
pub mod username;
pub mod workers;

#[cfg(test)]
mod testing;

pub use credential::{
    passkey::{NotAParty, PasskeyName, RelyingParty, is_format},
    password::{
        Breached, Password, PasswordHasher, PasswordPolicy, Passwords, Phc, Superseding, Weakness,
    },
    recovery::NewCodes,
    totp::TotpSecret,
    typed::Authenticator,
};
pub use enrol::{BeginRefused, ConfirmRefused, Enrolment};
pub use letters::{Letter, Letters, LinkRefused, Wish};
pub use name::{EmailAddress, Locale, Role};
pub use second_factor::{
    Demand, Enrolled, EnrolledPasskey, FactorChange, FactorRefused, SecondFactors, Shown,
};
pub use sign_in::{
    Assurance, CodeAttempt, Earliest, FirstFactor, Method, Offered, Proof, Proven, Refused, SetUp,
    SignIn, Step, To,
};
pub use throttle::Throttle;
pub use user::{
    Amendment, Imported, InvalidClaim, Narrowing, NewUser, NotImported, Profile, ProfileChange,
    Provided, RoleChange, User, Users,
};
pub use username::Username;
pub use workers::{Busy, HashingPool, Workers};

use tegata_core::{Kind, port::Space};

/// The kinds of record that this crate keeps.
pub static KINDS: [&Kind; 8] = [
    &user::USER_KIND,
    &user::USERNAME_KIND,
    &credential::password::PASSWORD_KIND,
    &credential::password::EFFORT_KIND,
    &second_factor::SECOND_FACTOR_KIND,
    &second_factor::PASSKEY_KIND,
    &letters::ORDER_KIND,
    &letters::LETTER_KIND,
];

/// The spaces of values with a lifetime that this crate keeps.
pub static SPACES: [&Space; 6] = [
    &throttle::ATTEMPTS,
    &throttle::REMEMBERED,
    &sign_in::CHALLENGES,
    &sign_in::USED,
    &enrol::ENROLMENTS,
    &enrol::PASSKEY_ENROLMENTS,
];
