//! What is counted of the layers that are asked whether a token of another issuer was taken back.

use tegata_token::foreign::Layer;

use super::Checked;

/// The metrics of all layers.
#[derive(Debug)]
pub(crate) struct Layers([OfLayer; Layer::ALL.len()]);

/// The metrics of one layer. Whoever gives the answer counts it; those before it count that they could
/// not.
#[derive(Debug)]
pub(crate) struct OfLayer {
    pub(crate) alive: Checked,
    pub(crate) revoked: Checked,
    /// Alive, as far as was known, which was not enough.
    pub(crate) stale: Checked,
    /// It was asked, and its answer was none.
    pub(crate) unsure: Checked,
    /// It did not answer in time.
    pub(crate) failed: Checked,
}

impl Layers {
    pub(super) fn new(check: impl Fn(&'static str, &'static str) -> Checked) -> Self {
        Self(Layer::ALL.map(|layer| OfLayer {
            alive: check(layer.name(), "alive"),
            revoked: check(layer.name(), "revoked"),
            stale: check(layer.name(), "stale"),
            unsure: check(layer.name(), "unsure"),
            failed: check(layer.name(), "failed"),
        }))
    }

    pub(crate) const fn of(&self, layer: Layer) -> &OfLayer {
        let [cache, memory, filter, redis, durable] = &self.0;
        match layer {
            Layer::Cache => cache,
            Layer::Memory => memory,
            Layer::Filter => filter,
            Layer::Redis => redis,
            Layer::Durable => durable,
        }
    }
}
