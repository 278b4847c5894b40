//! A plan for machines. The names of its members are a promise.

use serde_json::{Map, Value, json};

use super::{
    steps::{self, Step},
    words::{self, Lang},
};
use crate::plan::{
    Durable, Plan,
    assumed::Row,
    baseline::Baseline,
    bill::{Bill, Line},
    count::Count,
    load::Rate,
};

/// The plan as JSON. Money is in dollars, sizes are in bytes, rates are of a second.
pub(crate) fn json(plan: &Plan) -> Value {
    json!({
        "users": plan.asked.load.users.get(),
        "asked": asked(plan),
        "rates": rates(plan),
        "tokens_alive": {
            "access": plan.alive.access,
            "refresh": plan.alive.refresh,
            "all": plan.alive.all(),
        },
        "revocation": revocation(plan),
        "nodes": nodes(plan),
        "store": store(plan),
        "redis": plan.tegata.redis.map(|redis| json!({
            "shards": redis.shards.get(),
            "nodes": redis.nodes.get(),
            "bytes": redis.bytes,
            "commands_at_peak": redis.commands,
        })),
        "dynamodb": plan.tegata.dynamodb.map(|it| dynamodb(it.reads, it.writes, it.gb)),
        "cost": cost(plan),
        "baselines": [baseline(&plan.sized, plan), baseline(&plan.example, plan)],
        "reasoning": steps::chapters(plan).iter().flat_map(|it| &it.steps).map(step).collect::<Vec<_>>(),
        "assumed": { "prices": rows(&plan.asked.prices.rows()), "figures": rows(&plan.asked.figures.rows()) },
        "notes": steps::notes(plan).iter().map(|note| note.why(Lang::En)).collect::<Vec<_>>(),
        "finding": plan.finding(),
    })
}

fn asked(plan: &Plan) -> Value {
    let load = &plan.asked.load;
    json!({
        "sign_ins_a_day": load.sign_ins,
        "active_seconds": load.active.as_secs_f64(),
        "requests_a_day": load.requests,
        "revoked_percent": load.revoked.number(),
        "sign_outs_percent": load.sign_outs.number(),
        "peak": load.peak,
        "access_seconds": load.access.as_secs_f64(),
        "refresh_seconds": load.refresh.as_secs_f64(),
        "refresh_absolute_seconds": load.absolute.as_secs_f64(),
        "session_seconds": load.session.as_secs_f64(),
        "utilisation_percent": plan.asked.utilisation.number(),
        "durable": if plan.asked.durable == Durable::Dynamodb { "dynamodb" } else { "store" },
        "redis": plan.asked.redis,
    })
}

fn rates(plan: &Plan) -> Value {
    let rates = &plan.rates;
    json!({
        "sign_ins": rate(rates.sign_ins),
        "refreshes": rate(rates.refreshes),
        "checks": rate(rates.checks),
        "tokens": rate(rates.tokens),
        "tokens_taken_back": rate(rates.revoked),
        "sign_outs": rate(rates.sign_outs),
    })
}

fn revocation(plan: &Plan) -> Value {
    let (layout, memory) = (&plan.tegata, &plan.tegata.memory);
    json!({
        "status_lists": Count::rounded_up(memory.lists).map(Count::get),
        "status_list_bytes_per_node": memory.list_bytes,
        "ended_names": memory.names,
        "ended_name_bytes_per_node": memory.name_bytes,
        "bytes_per_node": memory.bytes(),
        "log_entries": rate(layout.entries),
        "log_bytes": layout.store.taken_back_bytes,
    })
}

fn nodes(plan: &Plan) -> Value {
    let layout = &plan.tegata;
    json!({
        "count": layout.nodes.get(),
        "needed": layout.needed.get(),
        "alone": layout.is_single,
        "cores_for_tokens": layout.cores.tokens,
        "cores_for_gateway": layout.cores.gateway,
        "bytes_per_node": layout.node_bytes,
        "more_memory_gib_per_node": layout.more_gib.get(),
    })
}

fn store(plan: &Plan) -> Value {
    let (store, layout) = (&plan.tegata.store, &plan.tegata);
    json!({
        "kind": if layout.is_single { "sqlite" } else { "postgres" },
        "servers": if layout.is_single { 0 } else { store.servers.get() },
        "size": store.size.get(),
        "cores": layout.cores.postgres,
        "bytes": store.bytes(),
        "gb_per_server": store.gb.get(),
        "commits": rate(store.commits),
        "write_ahead_log_bytes": rate(store.log),
    })
}

fn cost(plan: &Plan) -> Value {
    let mut cost = bill(&plan.tegata.bill, plan.asked.load.users);
    let more = [
        ("platform", plan.platform.bill.total().dollars()),
        ("revocation", plan.revocation().dollars()),
    ];
    cost.extend(more.map(|(name, dollars)| (name.to_owned(), json!(dollars))));
    Value::Object(cost)
}

fn baseline(baseline: &Baseline, plan: &Plan) -> Value {
    json!({
        "name": baseline.sizing.name(),
        "about": Lang::En.of(words::EXAMPLE),
        "redis": {
            "shards": baseline.shards.get(),
            "replicas_per_shard": baseline.replicas.get(),
            "node_type": "r6g.xlarge",
            "nodes": baseline.nodes.get(),
            "keys": baseline.keys,
            "bytes": baseline.bytes,
            "commands_at_peak": baseline.commands,
        },
        "dynamodb": dynamodb(baseline.reads, baseline.writes, baseline.gb),
        "dynamodb_monthly": baseline.dynamodb().dollars(),
        "transfer_gb": baseline.moved_gb.get(),
        "cost": bill(&baseline.bill, plan.asked.load.users),
        "with_platform": plan.cost_with(baseline).dollars(),
        "tegata_saves": plan.saved(baseline).dollars(),
    })
}

fn bill(bill: &Bill, users: Count) -> Map<String, Value> {
    let (total, reserved) = (bill.total(), bill.reserved());
    let members = [
        ("currency", json!("USD")),
        ("monthly", json!(total.dollars())),
        ("monthly_reserved", json!(reserved.dollars())),
        ("per_user", json!(total.each_of(users))),
        ("per_user_reserved", json!(reserved.each_of(users))),
        ("lines", bill.lines().iter().map(line).collect()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn line(line: &Line) -> Value {
    json!({
        "item": line.item.name(),
        "count": line.count.get(),
        "each": line.each.dollars(),
        "monthly": line.cost().dollars(),
        "monthly_reserved": line.reserved().dollars(),
    })
}

fn dynamodb(reads: Count, writes: Count, gb: Count) -> Value {
    json!({ "read_units": reads.get(), "write_units": writes.get(), "gb": gb.get() })
}

fn rate(rate: Rate) -> Value {
    json!({ "average": rate.average, "peak": rate.peak })
}

fn step(step: &Step) -> Value {
    json!({ "name": step.name, "label": step.label(Lang::En), "why": step.why(Lang::En) })
}

fn rows(rows: &[Row]) -> Value {
    rows.iter().map(|row| (row.name.to_owned(), json!(row.value))).collect()
}
