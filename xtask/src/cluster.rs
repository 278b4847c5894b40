//! A whole installation on this machine, to be tried and broken by hand.

use std::{io, process::ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use tegata_engines::{Dependencies, EventsKind, Plan, RedisKind};

use crate::{faults, parts, tools};

/// What it is made of.
#[derive(Args)]
pub struct Cluster {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// Which Redis
    #[arg(long, value_enum, default_value_t)]
    redis: Redis,
    /// How nodes hear of each other
    #[arg(long, value_enum, default_value_t)]
    events: Events,
    /// Records what is taken back in what stands in for DynamoDB, too
    #[arg(long)]
    dynamodb: bool,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
}

/// Which Redis there is.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Redis {
    /// None
    #[default]
    None,
    /// One server
    Alone,
    /// A primary and two replicas under three Sentinels
    Sentinels,
    /// Three primaries with a replica each
    Cluster,
}

/// How nodes hear of each other.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Events {
    /// Not at all
    #[default]
    Memory,
    /// Through NATS
    Nats,
    /// Through the Redis that there is
    Redis,
}

/// Starts it, and lets it run until there is no more input.
///
/// # Errors
/// The program cannot be built, or something does not start.
pub fn run(asked: &Cluster) -> Result<ExitCode> {
    parts::ensure(parts::FOR_TESTS)?;
    if asked.dynamodb {
        tools::ensure()?;
    }
    let redis = match asked.redis {
        Redis::None => RedisKind::None,
        Redis::Alone => RedisKind::Alone,
        Redis::Sentinels => RedisKind::Sentinels,
        Redis::Cluster => RedisKind::Cluster,
    };
    let events = match asked.events {
        Events::Memory => EventsKind::Memory,
        Events::Nats => EventsKind::Nats,
        Events::Redis => EventsKind::Redis,
    };
    let plan = Plan {
        dependencies: Dependencies { redis, events },
        dynamodb: asked.dynamodb,
        ..Plan::new(&faults::program(asked.debug)?, asked.nodes.into())
    };
    // Whatever ends this process ends everything else: each engine has a guard that notices.
    tegata_faults::play(&plan, io::stdin().lock(), io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
