//! `tegata`: signs people and services in, issues and takes back tokens, and guards every request.

use std::process::ExitCode;

use clap::Parser as _;

/// Writes a line to standard output. Whoever reads it may go away: that stops nobody.
macro_rules! say_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// Writes a line to standard error, in the same way.
macro_rules! warn_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod admin;
mod api;
mod appearance;
mod background;
mod breached;
mod canary;
mod certificates;
mod certified;
mod circle;
mod cluster;
mod command;
mod compose;
mod config;
mod cookie_door;
mod decisions;
mod demo;
mod durable;
mod export;
mod foreign;
mod gauges;
mod handover;
mod health;
mod history;
mod in_time;
mod installation;
mod introspection;
mod key_door;
mod key_readers;
mod logging;
mod logouts;
mod lookout;
mod mail;
mod notify;
mod operate;
mod outbox;
mod plan;
mod policies;
mod progress;
mod published;
mod reference_door;
mod registry;
mod reload;
mod restore;
mod run;
mod secret_line;
mod show;
mod signals;
mod sockets;
mod supervisor;
mod trust_domains;
mod usage;

/// Lets the process have as many open files as it may: the usual limit for programs of people is
/// below the number of connections that a server is given.
fn raise_limits() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, fewer connections are served.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    let cli = match command::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error),
    };
    raise_limits();
    // Before there is a second thread, and before a descriptor of ours could be taken for one of them.
    let sockets = sockets::brought();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            warn_line!("tegata: the runtime cannot be started: {error}");
            return ExitCode::from(2);
        }
    };
    runtime.block_on(command::run(cli, sockets))
}
