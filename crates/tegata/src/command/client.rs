//! `tegata client`.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use tegata_oauth::{ClientMetadata, GrantType};

use super::{Context, Failed, read_secret};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Client {
    /// Registers a client, and prints its secret once.
    Add(Box<Add>),
    /// Lists clients.
    List,
    /// Gives a client a new secret; the one before works until the next rotation.
    RotateSecret { client_id: String },
    /// Removes a client and takes back what it has.
    Remove { client_id: String },
    /// Says which clients were told that sessions have ended, and which could not be.
    Logouts {
        /// Of this client alone.
        client_id: Option<String>,
        /// `due`, `delivered` or `failed`: in this state alone.
        #[arg(long, value_parser = ["due", "delivered", "failed"])]
        state: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    client_id: String,
    #[arg(long)]
    name: Option<String>,
    /// A public client: nothing to prove itself with.
    #[arg(long)]
    public: bool,
    /// `authorization_code`, `refresh_token`, `client_credentials`,
    /// `urn:ietf:params:oauth:grant-type:device_code` or
    /// `urn:ietf:params:oauth:grant-type:token-exchange`; several, or a list with commas.
    #[arg(long = "grant-type", value_delimiter = ',', value_parser = grant_type)]
    grant_types: Vec<GrantType>,
    #[arg(long = "redirect-uri")]
    redirect_uris: Vec<String>,
    /// Values separated by spaces.
    #[arg(long, default_value = "")]
    scope: String,
    #[arg(long = "audience", value_delimiter = ',')]
    audiences: Vec<String>,
    /// May ask about tokens of others, and take them back.
    #[arg(long)]
    may_introspect: bool,
    /// The file that its secret is in; without one, a secret is made.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

fn grant_type(name: &str) -> Result<GrantType, String> {
    let found = GrantType::ALL.into_iter().find(|grant| grant.name() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = GrantType::ALL.iter().map(|grant| grant.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

impl Client {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Add(add) => add.order()?,
            Self::List => Order::ClientList,
            Self::RotateSecret { client_id } => Order::ClientRotateSecret { client: client_id },
            Self::Remove { client_id } => Order::ClientRemove { client: client_id },
            Self::Logouts { client_id, state } => Order::ClientLogouts { client: client_id, state },
        };
        context.order_and_show(order).await
    }
}

impl Add {
    fn order(self) -> Result<Order, Failed> {
        let secret = match &self.secret_file {
            Some(_) => Some(read_secret(self.secret_file.as_ref(), "the client secret")?),
            None => None,
        };
        let grant_types: BTreeSet<_> = self.grant_types.into_iter().collect();
        let metadata = ClientMetadata {
            client_id: self.client_id,
            client_name: self.name,
            public: self.public,
            grant_types: (!grant_types.is_empty()).then_some(grant_types),
            redirect_uris: self.redirect_uris,
            scope: self.scope,
            audiences: self.audiences,
            may_introspect: self.may_introspect,
            ..ClientMetadata::default()
        };
        Ok(Order::ClientAdd { metadata: Box::new(metadata), secret })
    }
}
