//! The second durable home of revocations: the store itself, or a table of DynamoDB.

use std::sync::Arc;

use tegata_core::{Backstop, Node};

use super::{
    Startup,
    backends::{Backends, scheme},
};
use crate::{config::Config, durable::Standing};

/// A home that is filled by following the log.
pub(crate) struct Elsewhere {
    /// What tells it from others.
    pub(crate) name: String,
    /// How it stands.
    pub(crate) standing: Arc<Standing>,
}

type Home = (Arc<dyn Backstop>, Option<Elsewhere>);

/// Opens what the configuration names. `asked` is whether somebody will ask it: the log of the store is
/// as durable as what else is in it, so unless somebody does, nothing is written there twice.
pub(super) async fn open(
    config: &Config,
    backends: &mut Backends,
    node: &Node,
    asked: bool,
) -> Result<Home, Startup> {
    let url = config.revocation.durable.expose();
    if url == "store" {
        let filled = || Elsewhere { name: url.to_owned(), standing: Arc::default() };
        return Ok((Arc::clone(&backends.backstop), asked.then(filled)));
    }
    if url.starts_with("dynamodb://") {
        return dynamo(url, backends, node).await;
    }
    Err(Startup::Configuration(format!(
        "[revocation] durable: {} is not supported; write `store` or `dynamodb://TABLE?region=REGION`",
        scheme(url)
    )))
}

#[cfg(feature = "dynamodb")]
async fn dynamo(url: &str, backends: &mut Backends, node: &Node) -> Result<Home, Startup> {
    use std::time::Duration;

    use tegata_core::BreakerLimits;
    use tegata_store::{DynamoBackstop, DynamoConfig, Guarded};

    /// Longer than what is recorded at once takes a table that is slow. The adapter limits each call.
    const LONGEST: Duration = Duration::from_secs(10);

    let clock = node.clock();
    let opened = DynamoBackstop::open(url, DynamoConfig::default(), Arc::clone(clock)).await?;
    let name = opened.name();
    let limits = BreakerLimits::default();
    let guarded = Guarded::new(Arc::new(opened), "DynamoDB", LONGEST, limits, Arc::clone(clock));
    backends.breakers.push(("dynamodb", Arc::clone(guarded.breaker())));
    let standing = Arc::default();
    Ok((Arc::new(guarded), Some(Elsewhere { name, standing })))
}

#[cfg(not(feature = "dynamodb"))]
async fn dynamo(_: &str, _: &mut Backends, _: &Node) -> Result<Home, Startup> {
    Err(Startup::Configuration(
        "[revocation] durable: this program was built without DynamoDB; build it with the feature \
         `dynamodb`, or write `store`"
            .to_owned(),
    ))
}
