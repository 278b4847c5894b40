//! The machines that Tegata needs for a load, and what they cost.

use super::{
    Asked, Durable, Nodes,
    bill::{Bill, Item, TooMuch},
    count::Count,
    load::{DAY, Load, Rate, Rates},
    memory::StatusMemory,
};

/// Seconds of a month, which has 30 days.
pub(crate) const MONTH: f64 = 30.0 * DAY;

/// For how long what Redis keeps of a sign-in or a refresh is kept at most, in seconds.
pub(crate) const NEAR_SECS: f64 = 900.0;

/// For how many days longer than it is needed what the store keeps by the day is kept.
pub(crate) const SPARE_DAYS: f64 = 2.0;

/// How many servers NATS is made of.
const NATS: Count = Count::of(3);

/// A Redis with its replica.
pub(crate) const REDIS_COPIES: Count = Count::of(2);

/// How often a node reads what was taken back, a second.
pub(crate) const PULLS: f64 = 2.0;

const GIB: f64 = 1_073_741_824.0;
const GB: f64 = 1e9;

/// Processors' time, in cores that would be busy all the time in the busiest hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cores {
    /// Of nodes, for sign-ins, refreshes and what is taken back.
    pub(crate) tokens: f64,
    /// Of nodes, for calls through the gateway.
    pub(crate) gateway: f64,
    /// Of PostgreSQL.
    pub(crate) postgres: f64,
}

/// What PostgreSQL, or the store of a single node, holds and writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Store {
    /// How many times the server that has a price; 0 where a node has its store within.
    pub(crate) size: Count,
    /// How many servers.
    pub(crate) servers: Count,
    /// Bytes for people.
    pub(crate) people_bytes: f64,
    /// Bytes for sign-ins and their sessions.
    pub(crate) sign_in_bytes: f64,
    /// Bytes for what was taken back.
    pub(crate) taken_back_bytes: f64,
    /// GB of disk, for each server.
    pub(crate) gb: Count,
    /// Commits a second.
    pub(crate) commits: Rate,
    /// Bytes a second of write-ahead log.
    pub(crate) log: Rate,
}

impl Store {
    /// All that it holds, in bytes.
    pub(crate) fn bytes(&self) -> f64 {
        self.people_bytes + self.sign_in_bytes + self.taken_back_bytes
    }
}

/// Redis, as Tegata uses it: for what lives for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Redis {
    /// Commands a second, in the busiest hour.
    pub(crate) commands: f64,
    /// Bytes of values.
    pub(crate) bytes: f64,
    /// How many shards.
    pub(crate) shards: Count,
    /// How many nodes, replicas among them.
    pub(crate) nodes: Count,
}

/// DynamoDB, as the second home of what was taken back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dynamodb {
    /// Read units.
    pub(crate) reads: Count,
    /// Write units.
    pub(crate) writes: Count,
    /// GB.
    pub(crate) gb: Count,
}

/// The machines, and what they cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// Processors' time.
    pub(crate) cores: Cores,
    /// How many nodes the load needs.
    pub(crate) needed: Count,
    /// How many nodes there are.
    pub(crate) nodes: Count,
    /// Whether one node does it all, with its store within.
    pub(crate) is_single: bool,
    /// What each node knows of what was taken back.
    pub(crate) memory: StatusMemory,
    /// Bytes of memory that each node needs.
    pub(crate) node_bytes: f64,
    /// GiB of memory that each node needs beyond what it has.
    pub(crate) more_gib: Count,
    /// The store.
    pub(crate) store: Store,
    /// Redis, if it is used.
    pub(crate) redis: Option<Redis>,
    /// DynamoDB, if it is used.
    pub(crate) dynamodb: Option<Dynamodb>,
    /// Entries of the revocation log a second.
    pub(crate) entries: Rate,
    /// Bytes of answers to sign-ins and refreshes, and of revocations on their way, in a month.
    pub(crate) moved: [f64; 2],
    /// What it costs.
    pub(crate) bill: Bill,
}

impl Layout {
    /// For a load, which is that of `asked` or less.
    ///
    /// # Errors
    /// It would need more of something than can be counted.
    pub(crate) fn of(asked: &Asked, load: &Load) -> Result<Self, TooMuch> {
        let (figures, rates) = (&asked.figures, Rates::of(load));
        let cores = cores(asked, &rates);
        let whole = |amount, item| Count::rounded_up(amount).ok_or(TooMuch(item));
        let at_work = asked.utilisation.factor() * figures.node_cores.get();
        let alone = whole((cores.tokens + cores.gateway + cores.postgres) / at_work, Item::Nodes)?;
        let apart = whole((cores.tokens + cores.gateway) / at_work, Item::Nodes)?;
        let one = Count::of(1);
        let is_single = match asked.nodes {
            Nodes::Exactly(nodes) => nodes == one,
            Nodes::AtLeast(least) => least <= one && alone <= one,
        };
        let needed = if is_single { alone.max(one) } else { apart.max(one) };
        let nodes = match asked.nodes {
            Nodes::Exactly(nodes) => nodes,
            Nodes::AtLeast(_) if is_single => one,
            Nodes::AtLeast(least) => needed.max(least).max(Count::of(2)),
        };
        let memory = StatusMemory::of(load, &rates, figures, nodes);
        let node_bytes = memory.bytes() + figures.node_base_mib.get() * 1024.0 * 1024.0;
        let has = figures.node_gib.get() * figures.fill_percent.factor();
        let more = (node_bytes / GIB - has) / figures.fill_percent.factor();
        let entries = both(rates.revoked, 1.0, rates.sign_outs, 2.0);
        let told = if is_single { Count::default() } else { nodes };
        let mut layout = Self {
            cores,
            needed,
            nodes,
            is_single,
            memory,
            node_bytes,
            more_gib: whole(more, Item::NodeMemory)?,
            store: store(asked, load, &rates, cores, is_single)?,
            redis: None,
            dynamodb: None,
            entries,
            moved: [
                (rates.sign_ins.average + rates.refreshes.average)
                    * MONTH
                    * figures.answer_bytes.get(),
                entries.average * MONTH * figures.entry_bytes.get() * told.number(),
            ],
            bill: Bill::default(),
        };
        if asked.redis && !is_single {
            layout.redis = Some(redis(asked, &rates)?);
        }
        if asked.durable == Durable::Dynamodb {
            layout.dynamodb = Some(dynamodb(asked, load, &layout)?);
        }
        layout.bill = layout.bill(asked)?;
        Ok(layout)
    }

    fn bill(&self, asked: &Asked) -> Result<Bill, TooMuch> {
        let whole = |amount, item| Count::rounded_up(amount).ok_or(TooMuch(item));
        let times = |one: Count, other: Count, item| one.times(other).ok_or(TooMuch(item));
        let (store, none) = (&self.store, Count::default());
        let dynamodb = |part: fn(&Dynamodb) -> Count| self.dynamodb.as_ref().map_or(none, part);
        Ok(Bill::new(
            &asked.prices,
            &[
                (Item::Nodes, self.nodes),
                (Item::NodeMemory, times(self.nodes, self.more_gib, Item::NodeMemory)?),
                (Item::Postgres, times(store.size, store.servers, Item::Postgres)?),
                (Item::Storage, times(store.gb, store.servers, Item::Storage)?),
                (Item::Redis, self.redis.map_or(none, |redis| redis.nodes)),
                (Item::Nats, if self.is_single { none } else { NATS }),
                (Item::DynamodbReads, dynamodb(|it| it.reads)),
                (Item::DynamodbWrites, dynamodb(|it| it.writes)),
                (Item::DynamodbStorage, dynamodb(|it| it.gb)),
                (Item::Transfer, whole(self.moved.iter().sum::<f64>() / GB, Item::Transfer)?),
            ],
        ))
    }
}

/// So often the one, so often the other.
fn both(one: Rate, of_one: f64, other: Rate, of_other: f64) -> Rate {
    Rate {
        average: one.average * of_one + other.average * of_other,
        peak: one.peak * of_one + other.peak * of_other,
    }
}

fn cores(asked: &Asked, rates: &Rates) -> Cores {
    let figures = &asked.figures;
    // Milliseconds of each second.
    let busy =
        |of: [(Rate, f64); 4]| of.map(|(rate, millis)| rate.peak * millis).iter().sum::<f64>();
    Cores {
        tokens: busy([
            (rates.sign_ins, figures.sign_in_ms.get()),
            (rates.refreshes, figures.refresh_ms.get()),
            (rates.revoked, figures.revoke_ms.get()),
            (rates.sign_outs, figures.sign_out_ms.get()),
        ]) / 1000.0,
        gateway: rates.checks.peak * figures.check_ms.get() / 1000.0,
        postgres: busy([
            (rates.sign_ins, figures.postgres_sign_in_ms.get()),
            (rates.refreshes, figures.postgres_refresh_ms.get()),
            (rates.revoked, figures.postgres_revoke_ms.get()),
            (rates.sign_outs, figures.postgres_sign_out_ms.get()),
        ]) / 1000.0,
    }
}

fn store(
    asked: &Asked,
    load: &Load,
    rates: &Rates,
    cores: Cores,
    is_single: bool,
) -> Result<Store, TooMuch> {
    let figures = &asked.figures;
    let whole = |amount, item| Count::rounded_up(amount).ok_or(TooMuch(item));
    let kept = load.absolute.as_secs_f64() + SPARE_DAYS * DAY;
    let session_kept = load.session.as_secs_f64() + SPARE_DAYS * DAY;
    let a_sign_in = kept * figures.sign_in_bytes.get() + session_kept * figures.session_bytes.get();
    let sum = |of: [(Rate, f64); 4]| {
        of.into_iter()
            .fold(Rate { average: 0.0, peak: 0.0 }, |all, (rate, each)| both(all, 1.0, rate, each))
    };
    let mut store = Store {
        size: Count::default(),
        servers: Count::of(1),
        people_bytes: load.users.number() * figures.user_bytes.get(),
        sign_in_bytes: rates.sign_ins.average * a_sign_in,
        taken_back_bytes: kept
            * (rates.revoked.average * figures.revoke_bytes.get()
                + rates.sign_outs.average * figures.sign_out_bytes.get()),
        gb: Count::default(),
        commits: sum([
            (rates.sign_ins, 1.0),
            (rates.refreshes, 1.0),
            (rates.revoked, 1.0),
            (rates.sign_outs, 1.0),
        ]),
        log: sum([
            (rates.sign_ins, figures.sign_in_log_bytes.get()),
            (rates.refreshes, figures.refresh_log_bytes.get()),
            (rates.revoked, figures.revoke_log_bytes.get()),
            (rates.sign_outs, figures.sign_out_log_bytes.get()),
        ]),
    };
    store.gb = whole(store.bytes() / GB / figures.fill_percent.factor(), Item::Storage)?;
    if !is_single {
        let at_work = asked.utilisation.factor() * figures.postgres_cores.get();
        store.size = whole(cores.postgres / at_work, Item::Postgres)?.max(Count::of(1));
        store.servers = whole(figures.postgres_servers.get(), Item::Postgres)?;
    }
    Ok(store)
}

/// How many shards of Redis hold so much and answer so many commands.
pub(crate) fn shards(asked: &Asked, commands: f64, bytes: f64) -> Result<Count, TooMuch> {
    let figures = &asked.figures;
    let whole = |amount| Count::rounded_up(amount).ok_or(TooMuch(Item::Redis));
    let rate = figures.redis_rate.get() * asked.utilisation.factor();
    let room = figures.redis_gib.get() * GIB * figures.fill_percent.factor();
    Ok(whole(commands / rate)?.max(whole(bytes / room)?).max(Count::of(1)))
}

fn redis(asked: &Asked, rates: &Rates) -> Result<Redis, TooMuch> {
    let figures = &asked.figures;
    let commands = rates.sign_ins.peak * figures.redis_sign_in_commands.get()
        + rates.refreshes.peak * figures.redis_refresh_commands.get()
        + rates.sign_outs.peak * figures.redis_sign_out_commands.get();
    let people = (rates.sign_ins.peak + rates.refreshes.peak) * NEAR_SECS;
    let bytes = people * figures.redis_person_bytes.get();
    let shards = shards(asked, commands, bytes)?;
    let nodes = shards.times(REDIS_COPIES).ok_or(TooMuch(Item::Redis))?;
    Ok(Redis { commands, bytes, shards, nodes })
}

fn dynamodb(asked: &Asked, load: &Load, layout: &Layout) -> Result<Dynamodb, TooMuch> {
    let whole = |amount, item| Count::rounded_up(amount).ok_or(TooMuch(item));
    let (entries, entry) = (layout.entries, asked.figures.entry_bytes.get());
    // A unit reads 4 KB a second, and writes 1 KB.
    let reads = layout.nodes.number() * (PULLS + entries.peak * entry / 4096.0);
    let writes = entries.peak * (entry / 1024.0).ceil();
    let kept = load.absolute.as_secs_f64() + SPARE_DAYS * DAY;
    Ok(Dynamodb {
        reads: whole(reads, Item::DynamodbReads)?,
        writes: whole(writes, Item::DynamodbWrites)?,
        gb: whole(entries.average * kept * entry / GB, Item::DynamodbStorage)?,
    })
}
