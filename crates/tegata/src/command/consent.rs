//! `tegata consent`.

use clap::Subcommand;

use super::{Context, Failed};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Consent {
    /// Lists what people have agreed to, of one person or of all.
    List {
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
    },
    /// Forgets that a person agreed, and takes back what the client had by it.
    Withdraw { username: String, client_id: String },
}

impl Consent {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::List { user } => Order::ConsentList { username: user },
            Self::Withdraw { username, client_id } => {
                Order::ConsentWithdraw { username, client: client_id }
            }
        };
        context.order_and_show(order).await
    }
}
