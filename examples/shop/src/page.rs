//! Lists that grow are given in pages.

use serde::{Deserialize, Serialize};
use tegata_sdk::Problem;

use crate::service::invalid;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<usize>,
    after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// What to send as `after` for the part that follows. Nothing follows where it is `null`.
    next: Option<String>,
}

impl PageQuery {
    const USUAL: usize = 20;
    const MOST: usize = 100;

    /// The part of `entries`, which are in the order of their keys.
    pub(crate) fn of<'k, T>(
        &self,
        entries: impl Iterator<Item = (&'k str, T)>,
    ) -> Result<Page<T>, Problem> {
        let limit = self.limit.unwrap_or(Self::USUAL);
        if !(1..=Self::MOST).contains(&limit) {
            return Err(invalid(format!("`limit` is not from 1 to {}", Self::MOST)));
        }
        let after = self.after.as_deref().unwrap_or_default();
        let mut rest = entries.skip_while(|(key, _)| *key <= after);
        let (mut items, mut last) = (Vec::new(), None);
        for (key, item) in rest.by_ref().take(limit) {
            items.push(item);
            last = Some(key);
        }
        let next = rest.next().and(last).map(str::to_owned);
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole_list() {
        let keys: Vec<_> = (0..45).map(|number| format!("{number:03}")).collect();
        let (mut query, mut seen) = (PageQuery::default(), Vec::new());
        let mut pages = 0;
        loop {
            let page = query.of(keys.iter().map(|key| (key.as_str(), key.clone()))).unwrap();
            seen.extend(page.items);
            pages += 1;
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        assert_eq!((seen, pages), (keys, 3));
    }

    #[test]
    fn refuses_limits_that_are_none() {
        for limit in [0, 101, usize::MAX] {
            let query = PageQuery { limit: Some(limit), after: None };
            assert!(query.of([("a", 1)].into_iter()).is_err());
        }
    }
}
