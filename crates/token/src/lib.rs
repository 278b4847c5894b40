//! Tokens: signing, verifying, rotating, withdrawing, and the keys that do it.
//!
//! | module | subject |
//! |---|---|
//! | [`algorithm`] | the signature algorithms, asymmetric only |
//! | [`key`] | private keys that sign, public keys that verify, their JWK |
//! | [`api_key`] | keys that services show, how they are written, kept and taken back |
//! | [`jws`] | the compact serialisation, read strictly |
//! | [`cose`] | signed messages in CBOR |
//! | [`claims`] | what an access token says |
//! | [`context`] | from where a request came that a token was made for |
//! | [`details`] | what a token may be used for, where a scope says too little |
//! | [`lineage`] | what a token was made from, and falls with |
//! | [`transaction`] | what a transaction token says of its transaction |
//! | [`narrowed`] | what a token says that is less than what was granted |
//! | [`pairwise`] | what people are called to clients that must not compare |
//! | [`verifier`] | verification, one type for each kind of token |
//! | [`ring`] | the keys of an algorithm: next, current, previous, retired |
//! | [`keys`] | the key rings of a realm, in the store and in use |
//! | [`assertion`] | how a client proves itself with a key |
//! | [`request_object`] | the parameters of a request, signed by the client |
//! | [`certificate`] | certificates that clients show |
//! | [`spiffe`] | what workloads are called, and the documents that show it |
//! | [`dpop`] | how whoever presents a token shows the key that it is bound to |
//! | [`hint`] | ID tokens that come back |
//! | [`secevent`] | what one system tells another that happened |
//! | [`strict`] | JSON as security needs it |
//! | [`resource`] | what a protected resource says of itself to clients |
//! | [`root`] | root secrets, from which other keys are derived |
//! | [`mod@reference`] | access tokens that say nothing |
//! | [`refresh`] | the refresh token |
//! | [`family`] | one sign-in's chain of refresh tokens: what follows from a presentation |
//! | [`families`] | families in the store: beginning, refreshing, ending |
//! | [`status`] | a bit for each token |
//! | [`revocation`] | what has been taken back |
//! | [`foreign`] | access tokens of other issuers |
//! | [`usage`] | where tokens came from and how they are used, as all nodes know together |

pub mod algorithm;
pub mod api_key;
pub mod assertion;
pub mod certificate;
pub mod circle;
pub mod claims;
pub mod context;
pub mod cose;
pub mod details;
pub mod dpop;
pub mod families;
pub mod family;
pub mod foreign;
pub mod hint;
pub mod jws;
pub mod key;
pub mod keys;
pub mod lineage;
pub mod narrowed;
pub mod pairwise;
pub mod reference;
pub mod refresh;
pub mod request_object;
pub mod resource;
pub mod revocation;
pub mod ring;
pub mod root;
pub mod secevent;
pub mod spiffe;
pub mod status;
pub mod strict;
pub mod transaction;
pub mod usage;
pub mod verifier;
mod words;

pub use algorithm::Algorithm;
pub use api_key::{ApiGrant, ApiKey, ApiKeyId, ApiKeyRefused, ApiKeys, Uses};
pub use certificate::{Authorities, ClientCertificate, SubjectName};
pub use circle::Circle;
pub use claims::{Audience, Claims, Confirmation, MayAct, Scope};
pub use context::Context;
pub use details::{Details, InvalidDetails};
pub use dpop::{DpopNonces, DpopProof, ProofRefused, Proving, Replays, TargetUri};
pub use families::{
    Beginning, Families, Holders, Issue, Lifetimes, Refresh, RefreshRefused, Standing,
};
pub use family::{Binding, Family, Verdict};
pub use foreign::{ForeignRules, ForeignView};
pub use key::{Jwk, KeyRefused, SigningKey, VerifyingKey};
pub use keys::{Keys, KeysRefused};
pub use lineage::Lineage;
pub use narrowed::{Narrowed, Wider};
pub use pairwise::Pairwise;
pub use reference::ReferenceTokens;
pub use request_object::{ExpectedObject, ObjectRefused, RequestObject};
pub use resource::{InvalidResource, ProtectedResource};
pub use revocation::{
    Entry, Holder, Notice, Order, RealmView, Revoked, Revoker, Tally, Target, View, Withdraw,
    Withdrawable,
};
pub use ring::{RingRefused, RotationRules};
pub use root::Roots;
pub use secevent::{SecurityEventToken, SetRefused};
pub use spiffe::{SpiffeId, SpiffePattern, TrustDomain, TrustDomains};
pub use status::{Indexes, ListId, StatusBits, StatusIndex};
pub use transaction::Transaction;
pub use usage::Usage;
pub use verifier::{
    AccessToken, Expected, ExpectedAudience, ForeignToken, InternalToken, KeySet, Memory, Refusal,
    SecurityEvent, TransactionToken, Verified, Verifier,
};

use tegata_core::Kind;

/// The kinds of record that this crate keeps.
pub static KINDS: [&Kind; 11] = [
    &api_key::API_KEYS,
    &api_key::USES,
    &circle::CIRCLE,
    &circle::CIRCLE_PLACES,
    &family::FAMILIES,
    &foreign::FOREIGN_KEYS,
    &revocation::SNAPSHOTS,
    &revocation::SNAPSHOT_PARTS,
    &ring::KEY_RINGS,
    &root::ROOTS,
    &status::STATUS_BLOCKS,
];
