//! Adapters for the ports: memory, SQLite, PostgreSQL, NATS, Redis, DynamoDB; decorators over them.
//!
//! | module | subject |
//! |---|---|
//! | [`memory`] | all ports but `Custody`, in one process |
//! | [`redis`] | `Ephemeral` and `Counts` on Redis: alone, under Sentinels, as a cluster; `Feed` on its streams |
//! | [`sql`] | `Records`, `Ephemeral`, `Backstop` on SQL databases |
//! | `dynamodb` | `Backstop` on DynamoDB, with the feature of that name |
//! | [`gossip`] | `Members` by gossip over sealed UDP |
//! | [`nats`] | `Feed` on NATS |
//! | [`cached`] | a decorator that keeps records near, and drops them when they change |
//! | [`hedged`] | a decorator that waits for no slow server |
//! | [`guarded`] | a decorator that leaves alone what does not answer |
//! | [`batched`] | a decorator that writes together what many write at once |
//! | [`measured`] | a decorator that tells how quickly a store answers |
//! | [`apart`] | a decorator that keeps some spaces where nothing is lost |
//! | [`standby`] | a decorator with another store to stand in |
//! | [`sealed`] | decorators that encrypt what is stored |
//! | [`custody`] | where the root key lives: in a file, or with the feature `pkcs11` in a token |
//! | [`adverse`] | a fake for tests: within its contract, and as unhelpful as it can be |
//!
//! What the adapters promise is in `tegata_core::port`; that they keep it is shown by one contract
//! suite for each port, in `tests/contract.rs`. A new adapter adds its module here and a line for
//! each port there.

pub mod adverse;
pub mod apart;
pub mod batched;
pub mod cached;
pub mod custody;
mod declared;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
mod fan;
pub mod gossip;
pub mod guarded;
pub mod hedged;
pub mod measured;
pub mod memory;
pub mod nats;
mod pause;
pub mod redis;
pub mod sealed;
pub mod sql;
pub mod standby;
mod url;

pub use self::redis::{
    ReadsFrom, Redis, RedisConfig, RedisCounts, RedisEphemeral, RedisRefused,
    feed::{RedisFeed, RedisFeedConfig, RedisFeedRefused},
};
pub use adverse::{Adverse, Mischief};
pub use apart::Apart;
pub use batched::Batched;
pub use cached::{Cached, CachedConfig};
pub use custody::file::{FileCustody, RootKeyRefused};
#[cfg(feature = "pkcs11")]
pub use custody::pkcs11::{Pkcs11Config, Pkcs11Custody, Pkcs11Refused, Pkcs11Vault};
#[cfg(feature = "dynamodb")]
pub use dynamodb::{DynamoBackstop, DynamoConfig, DynamoRefused};
pub use gossip::{Gossip, GossipConfig, GossipRefused};
pub use guarded::Guarded;
pub use hedged::Hedged;
pub use measured::{Measured, MeasuredRecords};
pub use memory::{Alone, MemoryBackstop, MemoryEphemeral, MemoryFeed, MemoryRecords};
pub use nats::{NatsConfig, NatsFeed, NatsRefused};
pub use sealed::{SealRefused, Sealed, SealedEphemeral, SealedFeed};
pub use sql::postgres::{
    Postgres, PostgresBackstop, PostgresConfig, PostgresEphemeral, PostgresRecords, PostgresRefused,
};
pub use sql::sqlite::{
    Sqlite, SqliteBackstop, SqliteConfig, SqliteEphemeral, SqliteRecords, SqliteRefused,
};
pub use standby::Standby;
