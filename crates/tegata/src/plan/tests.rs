use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tegata_token::status::LIST_LENGTH;

use super::*;
use crate::plan::{bill::Item, load::MOST_USERS, tell::Lang};

const DAY: u64 = 86_400;

/// What the command asks for when nothing is said.
pub(super) fn asked() -> Asked {
    Asked {
        load: Load {
            users: Count::of(10_000_000),
            sign_ins: 1.0,
            active: Duration::from_secs(1800),
            requests: 100.0,
            revoked: Percent::whole(1),
            sign_outs: Percent::whole(10),
            peak: 5.0,
            access: Duration::from_secs(900),
            refresh: Duration::from_secs(7 * DAY),
            absolute: Duration::from_secs(30 * DAY),
            session: Duration::from_secs(DAY),
        },
        nodes: Nodes::AtLeast(Count::of(3)),
        utilisation: Percent::whole(50),
        durable: Durable::Store,
        redis: true,
        prices: Prices::default(),
        figures: Figures::default(),
    }
}

pub(super) fn asked_of_one_node() -> Asked {
    let load = Load { users: Count::of(1000), ..asked().load };
    Asked { load, nodes: Nodes::AtLeast(Count::of(1)), ..asked() }
}

pub(super) fn asked_with_dynamodb() -> Asked {
    Asked { durable: Durable::Dynamodb, ..asked() }
}

fn dollars(amount: f64) -> Money {
    Money::price(amount).unwrap()
}

#[test]
fn the_example_is_exact() {
    let plan = Plan::of(asked()).unwrap();
    let example = &plan.example;
    let counts = [example.shards, example.nodes, example.reads, example.writes, example.gb];
    assert_eq!(counts.map(Count::get), [10, 30, 5_000, 1_000, 10]);
    assert_eq!(example.bill.of(Item::Redis), dollars(4_500.0));
    assert_eq!(example.dynamodb(), dollars(250.0));
    assert_eq!(example.bill.of(Item::Transfer), dollars(500.0));
    assert_eq!(example.bill.total(), dollars(5_250.0));
    assert_eq!(example.bill.reserved(), dollars(3_150.0 + 750.0));
    assert_eq!(count::number(example.bill.total().each_of(plan.asked.load.users)), "0.000525");
    assert_eq!(count::number(example.bill.reserved().each_of(plan.asked.load.users)), "0.00039");
    let json = tell::json(&plan);
    assert_eq!(json["baselines"][1]["cost"]["monthly"], 5250.0);
    assert_eq!(json["baselines"][1]["cost"]["per_user"], 0.000_525);
    // Whatever else is asked, so long as the people and prices are the same.
    let load = Load { requests: 1.0, peak: 50.0, revoked: Percent::whole(9), ..asked().load };
    let other = Plan::of(Asked { load, nodes: Nodes::Exactly(Count::of(1)), ..asked() }).unwrap();
    assert_eq!(other.example.bill, plan.example.bill);
}

#[test]
fn rates_are_those_that_anybody_would_come_to() {
    let plan = Plan::of(asked()).unwrap();
    let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 1e-12;
    assert!(near(plan.rates.sign_ins.average, 1e7 / 86_400.0));
    assert!(near(plan.rates.sign_ins.peak, 5e7 / 86_400.0));
    assert!(near(plan.rates.refreshes.average, 1e7 / 86_400.0), "two tokens in half an hour");
    assert!(near(plan.rates.checks.average, 1e9 / 86_400.0));
    assert!(near(plan.alive.access, 1e8 / 86_400.0 * 900.0));
    assert!(near(plan.rates.revoked.average, 2e5 / 86_400.0));
}

#[test]
fn one_node_has_its_store_within_and_needs_nothing_else() {
    let plan = Plan::of(asked_of_one_node()).unwrap();
    let items: Vec<Item> = plan.tegata.bill.lines().iter().map(|line| line.item).collect();
    assert_eq!(items, [Item::Nodes, Item::Storage, Item::Transfer]);
    // Where that is not enough, it is said.
    let plan = Plan::of(Asked { nodes: Nodes::Exactly(Count::of(1)), ..asked() }).unwrap();
    let finding = plan.finding().unwrap();
    assert!(finding.contains("`--nodes 1`") && finding.contains("10 are needed"), "{finding}");
    assert_eq!(Plan::of(asked()).unwrap().finding(), None);
}

#[test]
fn what_contradicts_itself_is_refused_with_how_to_mend_it() {
    let load = asked().load;
    for (load, word) in [
        (Load { refresh: Duration::from_secs(31 * DAY), ..load.clone() }, "--refresh-lifetime"),
        (
            Load { refresh: Duration::from_secs(1), absolute: Duration::from_secs(60), ..load },
            "--active",
        ),
    ] {
        let why = Plan::of(Asked { load, ..asked() }).unwrap_err().to_string();
        assert!(why.contains(word), "{why}");
    }
    let why = Plan::of(Asked { utilisation: Percent::whole(0), ..asked() }).unwrap_err();
    assert!(why.to_string().contains("--utilisation"), "{why}");
}

/// Loads of all sizes, the absurd ones that the command line lets through among them.
fn loads() -> impl Strategy<Value = Load> {
    let users = (0.0..11.0_f64)
        .prop_map(|power| Count::rounded_up(10_f64.powf(power)).unwrap_or(Count::of(1)));
    let percent = || (0..=100_u32).prop_map(Percent::whole);
    let secs = |most: u64| (1..=most).prop_map(Duration::from_secs);
    let people = (users, -3.0..3.0_f64, secs(DAY), 0.0..6.0_f64, percent(), percent());
    (people, 1.0..1000.0_f64, secs(3600), secs(365 * DAY), secs(DAY)).prop_map(
        |(
            (users, sign_ins, active, requests, revoked, sign_outs),
            peak,
            access,
            refresh,
            session,
        )| {
            let (sign_ins, requests) = (10_f64.powf(sign_ins), 10_f64.powf(requests) - 1.0);
            // No shorter than what it must hold.
            let absolute = refresh.max(active);
            Load {
                users,
                sign_ins,
                active,
                requests,
                revoked,
                sign_outs,
                peak,
                access,
                refresh,
                absolute,
                session,
            }
        },
    )
}

/// Loads as most have them.
fn usual_loads() -> impl Strategy<Value = Load> {
    let users = (2.0..9.0_f64)
        .prop_map(|power| Count::rounded_up(10_f64.powf(power)).unwrap_or(Count::of(1)));
    let percent = || (0..=20_u32).prop_map(Percent::whole);
    (users, 0.05..2.0_f64, 1.0..500.0_f64, percent(), percent()).prop_map(
        |(users, sign_ins, requests, revoked, sign_outs)| Load {
            users,
            sign_ins,
            requests,
            revoked,
            sign_outs,
            ..asked().load
        },
    )
}

fn layouts() -> impl Strategy<Value = Asked> {
    let nodes = prop_oneof![
        (1..10_u32).prop_map(|least| Nodes::AtLeast(Count::of(least))),
        (1..100_u32).prop_map(|nodes| Nodes::Exactly(Count::of(nodes))),
    ];
    let loads = prop_oneof![loads(), usual_loads()];
    (loads, nodes, any::<bool>(), any::<bool>(), 1..=100_u32).prop_map(
        |(load, nodes, dynamodb, redis, busy)| Asked {
            load,
            nodes,
            utilisation: Percent::whole(busy),
            durable: if dynamodb { Durable::Dynamodb } else { Durable::Store },
            redis,
            ..asked()
        },
    )
}

fn costs(plan: &Plan) -> [Money; 6] {
    let bills = [&plan.tegata.bill, &plan.sized.bill, &plan.example.bill];
    let [one, two, three] = bills.map(bill::Bill::total);
    let [four, five, six] = bills.map(bill::Bill::reserved);
    [one, two, three, four, five, six]
}

fn not_less(less: &Plan, more: &Plan) -> bool {
    costs(less).iter().zip(costs(more)).all(|(less, more)| *less <= more)
}

proptest! {
    #[test]
    fn more_people_never_cost_less(asked in layouts(), times in 1.0..1000.0_f64) {
        let users = asked.load.users.number() * times;
        let users = Count::rounded_up(users.min(1e11)).unwrap().max(asked.load.users);
        let more = Asked { load: Load { users, ..asked.load.clone() }, ..asked.clone() };
        // Where more is more than can be planned, there is nothing to compare.
        if let (Ok(less), Ok(more)) = (Plan::of(asked), Plan::of(more)) {
            prop_assert!(not_less(&less, &more));
        }
    }

    #[test]
    fn who_does_more_never_costs_less(asked in layouts(), times in 1.0..10.0_f64, which in 0..5) {
        let mut load = asked.load.clone();
        match which {
            0 => load.sign_ins *= times,
            1 => load.requests *= times,
            2 => load.peak *= times,
            3 => load.revoked = Percent::whole(100),
            _ => load.sign_outs = Percent::whole(100),
        }
        let more = Asked { load, ..asked.clone() };
        if let (Ok(less), Ok(more)) = (Plan::of(asked), Plan::of(more)) {
            prop_assert!(not_less(&less, &more));
        }
    }

    #[test]
    fn costs_add_up(asked in layouts()) {
        let Ok(plan) = Plan::of(asked) else { return Ok(()) };
        for bill in [&plan.tegata.bill, &plan.sized.bill, &plan.example.bill] {
            let lines: Money = bill.lines().iter().map(|line| line.each.times(line.count)).sum();
            prop_assert_eq!(lines, bill.total());
            prop_assert!(bill.reserved() <= bill.total());
        }
        prop_assert_eq!(plan.platform.bill.total() + plan.revocation(), plan.cost());
        let saved = plan.cost_with(&plan.sized).dollars() - plan.cost().dollars();
        prop_assert!((plan.saved(&plan.sized).dollars() - saved).abs() <= saved.abs() * 1e-9 + 1e-3);
    }

    #[test]
    fn machines_hold_what_they_must(asked in layouts()) {
        let Ok(plan) = Plan::of(asked) else { return Ok(()) };
        let (tegata, memory) = (&plan.tegata, &plan.tegata.memory);
        let places = memory.lists * f64::from(LIST_LENGTH);
        let needed = plan.rates.tokens.peak * 900.0 * memory.quarters;
        let nothing = plan.rates.revoked.peak + plan.rates.sign_outs.peak == 0.0;
        prop_assert!(nothing || places >= needed * (1.0 - 1e-9));
        if plan.finding().is_none() {
            let cores = tegata.cores.tokens + tegata.cores.gateway;
            let busy = cores / (tegata.nodes.number() * 4.0);
            prop_assert!(busy <= plan.asked.utilisation.factor() * (1.0 + 1e-9), "{busy}");
        }
        let has = (8.0 + tegata.more_gib.number()) * 0.75 * 1024.0_f64.powi(3);
        prop_assert!(tegata.node_bytes <= has * (1.0 + 1e-9));
    }

    #[test]
    fn a_dearer_thing_costs_as_much_more_as_there_is_of_it(asked in layouts(), more in 0..1_000_000_u32) {
        let mut dearer = asked.clone();
        dearer.prices.node = asked.prices.node + Money::micros(more);
        if let (Ok(plan), Ok(dearer)) = (Plan::of(asked), Plan::of(dearer)) {
            let much = Money::micros(more).times(plan.tegata.nodes);
            prop_assert_eq!(dearer.cost(), plan.cost() + much);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_plan_can_be_told(asked in layouts()) {
        let Ok(plan) = Plan::of(asked) else { return Ok(()) };
        let told = [
            tell::text(&plan),
            tell::json(&plan).to_string(),
            tell::page(&plan, Lang::En).unwrap(),
        ];
        for text in &told {
            for bad in ["NaN", "inf<", "inf ", "-0<"] {
                prop_assert!(!text.contains(bad), "{bad}: {text}");
            }
        }
    }
}

#[test]
fn the_largest_that_can_be_asked_for_is_planned_or_refused() {
    let most = Count::rounded_up(MOST_USERS as f64).unwrap();
    let load = Load { users: most, ..asked().load };
    assert!(Plan::of(Asked { load: load.clone(), ..asked() }).is_ok());
    let load = Load {
        sign_ins: 1000.0,
        requests: 1e6,
        peak: 1000.0,
        access: Duration::from_secs(1),
        active: Duration::from_secs(DAY),
        ..load
    };
    let why = Plan::of(Asked { load, ..asked() }).unwrap_err().to_string();
    assert!(why.contains("--users") && why.contains("nobody has"), "{why}");
}

#[test]
fn a_page_needs_nothing_else_and_is_in_both_languages() {
    let plan = Plan::of(asked()).unwrap();
    for (first, tag) in [(Lang::En, "en"), (Lang::Ja, "ja")] {
        let page = tell::page(&plan, first).unwrap();
        assert!(page.contains(&format!("<html lang=\"{tag}\">")), "{tag}");
        for text in ["日本語", "English", "5,250.00", "0.000525", "href=\"#ja\"", "href=\"#en\""]
        {
            assert!(page.contains(text), "{text}");
        }
        for foreign in
            ["<script", "http:", "https:", "url(", "@import", "src=", "<link rel=\"style"]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg class=\"plot\"").count(), 4);
        assert_eq!(page.matches("<svg class=\"bar\"").count(), 6);
    }
}

/// Names that others may rely on.
#[test]
fn the_names_in_json_stay() {
    let json = tell::json(&Plan::of(asked_with_dynamodb()).unwrap());
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        names(&json),
        [
            "users",
            "asked",
            "rates",
            "tokens_alive",
            "revocation",
            "nodes",
            "store",
            "redis",
            "dynamodb",
            "cost",
            "baselines",
            "reasoning",
            "assumed",
            "notes",
            "finding"
        ]
    );
    assert_eq!(
        names(&json["cost"]),
        [
            "currency",
            "monthly",
            "monthly_reserved",
            "per_user",
            "per_user_reserved",
            "lines",
            "platform",
            "revocation"
        ]
    );
    assert_eq!(
        names(&json["baselines"][0]),
        [
            "name",
            "about",
            "redis",
            "dynamodb",
            "dynamodb_monthly",
            "transfer_gb",
            "cost",
            "with_platform",
            "tegata_saves"
        ]
    );
    let named = json["baselines"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    assert!(named.eq(["redis-per-request-sized", "redis-per-request-example"]));
}
