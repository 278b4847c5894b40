//! SPIFFE: what workloads are called, and by which documents they show it (SPIFFE-ID, X509-SVID, JWT-SVID,
//! SPIFFE Trust Domain and Bundle).
//!
//! A document counts by the bundle of its own trust domain and by no other: domains are never merged. No key
//! and no address is ever taken from a document itself.

mod bundle;
mod domains;
mod id;
mod jwt;

pub use bundle::{Bundle, BundleRefused, LARGEST};
pub use domains::{SvidRefused, TrustDomains};
pub use id::{InvalidSpiffeId, SpiffeId, SpiffePattern, TrustDomain};
pub use jwt::{JwtRefused, JwtSvid};
