//! `tegata token`.

use clap::Subcommand;

use super::{Context, Failed, read_secret};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Says what a token says, and whether it counts.
    Inspect {
        /// The token; `-`, or nothing, reads it from standard input.
        token: Option<String>,
    },
    /// Tells the life of a token: issued to whom, used where, made into what, taken back why.
    Trace {
        /// The token's `jti`; the nodes need not have seen the token itself.
        #[arg(allow_hyphen_values = true)]
        jti: String,
    },
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Inspect { token } => {
                let token = match token.filter(|token| token != "-") {
                    Some(token) => token,
                    None => read_secret(None, "the token")?,
                };
                Order::TokenInspect { token }
            }
            Self::Trace { jti } => Order::TokenTrace { jti },
        };
        context.order_and_show(order).await
    }
}
