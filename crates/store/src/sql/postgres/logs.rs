//! The logs: pulled in one snapshot, positioned by the holder of the lease, trimmed from the front.

use std::time::Duration;

use tegata_core::{
    EventId, Log, NodeId, Realm, StoreError, Timestamp,
    port::{Positioned, Pull, Sequenced},
};
use tokio_postgres::Row;

use super::{
    Inner,
    param::{number, small},
    records::{corrupt, count, field},
};

/// How many entries one run of the sequencer positions, and one step of trimming drops, at most.
/// What is left over is for the next, so that none holds the log for long.
const AT_ONCE: i32 = 2000;

impl Inner {
    pub(super) async fn pull(&self, log: Log, after: u64, limit: u32) -> Result<Pull, StoreError> {
        // INVARIANT: entries, head, tail and age come from one statement, and so from one snapshot.
        // With two, an entry could leave the one table after the first and be missed in the other
        // by the second: neither read nor waiting, and the reader would think itself complete.
        let name = log.name();
        let sql = format!(
            "SELECT tegata.head_{name}(s.tail), s.tail, \
                 (extract(epoch FROM clock_timestamp() - w.oldest) * 1000000)::bigint, \
                 l.position, l.id, l.realm, l.at, l.body, \
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
             FROM tegata.sequencer s \
             CROSS JOIN LATERAL ( \
                 SELECT min(p.inserted) AS oldest FROM tegata.{name}_pending p WHERE p.seq > s.done \
             ) w \
             LEFT JOIN LATERAL ( \
                 SELECT * FROM tegata.{name} e \
                 WHERE e.position > $1 AND $1 >= s.tail - 1 ORDER BY e.position LIMIT $2 \
             ) l ON true \
             WHERE s.log = '{name}' ORDER BY l.position"
        );
        let params = [number(signed(after)), number(i64::from(limit))];
        let rows = self.pool.ask(&sql, &params).await;
        let rows = rows.map_err(|fault| fault.of_reading(name, ""))?;
        let Some(first) = rows.first() else {
            return corrupt(name, "", "its row of the sequencer");
        };
        // What waits has waited, also where the server's clock was set back in between.
        let waiting = field::<Option<i64>>(first, 2, name, "")?.map_or(0, |age| age.max(1));
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(position) = field::<Option<i64>>(row, 3, name, "")? {
                entries.push(entry(name, unsigned(position), row)?);
            }
        }
        Ok(Pull {
            entries,
            head: unsigned(field(first, 0, name, "")?),
            tail: unsigned(field(first, 1, name, "")?),
            waiting: Duration::from_micros(unsigned(waiting)),
            clock: Some(Timestamp::from_millis(unsigned(field(first, 8, name, "")?))),
        })
    }

    pub(super) async fn sequence(&self, log: Log, node: NodeId) -> Result<Sequenced, StoreError> {
        let name = log.name();
        let params = [number(node.0.cast_signed()), small(AT_ONCE)];
        let rows = self.pool.ask(&format!("SELECT tegata.sequence_{name}($1, $2)"), &params).await;
        let rows = rows.map_err(|fault| fault.of_writing(name, ""))?;
        let Some(row) = rows.first() else {
            return corrupt(name, "", "the answer of its sequencer");
        };
        let placed = field::<i64>(row, 0, name, "")?;
        Ok(u64::try_from(placed).map_or(Sequenced::NotOurs, Sequenced::Positioned))
    }

    /// Drops entries from the front that were written before `before`; answers how many.
    pub(super) async fn trim(&self, log: Log, before: Timestamp) -> Result<u64, StoreError> {
        let name = log.name();
        let mut gone = 0;
        loop {
            let params = [number(signed(before.millis())), small(AT_ONCE)];
            let sql = format!("SELECT tegata.trim_{name}($1, $2)");
            let rows = self.pool.ask(&sql, &params).await;
            let rows = rows.map_err(|fault| fault.of_writing(name, ""))?;
            let trimmed = count(rows.first(), name)?;
            gone += trimmed;
            if trimmed < u64::from(AT_ONCE.unsigned_abs()) {
                return Ok(gone);
            }
        }
    }
}

fn entry(log: &'static str, position: u64, row: &Row) -> Result<Positioned, StoreError> {
    let key = position.to_string();
    let id = field::<&[u8]>(row, 4, log, &key)?;
    let realm = field::<&str>(row, 5, log, &key)?;
    Ok(Positioned {
        position,
        id: EventId(id.try_into().or_else(|_| corrupt(log, &key, "its id"))?),
        realm: Realm::new(realm).or_else(|_| corrupt(log, &key, "its realm"))?,
        at: Timestamp::from_millis(unsigned(field(row, 6, log, &key)?)),
        body: field(row, 7, log, &key)?,
    })
}

/// A position or a time as the database holds it. Neither reaches the limit within the age of the
/// universe, so whatever is beyond it is as good as the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A position, a time or a span from the database. A span that a clock set back has made negative
/// is none.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
