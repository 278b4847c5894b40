//! `tegata key`.

use std::path::PathBuf;

use clap::Subcommand;
use tegata_token::Algorithm;

use super::{Context, Failed, read_secret};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Lists signing keys: next, current, previous, retired.
    List,
    /// Makes the next key sign, in one ring or in all.
    Rotate {
        #[arg(long)]
        algorithm: Option<Algorithm>,
        /// Although verifiers may not have seen the next key yet.
        #[arg(long)]
        force: bool,
    },
    /// Retires a key whose tokens have died.
    Retire {
        // Key ids are thumbprints, some of which begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Brings a private key (PKCS#8 in PEM) from another issuer and makes it current.
    Import {
        file: PathBuf,
        #[arg(long)]
        kid: Option<String>,
        /// For an RSA key: `RS256`, if nothing is said, or `PS256`.
        #[arg(long)]
        algorithm: Option<Algorithm>,
    },
}

impl Key {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::List => Order::KeyList,
            Self::Rotate { algorithm, force } => Order::KeyRotate { algorithm, force },
            Self::Retire { kid } => Order::KeyRetire { kid },
            Self::Import { file, kid, algorithm } => {
                let pem = read_secret(Some(&file), "the key")?;
                Order::KeyImport { pem, kid, algorithm }
            }
        };
        context.order_and_show(order).await
    }
}
