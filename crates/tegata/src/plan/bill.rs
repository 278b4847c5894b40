//! What is bought in a month, line by line.

use super::{
    assumed::Prices,
    count::Count,
    money::{Money, Percent},
};

/// Something that is bought by the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// Nodes of Tegata.
    Nodes,
    /// Memory of nodes, beyond what they have.
    NodeMemory,
    /// Servers of PostgreSQL.
    Postgres,
    /// GB of disk under the store.
    Storage,
    /// Nodes of Redis.
    Redis,
    /// Servers of NATS.
    Nats,
    /// Read units of DynamoDB.
    DynamodbReads,
    /// Write units of DynamoDB.
    DynamodbWrites,
    /// GB in DynamoDB.
    DynamodbStorage,
    /// GB that are moved.
    Transfer,
}

impl Item {
    /// Its name for machines.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::NodeMemory => "node_memory_gib",
            Self::Postgres => "postgres",
            Self::Storage => "storage_gb",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::DynamodbReads => "dynamodb_reads",
            Self::DynamodbWrites => "dynamodb_writes",
            Self::DynamodbStorage => "dynamodb_gb",
            Self::Transfer => "transfer_gb",
        }
    }

    /// What one of it costs.
    const fn price(self, prices: &Prices) -> Money {
        match self {
            Self::Nodes => prices.node,
            Self::NodeMemory => prices.node_memory_gib,
            Self::Postgres => prices.postgres,
            Self::Storage => prices.storage_gb,
            Self::Redis => prices.redis,
            Self::Nats => prices.nats,
            Self::DynamodbReads => prices.dynamodb_read,
            Self::DynamodbWrites => prices.dynamodb_write,
            Self::DynamodbStorage => prices.dynamodb_gb,
            Self::Transfer => prices.transfer_gb,
        }
    }

    /// Whether it is a machine, which costs less when it is reserved.
    const fn is_machine(self) -> bool {
        matches!(self, Self::Nodes | Self::NodeMemory | Self::Postgres | Self::Redis | Self::Nats)
    }
}

/// More of something than can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch(pub(crate) Item);

/// A line of a bill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// What is bought.
    pub(crate) item: Item,
    /// How much of it.
    pub(crate) count: Count,
    /// What one of it costs.
    pub(crate) each: Money,
    discount: Percent,
}

impl Line {
    /// What it costs.
    pub(crate) fn cost(&self) -> Money {
        self.each.times(self.count)
    }

    /// What it costs when machines are reserved.
    pub(crate) fn reserved(&self) -> Money {
        if self.item.is_machine() { self.cost().less(self.discount) } else { self.cost() }
    }
}

/// What is bought in a month.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Bill(Vec<Line>);

impl Bill {
    /// What costs so much at these prices. Of what there is none, there is no line.
    pub(crate) fn new(prices: &Prices, bought: &[(Item, Count)]) -> Self {
        let some = bought.iter().filter(|(_, count)| *count > Count::default());
        let line = |&(item, count): &(Item, Count)| Line {
            item,
            count,
            each: item.price(prices),
            discount: prices.reserved_discount,
        };
        Self(some.map(line).collect())
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }

    /// What it comes to.
    pub(crate) fn total(&self) -> Money {
        self.0.iter().map(Line::cost).sum()
    }

    /// What it comes to when machines are reserved.
    pub(crate) fn reserved(&self) -> Money {
        self.0.iter().map(Line::reserved).sum()
    }

    /// What one item of it costs.
    pub(crate) fn of(&self, item: Item) -> Money {
        self.0.iter().filter(|line| line.item == item).map(Line::cost).sum()
    }
}
