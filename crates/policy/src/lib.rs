//! May this caller do this? A [`PolicySet`] answers with a [`Decision`]: which rule determined it,
//! why not, and what is the smallest change that would have allowed it.
//!
//! - What no rule permits is denied.
//! - A forbid that matches wins over every permit.
//! - Policies in Cedar ([`Bundle`]) forbid whatever they like, and permit where a route leaves it to them
//!   ([`DecideBy`]). An error in one that forbids denies.
//! - Names are values: no id, role or scope is ever read as policy text.
//!
//! ```
//! use tegata_policy::{Action, Forbid, PolicySet, Principal, PrincipalKind, Requirement, Rules};
//!
//! let mut rules = Rules::default();
//! rules.permit("orders", "/orders", Requirement { roles: vec!["customer".into()], ..Requirement::default() });
//! rules.forbid(Forbid { roles: vec!["suspended".into()], ..Forbid::named("no-suspended") });
//! let set = PolicySet::compile(rules)?;
//!
//! // Once per token:
//! let held = set.recognise(["customer"], ["orders.read"]);
//! // Once per request:
//! let rule = set.route("orders", "/orders").expect("it was just declared");
//! let alice = Principal { kind: PrincipalKind::User, id: "usr_1", held: &held, acr: None, auth_age: None, place: None };
//! assert!(rule.decide(&alice, Action { method: "GET", path: "/orders/1" }).is_allowed());
//! # Ok::<(), tegata_policy::InvalidRules>(())
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`request`] | who wants to do what with what |
//! | [`rule`] | what a route requires, and what is forbidden: the words of the configuration |
//! | [`within`] | from where and when a caller has all of its rights, and which it has elsewhere |
//! | [`names`] | roles and scopes as bits |
//! | [`method`] | methods as bits |
//! | [`bundle`] | Cedar policies, read and checked |
//! | [`set`] | the compiled rules |
//! | [`decision`] | the answer |
//! | [`evaluate`] | decisions about arbitrary things |
//! | [`explain`] | why, and what would have changed it |
//! | [`shadow`] | what another set would have decided |

mod ask;
pub mod bundle;
pub mod decision;
pub mod evaluate;
pub mod explain;
pub mod method;
pub mod names;
pub mod request;
pub mod rule;
pub mod set;
pub mod shadow;
pub mod within;

pub use bundle::{Bundle, Effect, Fault, InvalidBundle, Policy, PolicyId};
pub use decision::{Decision, ReasonId, RuleId};
pub use evaluate::{Answer, Evaluation, Thing};
pub use explain::{Change, Clause, Explanation};
pub use names::Held;
pub use request::{Action, Principal, PrincipalKind, Request, Resource};
pub use rule::{Auth, DecideBy, Forbid, Requirement, Rules};
pub use set::{InvalidRules, PolicySet, RouteRule};
pub use shadow::{Asked, Difference, Differs, ShadowReport};
pub use within::{Kept, Place, Within};
