//! Access tokens of other issuers: what they say here, and what of them has been taken back.
//!
//! Nothing that another issuer names is ever mistaken for something of ours. Its subjects, clients and
//! tokens are known here under two words, the issuer and the name that it gives them, with a space
//! between: no name of ours holds a space, and neither does an issuer.
//!
//! | module | subject |
//! |---|---|
//! | [`rules`](ForeignRules) | what is accepted of an issuer, and what its claims become |
//! | [`name`](Name) | what is taken back, as a key of stores and filters |
//! | [`filter`](Filter) | what was certainly not taken back |
//! | [`view`](ForeignView) | what this node knows to be taken back |
//! | [`outbox`](Outbox) | what other stores are still to be told |
//! | `lasting` | keys that were taken back, beyond what the log keeps |
//! | [`walk`](Walk) | the log from its beginning, for whoever fills anew |

mod filter;
mod lasting;
mod name;
mod outbox;
mod rules;
mod view;
mod walk;

pub use filter::Filter;
pub(crate) use filter::FilterPart;
pub use lasting::{FOREIGN_KEYS, lasting, tell_again};
pub use name::{Name, Names};
pub use outbox::{Outbox, Told, WITHDRAWN, filled_key, mark_of};
pub use rules::ForeignRules;
pub use view::{ForeignView, Layer, Looked, REMEMBERED, Ticket};
pub use walk::Walk;

/// Whether a name here is of something that another issuer named.
#[must_use]
pub fn is_foreign(name: &str) -> bool {
    name.contains(' ')
}

/// What another issuer calls so, as it is known here.
pub(crate) fn here(issuer: &str, name: &str) -> String {
    format!("{issuer} {name}")
}
