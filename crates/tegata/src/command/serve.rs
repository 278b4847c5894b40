//! `tegata serve`.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use super::{Context, Failed, apply};
use crate::{
    circle, compose,
    config::Declared,
    history, logging,
    operate::{self, MadeSecrets},
    run::{self, Asked, Listeners, Loopback, Stop},
};

/// Runs the server until it is told to stop.
pub(crate) async fn run(context: &Context) -> Result<(), Failed> {
    let (config, source) = context.load()?;
    logging::start(&config.observability)?;
    let declared = Declared::of(&config);
    let listeners = Listeners {
        public: bind("[public] listen", config.public.listen.addresses())?,
        mtls: match &config.public.mtls_listen {
            Some(listen) => bind("[public] mtls_listen", listen.addresses())?,
            None => Vec::new(),
        },
        gateway: bind("[gateway] listen", config.gateway.listen.addresses())?,
        operations: bind("[operations] listen", config.operations.listen.addresses())?,
    };
    let composed = Arc::new(compose::compose(config, &source).await?);
    let declarations = apply::declarations(declared, &source.base).map_err(Failed::Usage)?;
    let _kept = circle::enter(&composed).await;
    let declared = operate::declare(&composed, &declarations, MadeSecrets::WouldBeLost).await;
    declared.map_err(|refused| Failed::Usage(refused.why))?;
    let stop = Stop::listen()?;
    let running = run::start(Arc::clone(&composed), listeners, Loopback::Counted).await?;
    tracing::info!(node = %composed.node.id(), issuer = composed.provider.issuer(), "started");
    let (asked, over) = tokio::select! {
        asked = stop.asked() => (asked, None),
        why = composed.history.ends() => (Asked::ByHand, Some(why)),
        why = composed.supervisor.ends() => (Asked::ByHand, Some(why)),
    };
    let why = over.as_deref().unwrap_or("asked to");
    tracing::info!(node = %composed.node.id(), why, "stopping");
    running.stop(asked).await;
    history::note(&composed).await;
    over.map_or(Ok(()), |why| Err(Failed::Operation(why)))
}

fn bind(setting: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failed> {
    let one = |address: &SocketAddr| {
        TcpListener::bind(address).map_err(|error| {
            Failed::Usage(format!("{setting} `{address}` cannot be used: {error}"))
        })
    };
    addresses.iter().map(one).collect()
}
