//! The verbs of the repository: the same at the desk and in CI.
//!
//! | module | verb |
//! |---|---|
//! | [`mod@test`] | builds and runs all tests, with the parts of the system that they need |
//! | [`check`] | everything that CI runs |
//! | [`rules`] | what compilers and linters do not see: layers, bans, licences, words |
//! | [`generated`] | pieces of documents that are rendered from code |
//! | [`fuzz`] | the fuzz targets |
//! | [`mod@bench`] | the benchmarks |
//! | [`cluster`] | a whole installation, to be tried by hand |
//! | [`faults`] | scenarios that break things on purpose |
//! | [`attack`] | the attack corpus, said to a gateway |
//! | [`soak`] | something used for long, and whether it grows |

#![expect(unreachable_pub, reason = "in a program, `pub` says what other modules may use")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod attack;
mod bench;
mod check;
mod cluster;
mod command;
mod faults;
mod fuzz;
mod generated;
mod parts;
mod rules;
mod soak;
mod tally;
mod test;
mod tools;
mod workspace;

/// Builds, checks and tries Tegata.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs all tests of the workspace; the last line is `N passed, N failed`
    Test {
        /// Handed to `cargo test`: `cargo xtask test -- -p tegata-core -- --nocapture`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs what CI runs, and stops at the first step that fails
    Check,
    /// Checks layers, bans, licences, version floors, manifests and sources
    Rules,
    /// Writes the generated pieces of documents anew
    Generate,
    /// Runs fuzz targets in turn
    Fuzz {
        /// Which targets; all where none is named
        targets: Vec<String>,
        /// For how long each target runs, in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Lists the targets and runs nothing
        #[arg(long)]
        list: bool,
    },
    /// Runs the benchmarks, or those of one name
    Bench(bench::Bench),
    /// Starts a whole installation on this machine, until Ctrl-C or the end of the input
    Cluster(cluster::Cluster),
    /// Runs scenarios that break something on purpose; lists them where none is named
    Faults(faults::Faults),
    /// Says the attack corpus to a gateway: one of its own, or the one at an address
    Attack(attack::Attack),
    /// Uses something for long, and looks whether it grows
    Soak(soak::Soak),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Test { arguments } => test::run(&arguments),
        Verb::Check => check::run(),
        Verb::Rules => rules::run(),
        Verb::Generate => generated::write(),
        Verb::Fuzz { list: true, .. } => fuzz::list(),
        Verb::Fuzz { targets, seconds, list: false } => fuzz::run(&targets, seconds),
        Verb::Bench(asked) => bench::run(&asked),
        Verb::Cluster(asked) => cluster::run(&asked),
        Verb::Faults(asked) => faults::run(&asked),
        Verb::Attack(asked) => attack::run(&asked),
        Verb::Soak(asked) => soak::run(&asked),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
