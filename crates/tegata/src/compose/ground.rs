//! The store alone, for whoever needs nothing else and must not depend on it.

use std::sync::Arc;

use tegata_core::{Node, Records};
use tegata_store::Sealed;
use tegata_token::keys::Rings;

use super::{DataDir, Startup, backends, data_dir, root_key, store_name};
use crate::config::{Config, Source};

/// A store, and the data directory that it is used from.
pub(crate) struct Ground {
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) data: DataDir,
    /// Which keys sign, and where they are made.
    pub(crate) rings: Rings,
}

impl Ground {
    /// Opens the store that the configuration names, whatever stands in it.
    pub(crate) async fn open(config: &Config, source: &Source) -> Result<Self, Startup> {
        let node = Node::start();
        let place = data_dir(config, source);
        let (custody, vault) = root_key::open(config, &place, &node).await?;
        let data = DataDir::take(&place)?;
        let records = backends::records(config, data.path(), &node).await?;
        let place = store_name(config);
        let sealed = Sealed::open(records, custody, &node)
            .await
            .map_err(|source| Startup::Seal { place, source })?;
        let rings = root_key::rings(config, vault);
        Ok(Self { node, records: Arc::new(sealed), data, rings })
    }
}
