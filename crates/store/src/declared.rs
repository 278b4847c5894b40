//! The rules of the ports that every adapter keeps in the same way: what may be a key, which kinds
//! and indexes exist, what a batch may hold.

use std::{collections::HashMap, time::Duration};

use tegata_core::{
    Batch, Expect, Kind, Lifetime, StoreError, Timestamp,
    port::{Body, Change, Put, Space, Withdrawal},
};

/// The longest that a value of `Ephemeral` may live.
const LONGEST_LIFETIME: Duration = Duration::from_secs(400 * 86_400);

/// The kinds that an adapter was opened with.
#[derive(Debug, Clone)]
pub(crate) struct Declared(HashMap<&'static str, &'static Kind>);

impl Declared {
    /// Checks declarations: names are well-formed, and no two kinds or indexes share one.
    pub(crate) fn new(kinds: &[&'static Kind]) -> Result<Self, StoreError> {
        let mut declared = HashMap::with_capacity(kinds.len());
        for kind in kinds {
            name("kind", kind.name)?;
            for (at, index) in kind.indexes.iter().enumerate() {
                name("index", index)?;
                if kind.indexes.iter().take(at).any(|earlier| earlier == index) {
                    return misused(format!("`{}` declares index `{index}` twice", kind.name));
                }
            }
            match declared.insert(kind.name, *kind) {
                Some(other) if !std::ptr::eq(other, *kind) => {
                    return misused(format!("two kinds are named `{}`", kind.name));
                }
                _ => {}
            }
        }
        Ok(Self(declared))
    }

    /// All of them, in no order.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.0.values().copied()
    }

    /// Checks that a kind was declared.
    pub(crate) fn kind(&self, kind: &Kind) -> Result<(), StoreError> {
        if self.0.contains_key(kind.name) {
            return Ok(());
        }
        misused(format!("kind `{}` was not declared when the store was opened", kind.name))
    }

    /// Checks what `Records::load` is asked for.
    pub(crate) fn load(&self, kind: &Kind, key: &str) -> Result<(), StoreError> {
        self.kind(kind)?;
        text("key", key)
    }

    /// Checks what `Records::find` is asked for.
    pub(crate) fn find(&self, kind: &Kind, index: &str, value: &str) -> Result<(), StoreError> {
        self.kind(kind)?;
        declared_index(kind, index)?;
        text("index value", value)
    }

    /// Checks a batch before any of it is done.
    pub(crate) fn batch(&self, batch: &Batch) -> Result<(), StoreError> {
        for change in &batch.changes {
            match change {
                Change::Put { kind, key, body, indexes, .. } => {
                    self.load(kind, key)?;
                    put(kind, key, body, indexes)?;
                }
                Change::Remove { kind, key, .. } | Change::Require { kind, key, .. } => {
                    self.load(kind, key)?;
                }
            }
        }
        Ok(())
    }
}

fn put(
    kind: &Kind,
    key: &str,
    body: &Body,
    indexes: &[(&'static str, String)],
) -> Result<(), StoreError> {
    if kind.secret && matches!(body, Body::Plain(_)) {
        return misused(format!("kind `{}` holds secrets and is written only sealed", kind.name));
    }
    if matches!(kind.lifetime, Lifetime::ByDay(_)) && day(kind, key).is_none() {
        return misused(format!("a key of kind `{}` must name a day, and one does not", kind.name));
    }
    for (at, (index, value)) in indexes.iter().enumerate() {
        declared_index(kind, index)?;
        text("index value", value)?;
        if indexes.iter().take(at).any(|(earlier, _)| earlier == index) {
            return misused(format!("index `{index}` of `{}` has two values", kind.name));
        }
    }
    Ok(())
}

/// The day from which a record is dead, where its kind is stored by day.
pub(crate) fn day(kind: &Kind, key: &str) -> Option<u32> {
    match kind.lifetime {
        Lifetime::Kept => None,
        Lifetime::ByDay(day) => day(key),
    }
}

/// Whether the version that a record has, if there is one, is what a change expects.
pub(crate) fn met(expect: Expect, version: Option<u64>) -> bool {
    match expect {
        Expect::Absent => version.is_none(),
        Expect::Version(expected) => version == Some(expected),
        Expect::Any => true,
    }
}

/// A limit as a count of things in memory.
pub(crate) fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Checks a key in a space.
pub(crate) fn held(space: &Space, key: &str) -> Result<(), StoreError> {
    name("space", space.name)?;
    text("key", key)
}

/// Checks a value for a space, and answers when it ends: its lifetime is rounded up to
/// milliseconds.
pub(crate) fn ephemeral(space: &Space, put: &Put, now: Timestamp) -> Result<Timestamp, StoreError> {
    held(space, &put.key)?;
    if let Some(index) = &put.index {
        if !space.indexed {
            return misused(format!("space `{}` declares no index", space.name));
        }
        text("index value", index)?;
    }
    if put.lifetime > LONGEST_LIFETIME {
        return misused(format!("a value of `{}` is to live for more than 400 days", space.name));
    }
    Ok(now + put.lifetime.saturating_add(Duration::from_nanos(999_999)))
}

/// Withdrawals that ended before this are forgotten: a day later than they could be, so that a
/// clock that jumps ahead and comes back loses none.
pub(crate) fn forgettable(now: Timestamp) -> Timestamp {
    now - Duration::from_secs(86_400)
}

/// Checks withdrawals before any is recorded.
pub(crate) fn withdrawals(withdrawals: &[Withdrawal]) -> Result<(), StoreError> {
    withdrawals.iter().try_for_each(|withdrawal| text("key", &withdrawal.key))
}

/// Checks a key or an index value: 1 to 255 bytes without NUL, which PostgreSQL does not store.
pub(crate) fn text(what: &str, text: &str) -> Result<(), StoreError> {
    if !(1..=255).contains(&text.len()) {
        return misused(format!("a {what} has {} bytes, and 1 to 255 are allowed", text.len()));
    }
    if text.as_bytes().contains(&0) {
        return misused(format!("a {what} holds a NUL byte"));
    }
    Ok(())
}

fn name(what: &str, name: &str) -> Result<(), StoreError> {
    let allowed = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if allowed && (1..=40).contains(&name.len()) {
        return Ok(());
    }
    misused(format!("`{name}` cannot name a {what}: 1 to 40 of `a-z` and `_`"))
}

fn declared_index(kind: &Kind, index: &str) -> Result<(), StoreError> {
    if kind.indexes.contains(&index) {
        return Ok(());
    }
    misused(format!("kind `{}` does not declare the index `{index}`", kind.name))
}

fn misused<T>(detail: String) -> Result<T, StoreError> {
    Err(StoreError::Misused { detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOTES: Kind =
        Kind { name: "note", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };
    static NOTES_AGAIN: Kind =
        Kind { name: "note", indexes: &[], lifetime: Lifetime::Kept, secret: false };
    static INJECTING: Kind =
        Kind { name: "note\"; drop", indexes: &[], lifetime: Lifetime::Kept, secret: false };
    static TWICE: Kind =
        Kind { name: "twice", indexes: &["a", "a"], lifetime: Lifetime::Kept, secret: false };

    #[test]
    fn refuses_declarations_that_could_not_be_tables() {
        assert!(Declared::new(&[&NOTES, &NOTES]).is_ok());
        for bad in [&[&NOTES, &NOTES_AGAIN][..], &[&INJECTING], &[&TWICE]] {
            assert!(matches!(Declared::new(bad), Err(StoreError::Misused { .. })));
        }
    }

    #[test]
    fn lifetimes_are_rounded_up_and_bounded() {
        let space = Space { name: "space", indexed: false };
        let now = Timestamp::from_millis(1000);
        let put = |lifetime| Put { key: "k".into(), value: vec![], lifetime, index: None };
        let until = ephemeral(&space, &put(Duration::from_nanos(1)), now).unwrap();
        assert_eq!(until, Timestamp::from_millis(1001));
        let until = ephemeral(&space, &put(Duration::from_millis(5)), now).unwrap();
        assert_eq!(until, Timestamp::from_millis(1005));
        let longest = LONGEST_LIFETIME + Duration::from_millis(1);
        assert!(ephemeral(&space, &put(longest), now).is_err());
    }
}
