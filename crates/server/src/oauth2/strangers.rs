//! Clients that describe themselves, and that nobody knows yet: whoever names one has somebody asked.

use std::{net::IpAddr, time::Duration};

use tegata_core::StoreError;

use crate::app::App;

/// Whether more strangers are named from a network than may be, and for how long.
///
/// # Errors
/// What the store says.
pub(crate) async fn too_many_strangers(
    app: &App,
    address: IpAddr,
    named: &str,
) -> Result<Option<Duration>, StoreError> {
    let limits = &app.config().limits;
    let Some(limit) = limits.strangers.filter(|_| limits.count(address)) else { return Ok(None) };
    if !app.provider().is_stranger(named).await? {
        return Ok(None);
    }
    let now = app.node().since_boot();
    let answer = app.strangers().count_address(address, |network| network, limit, now);
    Ok((!answer.passes).then_some(answer.wait))
}
