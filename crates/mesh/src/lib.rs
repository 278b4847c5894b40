//! The map of services: which there are, where they live, who may call them, and which paths lead
//! to them. Also the one way in which Tegata reads a path.
//!
//! | module | subject |
//! |---|---|
//! | [`path`] | a request target, normalised once; what is ambiguous is refused |
//! | [`shape`] | paths that carry SQL |
//! | [`bff`] | answers that are put together of several, as they are written there |
//! | [`declared`] | services and routes as they are written in the configuration |
//! | [`credentials`] | with what a caller may say who it is |
//! | [`sees`] | what of a caller's rights a service is told |
//! | [`within`] | from where and when callers have all of their rights |
//! | [`delegation`] | who may speak for whom at which services, as it is written there |
//! | [`graphql`] | routes whose bodies are GraphQL, and what is looked at there |
//! | [`map`] | the same, checked: [`ServiceMap`], [`Service`], [`Route`] |
//! | [`table`] | from a path to its route |
//! | [`name`] | names of services, roles and scopes |
//! | [`span`] | lengths of time, as they are written beside a route |
//! | [`upstream`] | addresses of services |
//! | [`limit`] | rate limits, as they are written beside a route or a service |
//! | [`reach`] | how a service is reached: checks, sending again, leaving alone, TLS |

pub mod bff;
pub mod credentials;
pub mod declared;
pub mod delegation;
pub mod graphql;
pub mod limit;
pub mod map;
pub mod name;
pub mod path;
pub mod reach;
pub mod sees;
pub mod shape;
pub mod span;
pub mod table;
pub mod upstream;
pub mod within;

pub use bff::{Bff, DeclaredBff, DeclaredPart};
pub use credentials::{Credential, Credentials};
pub use declared::{
    AuthMode, DecideBy, DeclaredRoute, DeclaredService, IdentityForm, RevocationMode,
};
pub use delegation::{DeclaredDelegation, DelegationMode};
pub use graphql::{DeclaredGraphql, Graphql, Introspection};
pub use limit::{DeclaredLimit, LimitBy};
pub use map::{Fault, InvalidMap, Route, Service, ServiceMap};
pub use name::{RoleName, Scope, ServiceName};
pub use path::{NormalPath, PathRefused, Target};
pub use reach::Reach;
pub use sees::{DeclaredSees, Sees};
pub use shape::SqlShape;
pub use span::{InvalidSpan, Span};
pub use table::{Match, RouteTable};
pub use upstream::{Protocol, Scheme, Upstream};
pub use within::{DeclaredOutside, Within};
