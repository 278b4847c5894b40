//! `tegata delegation`.

use clap::Subcommand;

use super::{Context, Failed};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Delegation {
    /// Lists delegations. `tegata apply` registers and changes them.
    List,
    /// Removes one.
    Remove { name: String },
}

impl Delegation {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::List => Order::DelegationList,
            Self::Remove { name } => Order::DelegationRemove { name },
        };
        context.order_and_show(order).await
    }
}
