//! DynamoDB, the second durable home of revocations, is away, slow or overrun, while everything goes on.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use tegata_engines::{Cluster, DynamoServer, Member, Mode, Proxy};

use crate::{
    http::{Ask, Client},
    ledger::Ledger,
    load::{Amount, Load, propagation},
    plot::Plot,
    report::Seen,
    scenario::Round,
    series::{Outcome, Series},
    stage::{self, Access, Stage},
    time::{Stopwatch, let_pass, until},
};

/// How long a revocation may take to be known at another node.
const KNOWN: Duration = Duration::from_secs(5);

/// How much longer than before a revocation may take to be acknowledged: noise of a busy machine.
const NOISE: Duration = Duration::from_millis(20);

/// How soon what was taken back meanwhile must be there: a breaker lets the first through after 30 s.
const BACK: Duration = Duration::from_secs(45);

/// How late answers are. Longer than a call may take, since both ways are.
const SLOW: Duration = Duration::from_secs(2);

/// Nobody can connect.
pub(super) fn gone(stage: &Stage, round: &Round) -> Result<Seen> {
    let ways = ways(stage)?;
    let refuse = |broken| {
        let mode = if broken { Mode::Refuse } else { Mode::Sound };
        ways.iter().for_each(|way| way.set(mode));
    };
    broken(stage, round, "DynamoDB is gone", refuse)
}

/// Everything is carried, and late.
pub(super) fn slow(stage: &Stage, round: &Round) -> Result<Seen> {
    let ways = ways(stage)?;
    let delay = |broken| {
        let mode = if broken { Mode::Delay(SLOW) } else { Mode::Sound };
        ways.iter().for_each(|way| way.set(mode));
    };
    broken(stage, round, "DynamoDB is slow", delay)
}

/// Every call is refused.
pub(super) fn throttled(stage: &Stage, round: &Round) -> Result<Seen> {
    let server = dynamodb(stage)?;
    broken(stage, round, "DynamoDB throttles", |broken| server.throttle(broken))
}

fn broken(
    stage: &Stage,
    round: &Round,
    title: &str,
    breaks: impl Fn(bool) + Send + Sync,
) -> Result<Seen> {
    let server = dynamodb(stage)?;
    let calm = Duration::from_secs(if round.hasty { 1 } else { 5 });
    let outage = round.outage(15, 120);
    let amount = Amount {
        families: 3,
        revocations: 15,
        expected: calm * 2 + outage + Duration::from_secs(5),
        old: if round.hasty { Vec::new() } else { stage.old_tokens()? },
    };
    let ledger = Ledger::default();
    let times = round.many(3, 10, 50);
    let (had, calls) = (entries(stage)?, server.calls("UpdateItem"));
    let mut opened = false;
    let (load, (gone, back, during)) = Load::put(stage, &ledger, &amount, |load| {
        let_pass(calm);
        let gone = load.watch.read();
        breaks(true);
        let outage_began = Stopwatch::start();
        let during = propagation(stage, &ledger, (0, 1), times, KNOWN);
        let left = outage.saturating_sub(outage_began.read());
        opened = until(left, || stage.cluster().members().iter().any(is_open)).is_some();
        let told = degraded(stage);
        let_pass(outage.saturating_sub(outage_began.read()));
        breaks(false);
        let back = load.watch.read();
        told?;
        let_pass(calm);
        Ok((gone, back, during?))
    })?;
    let mut seen = Seen::default();
    let wanted: Result<BTreeSet<String>> = ledger.all_revoked().iter().map(key).collect();
    let wanted = wanted?;
    // INVARIANT: everything that was acknowledged is there in the end.
    let mut lacks = wanted.len();
    let all_there = until(BACK, || {
        lacks = keys(server).map_or(lacks, |there| wanted.difference(&there).count());
        lacks == 0
    });
    match all_there {
        Some(took) => {
            seen.promised("DynamoDB back: all is there", [took].into_iter().collect(), BACK);
        }
        None => seen.broken.push(format!("{lacks} of {} revocations are not there", wanted.len())),
    }
    seen.fact("revocations that are in DynamoDB", wanted.len() - lacks, wanted.len());
    let (written, calls) = (entries(stage)? - had, server.calls("UpdateItem") - calls);
    seen.must(calls * 10 <= written * 12, || format!("{calls} calls for {written} entries"));
    seen.must(opened, || "no breaker opens".to_owned());
    seen.promised("revoked here, refused there: meanwhile", during, KNOWN);
    let good = |it| it == Outcome::Good;
    let before = load.revoke.within(Duration::ZERO, gone).latencies(good);
    let meanwhile = load.revoke.within(gone, back).latencies(good);
    let (usual, median) = (before.percentile(50), meanwhile.percentile(50));
    seen.must(median <= usual * 2 + NOISE, || {
        format!("a revocation takes {median:?} instead of {usual:?} to be acknowledged")
    });
    seen.number("a revocation is acknowledged: before", before);
    seen.number("a revocation is acknowledged: meanwhile", meanwhile);
    for series in load.calls().into_iter().chain(load.changes()) {
        let all = series.within(Duration::ZERO, Duration::MAX);
        let served = all.count(good);
        seen.fact(series.name, served, all.len());
        let name = series.name;
        seen.must(served == all.len(), || format!("{name}: {served} of {} served", all.len()));
    }
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    seen.saw = format!("{calls} calls for {written} entries of the log");
    let all: Vec<&Series> = load.calls().into_iter().chain(load.changes()).collect();
    seen.plot = Some(Plot::new(title, &all, &[(gone, back)]));
    Ok(seen)
}

fn dynamodb(stage: &Stage) -> Result<&DynamoServer> {
    stage.cluster().dynamodb().context("this needs a DynamoDB")
}

fn ways(stage: &Stage) -> Result<Vec<&Proxy>> {
    let ways = stage.cluster().members().iter().map(|member| member.dynamodb.as_ref());
    ways.map(|way| way.context("this needs a DynamoDB")).collect()
}

/// Under which key a token that was taken back is in the table.
fn key(access: &Access) -> Result<String> {
    let claims = stage::claims(&access.token).context("a token that cannot be read")?;
    let id = claims.get("jti").and_then(Value::as_str).context("a token without `jti`")?;
    Ok(format!("default/t/{id}"))
}

/// All keys of the table.
fn keys(server: &DynamoServer) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut after = None;
    loop {
        let mut ask = json!({ "TableName": Cluster::TABLE, "ConsistentRead": true });
        if let (Some(last), Some(ask)) = (after, ask.as_object_mut()) {
            ask.insert("ExclusiveStartKey".to_owned(), last);
        }
        let (status, said) = server.ask("Scan", &ask.to_string());
        if status != 200 {
            bail!("the table cannot be read: {status} {said}");
        }
        let page: Value = serde_json::from_str(&said)?;
        let items = page.get("Items").and_then(Value::as_array).context("no items")?;
        let key = |item: &Value| item.pointer("/key/S").and_then(Value::as_str).map(str::to_owned);
        keys.extend(items.iter().filter_map(key));
        match page.get("LastEvaluatedKey") {
            None => return Ok(keys),
            Some(last) => after = Some(last.clone()),
        }
    }
}

/// How many entries of the log are in the table, as the nodes say.
fn entries(stage: &Stage) -> Result<u64> {
    let mut most = 0;
    for member in stage.cluster().members() {
        let answer = Client::new(member.node.ports().operations).ask(&Ask::get("/metrics"));
        let text = answer.map_err(|error| anyhow!("a node shows no metrics: {error}"))?.text();
        let mut lines = text.lines();
        let said = lines.find_map(|line| line.strip_prefix("revocation_durable_position "));
        most = most.max(said.context("a node does not say how far DynamoDB is")?.parse()?);
    }
    Ok(most)
}

/// Whether a node leaves DynamoDB alone.
fn is_open(member: &Member) -> bool {
    let mut client = Client::new(member.node.ports().operations);
    let open = "circuit_breaker_state{name=\"dynamodb\"} 2";
    client.ask(&Ask::get("/metrics")).is_ok_and(|answer| answer.text().contains(open))
}

/// Some node says that it is worse off, and all are ready.
fn degraded(stage: &Stage) -> Result<()> {
    let mut said = String::new();
    for member in stage.cluster().members() {
        let answer = Client::new(member.node.ports().operations).ask(&Ask::get("/health/ready"));
        let answer = answer.map_err(|error| anyhow!("a node does not say how it is: {error}"))?;
        if answer.status != 200 {
            bail!("a node is not ready without DynamoDB: {}", answer.text());
        }
        said += &answer.text();
    }
    if !said.contains("durable_unreachable") && !said.contains("durable_behind") {
        bail!("no node says that DynamoDB is away: {said}");
    }
    Ok(())
}
