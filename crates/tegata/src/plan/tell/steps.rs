//! How each number of a plan was come by, so that whoever reads it can follow, and disagree.

use super::words::{self, Lang, Text};
use crate::plan::{
    Plan,
    bill::Item,
    count::{bytes, number},
    money::Money,
};

mod compared;
mod load;
mod machines;
mod revocation;

/// A step of the reasoning.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its name for machines.
    pub(super) name: &'static str,
    label: Text,
    why: Text,
    values: Vec<String>,
}

impl Step {
    /// What it is about.
    pub(super) const fn label(&self, lang: Lang) -> &'static str {
        lang.of(self.label)
    }

    /// The formula, with its numbers.
    pub(super) fn why(&self, lang: Lang) -> String {
        let mut text = lang.of(self.why).to_owned();
        for (at, value) in self.values.iter().enumerate() {
            text = text.replace(&format!("{{{at}}}"), value);
        }
        text
    }
}

/// Steps that belong together.
pub(super) struct Chapter {
    /// What they are about.
    pub(super) title: Text,
    /// The steps.
    pub(super) steps: Vec<Step>,
}

/// The reasoning of a plan.
pub(super) fn chapters(plan: &Plan) -> Vec<Chapter> {
    vec![
        Chapter { title: ["What people do", "利用状況"], steps: load::steps(plan) },
        Chapter {
            title: ["What each node knows of what was taken back", "各ノードが持つ失効情報"],
            steps: revocation::steps(plan),
        },
        Chapter { title: ["Machines", "マシン"], steps: machines::steps(plan) },
        Chapter { title: ["Compared", "比較"], steps: compared::steps(plan) },
    ]
}

/// What is to be known of a plan beside its numbers.
pub(super) fn notes(plan: &Plan) -> Vec<Step> {
    let (figures, store) = (&plan.asked.figures, &plan.tegata.store);
    let mut notes = Vec::new();
    if plan.tegata.nodes < plan.tegata.needed {
        let why = [
            "The nodes do not carry this load: there are {0}, and {1} are needed.",
            "ノード {0} 台ではこの負荷を担えません：{1} 台必要です。",
        ];
        notes.push(step("nodes", words::NOTE, why, values![plan.tegata.nodes, plan.tegata.needed]));
    }
    let cores = store.size.number() * figures.postgres_cores.get();
    if cores > figures.largest_cores.get() {
        let installations = (cores / figures.largest_cores.get()).ceil();
        let why = [
            "One PostgreSQL server would need {0} cores, and the largest has {1}. An installation has \
             one primary: share the people among {2} installations.",
            "PostgreSQL サーバー 1 台に {0} コアが必要ですが、最大のものでも {1} コアです。1 つの構成に\
             プライマリーは 1 台なので、利用者を {2} 個の構成に分けてください。",
        ];
        let largest = number(figures.largest_cores.get());
        let values = values![number(cores), largest, number(installations)];
        notes.push(step("installations", words::NOTE, why, values));
    }
    if plan.tegata.dynamodb.is_some() {
        notes.push(step("dynamodb", words::NOTE, words::DYNAMODB_READS, Vec::new()));
    }
    notes.push(step("prices", words::NOTE, words::PRICES_ARE_EXAMPLES, Vec::new()));
    notes.push(step("not_counted", words::NOTE, words::NOT_COUNTED, Vec::new()));
    notes
}

/// Begins a step. In the texts `{0}`, `{1}` … stand for the values.
fn step(name: &'static str, label: Text, why: Text, values: Vec<String>) -> Step {
    Step { name, label, why, values }
}

/// The values of a step, each of which can be shown.
macro_rules! values {
    ($($value:expr),+ $(,)?) => { vec![$($value.to_string()),+] };
}
use values;

/// So many a second.
fn rate(a_second: f64) -> String {
    format!("{}/s", number(a_second))
}

fn dollars(money: Money) -> String {
    format!("${money}")
}

/// What the lines of a bill come to: `$105.00 + $12.00`.
fn sum(plan: &Plan) -> String {
    let lines = plan.tegata.bill.lines().iter().map(|line| dollars(line.cost()));
    lines.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{asked, asked_of_one_node, asked_with_dynamodb};

    #[test]
    fn every_value_has_its_place_in_every_language() {
        for asked in [asked(), asked_of_one_node(), asked_with_dynamodb()] {
            let plan = Plan::of(asked).unwrap();
            for chapter in chapters(&plan) {
                for step in chapter.steps {
                    for lang in [Lang::En, Lang::Ja] {
                        let why = lang.of(step.why);
                        for at in 0..step.values.len() {
                            assert!(why.contains(&format!("{{{at}}}")), "{}: {why}", step.name);
                        }
                        assert!(!step.why(lang).contains(['{', '}']), "{}", step.name);
                    }
                }
            }
        }
    }
}
