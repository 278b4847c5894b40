//! A plan as one page that needs nothing else: no script, no picture, no address.

use askama::Template;

use super::{
    plot::{self, Line, Part, Plot, Unit},
    steps::{self, Chapter},
    words::{self, Lang, Text},
};
use crate::plan::{
    Plan,
    assumed::Row,
    bill::{Bill, Item},
    count::{bytes, number},
    money::{Difference, Money},
};

/// The page, in both languages, of which `first` is shown first.
///
/// # Errors
/// It could not be put together.
pub(crate) fn page(plan: &Plan, first: Lang) -> Result<String, askama::Error> {
    let around: Vec<Plan> = plot::users_around(plan.asked.load.users)
        .into_iter()
        .filter_map(|users| plan.with_users(users))
        .collect();
    let side = |lang| Side::new(plan, &around, lang);
    let page = Page { sides: [side(first), side(first.other())] };
    page.render()
}

#[derive(Template)]
#[template(path = "plan.html")]
struct Page {
    sides: [Side; 2],
}

/// The page in one language.
struct Side {
    lang: Lang,
    w: Words,
    lead: String,
    tiles: Vec<(&'static str, String)>,
    finding: Option<String>,
    plots: Vec<Figure>,
    bars: Vec<Bar>,
    parts: Vec<(&'static str, &'static str)>,
    compared: Vec<[String; 5]>,
    bills: Vec<Shown>,
    chapters: Vec<(&'static str, Vec<(&'static str, String)>)>,
    assumed: Vec<(&'static str, Vec<[String; 4]>)>,
    notes: Vec<String>,
}

/// A plot with what is said of it.
struct Figure {
    title: &'static str,
    about: &'static str,
    svg: String,
    legend: Vec<(&'static str, String)>,
}

/// A bar with what is said of it.
struct Bar {
    label: &'static str,
    total: String,
    svg: String,
}

/// A bill as a table.
struct Shown {
    title: &'static str,
    about: String,
    lines: Vec<[String; 5]>,
    total: [String; 2],
    each: [String; 2],
}

/// The words of the template.
struct Words {
    title: &'static str,
    compared: &'static str,
    share: &'static str,
    share_about: &'static str,
    machines: &'static str,
    why: &'static str,
    assumed: &'static str,
    notes: &'static str,
    language: &'static str,
    heads: [&'static str; 5],
    bill: [&'static str; 5],
    together: &'static str,
    each: &'static str,
    assumed_heads: [&'static str; 4],
}

fn in_words(lang: Lang) -> Words {
    let of = |text: Text| lang.of(text);
    Words {
        title: of(["Capacity and cost", "容量と費用"]),
        compared: of(["Compared", "比較"]),
        share: of(["What the money goes to", "費用の内訳"]),
        share_about: of([
            "The whole platform in a month. With a Redis key for each token, the same machines sign \
             people in and guard calls, and Redis and DynamoDB come on top.",
            "プラットフォーム全体の月額。Redis キー方式でもサインインとゲートウェイのマシンは同じで、Redis と \
             DynamoDB が加わる。",
        ]),
        machines: of(["Machines", "マシン"]),
        why: of(["Reasoning", "計算の根拠"]),
        assumed: of(["Assumptions", "前提とした数値"]),
        notes: of(["Notes", "注"]),
        language: of(["Language", "言語"]),
        heads: [
            of(["$ a month", "月額（ドル）"]),
            of(["revocation", "失効"]),
            of(["all", "全体"]),
            of(["each user", "1 人あたり"]),
            of(["Tegata saves", "Tegata の節約額"]),
        ],
        bill: [
            of(["", "項目"]),
            of(["count", "数量"]),
            of(["each, $", "単価（ドル）"]),
            of(["a month, $", "月額（ドル）"]),
            of(["reserved, $", "予約時（ドル）"]),
        ],
        together: of(["together", "合計"]),
        each: of(["for each user", "1 人あたり"]),
        assumed_heads: [
            of(["name", "名前"]),
            of(["value", "値"]),
            of(["what", "内容"]),
            of(["from", "出所"]),
        ],
    }
}

impl Side {
    fn new(plan: &Plan, around: &[Plan], lang: Lang) -> Self {
        let chapter = |Chapter { title, steps }: Chapter| {
            let steps = steps.iter().map(|step| (step.label(lang), step.why(lang)));
            (lang.of(title), steps.collect())
        };
        let notes = steps::notes(plan);
        Self {
            lang,
            w: in_words(lang),
            lead: lead(plan, lang),
            tiles: tiles(plan, lang),
            finding: plan.finding().and(notes.first()).map(|note| note.why(lang)),
            plots: vec![cost_plot(plan, around, lang), memory_plot(plan, around, lang)],
            bars: bars(plan, lang),
            parts: PARTS.iter().map(|part| (part.class, lang.of(part.label))).collect(),
            compared: compared(plan, lang),
            bills: bills(plan, lang),
            chapters: steps::chapters(plan).into_iter().map(chapter).collect(),
            assumed: assumed(plan, lang),
            notes: notes.iter().map(|note| note.why(lang)).collect(),
        }
    }
}

fn lead(plan: &Plan, lang: Lang) -> String {
    let users = plan.asked.load.users;
    match lang {
        Lang::En => format!("What {users} users need, what it costs, and why."),
        Lang::Ja => format!("利用者 {users} 人に必要なもの、その費用、そして根拠。"),
    }
}

fn tiles(plan: &Plan, lang: Lang) -> Vec<(&'static str, String)> {
    let (layout, users) = (&plan.tegata, plan.asked.load.users);
    let checks = number(plan.rates.checks.peak);
    [
        (["a month", "月額"], format!("${}", number(plan.cost().dollars().round()))),
        (["each user", "1 人あたり"], format!("${}", number(plan.cost().each_of(users)))),
        (["nodes", "ノード"], layout.nodes.to_string()),
        (["checks at peak", "ピーク時の検査"], format!("{checks}/s")),
        (["access tokens alive", "有効なアクセストークン"], number(plan.alive.access.round())),
        (["status lists, each node", "各ノードのリスト"], bytes(layout.memory.list_bytes)),
    ]
    .map(|(label, value)| (lang.of(label), value))
    .to_vec()
}

fn cost_plot(plan: &Plan, around: &[Plan], lang: Lang) -> Figure {
    let line = |class, label: Text, cost: &dyn Fn(&Plan) -> Money| Line {
        class,
        label: lang.of(label).to_owned(),
        points: around
            .iter()
            .map(|plan| (plan.asked.load.users.number(), cost(plan).dollars()))
            .collect(),
    };
    let lines = vec![
        line("example", words::baseline(&plan.example), &|it| it.cost_with(&it.example)),
        line("sized", words::baseline(&plan.sized), &|it| it.cost_with(&it.sized)),
        line("tegata", words::TEGATA, &Plan::cost),
    ];
    let title = lang.of(["Cost a month, by users", "利用者数と月額"]);
    let about = lang.of([
        "The whole platform: nodes, database and transfer are in all three lines.",
        "プラットフォーム全体。ノード、データベース、転送はどの線にも含まれる。",
    ]);
    let across = (lang.of(["users", "利用者数"]), Unit::Plain);
    let here = plan.asked.load.users.number();
    figure(Plot { title: title.to_owned(), across, up: Unit::Dollars, lines, here }, (title, about))
}

fn memory_plot(plan: &Plan, around: &[Plan], lang: Lang) -> Figure {
    let line = |class, label: Text, size: &dyn Fn(&Plan) -> f64| Line {
        class,
        label: lang.of(label).to_owned(),
        points: around.iter().map(|plan| (plan.alive.access, size(plan))).collect(),
    };
    let lines = vec![
        line("sized", ["Redis keys, in each copy", "Redis のキー（コピーごと）"], &|it| {
            it.sized.bytes
        }),
        line(
            "names",
            ["status lists and ended names, each node", "リストと終了した名前（各ノード）"],
            &|it| it.tegata.memory.bytes(),
        ),
        line(
            "tegata",
            ["status lists, each node", "ステータスリスト（各ノード）"],
            &|it| it.tegata.memory.list_bytes,
        ),
    ];
    let title = lang.of(["Memory, by tokens alive", "有効トークン数とメモリー"]);
    let about = lang.of([
        "A list has a bit for every token, revoked or not. Names and keys grow with what is taken back.",
        "リストは失効の有無にかかわらずトークンごとに 1 ビット。名前とキーは失効の数とともに増える。",
    ]);
    let across = (lang.of(["access tokens alive", "有効なアクセストークン"]), Unit::Plain);
    let here = plan.alive.access;
    figure(Plot { title: title.to_owned(), across, up: Unit::Bytes, lines, here }, (title, about))
}

fn figure(plot: Plot, (title, about): (&'static str, &'static str)) -> Figure {
    let svg = plot.svg();
    let legend = plot.lines.into_iter().rev().map(|line| (line.class, line.label)).collect();
    Figure { title, about, svg, legend }
}

/// A part of what is paid.
struct Kind {
    class: &'static str,
    label: Text,
    items: &'static [Item],
}

const PARTS: [Kind; 6] = [
    Kind {
        class: "part-nodes",
        label: ["nodes", "ノード"],
        items: &[Item::Nodes, Item::NodeMemory],
    },
    Kind {
        class: "part-store",
        label: ["PostgreSQL and disks", "PostgreSQL とディスク"],
        items: &[Item::Postgres, Item::Storage],
    },
    Kind { class: "part-nats", label: ["NATS", "NATS"], items: &[Item::Nats] },
    Kind { class: "part-redis", label: ["Redis", "Redis"], items: &[Item::Redis] },
    Kind {
        class: "part-dynamodb",
        label: ["DynamoDB", "DynamoDB"],
        items: &[Item::DynamodbReads, Item::DynamodbWrites, Item::DynamodbStorage],
    },
    Kind { class: "part-transfer", label: ["transfer", "転送"], items: &[Item::Transfer] },
];

fn bars(plan: &Plan, lang: Lang) -> Vec<Bar> {
    let none = Bill::default();
    let platform = &plan.platform.bill;
    let all = [
        (words::TEGATA, &plan.tegata.bill, &none),
        (words::baseline(&plan.sized), platform, &plan.sized.bill),
        (words::baseline(&plan.example), platform, &plan.example.bill),
    ];
    let longest = all.iter().map(|(_, one, other)| one.total() + other.total()).max();
    let longest = longest.unwrap_or_default().dollars();
    all.into_iter()
        .map(|(label, one, other)| {
            let (label, total) = (lang.of(label), one.total() + other.total());
            let part = |kind: &Kind| {
                let cost: Money =
                    kind.items.iter().map(|item| one.of(*item) + other.of(*item)).sum();
                let label = format!("{}: ${cost}", lang.of(kind.label));
                Part { class: kind.class, label, value: cost.dollars() }
            };
            let parts: Vec<Part> = PARTS.iter().map(part).collect();
            let told: Vec<&str> = parts.iter().map(|part| part.label.as_str()).collect();
            let svg = plot::bar(&format!("{label}. {}", told.join(", ")), &parts, longest);
            Bar { label, total: format!("${}", number(total.dollars().round())), svg }
        })
        .collect()
}

fn compared(plan: &Plan, lang: Lang) -> Vec<[String; 5]> {
    let users = plan.asked.load.users;
    let row = |label: Text, revocation: Money, all: Money, saved: Option<Difference>| {
        [
            lang.of(label).to_owned(),
            revocation.to_string(),
            all.to_string(),
            number(all.each_of(users)),
            saved.map_or_else(String::new, |saved| saved.with("")),
        ]
    };
    let mut rows = vec![row(words::TEGATA, plan.revocation(), plan.cost(), None)];
    rows.extend([&plan.sized, &plan.example].map(|it| {
        row(words::baseline(it), it.bill.total(), plan.cost_with(it), Some(plan.saved(it)))
    }));
    rows
}

fn bills(plan: &Plan, lang: Lang) -> Vec<Shown> {
    let about = |words: Text| format!("{} {}", lang.of(words), lang.of(words::EXAMPLE));
    vec![
        shown(plan, &plan.tegata.bill, lang, (words::TEGATA, String::new())),
        shown(
            plan,
            &plan.sized.bill,
            lang,
            (words::baseline(&plan.sized), about(["Revocation alone:", "失効のためだけの費用："])),
        ),
        shown(
            plan,
            &plan.example.bill,
            lang,
            (
                words::baseline(&plan.example),
                about(["Revocation alone:", "失効のためだけの費用："]),
            ),
        ),
    ]
}

fn shown(plan: &Plan, bill: &Bill, lang: Lang, (title, about): (Text, String)) -> Shown {
    let users = plan.asked.load.users;
    let lines = bill.lines().iter().map(|line| {
        [
            lang.of(words::item(line.item)).to_owned(),
            line.count.to_string(),
            line.each.to_string(),
            line.cost().to_string(),
            line.reserved().to_string(),
        ]
    });
    let both = [bill.total(), bill.reserved()];
    Shown {
        title: lang.of(title),
        about,
        lines: lines.collect(),
        total: both.map(|sum| sum.to_string()),
        each: both.map(|sum| number(sum.each_of(users))),
    }
}

fn assumed(plan: &Plan, lang: Lang) -> Vec<(&'static str, Vec<[String; 4]>)> {
    let row = |row: Row| {
        let from = lang.of(words::origin(row.origin)).to_owned();
        [row.name.to_owned(), number(row.value), lang.of(row.what).to_owned(), from]
    };
    [
        (["Prices", "価格"], plan.asked.prices.rows()),
        (["Figures", "数値"], plan.asked.figures.rows()),
    ]
    .map(|(title, rows)| (lang.of(title), rows.into_iter().map(row).collect()))
    .to_vec()
}
