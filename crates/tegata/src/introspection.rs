//! Asking other nodes about tokens, while this one cannot learn what was taken back.

use std::{path::Path, sync::Arc, time::Duration};

use http::Uri;
use tegata_core::{BoxFuture, Node};
use tegata_gateway::introspection::Introspection;
use tegata_sdk::{Credential, Provider, Transport, TransportLimits};
use tokio::runtime::Handle;

use crate::{config, foreign::system_roots};

/// Small, soon, over connections that are kept.
const LIMITS: TransportLimits =
    TransportLimits { timeout: Duration::from_millis(500), idle: 8, open: 64, answer: 64 << 10 };

/// The nodes that are asked, and where.
pub(crate) struct Others {
    all: Vec<(Provider, Uri)>,
    /// Where connections live: they must outlast the worker of the gateway that asked first.
    runtime: Handle,
}

impl Others {
    /// The nodes that are configured. `None`: none are. Nobody is asked yet.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub(crate) fn open(
        set: &config::Introspection,
        node: &Node,
    ) -> Result<Option<Arc<Self>>, String> {
        let wrong = |why: String| format!("[gateway.introspection] {why}");
        let Some(file) = set.client_secret_file.as_deref().filter(|_| !set.at.is_empty()) else {
            return Ok(None);
        };
        let secret = config::read_secret(Path::new(""), file).map_err(wrong)?;
        let credential = Credential::secret(&set.client_id, secret);
        let mut transport = Transport::new(LIMITS);
        if let Some(roots) = set.ca_file.as_deref().or(system_roots()) {
            let tls =
                tegata_gateway::tls::client(roots).map_err(|error| wrong(error.to_string()))?;
            transport = transport.with_tls(tls);
        }
        let all = set.at.iter().map(|address| {
            let at = |path| format!("{address}{path}").parse::<Uri>();
            let (tokens, introspection) = (at("/oauth2/token")?, at("/oauth2/introspect")?);
            // Each has a breaker of its own.
            let (credential, transport) = (credential.clone(), transport.clone());
            Ok((Provider::new(tokens, credential, transport, node.clone()), introspection))
        });
        let all: Result<_, http::uri::InvalidUri> = all.collect();
        let all = all.map_err(|error| wrong(format!("at: {error}")))?;
        Ok(Some(Arc::new(Self { all, runtime: Handle::current() })))
    }
}

impl Introspection for Others {
    fn is_active<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<bool>> {
        Box::pin(async move {
            for (provider, at) in &self.all {
                let (provider, endpoint, token) = (provider.clone(), at.clone(), token.to_owned());
                let asked = async move { provider.is_active(&endpoint, &token).await };
                match self.runtime.spawn(asked).await {
                    Ok(Ok(active)) => return Some(active),
                    // Whoever does not know enough either says 503.
                    Ok(Err(error)) => tracing::warn!(%at, %error, "a node cannot be asked"),
                    Err(_) => {}
                }
            }
            None
        })
    }
}
