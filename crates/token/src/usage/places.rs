//! How many tokens something is kept of. What is issued and never shown takes no place from what people use.

use std::collections::HashMap;

/// What is kept of a token.
pub(super) trait Kept {
    /// Whether it says no more than where the token came from.
    fn is_unused(&self) -> bool;
}

/// What is kept of tokens, by their names.
pub(super) struct Places<T> {
    of: HashMap<Box<str>, T>,
    /// How many of them say no more than where the token came from.
    unused: usize,
    most_used: usize,
    most_unused: usize,
}

impl<T: Kept> Places<T> {
    /// Nothing yet, and room for so many.
    pub(super) fn new(most_used: usize, most_unused: usize) -> Self {
        Self { of: HashMap::new(), unused: 0, most_used, most_unused }
    }

    /// Changes what is kept of a token: `fresh`, where that is nothing yet. Where there is no room for it,
    /// nothing is kept.
    pub(super) fn change(
        &mut self,
        jti: impl AsRef<str> + Into<Box<str>>,
        fresh: impl FnOnce() -> T,
        change: impl FnOnce(&mut T),
    ) {
        if let Some(known) = self.of.get_mut(jti.as_ref()) {
            let was_unused = known.is_unused();
            change(known);
            // What was used stays so.
            self.unused -= usize::from(was_unused && !known.is_unused());
            return;
        }
        let mut fresh = fresh();
        change(&mut fresh);
        let is_unused = fresh.is_unused();
        let has_room = if is_unused {
            self.unused < self.most_unused
        } else {
            self.of.len() - self.unused < self.most_used
        };
        if has_room {
            self.unused += usize::from(is_unused);
            self.of.insert(jti.into(), fresh);
        }
    }

    /// Keeps what is worth it.
    pub(super) fn retain(&mut self, mut is_worth_it: impl FnMut(&T) -> bool) {
        self.of.retain(|_, it| is_worth_it(it));
        self.unused = self.of.values().filter(|it| it.is_unused()).count();
    }

    /// Of what says no more than where a token came from, keeps so many at most: those with the greatest
    /// `age`, which is a time.
    pub(super) fn keep_newest<O: Ord + Copy>(&mut self, most: usize, age: impl Fn(&T) -> O) {
        let Some(last) = self.unused.saturating_sub(most).checked_sub(1) else { return };
        let unused = self.of.values().filter(|it| it.is_unused());
        let mut ages: Vec<_> = unused.map(&age).collect();
        let (older, &mut last, _) = ages.select_nth_unstable(last);
        // Of those that are as old as the last that goes, as many as there are to go.
        let mut as_old = 1 + older.iter().filter(|age| **age == last).count();
        self.retain(|it| {
            let goes = it.is_unused() && (age(it) < last || (age(it) == last && as_old > 0));
            as_old -= usize::from(goes && age(it) == last);
            !goes
        });
    }

    /// What is kept of a token.
    pub(super) fn get(&self, jti: &str) -> Option<&T> {
        self.of.get(jti)
    }

    /// Of how many tokens something is kept.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// All of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.of.iter().map(|(jti, it)| (&**jti, it))
    }

    /// All of it, for changes that leave used what is, and unused what is not.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.of.iter_mut().map(|(jti, it)| (&**jti, it))
    }

    /// Takes all of it out.
    pub(super) fn take(&mut self) -> HashMap<Box<str>, T> {
        self.unused = 0;
        std::mem::take(&mut self.of)
    }
}
