//! `tegata service`.

use clap::Subcommand;
use tegata_mesh::DeclaredService;

use super::{Context, Failed};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Service {
    /// Registers a service.
    Add {
        name: String,
        /// Where it is: `http://host:port`; several are balanced.
        #[arg(long = "upstream", required = true)]
        upstreams: Vec<String>,
        /// Clients and services that may get a token for it.
        #[arg(long = "caller", value_delimiter = ',')]
        callers: Vec<String>,
        /// Roles that may call it through the gateway.
        #[arg(long = "role", value_delimiter = ',')]
        roles: Vec<String>,
    },
    /// Lists services.
    List,
    /// Lets a client or service get tokens for one.
    Allow { name: String, caller: String },
    /// Removes one and its routes.
    Remove { name: String },
}

impl Service {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Add { name, upstreams, callers, roles } => {
                let service = DeclaredService {
                    name,
                    upstreams,
                    callers,
                    roles,
                    ..DeclaredService::default()
                };
                Order::ServiceAdd { service }
            }
            Self::List => Order::ServiceList,
            Self::Allow { name, caller } => Order::ServiceAllow { name, caller },
            Self::Remove { name } => Order::ServiceRemove { name },
        };
        context.order_and_show(order).await
    }
}
