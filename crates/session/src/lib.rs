//! What a browser holds: sessions, cookies, CSRF tokens.
//!
//! | module | subject |
//! |---|---|
//! | [`session`] | one browser's sign-in: what follows when its cookie is presented |
//! | [`sessions`] | sessions in the store: beginning, presenting, raising, ending |
//! | [`reader`] | sessions in the store, for whoever only asks whether one is alive |
//! | [`binding`] | which browser, as far as one can tell |
//! | [`agent`] | family and system of a user agent |
//! | [`fingerprint`] | what a browser says of itself, part by part |
//! | [`value`] | the session cookie's value |
//! | [`keys`] | where the keys of cookies and CSRF tokens come from |
//! | [`cookie`] | the cookies, their attributes, and the `Cookie` header |
//! | [`policy`] | every cookie that an installation knows, what it is for, and which may pass |
//! | [`cookie_consent`] | what somebody agreed to: the signed cookie, and the records of it |
//! | [`csrf`] | tokens that only our own pages know |
//! | [`origin`] | which site a request was sent from |

pub mod agent;
pub mod binding;
pub mod cookie;
pub mod cookie_consent;
pub mod csrf;
pub mod fingerprint;
pub mod keys;
pub mod origin;
pub mod policy;
pub mod reader;
pub mod session;
pub mod sessions;
pub mod value;

pub use agent::Agent;
pub use binding::{Binding, Part};
pub use cookie::{Cookie, CookieName, CookieProblem, CookieTable, Environment, Received};
pub use cookie_consent::{
    COOKIE_CONSENTS, Chosen, ConsentSeal, CookieConsent, CookieConsents, KeptConsent,
};
pub use csrf::{Csrf, CsrfToken, FormTicket};
pub use fingerprint::{Fingerprint, Said, Traits};
pub use keys::Keys;
pub use origin::{CrossOrigin, Origins, Sender, Sent, same_origin_verdict};
pub use policy::{
    Agreed, Category, CookieFilter, CookiePolicy, Declared, PolicyRefused, PolicyRules, Setter,
    Unknown, Words,
};
pub use session::{Limits, Reason, SESSIONS, Session, Standing, Verdict};
pub use sessions::{
    Beginning, Begun, DataRefused, Ending, Endings, Listed, Passage, Prepared, Presentation,
    ROSTERS, Rise, SessionRefused, Sessions,
};

/// The kinds of record that this crate keeps.
pub static KINDS: [&tegata_core::Kind; 3] = [&SESSIONS, &ROSTERS, &COOKIE_CONSENTS];
