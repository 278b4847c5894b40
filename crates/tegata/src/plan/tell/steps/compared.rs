//! What a Redis key for each token would need and cost, and what is saved.

use super::{Item, Step, bytes, dollars, number, rate, step, values};
use crate::plan::{
    Plan,
    baseline::{Baseline, EXAMPLE_USERS, Sizing},
};

pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    vec![
        revocation(plan),
        sized_redis(plan),
        sized_rest(plan),
        example_redis(plan),
        example_rest(plan),
        bill_of(&plan.sized, plan),
        bill_of(&plan.example, plan),
        saved(plan),
        time(plan),
    ]
}

fn revocation(plan: &Plan) -> Step {
    step(
        "revocation",
        ["what revocation adds", "失効のための追加費用"],
        [
            "{0} − {1} for the same load if nothing were ever taken back = {2}",
            "{0} − 失効が一切ない場合の {1} = {2}",
        ],
        values![
            dollars(plan.cost()),
            dollars(plan.platform.bill.total()),
            dollars(plan.revocation())
        ],
    )
}

fn sized_redis(plan: &Plan) -> Step {
    let (sized, figures) = (&plan.sized, &plan.asked.figures);
    step(
        "sized_redis",
        ["Redis, this load", "Redis（この負荷）"],
        [
            "a key for each token taken back and each sign-out, kept for {0} h: {1} keys × {2} bytes = \
             {3}; {4} in the busiest hour ÷ ({5} × {6} %) → shards: {7}; × (1 primary + {8} replicas) = \
             {9} nodes",
            "失効したトークンとサインアウトごとに 1 キー、{0} 時間保持：{1} キー × {2} バイト = {3}。ピーク時 \
             {4} ÷（{5} × {6} %）→ {7} シャード ×（プライマリー 1 + レプリカ {8}）= {9} ノード",
        ],
        values![
            number(figures.redis_key_hours.get()),
            number(sized.keys),
            number(figures.redis_key_bytes.get()),
            bytes(sized.bytes),
            rate(sized.commands),
            rate(figures.redis_rate.get()),
            plan.asked.utilisation,
            sized.shards,
            sized.replicas,
            sized.nodes
        ],
    )
}

fn sized_rest(plan: &Plan) -> Step {
    let (sized, figures) = (&plan.sized, &plan.asked.figures);
    step(
        "sized_dynamodb",
        ["the rest, this load", "その他（この負荷）"],
        [
            "DynamoDB: {0} % of checks at peak fall back, read units: {1}; write units: {2}; GB: {3}. \
             Transfer: {4} bytes for each check over 30 days, GB: {5}",
            "DynamoDB：ピーク時の検査の {0} % を受け持ち、読み取りユニット {1}、書き込みユニット {2}、{3} GB。\
             転送：検査 1 回 {4} バイト × 30 日で {5} GB",
        ],
        values![
            figures.fallback_percent,
            sized.reads,
            sized.writes,
            sized.gb,
            number(figures.redis_check_bytes.get()),
            sized.moved_gb
        ],
    )
}

fn example_redis(plan: &Plan) -> Step {
    let example = &plan.example;
    step(
        "example_redis",
        ["Redis, the example", "Redis（例）"],
        [
            "10 shards for {0} users; in proportion, rounded up, shards: {1}; × (1 primary + {2} \
             replicas) = {3} nodes of type r6g.xlarge × {4} = {5}; reserved, {6} % less: {7}",
            "{0} 人で 10 シャード、人数に比例（切り上げ）：{1} シャード ×（プライマリー 1 + レプリカ {2}）= \
             {3} ノード（r6g.xlarge）× {4} = {5}。予約で {6} % 引き：{7}",
        ],
        values![
            EXAMPLE_USERS,
            example.shards,
            example.replicas,
            example.nodes,
            dollars(plan.asked.prices.redis),
            dollars(example.bill.of(Item::Redis)),
            plan.asked.prices.reserved_discount,
            dollars(example.bill.of(Item::Redis).less(plan.asked.prices.reserved_discount))
        ],
    )
}

fn example_rest(plan: &Plan) -> Step {
    let (example, prices) = (&plan.example, &plan.asked.prices);
    step(
        "example_dynamodb",
        ["the rest, the example", "その他（例）"],
        [
            "DynamoDB: read units {0} × {1} + write units {2} × {3} + GB {4} × {5} = {6}; transfer: GB {7} × {8} = {9}. The \
             example names both sums for {10} users; the prices of the parts are chosen to make them",
            "DynamoDB：読み取り {0} × {1} + 書き込み {2} × {3} + {4} GB × {5} = {6}。転送 {7} GB × {8} = {9}。例が示す\
             のは {10} 人での合計で、単価はそれに合うように選んだもの",
        ],
        values![
            example.reads,
            dollars(prices.dynamodb_read),
            example.writes,
            dollars(prices.dynamodb_write),
            example.gb,
            dollars(prices.dynamodb_gb),
            dollars(example.dynamodb()),
            example.moved_gb,
            dollars(prices.transfer_gb),
            dollars(example.bill.of(Item::Transfer)),
            EXAMPLE_USERS
        ],
    )
}

fn bill_of(baseline: &Baseline, plan: &Plan) -> Step {
    let (name, label) = match baseline.sizing {
        Sizing::Load => ("sized_total", ["this load, a month", "この負荷での月額"]),
        Sizing::Example => ("example_total", ["the example, a month", "例の月額"]),
    };
    let lines = baseline.bill.lines().iter().map(|line| dollars(line.cost()));
    let (total, reserved) = (baseline.bill.total(), baseline.bill.reserved());
    let users = plan.asked.load.users;
    step(
        name,
        label,
        [
            "{0} = {1}, ${2} for each user; with Redis reserved {3}, ${4} each",
            "{0} = {1}、1 人あたり ${2}。Redis を予約すると {3}、1 人あたり ${4}",
        ],
        values![
            lines.collect::<Vec<_>>().join(" + "),
            dollars(total),
            number(total.each_of(users)),
            dollars(reserved),
            number(reserved.each_of(users))
        ],
    )
}

fn saved(plan: &Plan) -> Step {
    step(
        "saved",
        ["saved", "節約額"],
        [
            "the platform without revocations, {0}, with Redis for this load {1}, with Redis as in the \
             example {2}; less {3} for Tegata: {4} and {5} a month",
            "失効を除いたプラットフォーム {0} に、この負荷の Redis を足すと {1}、例の Redis を足すと {2}。\
             Tegata の {3} を引くと、月 {4} と {5}",
        ],
        values![
            dollars(plan.platform.bill.total()),
            dollars(plan.cost_with(&plan.sized)),
            dollars(plan.cost_with(&plan.example)),
            dollars(plan.cost()),
            plan.saved(&plan.sized).with("$"),
            plan.saved(&plan.example).with("$")
        ],
    )
}

fn time(plan: &Plan) -> Step {
    let figures = &plan.asked.figures;
    let (trip, look) = (figures.redis_trip_us.get(), figures.look_us.get());
    step(
        "time",
        ["time of a check", "検査の時間"],
        [
            "a look into a list takes {0} µs; a question to an idle Redis on the same machine {1} µs, \
             {2} times as long, and more over a network. Lists answer too while Redis is away",
            "リストを見るのに {0} µs。同じマシンの空いている Redis への問い合わせは {1} µs で {2} 倍、\
             ネットワーク越しならさらに長い。リストは Redis が止まっていても答える",
        ],
        values![number(look), number(trip), number((trip / look).round())],
    )
}
