//! `tegata bff`.

use clap::Subcommand;

use super::{Context, Failed};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Bff {
    /// Lists what is put together of several services. `tegata apply` registers and changes it.
    List,
    /// Removes one. What it was put together of stays.
    Remove { name: String },
}

impl Bff {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::List => Order::BffList,
            Self::Remove { name } => Order::BffRemove { name },
        };
        context.order_and_show(order).await
    }
}
