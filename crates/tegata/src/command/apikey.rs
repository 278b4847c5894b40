//! `tegata apikey`.

use clap::Subcommand;
use tegata_mesh::Span;

use super::{Context, Failed};
use crate::operate::{Order, What, api_keys::Wanted};

#[derive(Subcommand)]
pub(crate) enum ApiKey {
    /// Makes a key for a service or client, and prints it once.
    Create(Box<Create>),
    /// Lists keys, without their secrets.
    List {
        /// Those of one service or client.
        #[arg(long)]
        service: Option<String>,
    },
    /// Makes a key in the place of another, which counts beside it for a while.
    Rotate {
        id: String,
        /// For how long: from `1m` to `30d`; a day, if nothing is said.
        #[arg(long)]
        grace: Option<Span>,
        /// The other does not count any more.
        #[arg(long, conflicts_with = "grace")]
        at_once: bool,
    },
    /// Takes a key back.
    Revoke {
        id: String,
        /// Why, in a word: kept in the journal.
        #[arg(long, default_value = "revoked")]
        reason: String,
        /// Waits until every node refuses it, and says which do.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Create {
    /// The service or client that it stands for.
    #[arg(long)]
    service: String,
    /// What people call it.
    #[arg(long, default_value = "")]
    name: String,
    /// The scope that services are told, separated by spaces.
    #[arg(long, default_value = "")]
    scope: String,
    /// The roles that services are told.
    #[arg(long = "role", value_delimiter = ',')]
    roles: Vec<String>,
    /// The services that it may call; all, if none is named.
    #[arg(long = "for-service", value_delimiter = ',')]
    services: Vec<String>,
    /// The prefixes of routes that it may call; all, if none is named.
    #[arg(long = "for-route", value_delimiter = ',')]
    routes: Vec<String>,
    /// It may also get tokens for those services, at the token endpoint, in the place of the client's secret.
    #[arg(long, conflicts_with = "routes")]
    tokens: bool,
    /// For how long it counts; `365d`, if nothing is said.
    #[arg(long)]
    lifetime: Option<Span>,
}

impl ApiKey {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Create(create) => {
                let wanted = Wanted {
                    client: create.service,
                    name: create.name,
                    scope: create.scope,
                    roles: create.roles,
                    services: create.services,
                    routes: create.routes,
                    tokens: create.tokens,
                    lifetime: create.lifetime,
                };
                Order::ApiKeyCreate { wanted: Box::new(wanted) }
            }
            Self::List { service } => Order::ApiKeyList { client: service },
            Self::Rotate { id, grace, at_once } => Order::ApiKeyRotate { id, grace, at_once },
            Self::Revoke { id, reason, wait } => {
                Order::Revoke { what: What::ApiKey(id), reason, wait }
            }
        };
        context.order_and_show(order).await
    }
}
