//! A plan for people: tables first, then the reasoning.

use std::fmt::Write as _;

use super::{
    steps::{self, Chapter, Step},
    words::{self, Lang},
};
use crate::plan::{
    Plan,
    baseline::Baseline,
    bill::Bill,
    count::{bytes, number},
    load::Rate,
};

/// How wide a line of the reasoning is.
const WIDTH: usize = 100;

/// The plan as text.
pub(crate) fn text(plan: &Plan) -> String {
    let mut text = format!("A plan for {} users\n", plan.asked.load.users);
    rates(plan, &mut text);
    revocation(plan, &mut text);
    bill_table("TEGATA, $ A MONTH", &plan.tegata.bill, plan, &mut text);
    compared(plan, &mut text);
    example(plan, &mut text);
    let _ = writeln!(text, "\nREASONING");
    for Chapter { title, steps } in steps::chapters(plan) {
        let _ = writeln!(text, "\n{}", Lang::En.of(title));
        steps.iter().for_each(|step| said(step, &mut text));
    }
    let _ = writeln!(text, "\nNOTES");
    for note in steps::notes(plan) {
        text.push_str(&wrapped(&note.why(Lang::En), "  ", "  "));
    }
    text
}

fn rates(plan: &Plan, text: &mut String) {
    let rates = &plan.rates;
    let row = |name: &str, rate: Rate| row([name, &a_second(rate.average), &a_second(rate.peak)]);
    let peak = format!("× {} AT PEAK", number(plan.asked.load.peak));
    let rows = vec![
        self::row(["EACH SECOND", "ON AVERAGE", &peak]),
        row("sign-ins", rates.sign_ins),
        row("refreshes", rates.refreshes),
        row("checks", rates.checks),
        row("tokens taken back", rates.revoked),
        row("sign-outs", rates.sign_outs),
        row("commits to the store", plan.tegata.store.commits),
    ];
    table(rows, text);
}

fn revocation(plan: &Plan, text: &mut String) {
    let (alive, layout) = (&plan.alive, &plan.tegata);
    let memory = &layout.memory;
    table(
        vec![
            row(["TOKENS AND REVOCATIONS", "NUMBER", "SIZE"]),
            row(["access tokens alive", &number(alive.access), ""]),
            row(["refresh tokens alive", &number(alive.refresh), ""]),
            row(["all that can be taken back", &number(alive.all()), ""]),
            row(["status lists, each node", &number(memory.lists), &bytes(memory.list_bytes)]),
            row(["ended names, each node", &number(memory.names), &bytes(memory.name_bytes)]),
            row(["memory, each node", "", &bytes(layout.node_bytes)]),
            row(["revocations in the store", "", &bytes(layout.store.taken_back_bytes)]),
            row(["the store", "", &bytes(layout.store.bytes())]),
        ],
        text,
    );
}

fn bill_table(title: &str, bill: &Bill, plan: &Plan, text: &mut String) {
    let mut rows = vec![row([title, "COUNT", "EACH", "COST", "RESERVED"])];
    for line in bill.lines() {
        rows.push(row([
            Lang::En.of(words::item(line.item)),
            &line.count.to_string(),
            &line.each.to_string(),
            &line.cost().to_string(),
            &line.reserved().to_string(),
        ]));
    }
    let (total, reserved, users) = (bill.total(), bill.reserved(), plan.asked.load.users);
    rows.push(row(["together", "", "", &total.to_string(), &reserved.to_string()]));
    let each = [number(total.each_of(users)), number(reserved.each_of(users))];
    rows.push(row(["for each user", "", "", &each[0], &each[1]]));
    table(rows, text);
}

fn compared(plan: &Plan, text: &mut String) {
    let users = plan.asked.load.users;
    let mut rows =
        vec![row(["COMPARED, $ A MONTH", "REVOCATION", "ALL", "EACH USER", "TEGATA SAVES"])];
    let each = number(plan.cost().each_of(users));
    let (revocation, all) = (plan.revocation().to_string(), plan.cost().to_string());
    rows.push(row([Lang::En.of(words::TEGATA), &revocation, &all, &each, ""]));
    for baseline in [&plan.sized, &plan.example] {
        let all = plan.cost_with(baseline);
        rows.push(row([
            Lang::En.of(words::baseline(baseline)),
            &baseline.bill.total().to_string(),
            &all.to_string(),
            &number(all.each_of(users)),
            &plan.saved(baseline).with(""),
        ]));
    }
    table(rows, text);
}

fn example(plan: &Plan, text: &mut String) {
    let example: &Baseline = &plan.example;
    let about = format!(
        "The example is {}. For {} users: Redis, shards: {}, × (1 primary + {} replicas) = {} nodes of \
         type r6g.xlarge; DynamoDB (read units: {}, write units: {}, GB: {}): ${}",
        Lang::En.of(words::EXAMPLE),
        plan.asked.load.users,
        example.shards,
        example.replicas,
        example.nodes,
        example.reads,
        example.writes,
        example.gb,
        example.dynamodb()
    );
    let _ = write!(text, "\n{}", wrapped(&about, "", ""));
    bill_table("THE EXAMPLE, $ A MONTH", &example.bill, plan, text);
}

fn said(step: &Step, text: &mut String) {
    let indent = " ".repeat(26);
    let first = format!("  {:22}  ", step.label(Lang::En));
    text.push_str(&wrapped(&step.why(Lang::En), &first, &indent));
}

/// Words in lines, the first and the others with what stands before them.
fn wrapped(words: &str, first: &str, others: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut has_words = false;
    for word in words.split(' ') {
        if has_words && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            others.clone_into(&mut line);
            has_words = false;
        }
        if has_words {
            line.push(' ');
        }
        line.push_str(word);
        has_words = true;
    }
    let _ = writeln!(text, "{}", line.trim_end());
    text
}

fn a_second(rate: f64) -> String {
    format!("{}/s", number(rate))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Writes rows whose first column is on the left and whose others are on the right.
fn table(rows: Vec<Vec<String>>, text: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    text.push('\n');
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
