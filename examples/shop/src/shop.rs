//! All services in one process, each on a port of its own.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use tegata_sdk::{
    Authenticator, Credential, KeySource, Memory, Node, Provider, Retries, Secret, ServiceClient,
    Transport,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    carts, catalogue, echo, inventory, notifications, orders, payments, preferences,
    recommendations,
    registry::{Registry, SERVICES},
    reviews,
    service::Parts,
    shipping, storefront, users,
};

/// What a shop needs to be told.
#[derive(Debug, Clone)]
pub struct ShopConfig {
    /// The first of the ports, one for each service in the order of [`Addresses::names`]. Without
    /// it, whichever are free.
    pub base_port: Option<u16>,
    /// The issuer of the tokens that count.
    pub issuer: String,
    /// Its keys.
    pub keys: KeySource,
    /// Its token endpoint: an absolute URL.
    pub token_endpoint: String,
    /// The secret of each service that is a client of the provider; see [`Registry`].
    pub secrets: HashMap<String, Secret<String>>,
    /// How the services call each other and the provider.
    pub transport: Transport,
    /// How often they try again.
    pub retries: Retries,
    /// Clock and randomness.
    pub node: Node,
}

/// Why the shop does not open.
#[derive(Debug, thiserror::Error)]
pub enum ShopClosed {
    /// A port is not free.
    #[error("`{service}` cannot listen on `{address}`: {error}; choose another base port")]
    Port {
        /// Which service.
        service: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The ports after the first one do not exist.
    #[error("there are not enough ports from `{0}` on; choose a smaller base port")]
    TooHigh(u16),
    /// The token endpoint is not an address.
    #[error("the token endpoint `{0}` is not an absolute URL")]
    TokenEndpoint(String),
    /// A service that calls others has no secret.
    #[error(
        "there is no secret for the service `{0}`: register it as a client and name its secret"
    )]
    Secret(&'static str),
    /// A service has an address that cannot be called.
    #[error(transparent)]
    Target(#[from] tegata_sdk::client::BadTarget),
}

/// Where the services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Addresses {
    /// The names of the services, in the order of their ports.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVICES.iter().map(|(name, _)| *name)
    }

    /// The addresses from this port on.
    ///
    /// # Errors
    /// [`ShopClosed::TooHigh`].
    pub fn from_port(base: u16) -> Result<Self, ShopClosed> {
        let port = |offset: u16| base.checked_add(offset).ok_or(ShopClosed::TooHigh(base));
        let address =
            |(name, offset)| Ok((name, SocketAddr::from((Ipv4Addr::LOCALHOST, port(offset)?))));
        Self::names().zip(0..).map(address).collect::<Result<_, _>>().map(Self)
    }

    /// Where a service is.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, address)| *address)
    }

    /// Where a service is, as a URL without a path.
    #[must_use]
    pub fn url(&self, name: &str) -> Option<String> {
        self.of(name).map(|address| format!("http://{address}"))
    }

    /// All services and where they are.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.0.iter().copied()
    }
}

/// The shop.
#[derive(Debug)]
pub struct Shop;

/// A shop that is open. It closes when it is dropped, and without haste when it is told to stop.
#[derive(Debug)]
pub struct ShopHandle {
    addresses: Addresses,
    stopping: watch::Sender<bool>,
    servers: JoinSet<()>,
}

impl Shop {
    /// Opens the shop on 127.0.0.1, on the runtime of the caller.
    ///
    /// # Errors
    /// [`ShopClosed`].
    pub async fn start(config: ShopConfig) -> Result<ShopHandle, ShopClosed> {
        let (addresses, listeners) = listen(config.base_port).await?;
        let mut routers = Vec::new();
        for name in Addresses::names() {
            routers.push(router(name, &config, &addresses)?);
        }
        let (stopping, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        for (listener, router) in listeners.into_iter().zip(routers) {
            let mut stopped = stopped.clone();
            servers.spawn(async move {
                // An error here is that the handle is gone, which is a stop too.
                let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
                let server = axum::serve(listener, router).with_graceful_shutdown(stop);
                if let Err(error) = server.await {
                    tracing::error!(%error, "a service of the shop ended");
                }
            });
        }
        Ok(ShopHandle { addresses, stopping, servers })
    }
}

impl ShopHandle {
    /// Where the services are.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What the platform must know of the shop.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::at(&self.addresses)
    }

    /// Takes no more requests and waits for those under way, at most so long.
    pub async fn stop(mut self, longest: Duration) {
        self.stopping.send_replace(true);
        let all = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(longest, all).await.is_err() {
            tracing::warn!("the shop closed before all requests were answered");
        }
    }
}

async fn listen(base: Option<u16>) -> Result<(Addresses, Vec<TcpListener>), ShopClosed> {
    let wanted = match base {
        Some(base) => Addresses::from_port(base)?,
        None => {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Addresses(Addresses::names().map(|name| (name, any)).collect())
        }
    };
    let (mut addresses, mut listeners) = (Vec::new(), Vec::new());
    for (service, address) in wanted.iter() {
        let failed = |error| ShopClosed::Port { service, address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        addresses.push((service, listener.local_addr().map_err(failed)?));
        listeners.push(listener);
    }
    Ok((Addresses(addresses), listeners))
}

fn router(
    name: &'static str,
    config: &ShopConfig,
    addresses: &Addresses,
) -> Result<Router, ShopClosed> {
    let parts = parts(name, config, addresses)?;
    Ok(match name {
        "catalogue" => catalogue::router(&parts),
        "users" => users::router(&parts),
        "carts" => carts::router(&parts),
        "orders" => orders::router(&parts),
        "inventory" => inventory::router(&parts),
        "payments" => payments::router(&parts),
        "shipping" => shipping::router(&parts),
        "notifications" => notifications::router(&parts),
        "reviews" => reviews::router(&parts),
        "recommendations" => recommendations::router(&parts),
        "storefront" => storefront::router(&parts),
        "preferences" => preferences::router(&parts),
        _ => echo::router(),
    })
}

/// What one service is made of: it trusts the issuer, and can call all others.
fn parts(
    name: &'static str,
    config: &ShopConfig,
    addresses: &Addresses,
) -> Result<Parts, ShopClosed> {
    let node = config.node.clone();
    let authenticator = Authenticator::of(name)
        .trusting(&config.issuer, config.keys.clone())
        // Thirteen services in one process remember less each.
        .remembering(Memory { tokens: 200, ..Memory::default() })
        .on(node.clone());
    let endpoint = config.token_endpoint.parse();
    let endpoint =
        endpoint.map_err(|_| ShopClosed::TokenEndpoint(config.token_endpoint.clone()))?;
    let calls = SERVICES.iter().any(|(own, called)| *own == name && !called.is_empty());
    let secret = match config.secrets.get(name) {
        Some(secret) => secret.clone(),
        None if calls => return Err(ShopClosed::Secret(name)),
        // It never asks for a token.
        None => Secret::new(String::new()),
    };
    let credential = Credential::secret(name, secret);
    let provider = Provider::new(endpoint, credential, config.transport.clone(), node.clone())
        .retrying(config.retries);
    let mut client =
        ServiceClient::of(name, provider).over(config.transport.clone()).retrying(config.retries);
    for (target, address) in addresses.iter() {
        client = client.target(target, &format!("http://{address}"));
    }
    Ok(Parts { authenticator, client: client.build()?, node })
}
