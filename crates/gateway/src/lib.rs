//! The data plane: every request that reaches a service comes through here.
//!
//! A request passes six phases. The first four see its head alone and may refuse it; then it is
//! sent on, streamed in both directions, and what was decided is written down.
//!
//! ```text
//! admit ──▶ identify ──▶ limit ──▶ decide ──▶ forward ──▶ record
//! ```
//!
//! Every worker is one thread with its own runtime, its own connections to services and its own
//! caches. What they share is read without a lock.
//!
//! | module | subject |
//! |---|---|
//! | [`gateway`] | the gateway as a whole: start, replacement of the map, end |
//! | [`config`] | how it behaves |
//! | [`bff`] | answers that are put together of several |
//! | [`guard`] | the watch over the framing of HTTP/1, in front of the parser |
//! | [`head`] | what the phases see of a request |
//! | [`foreign`] | access tokens of other issuers |
//! | [`introspection`] | whoever is asked about tokens while revocations cannot be learnt |
//! | [`certified`] | whom client certificates are of |
//! | [`session`] | what is asked about session cookies |
//! | [`key`] | what is asked about API keys |
//! | [`reference`](mod@reference) | what is asked about opaque access tokens |
//! | [`graphql`] | requests in GraphQL, judged before a service sees them |
//! | [`reasons`] | every reason for which a request goes no further |
//! | [`refusal`] | what a client is told whose request goes no further |
//! | [`decision_log`] | what was decided, in files that show when they were altered |
//! | [`ext_authz`] | answers to Envoy, which asks about requests of its own |
//! | [`explain`] | why a request passed or was refused, as its record has it |
//! | [`sidecar`] | sessions and tokens, checked beside a service |
//! | [`tls`] | certificates from files |
//! | [`metrics`] | what is counted |

pub mod bff;
pub mod certified;
pub mod config;
pub mod decision_log;
pub mod explain;
pub mod ext_authz;
pub mod foreign;
pub mod gateway;
pub mod graphql;
pub mod guard;
pub mod head;
pub mod introspection;
pub mod key;
pub mod metrics;
pub mod reasons;
pub mod reference;
pub mod refusal;
pub mod session;
pub mod sidecar;

mod access;
mod body;
mod certificate;
mod cors;
mod dpop;
mod encode;
mod gate;
mod memory;
mod pace;
mod passport;
mod phase;
mod policies;
mod resource;
mod route;
mod shed;
mod socket;
mod stream;
mod tally;
mod timer;
pub mod tls;
mod trace;
mod trailers;
mod tunnel;
mod upstream;
mod wire;
mod worker;

pub use certified::{Certificates, CertifiedClient, CertifiedClients};
pub use config::Config;
pub use decision_log::DecisionLog;
pub use dpop::{Dpop, PROOFS as DPOP_PROOFS};
pub use foreign::{Foreign, ForeignIssuer, IssuerKeys};
pub use gate::Signer;
pub use gateway::{Gateway, NotServed, Parts};
pub use head::Head;
pub use key::{KeyCheck, KeyIdentity, KeyUnfit};
pub use metrics::Metrics;
pub use policies::{Policies, Tried};
pub use reference::{References, Unresolved};
pub use session::{Checked, Renewed, SessionCheck, SessionIdentity, SessionRefused, SetCookie};
pub use tally::Sharing;
pub use tls::TlsRefused;
