//! What a node holds at a moment, as the system and its own metrics say.

use std::fs;

use anyhow::{Context as _, Result};
use tegata_engines::TegataNode;

use crate::http::{Ask, Client};

/// The memory of a node that is in use, in bytes.
///
/// # Errors
/// It does not run.
pub fn resident(node: &TegataNode) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", id(node)?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|it| it.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

/// How many files and connections it has open.
///
/// # Errors
/// It does not run.
pub fn descriptors(node: &TegataNode) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", id(node)?))?.count())
}

/// How many threads it has.
///
/// # Errors
/// It does not run.
pub fn threads(node: &TegataNode) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/task", id(node)?))?.count())
}

fn id(node: &TegataNode) -> Result<u32> {
    node.process().id().context("the node does not run")
}

/// What its metrics say.
///
/// # Errors
/// They are not told.
pub fn metrics(node: &TegataNode) -> Result<String> {
    Ok(Client::new(node.ports().operations).ask(&Ask::get("/metrics"))?.text())
}

/// The sum of all lines of a metric, whatever their labels are.
#[must_use]
pub fn sum(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    };
    metrics.lines().filter_map(value).sum()
}

/// How many connections of clients the gateway says that it has.
///
/// # Errors
/// It does not say.
pub fn connections(node: &TegataNode) -> Result<usize> {
    let metrics = metrics(node)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("gateway_connections "));
    Ok(line.context("no `gateway_connections`")?.parse()?)
}

/// Bytes in KiB.
#[must_use]
pub fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_a_metric_and_no_other() {
        let told =
            "# HELP a_total x\na_total 1\na_total{b=\"c d\"} 2.5\na_total_more 9\nba_total 9\n";
        assert!((sum(told, "a_total") - 3.5).abs() < 1e-9);
        assert!(sum(told, "c").abs() < 1e-9);
    }
}
