//! The machines of the layout, and what they cost.

use super::{Item, Step, bytes, dollars, number, rate, step, sum, values};
use crate::plan::{
    Plan,
    assumed::Figure,
    count::Count,
    layout::{NEAR_SECS, PULLS, REDIS_COPIES, SPARE_DAYS},
    load::DAY,
};

pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    let mut steps = vec![cores_for_tokens(plan), cores_for_gateway(plan), nodes(plan)];
    if !plan.tegata.is_single {
        steps.push(postgres(plan));
    }
    steps.extend([storage(plan), writes(plan)]);
    steps.extend(redis(plan));
    if !plan.tegata.is_single {
        steps.push(nats());
    }
    steps.extend(dynamodb(plan));
    steps.extend([transfer(plan), total(plan)]);
    steps
}

fn cores_for_tokens(plan: &Plan) -> Step {
    let figures = &plan.asked.figures;
    let of = [figures.sign_in_ms, figures.refresh_ms, figures.revoke_ms, figures.sign_out_ms];
    let [sum, cores] = busy(plan, of, plan.tegata.cores.tokens);
    step(
        "cores_for_tokens",
        ["cores for tokens", "トークン処理のコア"],
        [
            "in the busiest hour, for sign-ins, refreshes, tokens taken back and sign-outs: {0} = {1} \
             cores",
            "ピーク時のサインイン、更新、トークンの失効、サインアウト：{0} = {1} コア",
        ],
        vec![sum, cores],
    )
}

/// `10/s × 25 ms + …`, and what it comes to.
fn busy(plan: &Plan, of: [Figure; 4], cores: f64) -> [String; 2] {
    let rates = &plan.rates;
    let all = [rates.sign_ins, rates.refreshes, rates.revoked, rates.sign_outs];
    let part = |(happens, millis): (crate::plan::load::Rate, Figure)| {
        format!("{} × {} ms", rate(happens.peak), number(millis.get()))
    };
    let parts: Vec<_> = all.into_iter().zip(of).map(part).collect();
    [parts.join(" + "), number(cores)]
}

fn cores_for_gateway(plan: &Plan) -> Step {
    step(
        "cores_for_gateway",
        ["cores for the gateway", "ゲートウェイのコア"],
        [
            "in the busiest hour {0} × {1} ms = {2} cores; the check is within",
            "ピーク時 {0} × {1} ms = {2} コア（検査を含む）",
        ],
        values![
            rate(plan.rates.checks.peak),
            number(plan.asked.figures.check_ms.get()),
            number(plan.tegata.cores.gateway)
        ],
    )
}

fn nodes(plan: &Plan) -> Step {
    let (layout, figures) = (&plan.tegata, &plan.asked.figures);
    let label = ["nodes", "ノード"];
    let (tokens, gateway) = (number(layout.cores.tokens), number(layout.cores.gateway));
    let cores = number(figures.node_cores.get());
    if layout.is_single {
        let why = [
            "({0} + {1} + {2} for the store) cores ÷ {3} % busy at most ÷ {4} cores → {5} needed; one \
             node does it all, with its store within: no PostgreSQL, Redis or NATS, and nobody to \
             take over while it is away",
            "（{0} + {1} + ストア {2}）コア ÷ 使用率上限 {3} % ÷ {4} コア → 必要数 {5}。1 台がストアも含めて\
             すべてを担う：PostgreSQL、Redis、NATS は不要。停止中に引き継ぐノードはない",
        ];
        let store = number(layout.cores.postgres);
        let of = values![tokens, gateway, store, plan.asked.utilisation, cores, layout.needed];
        return step("nodes", label, why, of);
    }
    step(
        "nodes",
        label,
        [
            "({0} + {1}) cores ÷ {2} % busy at most ÷ {3} cores → {4} needed; there are {5}. Nodes are \
             equal: each signs people in and guards calls",
            "（{0} + {1}）コア ÷ 使用率上限 {2} % ÷ {3} コア → 必要数 {4}、配置 {5}。ノードはすべて同等で、\
             どれもサインインとゲートウェイの両方を担う",
        ],
        values![tokens, gateway, plan.asked.utilisation, cores, layout.needed, layout.nodes],
    )
}

fn postgres(plan: &Plan) -> Step {
    let (figures, store) = (&plan.asked.figures, &plan.tegata.store);
    let of = [
        figures.postgres_sign_in_ms,
        figures.postgres_refresh_ms,
        figures.postgres_revoke_ms,
        figures.postgres_sign_out_ms,
    ];
    let [sum, cores] = busy(plan, of, plan.tegata.cores.postgres);
    step(
        "postgres",
        ["PostgreSQL", "PostgreSQL"],
        [
            "in the busiest hour {0} = {1} cores ÷ {2} % busy at most ÷ {3} cores → {4} × the server \
             that has a price; {5} of them",
            "ピーク時 {0} = {1} コア ÷ 使用率上限 {2} % ÷ {3} コア → 価格表のサーバーの {4} 倍の大きさを {5} 台",
        ],
        values![
            sum,
            cores,
            plan.asked.utilisation,
            number(figures.postgres_cores.get()),
            store.size,
            store.servers
        ],
    )
}

fn storage(plan: &Plan) -> Step {
    let (load, figures, store) = (&plan.asked.load, &plan.asked.figures, &plan.tegata.store);
    step(
        "storage",
        ["the store's disk", "ストアのディスク"],
        [
            "{0} users × {1} bytes = {2}; {3} sign-ins × ({4} days × {5} bytes + {6} days × {7} bytes for \
             the session) = {8}; what was taken back {9}; ÷ {10} % that is used → {11} GB on each server",
            "{0} 人 × {1} バイト = {2}。サインイン {3} ×（{4} 日 × {5} バイト + セッション {6} 日 × {7} バイト）= \
             {8}。失効情報 {9}。÷ 使用率 {10} % → サーバーごとに {11} GB",
        ],
        values![
            load.users,
            number(figures.user_bytes.get()),
            bytes(store.people_bytes),
            rate(plan.rates.sign_ins.average),
            number(load.absolute.as_secs_f64() / DAY + SPARE_DAYS),
            number(figures.sign_in_bytes.get()),
            number(load.session.as_secs_f64() / DAY + SPARE_DAYS),
            number(figures.session_bytes.get()),
            bytes(store.sign_in_bytes),
            bytes(store.taken_back_bytes),
            figures.fill_percent,
            store.gb
        ],
    )
}

fn writes(plan: &Plan) -> Step {
    let store = &plan.tegata.store;
    step(
        "writes",
        ["writes to the store", "ストアへの書き込み"],
        [
            "a commit for each sign-in, refresh, token taken back and sign-out: {0}, {1} in the busiest \
             hour; {2}/s of write-ahead log, {3}/s in the busiest hour",
            "サインイン、更新、トークンの失効、サインアウトごとに 1 コミット：{0}、ピーク時 {1}。\
             先行書き込みログ {2}/s、ピーク時 {3}/s",
        ],
        values![
            rate(store.commits.average),
            rate(store.commits.peak),
            bytes(store.log.average),
            bytes(store.log.peak)
        ],
    )
}

fn redis(plan: &Plan) -> Option<Step> {
    let (redis, figures) = (plan.tegata.redis?, &plan.asked.figures);
    Some(step(
        "redis",
        ["Redis", "Redis"],
        [
            "holds what lives for a while, and no revocation: {0} ÷ ({1} × {2} %), and {3} of the last \
             {4} s ÷ ({5} GiB × {6} %) → shards: {7}; with a replica each, × {8} = {9} nodes",
            "一時的な値だけを持ち、失効情報は持たない：{0} ÷（{1} × {2} %）と、直近 {4} 秒の {3} ÷\
             （{5} GiB × {6} %）→ {7} シャード、レプリカ込みで × {8} = {9} ノード",
        ],
        values![
            rate(redis.commands),
            rate(figures.redis_rate.get()),
            plan.asked.utilisation,
            bytes(redis.bytes),
            number(NEAR_SECS),
            number(figures.redis_gib.get()),
            figures.fill_percent,
            redis.shards,
            REDIS_COPIES,
            redis.nodes
        ],
    ))
}

fn nats() -> Step {
    step(
        "nats",
        ["NATS", "NATS"],
        [
            "three servers, over which nodes hear at once what others changed; one may be lost",
            "3 台。ノードはこれを通じて他のノードの変更をすぐに知る。1 台まで失ってもよい",
        ],
        Vec::new(),
    )
}

fn dynamodb(plan: &Plan) -> Option<Step> {
    let (dynamodb, entries) = (plan.tegata.dynamodb?, plan.tegata.entries);
    let entry = plan.asked.figures.entry_bytes.get();
    Some(step(
        "dynamodb",
        ["DynamoDB", "DynamoDB"],
        [
            "entries of {1} bytes, {0} in the busiest hour → write units of 1 KB: {2}; nodes that read \
             {4} times a second: {3} → read units of 4 KB: {5}; kept for {6} days → GB: {7}",
            "ピーク時 {0}、1 件 {1} バイト → 1 KB の書き込みユニット {2}。{3} ノードが毎秒 {4} 回読む → 4 KB \
             の読み取りユニット {5}。{6} 日間保存 → {7} GB",
        ],
        values![
            rate(entries.peak),
            number(entry),
            dynamodb.writes,
            plan.tegata.nodes,
            number(PULLS),
            dynamodb.reads,
            number(plan.asked.load.absolute.as_secs_f64() / DAY + SPARE_DAYS),
            dynamodb.gb
        ],
    ))
}

fn transfer(plan: &Plan) -> Step {
    let [answers, entries] = plan.tegata.moved;
    let bought = plan.tegata.bill.lines().iter().find(|line| line.item == Item::Transfer);
    let gb = bought.map_or_else(Count::default, |line| line.count);
    step(
        "transfer",
        ["transfer", "転送"],
        [
            "in 30 days: answers to sign-ins and refreshes, {0} bytes each, {1}; revocations on their \
             way to each node, {2} bytes each, {3} → {4} GB",
            "30 日間で、サインインと更新の応答（1 件 {0} バイト）{1}、各ノードへの失効情報（1 件 {2} バイト）\
             {3} → {4} GB",
        ],
        values![
            number(plan.asked.figures.answer_bytes.get()),
            bytes(answers),
            number(plan.asked.figures.entry_bytes.get()),
            bytes(entries),
            gb
        ],
    )
}

fn total(plan: &Plan) -> Step {
    let bill = &plan.tegata.bill;
    let users = plan.asked.load.users;
    step(
        "total",
        ["a month", "月額"],
        [
            "{0} = {1}; ÷ {2} users = ${3} each. Machines reserved, {4} % less: {5}, ${6} each",
            "{0} = {1}。÷ {2} 人 = 1 人あたり ${3}。マシンを予約すると {4} % 引きで {5}、1 人あたり ${6}",
        ],
        values![
            sum(plan),
            dollars(bill.total()),
            users,
            number(bill.total().each_of(users)),
            plan.asked.prices.reserved_discount,
            dollars(bill.reserved()),
            number(bill.reserved().each_of(users))
        ],
    )
}
