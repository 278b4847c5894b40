//! What Tegata is compared with: a Redis key for each token that was taken back, asked for at every
//! request, with DynamoDB behind it.

use super::{
    Asked,
    bill::{Bill, Item, TooMuch},
    count::Count,
    layout::{MONTH, shards},
    load::{DAY, Rates},
    money::Money,
};

/// The people of the example.
pub(crate) const EXAMPLE_USERS: Count = Count::of(10_000_000);
/// Its shards.
const SHARDS: f64 = 10.0;
/// Replicas of each shard, and how many nodes that makes.
const REPLICAS: Count = Count::of(2);
const COPIES: Count = Count::of(3);
/// Its read units.
const READS: f64 = 5_000.0;
/// Its write units.
const WRITES: f64 = 1_000.0;
/// Its GB in DynamoDB.
const STORED_GB: f64 = 10.0;
/// Its GB that are moved. The example names 500 $; this is what they buy at 0.05 $.
const MOVED_GB: f64 = 10_000.0;

/// How it was found how much is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizing {
    /// In proportion to the example of the design: 10 shards for ten million people.
    Example,
    /// By the same load and figures as Tegata.
    Load,
}

impl Sizing {
    /// Its name for machines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Example => "redis-per-request-example",
            Self::Load => "redis-per-request-sized",
        }
    }
}

/// A Redis key for each token that was taken back, asked for at every request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    /// How it was sized.
    pub(crate) sizing: Sizing,
    /// Keys that are alive.
    pub(crate) keys: f64,
    /// Bytes of keys.
    pub(crate) bytes: f64,
    /// Commands a second, in the busiest hour.
    pub(crate) commands: f64,
    /// Shards.
    pub(crate) shards: Count,
    /// Replicas of each.
    pub(crate) replicas: Count,
    /// All nodes.
    pub(crate) nodes: Count,
    /// Read units of DynamoDB.
    pub(crate) reads: Count,
    /// Write units.
    pub(crate) writes: Count,
    /// GB in DynamoDB.
    pub(crate) gb: Count,
    /// GB that are moved in a month.
    pub(crate) moved_gb: Count,
    /// What it costs.
    pub(crate) bill: Bill,
}

impl Baseline {
    /// In proportion to the example.
    ///
    /// # Errors
    /// It would need more of something than can be counted.
    pub(crate) fn example(asked: &Asked, rates: &Rates) -> Result<Self, TooMuch> {
        let share = asked.load.users.number() / EXAMPLE_USERS.number();
        let whole = |amount: f64, item| Count::rounded_up(amount * share).ok_or(TooMuch(item));
        let shards = whole(SHARDS, Item::Redis)?;
        let sized = [
            whole(READS, Item::DynamodbReads)?,
            whole(WRITES, Item::DynamodbWrites)?,
            whole(STORED_GB, Item::DynamodbStorage)?,
            whole(MOVED_GB, Item::Transfer)?,
        ];
        Self::new(asked, rates, (Sizing::Example, shards), sized)
    }

    /// For the load that is asked for.
    ///
    /// # Errors
    /// It would need more of something than can be counted.
    pub(crate) fn sized(asked: &Asked, rates: &Rates) -> Result<Self, TooMuch> {
        let figures = &asked.figures;
        let whole = |amount: f64, item| Count::rounded_up(amount).ok_or(TooMuch(item));
        let taken_back = rates.revoked.peak + rates.sign_outs.peak;
        let keys = keys(asked, rates);
        let bytes = keys * figures.redis_key_bytes.get();
        let shards = shards(asked, rates.checks.peak + taken_back, bytes)?;
        let reads = rates.checks.peak * figures.fallback_percent.factor();
        let moved = rates.checks.average * MONTH * figures.redis_check_bytes.get();
        let sized = [
            whole(reads, Item::DynamodbReads)?,
            whole(taken_back, Item::DynamodbWrites)?,
            whole(keys * figures.entry_bytes.get() / 1e9, Item::DynamodbStorage)?,
            whole(moved / 1e9, Item::Transfer)?,
        ];
        Self::new(asked, rates, (Sizing::Load, shards), sized)
    }

    fn new(
        asked: &Asked,
        rates: &Rates,
        (sizing, shards): (Sizing, Count),
        [reads, writes, gb, moved_gb]: [Count; 4],
    ) -> Result<Self, TooMuch> {
        let nodes = shards.times(COPIES).ok_or(TooMuch(Item::Redis))?;
        let bill = Bill::new(
            &asked.prices,
            &[
                (Item::Redis, nodes),
                (Item::DynamodbReads, reads),
                (Item::DynamodbWrites, writes),
                (Item::DynamodbStorage, gb),
                (Item::Transfer, moved_gb),
            ],
        );
        let keys = keys(asked, rates);
        Ok(Self {
            sizing,
            keys,
            bytes: keys * asked.figures.redis_key_bytes.get(),
            commands: rates.checks.peak + rates.revoked.peak + rates.sign_outs.peak,
            shards,
            replicas: REPLICAS,
            nodes,
            reads,
            writes,
            gb,
            moved_gb,
            bill,
        })
    }

    /// What DynamoDB costs.
    pub(crate) fn dynamodb(&self) -> Money {
        let items = [Item::DynamodbReads, Item::DynamodbWrites, Item::DynamodbStorage];
        items.into_iter().map(|item| self.bill.of(item)).sum()
    }
}

/// One key for each token that was taken back, and one for each sign-out.
fn keys(asked: &Asked, rates: &Rates) -> f64 {
    let hours = asked.figures.redis_key_hours.get();
    (rates.revoked.average + rates.sign_outs.average) * hours / 24.0 * DAY
}
