//! The store alone, for whoever needs nothing else and must not depend on it.

use std::sync::Arc;

use tegata_core::{Node, Records};
use tegata_store::Sealed;

use super::{DataDir, Startup, backends, data_dir, root_key, store_name};
use crate::config::{Config, Source};

/// A store, and the data directory that it is used from.
pub(crate) struct Ground {
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) data: DataDir,
}

impl Ground {
    /// Opens the store that the configuration names, whatever stands in it.
    pub(crate) async fn open(config: &Config, source: &Source) -> Result<Self, Startup> {
        let node = Node::start();
        let place = data_dir(config, source);
        let custody = root_key::custody(config, &place, &node).await?;
        let data = DataDir::take(&place)?;
        let records = backends::records(config, data.path(), &node).await?;
        let place = store_name(config);
        let sealed = Sealed::open(records, custody, &node)
            .await
            .map_err(|source| Startup::Seal { place, source })?;
        Ok(Self { node, records: Arc::new(sealed), data })
    }
}
