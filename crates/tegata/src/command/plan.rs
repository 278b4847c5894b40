//! `tegata plan`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use toml::{Table, Value};

use super::{Context, Failed};
use crate::{
    config::{self, Span},
    plan::{
        Asked, Durable, Nodes, Plan,
        assumed::{Figures, Origin, Prices, Row},
        count::Count,
        load::Load,
        money::Percent,
        tell::{self, Lang},
    },
    show::Format,
};

mod numbers;

#[derive(Args)]
#[command(allow_negative_numbers = true, after_long_help = all_numbers())]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    people: People,
    #[command(flatten)]
    machines: Machines,
    /// A file of prices and figures, as the table below names them: `[prices]` and `[figures]`.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// A price in place of the file's and the default's; may be repeated.
    #[arg(long, value_name = "NAME=DOLLARS")]
    price: Vec<String>,
    /// A figure in place of the file's and the default's; may be repeated.
    #[arg(long, value_name = "NAME=NUMBER")]
    figure: Vec<String>,
    /// Writes a page with plots, which needs nothing else, over what is there.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// The language that the page shows first; it has both.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
}

/// What people do.
#[derive(Args)]
#[command(next_help_heading = "What people do")]
struct People {
    /// People and machines to begin with: each option stands over it [default: example]
    #[arg(long, value_enum, hide_default_value = true, default_value_t)]
    preset: Preset,
    /// How many people there are, such as `250000`, `1.5M` or `10_000_000` [default: the preset's]
    #[arg(long, value_name = "NUMBER", value_parser = numbers::users)]
    users: Option<Count>,
    /// How often one of them signs in, a day.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = numbers::sign_ins)]
    sign_ins: f64,
    /// For how long after a sign-in tokens are kept fresh, such as `30m`.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = numbers::active)]
    active: Duration,
    /// How many calls through the gateway one of them makes, a day.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = numbers::requests)]
    requests: f64,
    /// How many of 100 access tokens are taken back one by one.
    #[arg(long, value_name = "PERCENT", default_value = "1")]
    revoked: Percent,
    /// How many of 100 sign-ins end by signing out.
    #[arg(long, value_name = "PERCENT", default_value = "10")]
    sign_outs: Percent,
    /// How much more happens in the busiest hour than on average.
    #[arg(long, value_name = "FACTOR", default_value = "5", value_parser = numbers::peak)]
    peak: f64,
    /// How long an access token lives, `1s` to `1h` [default: the configuration's, `15m`]
    #[arg(long, value_name = "DURATION", value_parser = numbers::access)]
    access_lifetime: Option<Duration>,
    /// How long a refresh token lives unused [default: the configuration's, `7d`]
    #[arg(long, value_name = "DURATION", value_parser = numbers::refresh)]
    refresh_lifetime: Option<Duration>,
    /// How long the refresh tokens of a sign-in live at most [default: the configuration's, `30d`]
    #[arg(long, value_name = "DURATION", value_parser = numbers::refresh)]
    refresh_absolute: Option<Duration>,
}

/// The machines.
#[derive(Args)]
#[command(next_help_heading = "Machines")]
struct Machines {
    /// How many nodes, however many are needed; 1 has its store within [default: as many as are
    /// needed, and 3 at least]
    #[arg(long, value_name = "NUMBER", value_parser = numbers::nodes)]
    nodes: Option<Count>,
    /// How busy machines may be in the busiest hour, of 100.
    #[arg(long, value_name = "PERCENT", default_value = "50")]
    utilisation: Percent,
    /// Where revocations are kept beside the store.
    #[arg(long, value_enum, default_value_t)]
    durable: Home,
    /// Several nodes do without a Redis; the store then keeps what is kept for a while.
    #[arg(long)]
    without_redis: bool,
}

/// People and machines to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Preset {
    /// 10,000 people on one node.
    Startup,
    /// 1,000,000 people.
    Shop,
    /// 10,000,000 people, as in the example that Tegata is compared with.
    #[default]
    Example,
    /// 100,000,000 people.
    Country,
}

impl Preset {
    const fn users(self) -> Count {
        Count::of(match self {
            Self::Startup => 10_000,
            Self::Shop => 1_000_000,
            Self::Example => 10_000_000,
            Self::Country => 100_000_000,
        })
    }

    const fn nodes(self) -> Nodes {
        Nodes::AtLeast(Count::of(if matches!(self, Self::Startup) { 1 } else { 3 }))
    }
}

/// Where revocations are kept beside the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Home {
    /// Nowhere: the store is enough.
    #[default]
    Store,
    /// In DynamoDB.
    Dynamodb,
}

/// A file of prices and figures.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Assumed {
    prices: Prices,
    figures: Figures,
}

impl PlanArgs {
    /// Plans, shows the plan, and writes its page where one is asked for.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let page = self.page.clone().map(|file| (file, self.lang));
        let plan = Plan::of(self.asked(context)?).map_err(|why| Failed::Usage(why.to_string()))?;
        if let Some((file, lang)) = &page {
            write(file, &plan, *lang)?;
        }
        match context.format {
            Format::Json => context.show(&tell::json(&plan))?,
            Format::Text => {
                say_line!("{}", tell::text(&plan).trim_end());
                if let Some((file, _)) = page {
                    say_line!("\nwrote {}", file.display());
                }
            }
        }
        plan.finding().map_or(Ok(()), |why| Err(Failed::Operation(why)))
    }

    fn asked(self, context: &Context) -> Result<Asked, Failed> {
        let Assumed { prices, figures } = self.assumed()?;
        let Self { people, machines, .. } = self;
        // Only what was named: a file that happens to be here is nobody's wish.
        let config = match &context.config {
            Some(_) => context.load()?.0,
            None => config::Config::default(),
        };
        let (tokens, life) =
            (config.tokens, |given: Option<Duration>, of: Span| given.unwrap_or(of.get()));
        Ok(Asked {
            load: Load {
                users: people.users.unwrap_or(people.preset.users()),
                sign_ins: people.sign_ins,
                active: people.active,
                requests: people.requests,
                revoked: people.revoked,
                sign_outs: people.sign_outs,
                peak: people.peak,
                access: life(people.access_lifetime, tokens.access_lifetime),
                refresh: life(people.refresh_lifetime, tokens.refresh_lifetime),
                absolute: life(people.refresh_absolute, tokens.refresh_absolute),
                session: config.sessions.absolute(),
            },
            nodes: machines.nodes.map_or(people.preset.nodes(), Nodes::Exactly),
            utilisation: machines.utilisation,
            durable: match machines.durable {
                Home::Store => Durable::Store,
                Home::Dynamodb => Durable::Dynamodb,
            },
            redis: !machines.without_redis,
            prices,
            figures,
        })
    }

    /// Prices and figures: the defaults, the file over them, and the options over both.
    fn assumed(&self) -> Result<Assumed, Failed> {
        let mut table = match &self.prices {
            Some(file) => config::read_table::<Assumed>(file)?,
            None => Table::new(),
        };
        let options = [("price", "prices", &self.price), ("figure", "figures", &self.figure)];
        for (option, section, set) in options {
            for text in set {
                let place = format!("`--{option} {text}`");
                let (name, value) = numbers::assignment(text).ok_or_else(|| {
                    Failed::Usage(format!("{place} sets nothing: write a name, `=` and a number"))
                })?;
                let one = Table::from_iter([(name.to_owned(), value)]);
                let alone = Table::from_iter([(section.to_owned(), Value::Table(one.clone()))]);
                config::from_table::<Assumed>(alone, &place)?;
                let all = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(all) = all {
                    all.extend(one);
                }
            }
        }
        Ok(config::from_table(table, "prices and figures")?)
    }
}

fn write(file: &Path, plan: &Plan, lang: Lang) -> Result<(), Failed> {
    let page = tell::page(plan, lang)
        .map_err(|error| Failed::Operation(format!("the page cannot be made: {error}")))?;
    std::fs::write(file, page).map_err(|error| {
        let file = file.display();
        Failed::Operation(format!("`{file}` cannot be written: {error}; name another file"))
    })
}

/// The names of prices and figures, with defaults and units.
fn all_numbers() -> String {
    let mut text = String::new();
    let parts = [
        (
            "Prices, in [prices] of the file and for --price; all are examples:",
            Prices::default().rows(),
        ),
        ("Figures, in [figures] of the file and for --figure:", Figures::default().rows()),
    ];
    for (title, rows) in parts {
        let _ = writeln!(text, "{title}");
        for Row { name, value, what: [what, _], origin } in rows {
            let mark = if origin == Origin::Assumed { " (assumed)" } else { "" };
            let _ = writeln!(text, "  {name:23} {value:>7}  {what}{mark}");
        }
        text.push('\n');
    }
    text.push_str("docs/plan.md says where measured figures come from, and what each is for.");
    text
}
