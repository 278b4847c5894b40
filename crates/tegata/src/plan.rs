//! What an installation needs and costs, from how many people use it and how.
//!
//! The model is arithmetic alone: it reads and writes nothing, and asks nobody the time. Rates and
//! sizes are `f64`, whose error is far below that of the assumptions. Whatever is bought is counted in
//! whole things, rounded up once, when all is known of it. Money is whole millionths of a dollar.
//!
//! | module | says |
//! |---|---|
//! | [`load`] | what people do, and how often everything happens |
//! | [`assumed`] | what one thing costs: prices, and figures that were measured |
//! | [`memory`] | what a node keeps to know what was taken back |
//! | [`layout`] | which machines Tegata needs |
//! | [`baseline`] | which machines a Redis key for each token needs |
//! | [`bill`] | what they cost |
//! | [`tell`] | all of it, in words, for people and for machines |

use std::fmt;

pub(crate) mod assumed;
pub(crate) mod baseline;
pub(crate) mod bill;
pub(crate) mod count;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod money;
pub(crate) mod tell;

use assumed::{Figures, Prices};
use baseline::Baseline;
use bill::TooMuch;
use count::Count;
use layout::Layout;
use load::{Alive, Load, Rates};
use money::{Difference, Money, Percent};

/// How many nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nodes {
    /// As many as the load needs, and so many at least.
    AtLeast(Count),
    /// So many, whatever the load needs.
    Exactly(Count),
}

/// Where revocations are kept beside the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Nowhere.
    Store,
    /// In DynamoDB.
    Dynamodb,
}

/// What is to be planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// What people do.
    pub(crate) load: Load,
    /// How many nodes.
    pub(crate) nodes: Nodes,
    /// How busy machines may be in the busiest hour.
    pub(crate) utilisation: Percent,
    /// Where revocations are kept beside the store.
    pub(crate) durable: Durable,
    /// Whether several nodes have a Redis.
    pub(crate) redis: bool,
    /// What things cost.
    pub(crate) prices: Prices,
    /// What things take.
    pub(crate) figures: Figures,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoPlan(String);

impl fmt::Display for NoPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TooMuch> for NoPlan {
    fn from(TooMuch(item): TooMuch) -> Self {
        Self(format!(
            "this load needs more than {} of `{}`, which nobody has: lower `--users`, `--sign-ins`, \
             `--requests` or `--peak`, or mend the figure that makes it so much",
            Count::MOST,
            item.name()
        ))
    }
}

/// A plan, and what it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// What was asked.
    pub(crate) asked: Asked,
    /// How often everything happens.
    pub(crate) rates: Rates,
    /// How many tokens are alive.
    pub(crate) alive: Alive,
    /// Tegata, for this load.
    pub(crate) tegata: Layout,
    /// The same if nothing were ever taken back: what everybody needs, however revocations are known.
    pub(crate) platform: Layout,
    /// A Redis key for each token, sized for this load.
    pub(crate) sized: Baseline,
    /// The same, in proportion to the example of the design.
    pub(crate) example: Baseline,
}

impl Plan {
    /// The plan for what is asked.
    ///
    /// # Errors
    /// What is wrong with it, and how to mend it.
    pub(crate) fn of(asked: Asked) -> Result<Self, NoPlan> {
        if let Some(wrong) = asked.load.contradiction() {
            return Err(NoPlan(wrong));
        }
        for (name, share) in
            [("--utilisation", asked.utilisation), ("fill_percent", asked.figures.fill_percent)]
        {
            if share == Percent::whole(0) {
                return Err(NoPlan(format!("`{name}` is 0: nothing could be used of any machine")));
            }
        }
        let rates = Rates::of(&asked.load);
        let platform = Layout::of(&asked, &asked.load.taking_nothing_back())?;
        Ok(Self {
            alive: Alive::of(&asked.load, &rates),
            tegata: Layout::of(&asked, &asked.load)?,
            platform,
            sized: Baseline::sized(&asked, &rates)?,
            example: Baseline::example(&asked, &rates)?,
            rates,
            asked,
        })
    }

    /// The same for other people, on as many nodes as they need.
    pub(crate) fn with_users(&self, users: Count) -> Option<Self> {
        let Asked { nodes: Nodes::AtLeast(least) | Nodes::Exactly(least), .. } = self.asked;
        let load = Load { users, ..self.asked.load.clone() };
        Self::of(Asked { load, nodes: Nodes::AtLeast(least), ..self.asked.clone() }).ok()
    }

    /// What Tegata costs in a month.
    pub(crate) fn cost(&self) -> Money {
        self.tegata.bill.total()
    }

    /// What knowing what was taken back adds to that.
    pub(crate) fn revocation(&self) -> Money {
        self.cost().minus(self.platform.bill.total())
    }

    /// What the platform costs with a Redis key for each token.
    pub(crate) fn cost_with(&self, baseline: &Baseline) -> Money {
        self.platform.bill.total() + baseline.bill.total()
    }

    /// What Tegata saves in a month.
    pub(crate) fn saved(&self, baseline: &Baseline) -> Difference {
        self.cost_with(baseline).above(self.cost())
    }

    /// What is wrong with the plan: the nodes that were asked for do not carry the load.
    pub(crate) fn finding(&self) -> Option<String> {
        (self.tegata.nodes < self.tegata.needed).then(|| {
            format!(
                "`--nodes {}` does not carry this load: {} are needed to be at most {} % busy in the \
                 busiest hour; leave `--nodes` out, or raise it",
                self.tegata.nodes, self.tegata.needed, self.asked.utilisation
            )
        })
    }
}

#[cfg(test)]
mod tests;
