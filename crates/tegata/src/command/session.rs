//! `tegata session`.

use clap::Subcommand;

use super::{Context, Failed};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Session {
    /// Lists live sessions, of one person or of all.
    List {
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
    },
    /// Ends one.
    End { sid: String },
}

impl Session {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::List { user } => Order::SessionList { username: user },
            Self::End { sid } => Order::SessionEnd { sid },
        };
        context.order_and_show(order).await
    }
}
