//! What is asked for, before it is known of whom.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Epoch, Expect, Kind, Lifetime, Node, Realm, StoreError, Stored,
    Timestamp, UserId, id::expiry_day,
};

use super::Letters;
use crate::name::{EmailAddress, Locale};

/// Where orders wait until letters are made of them.
pub static ORDER_KIND: Kind = Kind {
    name: "letter_order",
    indexes: &[],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: true,
};

/// The longest text that can be an account.
const LONGEST: usize = 512;

/// What somebody wants a letter for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// To choose another password.
    Reset {
        /// A user name or an address, as it was typed.
        account: String,
    },
    /// To have an account.
    SignUp {
        /// Of this address.
        address: EmailAddress,
    },
    /// To have another address.
    NewAddress {
        /// Who.
        user: UserId,
        /// Which.
        address: EmailAddress,
    },
    /// To sign in.
    SignIn {
        /// A user name or an address, as it was typed.
        account: String,
        /// What stands for the browser that asked.
        browser: String,
        /// What for: parameters of the page that its link leads to, which are nothing to us.
        #[serde(default)]
        onward: Vec<(String, String)>,
    },
}

/// A wish, as it was written down.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    key: String,
    pub(super) wish: Wish,
    /// In which language.
    pub(super) lang: Locale,
    /// From where.
    pub(super) from: IpAddr,
    pub(super) placed: Timestamp,
}

impl Stored for Order {
    const KIND: &'static Kind = &ORDER_KIND;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Letters {
    /// Writes down that somebody wants a letter. It makes the same calls whoever there is.
    ///
    /// # Errors
    /// What the store says.
    pub async fn order(
        &self,
        realm: &Realm,
        wish: Wish,
        lang: &Locale,
        from: IpAddr,
    ) -> Result<(), StoreError> {
        let wish = match wish {
            Wish::Reset { account } => Wish::Reset { account: bounded(account) },
            Wish::SignIn { account, browser, onward } => {
                Wish::SignIn { account: bounded(account), browser, onward }
            }
            wish => wish,
        };
        let placed = self.node.now();
        let key = key(&self.node, self.epoch, placed);
        let order = Order { key, wish, lang: lang.clone(), from, placed };
        let batch = Batch::new(realm.clone()).with(order.put(Expect::Absent));
        match self.records.commit(batch).await {
            Ok(()) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
            Err(CommitRefused::Conflict { .. }) => {
                Err(StoreError::Misused { detail: "two orders had one key".to_owned() })
            }
        }
    }
}

/// What is longer is no account of anybody.
fn bounded(account: String) -> String {
    if account.len() > LONGEST { String::new() } else { account }
}

/// A new key, of what is dead the day after tomorrow.
pub(super) fn key(node: &Node, epoch: Epoch, now: Timestamp) -> String {
    let mut bytes = [0_u8; 16];
    node.entropy().fill(&mut bytes);
    format!("{epoch}.{}.{}", now.day() + 2, URL_SAFE_NO_PAD.encode(bytes))
}
