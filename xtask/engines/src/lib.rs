//! Real engines for tests and tools: started when they are needed, on ports of this machine that
//! the system gives, in directories of their own, and gone with whoever started them, however that
//! one ends.
//!
//! | module | engine |
//! |---|---|
//! | [`postgres`] | PostgreSQL |
//! | [`redis`] | Redis: alone, under three Sentinels, and as a cluster |
//! | [`nats`] | NATS with JetStream |
//! | [`dynamodb`] | what stands in for DynamoDB |
//! | [`mail`] | a mail server that keeps what it is given |
//! | [`envoy`] | Envoy, before services or beside the gateway |
//! | [`nginx`] | nginx, as a proxy before a service |
//! | [`prometheus`] | Prometheus, and `promtool` |
//! | [`softhsm`] | SoftHSM: tokens of PKCS#11 in a directory |
//! | [`tegata`] | a node of Tegata |
//! | [`echo`] | a service behind the gateway |
//! | [`proxy`] | the way to any of them, which can be broken |
//! | [`ether`] | the ways of nodes to each other, which can be broken |
//! | [`cluster`] | all of it together |
//! | [`tools`] | what is installed with npm and pip, or built by itself |
//! | [`twin`] | a test that is played by two processes at the same moment |
//! | [`process`] | what all of them are: processes that can be killed, held and set going again |
//!
//! Nothing here answers errors. Where a machine lacks an engine, a test can only fail, and says by
//! its panic how to mend that.

#![expect(clippy::expect_used, clippy::panic, reason = "what tests stand on fails by panicking")]

pub mod cluster;
pub mod dynamodb;
pub mod echo;
pub mod envoy;
pub mod ether;
pub mod mail;
pub mod nats;
pub mod nginx;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod softhsm;
pub mod tegata;
pub mod tools;
pub mod twin;

pub use cluster::{Cluster, Dependencies, EventsKind, Member, Plan, Redis, RedisKind};
pub use dynamodb::{DynamoKind, DynamoServer};
pub use echo::EchoServer;
pub use envoy::EnvoyServer;
pub use ether::Ether;
pub use mail::MailServer;
pub use nats::NatsServer;
pub use nginx::NginxServer;
pub use postgres::{PostgresDatabase, PostgresServer};
pub use prometheus::{PrometheusServer, promtool};
pub use proxy::{Direction, Mode, Proxy};
pub use redis::{RedisCluster, RedisSentinels, RedisServer};
pub use softhsm::SoftHsm;
pub use tegata::{Ports, TegataNode};
