//! What each node keeps to know what was taken back.

use tegata_token::status::LIST_LENGTH;

use super::{Step, bytes, number, rate, step, values};
use crate::plan::{Plan, count::Count, layout::SPARE_DAYS, load::DAY, memory::grace_secs};

pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    let (load, rates, figures) = (&plan.asked.load, &plan.rates, &plan.asked.figures);
    let (layout, memory) = (&plan.tegata, &plan.tegata.memory);
    vec![
        step(
            "lists",
            ["status lists", "ステータスリスト"],
            [
                "a list is of a quarter of an hour and is kept {0} s longer: {1} quarters at once; \
                 ({2} tokens of a quarter + {3} places that nodes lease and may leave empty) ÷ {4} in \
                 a list, rounded up, × {1} → {5} lists",
                "リストは 15 分単位で、さらに {0} 秒残る：同時に {1} 区間。（1 区間のトークン {2} 個 + \
                 ノードが借りて使わない場所 {3}）÷ 1 リスト {4} 個を切り上げ、× {1} → {5} リスト",
            ],
            values![
                number(grace_secs()),
                number(memory.quarters),
                number(memory.tokens_of_quarter),
                number(memory.left_empty),
                Count::of(LIST_LENGTH),
                number(memory.lists)
            ],
        ),
        step(
            "list_memory",
            ["memory of lists", "リストのメモリー"],
            [
                "{0} lists × {1} bytes = {2} in each node, exact and without a question to anybody; \
                 a list in which nothing was taken back takes nothing, so this is the most",
                "{0} リスト × {1} バイト = 各ノード {2}。正確で、どこにも問い合わせない。失効のないリスト\
                 は場所を取らないので、これが上限",
            ],
            values![
                number(memory.lists),
                number(figures.list_bytes.get()),
                bytes(memory.list_bytes)
            ],
        ),
        step(
            "names",
            ["names that have ended", "終了した名前"],
            [
                "a sign-out is kept by the name of its session, {0} × ({1} s + {2} s), and of its \
                 family of tokens, {3} × ({4} s + {2} s): {5} names × {6} bytes = {7} in each node",
                "サインアウトはセッション名（{0} ×（{1} 秒 + {2} 秒））とファミリー名（{3} ×（{4} 秒 + \
                 {2} 秒））で残る：{5} 個 × {6} バイト = 各ノード {7}",
            ],
            values![
                rate(rates.sign_outs.average),
                number(load.session.as_secs_f64()),
                number(grace_secs()),
                rate(rates.sign_outs.peak),
                number(load.access.as_secs_f64()),
                number(memory.names),
                number(figures.name_bytes.get()),
                bytes(memory.name_bytes)
            ],
        ),
        step(
            "node_memory",
            ["memory of a node", "ノードのメモリー"],
            [
                "{0} + {1} + {2} MiB for everything else = {3}; a node has {4} GiB, of which {5} % are \
                 used: {6} GiB more",
                "{0} + {1} + その他 {2} MiB = {3}。ノードは {4} GiB あり、その {5} % を使う：追加は {6} GiB",
            ],
            values![
                bytes(memory.list_bytes),
                bytes(memory.name_bytes),
                number(figures.node_base_mib.get()),
                bytes(layout.node_bytes),
                number(figures.node_gib.get()),
                figures.fill_percent,
                layout.more_gib
            ],
        ),
        step(
            "revocation_log",
            ["revocation log", "失効ログ"],
            [
                "one entry for a token and two for a sign-out: {0}, {1} in the busiest hour; with \
                 their events {2} and {3} bytes, kept for {4} days: {5} in the store",
                "トークンの失効は 1 件、サインアウトは 2 件：{0}、ピーク時 {1}。イベント込みで {2} バイト\
                 と {3} バイト、{4} 日間保存：ストアに {5}",
            ],
            values![
                rate(layout.entries.average),
                rate(layout.entries.peak),
                number(figures.revoke_bytes.get()),
                number(figures.sign_out_bytes.get()),
                number(load.absolute.as_secs_f64() / DAY + SPARE_DAYS),
                bytes(layout.store.taken_back_bytes)
            ],
        ),
    ]
}
