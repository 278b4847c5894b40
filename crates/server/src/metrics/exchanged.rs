//! How often services exchanged tokens to call others, and why they got none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

/// The target of an exchange that asked for none that is known. What a client says becomes no label.
const UNKNOWN: &str = "unknown";

/// The counts of all exchanges by clients that proved who they are. Cheap to clone; clones count
/// together.
#[derive(Debug, Clone, Default)]
pub struct Exchanges(Arc<Mutex<BTreeMap<(String, String), Counts>>>);

#[derive(Debug, Default)]
struct Counts {
    all: u64,
    errors: BTreeMap<&'static str, u64>,
    /// Whether a token was ever made for it, so that it is known.
    made: bool,
}

/// What was counted of a client and a service that it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// The client.
    pub source: String,
    /// The service, or `unknown`.
    pub target: String,
    /// Tokens that were asked for.
    pub all: u64,
    /// Those that were refused, by why.
    pub errors: Vec<(&'static str, u64)>,
}

impl Exchanges {
    /// What was counted so far.
    #[must_use]
    pub fn counted(&self) -> Vec<Exchanged> {
        let pairs = self.0.lock();
        let counted = pairs.iter().map(|((source, target), counts)| Exchanged {
            source: source.clone(),
            target: target.clone(),
            all: counts.all,
            errors: counts.errors.iter().map(|(why, count)| (*why, *count)).collect(),
        });
        counted.collect()
    }

    /// Counts an exchange for all `targets` that were asked for.
    pub(super) fn count<'a>(
        &self,
        source: &str,
        targets: impl Iterator<Item = &'a str>,
        outcome: Result<(), &'static str>,
    ) {
        let mut pairs = self.0.lock();
        let pair = |target: &str| (source.to_owned(), target.to_owned());
        let is_known = |target: &str| pairs.get(&pair(target)).is_some_and(|counts| counts.made);
        let name = |target| if outcome.is_ok() || is_known(target) { target } else { UNKNOWN };
        let mut named: BTreeSet<&str> = targets.map(name).collect();
        if named.is_empty() {
            named.insert(UNKNOWN);
        }
        for target in named {
            let counts = pairs.entry(pair(target)).or_default();
            counts.all += 1;
            match outcome {
                Ok(()) => counts.made = true,
                Err(why) => *counts.errors.entry(why).or_default() += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(target: &str, all: u64, errors: &[(&'static str, u64)]) -> Exchanged {
        let (source, target) = ("orders".to_owned(), target.to_owned());
        Exchanged { source, target, all, errors: errors.to_vec() }
    }

    #[test]
    fn counts_each_service_that_a_token_was_asked_for() {
        let exchanges = Exchanges::default();
        exchanges.count("orders", ["payments", "stock"].into_iter(), Ok(()));
        exchanges.count("orders", ["payments"].into_iter(), Err("invalid_scope"));
        let expected = [to("payments", 2, &[("invalid_scope", 1)]), to("stock", 1, &[])];
        assert_eq!(exchanges.counted(), expected);
    }

    #[test]
    fn what_a_client_makes_up_becomes_no_label() {
        let exchanges = Exchanges::default();
        exchanges.count("orders", ["a", "b"].into_iter(), Err("invalid_target"));
        exchanges.count("orders", ["c"].into_iter(), Err("invalid_target"));
        exchanges.count("orders", std::iter::empty(), Err("invalid_request"));
        let errors = [("invalid_request", 1), ("invalid_target", 2)];
        assert_eq!(exchanges.counted(), [to("unknown", 3, &errors)]);
    }
}
