//! `tegata key`: signing keys, and the root key.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tegata_token::Algorithm;

use super::{Context, Failed, read_secret};
use crate::{
    compose::{
        self,
        root_key::{self, Other},
    },
    operate::Order,
};

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
    /// Makes the root key in the token that `[keys.pkcs11]` names. Never over one that is there.
    MakeRoot,
    /// Wraps the data keys of the store with another root key. To be run where no server runs; the old
    /// root key goes on opening backups of before.
    Rewrap(Rewrap),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Rewrap {
    /// From the root key in this file to the one that the configuration names.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// From the root key that the configuration names to the one in this file.
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
}

impl Rewrap {
    async fn run(&self, context: &Context) -> Result<(), Failed> {
        let other = match (&self.from_file, &self.to_file) {
            (Some(file), _) => Other::From(file),
            (None, Some(file)) => Other::To(file),
            (None, None) => {
                return Err(Failed::Usage("say `--from-file` or `--to-file`".to_owned()));
            }
        };
        let (config, source) = context.load()?;
        compose::check_data_dir(&config, &source)?;
        let rewrapped = root_key::rewrap(&config, &source, other).await?;
        context.show(&json!({"rewrapped": rewrapped}))
    }
}

impl Key {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::MakeRoot => {
                let made = root_key::make(&context.load()?.0).await?;
                return context.show(&json!({"made": made}));
            }
            Self::Rewrap(rewrap) => return rewrap.run(context).await,
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
