//! Measuring one thing of a benchmark, and nothing else.

use std::env;

/// By which argument the name of a row is given to a benchmark.
pub const ONLY: &str = "--only";

/// The row of a report that is asked for, by its name, as `G16`; or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only(Option<String>);

impl Only {
    /// What this program was started with.
    #[must_use]
    pub fn asked() -> Self {
        Self::of(env::args())
    }

    fn of(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = arguments.into_iter();
        Self(arguments.find(|it| it == ONLY).and_then(|_| arguments.next()))
    }

    /// Whether any of these rows is asked for.
    #[must_use]
    pub fn wants(&self, rows: &[&str]) -> bool {
        self.0.as_ref().is_none_or(|only| rows.contains(&only.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(arguments: &str) -> Only {
        Only::of(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn wants_what_is_named_and_everything_where_nothing_is() {
        let one = only("benchmark --only G16 --bench");
        assert!(one.wants(&["G16"]) && one.wants(&["G14", "G16"]));
        assert!(!one.wants(&["G14"]) && !one.wants(&["G1"]) && !one.wants(&[]));
        for all in ["benchmark --bench", "benchmark", "benchmark --only"] {
            assert!(only(all).wants(&["G14"]), "{all}");
        }
    }
}
