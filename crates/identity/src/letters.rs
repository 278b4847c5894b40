//! Letters: mail to people, and what its links let them do.
//!
//! Whoever asks for a letter is answered before anybody has looked whether there is such an account: an
//! [`Order`] is written down and nothing else, so that neither the answer nor its time tells. Later
//! one node makes [`Letter`]s of orders and hands them to the mail server, until they are taken or
//! are of no more use.
//!
//! A letter's link carries the letter's key and an HMAC over it. It is stored nowhere, and whoever reads
//! the store cannot make it. A letter is a record until its link was used, and using it removes the
//! record in the same batch, so of many who use one link at once one does. It is bound to the password
//! that the person had when it was written: any other password ends it.
//!
//! | module | subject |
//! |---|---|
//! | `order` | what is asked for, before it is known of whom |
//! | `letter` | what is sent |
//! | `link` | the text of a link, and of a code |
//! | `rounds` | from orders to letters, and what became of those |
//! | `redeem` | what a link does: choose a password, confirm an address |
//! | `arrive` | signing in by a code from a letter |
//! | `tell` | what people are told of what was done |
//! | `walk` | going over records, a page at a time |

use std::sync::Arc;

use aws_lc_rs::hmac;
use tegata_core::{Epoch, Node, Records};

use crate::{
    credential::password::Passwords, name::Role, second_factor::SecondFactors, throttle::Throttle,
    user::Users,
};

mod arrive;
mod letter;
mod link;
mod order;
mod redeem;
mod rounds;
mod tell;
mod walk;

pub use letter::{Content, LETTER_KIND, Letter};
pub use link::{Keys, one_form};
pub use order::{ORDER_KIND, Order, Wish};
pub use redeem::{Chosen, LinkRefused};
pub use rounds::{Carried, Post, Waiting, Writer, Written};
pub use walk::Walk;

/// What can be set.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Whether people may make accounts for themselves.
    pub registration: bool,
    /// What people may do who made their account themselves.
    pub roles: Vec<Role>,
    /// Whether people may sign in by a letter.
    pub sign_in: bool,
}

/// Letters, in `records`.
#[derive(Clone)]
pub struct Letters {
    node: Node,
    epoch: Epoch,
    records: Arc<dyn Records>,
    keys: Keys,
    users: Users,
    passwords: Passwords,
    second: SecondFactors,
    throttle: Throttle,
    config: Config,
    unread: walk::Unread,
}

/// What letters stand on.
pub struct Parts {
    /// The issuer epoch: links of another count no more.
    pub epoch: Epoch,
    /// What links are made with.
    pub keys: Keys,
    /// The people.
    pub users: Users,
    /// Their passwords.
    pub passwords: Passwords,
    /// Their second factors.
    pub second: SecondFactors,
    /// What counts letters.
    pub throttle: Throttle,
}

impl Letters {
    /// Letters on these parts.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let (node, records) = (parts.second.node.clone(), Arc::clone(&parts.second.records));
        let Parts { epoch, keys, users, passwords, second, throttle } = parts;
        let unread = walk::Unread::default();
        Self { node, epoch, records, keys, users, passwords, second, throttle, config, unread }
    }

    /// What was set.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}

/// How a key is derived from a root secret and from parts.
type Derive = dyn Fn(&[&[u8]]) -> Option<hmac::Key> + Send + Sync;
