//! Another root key for the same data keys.

use tegata_core::{
    Batch, CommitRefused, Custody, CustodyRefused, Expect, Records, StoreError,
    port::{Body, Change, Page, Record},
};

use super::{
    DATA_KEYS, SealRefused,
    keys::{Wrapped, home},
};

/// Wraps the data keys of a store with the root key `to`, which `from` has wrapped: all of them or
/// none. Answers how many; 0 where `to` opens them all already. What is stored stays as it is, and so
/// does every node that runs: it has the data keys in memory, and needs a root key when it is started.
///
/// # Errors
/// [`SealRefused::OtherRoot`] where neither opens a data key; what the store says.
pub async fn rewrap(
    records: &dyn Records,
    from: &dyn Custody,
    to: &dyn Custody,
) -> Result<usize, SealRefused> {
    let mut batch = Batch::new(home());
    let (mut after, mut wrapped) = (None, 0);
    loop {
        let page = Page { after, limit: 100 };
        let found = records.scan(&home(), &DATA_KEYS, page).await.map_err(SealRefused::Store)?;
        let Some(last) = found.last() else { break };
        after = Some(last.key.clone());
        for record in &found {
            if let Some(put) = anew(record, from, to).await? {
                (batch, wrapped) = (batch.with(put), wrapped + 1);
            }
        }
    }
    if wrapped == 0 {
        return Ok(0);
    }
    records.commit(batch).await.map_err(|refused| {
        SealRefused::Store(match refused {
            CommitRefused::Store(error) => error,
            CommitRefused::Conflict { .. } => StoreError::Unavailable {
                backend: "the sealed store",
                detail: "the data keys were changed meanwhile; repeat this".to_owned(),
            },
        })
    })?;
    Ok(wrapped)
}

/// The record with its key wrapped anew. `None`: `to` opens it already.
async fn anew(
    record: &Record,
    from: &dyn Custody,
    to: &dyn Custody,
) -> Result<Option<Change>, SealRefused> {
    let was = Wrapped::of(record)?;
    if was.opens_with(to).await?.is_some() {
        return Ok(None);
    }
    let key = was.opens_with(from).await?;
    let key = key.ok_or(SealRefused::OtherRoot { number: was.number() })?;
    let wrapped = to.wrap(&key, &was.context()).await.map_err(SealRefused::Custody)?;
    // INVARIANT: nothing is replaced by what the new root key does not open.
    let opened = to.unwrap(&wrapped, &was.context()).await.map_err(SealRefused::Custody)?;
    if !opened.matches(key.expose()) {
        let detail = "it does not open what it has just wrapped".to_owned();
        return Err(SealRefused::Custody(CustodyRefused::Unavailable { detail }));
    }
    Ok(Some(Change::Put {
        kind: &DATA_KEYS,
        key: record.key.clone(),
        expect: Expect::Version(record.version),
        body: Body::Plain(wrapped),
        indexes: Vec::new(),
    }))
}
