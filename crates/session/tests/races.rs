//! What two nodes do with one session at the same moment, on every store that keeps sessions: SQLite,
//! PostgreSQL, and PostgreSQL with Redis, alone, under Sentinels and as a cluster.
//!
//! Each node has connections of its own. Their time is one, and stands still unless it is advanced.

#![cfg(test)]

mod races {
    pub(crate) mod nodes;
    #[expect(dead_code, reason = "the clauses of one node need more of it")]
    #[path = "../stored/stores.rs"]
    pub(crate) mod stores;
    #[expect(dead_code, reason = "the clauses of one node need more of it")]
    #[path = "../stored/world.rs"]
    pub(crate) mod world;

    mod at_once;
}
