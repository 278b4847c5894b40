//! The OAuth 2.1 and OpenID Connect provider, as plain functions: nothing here knows a status code
//! or a header, except where an RFC puts a credential into one.
//!
//! | module | subject |
//! |---|---|
//! | [`provider`] | the provider of one realm, and what it is made of |
//! | [`client`] | clients: registration, secrets, what they may ask for |
//! | [`authenticate`] | clients proving themselves |
//! | [`request`] | authorization requests |
//! | [`interaction`] | what a person has to do in between |
//! | [`consent`] | what people have agreed to |
//! | [`delegation`] | who may speak for whom, and where |
//! | [`administer`] | who may administer |
//! | [`evaluating`] | who may ask what policies decide |
//! | [`keeping`] | who may keep data with sessions |
//! | [`dpop`] | keys that tokens are bound to |
//! | [`mtls`] | certificates that clients show |
//! | [`device`] | devices without a browser, and what people say to them |
//! | [`grant`] | the token endpoint, a file for each grant type |
//! | [`issue`] | making tokens |
//! | [`subject`] | what people are called to a client |
//! | [`backchannel`] | telling clients that a session has ended |
//! | [`introspect`], [`revoke`], [`userinfo`], [`logout`] | the endpoints of these names |
//! | [`notice`] | what verifiers are told of what is taken back |
//! | [`signals`] | telling other systems what happened, and hearing it from them |
//! | [`metadata`] | what the provider says of itself |
//! | [`register`] | clients that register themselves |
//! | [`described`] | clients that describe themselves at the address that they are called by |
//! | [`remote`] | what clients publish at addresses of their own |
//! | [`params`], [`redirect`], [`pkce`], [`error`] | the words they share |

pub mod administer;
pub mod authenticate;
pub mod backchannel;
pub mod client;
pub mod consent;
pub mod delegation;
pub mod described;
pub mod device;
pub mod dpop;
pub mod error;
pub mod evaluating;
pub mod grant;
pub mod interaction;
pub mod introspect;
pub mod issue;
pub mod keeping;
pub mod logout;
pub mod metadata;
pub mod mtls;
pub mod notice;
pub mod once;
pub mod params;
pub mod pkce;
pub mod provider;
pub mod redirect;
mod reference;
pub mod register;
pub mod remote;
pub mod request;
pub mod revoke;
pub mod sees;
pub mod signals;
pub mod subject;
pub mod userinfo;

pub use authenticate::{AssertionAudience, Basic, ProvenClient};
pub use client::{AuthMethod, Client, ClientMetadata, Clients, GrantType, TokenFormat};
pub use delegation::Delegation;
pub use described::NotDescribed;
pub use device::{Decision, DeviceAuthorization, UserCode};
pub use dpop::{Credential, DpopNonce, NotHolder, ProvenKey, Showing};
pub use error::{Code, OAuthError, Refused};
pub use interaction::{Next, Said, SignedIn};
pub use issue::{TokenAnswer, check_untroubled, unsigned};
pub use mtls::{MutualTls, Proven};
pub use notice::Question;
pub use params::Params;
pub use provider::{Access, Asking, Config, LiveSessions, Parts, Provider, Targets};
pub use request::{AuthorizationRequest, NotAuthorized, Pushed, Redirect, ResponseMode, Unsafe};
pub use sees::Sees;

use tegata_core::Kind;

/// The kinds of record that this crate keeps.
pub static KINDS: [&Kind; 10] = [
    &backchannel::LOGOUT_WALKS,
    &backchannel::RELYING_PARTIES,
    &client::CLIENTS,
    &consent::CONSENTS,
    &consent::withdrawn::WITHDRAWALS,
    &device::DEVICE_ANSWERS,
    &grant::code::CODES,
    &signals::heard::HEARD,
    &signals::stream::STREAMS,
    &signals::stream::STREAM_SUBJECTS,
];
