//! `Backstop`: withdrawals that only grow.

use std::sync::Arc;

use tegata_core::{
    Backstop, Realm, StoreError, Timestamp,
    port::{BoxFuture, Withdrawal},
};

use super::{
    Inner,
    param::{many_texts, text},
    records::{corrupt, field},
};
use crate::declared;

/// Marks and times have 64 bits, more than a `bigint`, so they travel as text. Rows are taken in
/// order of keys, so that two nodes that record the same keys do not wait for each other in a
/// circle; what was long forgettable makes room.
const RECORD: &str = "WITH forgotten AS ( \
        DELETE FROM tegata.withdrawal WHERE (realm, key) IN ( \
            SELECT realm, key FROM tegata.withdrawal \
            WHERE until < $5::text::numeric AND key <> ALL ($2) \
            LIMIT 100 FOR UPDATE SKIP LOCKED) \
    ) \
    INSERT INTO tegata.withdrawal AS w (realm, key, mark, until) \
    SELECT $1, n.key, max(n.mark::numeric), max(n.until::numeric) \
    FROM unnest($2::text[], $3::text[], $4::text[]) AS n (key, mark, until) \
    GROUP BY n.key ORDER BY n.key COLLATE \"C\" \
    ON CONFLICT (realm, key) DO UPDATE \
    SET mark = GREATEST(w.mark, excluded.mark), until = GREATEST(w.until, excluded.until) \
    RETURNING 1";

const WITHDRAWN: &str = "SELECT mark::text, until::text FROM tegata.withdrawal \
    WHERE realm = $1 AND key = $2 AND until >= $3::text::numeric";

/// `Backstop` in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresBackstop(pub(super) Arc<Inner>);

impl Backstop for PostgresBackstop {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            declared::withdrawals(withdrawals)?;
            if withdrawals.is_empty() {
                return Ok(());
            }
            let forgettable = declared::forgettable(self.0.clock.now()).millis().to_string();
            let column = |of: fn(&Withdrawal) -> String| withdrawals.iter().map(of).collect();
            let params = [
                text(realm.as_str()),
                many_texts(column(|one| one.key.clone())),
                many_texts(column(|one| one.mark.to_string())),
                many_texts(column(|one| one.until.millis().to_string())),
                text(&forgettable),
            ];
            let recorded = self.0.pool.ask(RECORD, &params).await;
            recorded.map_err(|fault| fault.of_writing("withdrawal", "")).map(drop)
        })
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(async move {
            declared::text("key", key)?;
            let now = self.0.clock.now().millis().to_string();
            let params = [text(realm.as_str()), text(key), text(&now)];
            let rows = self.0.pool.ask(WITHDRAWN, &params).await;
            let rows = rows.map_err(|fault| fault.of_reading("withdrawal", key))?;
            let Some(row) = rows.first() else { return Ok(None) };
            let number = |column, what| {
                let text = field::<&str>(row, column, "withdrawal", key)?;
                text.parse().or_else(|_| corrupt("withdrawal", key, what))
            };
            let (mark, until) = (number(0, "its mark")?, number(1, "its end")?);
            let until = Timestamp::from_millis(until);
            Ok(Some(Withdrawal { key: key.to_owned(), mark, until }))
        })
    }
}
