//! A program to be killed. `cargo xtask faults` starts it, kills it, and has it judge what is left.
//!
//! | module | subject |
//! |---|---|
//! | [`ledger`] | writing batches whose parts must stay together |
//! | [`judge`] | whether what was acknowledged is there, and nothing is there in part |

use std::{
    env,
    io::{self, BufRead as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use tegata_core::{Node, Records, SystemClock};
use tegata_store::{Sqlite, SqliteConfig};
use tokio::runtime::Runtime;

mod judge;
mod ledger;

const USAGE: &str = "usage: tegata-victim write|judge DATABASE; `write` prints a line per \
                     acknowledged batch and never ends, `judge` reads those lines";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [verb, database] = arguments else { bail!(USAGE) };
    let runtime = Runtime::new().context("the runtime does not start")?;
    let _entered = runtime.enter();
    let records = open(Path::new(database))?;
    match verb.as_str() {
        "write" => ledger::write(&runtime, records.as_ref(), |line| println!("{line}")),
        "judge" => {
            let acknowledged = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
            let node = Node::start();
            let saw = runtime.block_on(judge::judge(records.as_ref(), node.id(), &acknowledged))?;
            println!("{saw}");
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

fn open(database: &Path) -> Result<Arc<dyn Records>> {
    let config = SqliteConfig::default();
    let sqlite = Sqlite::open(database, &config, ledger::KINDS, Arc::new(SystemClock))?;
    Ok(Arc::new(sqlite.records()))
}
