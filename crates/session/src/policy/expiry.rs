//! Taking away what somebody no longer agrees to.

use std::collections::BTreeSet;

use super::{Agreed, CookiePolicy, Row};

/// The most headers that take cookies away in one answer: whoever passes it on may refuse more than
/// a hundred fields. Browsers that hold more send them again.
const MOST: usize = 50;

impl CookiePolicy {
    /// The `Set-Cookie` headers that take away the cookies that are not agreed to: all that the table
    /// names, and after them of the others those that the browser `sent`. A cookie of another path or
    /// domain than its row's cannot be named, and stays until it dies; the gateway lets it reach nobody.
    pub fn taken_away<'s>(
        &'s self,
        agreed: Agreed,
        sent: impl Iterator<Item = &'s str>,
    ) -> Vec<String> {
        let refused = |row: &&Row| !self.allows(row.category, agreed);
        let named = self.rows().iter().filter(refused).filter_map(|row| row.name.name());
        let sent = sent.filter(|name| self.row(name.as_bytes()).as_ref().is_some_and(refused));
        let mut seen = BTreeSet::new();
        let names = named.chain(sent).filter(|name| seen.insert(*name));
        let rows = names.filter_map(|name| Some((name, self.row(name.as_bytes())?)));
        rows.flat_map(|(name, row)| lines(name, row)).take(MOST).collect()
    }
}

/// The headers for one cookie: as its row has it, and of the host alone where that has a domain,
/// because nobody can tell which of the two the browser holds.
fn lines(name: &str, row: &Row) -> Vec<String> {
    let domain = row.attributes.domain.as_ref();
    let of_host = domain.map(|_| row.cookie(name, None));
    let all = [Some(row.cookie(name, domain.cloned())), of_host];
    all.into_iter().flatten().filter_map(Result::ok).map(|cookie| cookie.expire()).collect()
}
