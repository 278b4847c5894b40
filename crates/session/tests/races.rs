//! What two nodes do with one session at the same moment, on every store that keeps sessions: SQLite,
//! PostgreSQL, and PostgreSQL with Redis, alone and as a cluster. (In DynamoDB only revocations are kept.)
//!
//! Each node has connections of its own. Their time is one, and stands still unless it is advanced.

#![cfg(test)]

mod races {
    pub(crate) mod nodes;
    #[expect(dead_code, reason = "the tests on one store in memory need more of it")]
    #[path = "../stored/world.rs"]
    pub(crate) mod world;

    mod at_once;
}
