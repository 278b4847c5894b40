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
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let Self::Inspect { token } = self;
        let token = match token.filter(|token| token != "-") {
            Some(token) => token,
            None => read_secret(None, "the token")?,
        };
        context.order_and_show(Order::TokenInspect { token }).await
    }
}
