//! The command line.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{Arc, Once},
};

use clap::{Parser, Subcommand};
use parking_lot::Mutex;
use serde_json::Value;
#[cfg(feature = "pkcs11")]
use tegata_store::Pkcs11Refused;
use tegata_store::{PostgresRefused, SealRefused};
use tegata_token::{KeysRefused, Tally};

use crate::{
    admin, circle,
    compose::{self, Composed, Startup},
    config::{self, BadConfig, Config, Given, Source},
    demo::Demo,
    operate::{self, OPERATOR, Order, Refused},
    progress::{Bar, UnderWay, Watch},
    secret_line,
    show::{self, Format},
    sockets::Brought,
};

mod apikey;
pub(crate) mod apply;
mod audit_log;
mod bff;
mod client;
mod consent;
mod cookies;
mod delegation;
mod doctor;
mod explain;
mod init;
mod key;
mod plan;
mod policy;
mod reload;
mod restore;
mod revoke;
mod serve;
mod service;
mod session;
mod sidecar;
mod token;
mod user;

/// Signs people and services in, issues and takes back tokens, and guards every request.
#[derive(Parser)]
#[command(name = "tegata", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration; `tegata.toml` here, if nothing is said.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, in place of the configuration's.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process on embedded storage, with ten services behind the gateway.
    Demo(Demo),
    /// Runs the server.
    Serve(serve::Serve),
    /// Has the running server read its configuration anew, as far as it can change meanwhile.
    Reload,
    /// Writes a commented `tegata.toml` and a root key.
    Init(init::Init),
    /// Checks the configuration, the store and the keys, and says what to mend.
    Doctor,
    /// Makes users, clients, services, routes and the like be as files declare them.
    Apply(apply::Apply),
    /// People.
    #[command(subcommand)]
    User(user::User),
    /// OAuth clients.
    #[command(subcommand)]
    Client(client::Client),
    /// Services behind the gateway.
    #[command(subcommand)]
    Service(service::Service),
    /// Who may speak for whom at which services.
    #[command(subcommand)]
    Delegation(delegation::Delegation),
    /// What is put together of several services.
    #[command(subcommand)]
    Bff(bff::Bff),
    /// Signing keys, and the root key.
    #[command(subcommand)]
    Key(key::Key),
    /// API keys of services.
    #[command(subcommand, name = "apikey")]
    ApiKey(apikey::ApiKey),
    /// Tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// The log of decisions of the gateway; not the journal of events.
    #[command(subcommand, visible_alias = "decisions")]
    AuditLog(audit_log::AuditLog),
    /// Says why a request passed or was refused, and what would have let it pass.
    ///
    /// Shows each phase with what it looked at and how long it took, and the smallest change that would have
    /// been enough. Ends with 1 where nothing is known of the request.
    Explain(explain::Explain),
    /// Brings a backup back.
    Restore(restore::Restore),
    /// Takes something back.
    Revoke(revoke::Revoke),
    /// Browser sessions.
    #[command(subcommand)]
    Session(session::Session),
    /// Checks sessions and tokens beside a service, on this machine.
    Sidecar(sidecar::Sidecar),
    /// What people have agreed to.
    #[command(subcommand)]
    Consent(consent::Consent),
    /// Cookies, and which of them people must agree to.
    #[command(subcommand)]
    Cookies(cookies::Cookies),
    /// Policies: what they decide, and whether they are sound.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Says what an installation needs and costs, and why.
    Plan(Box<plan::PlanArgs>),
}

/// Why a command ended badly, which decides its exit code.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The operation failed, or found something: 1.
    Operation(String),
    /// The same, with something to show all the same.
    Partly { shown: Value, why: String },
    /// Wrong usage or configuration: 2.
    Usage(String),
    /// Another process, started for it, has said the line and ended with this code.
    Said(u8),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        match refused.done {
            Some(shown) => Self::Partly { shown, why: refused.why },
            None => Self::Operation(refused.why),
        }
    }
}

impl Failed {
    /// The line.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Operation(why) | Self::Partly { why, .. } | Self::Usage(why) => why,
            Self::Said(code) => format!("it ended with {code}"),
        }
    }
}

impl From<BadConfig> for Failed {
    fn from(error: BadConfig) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<Startup> for Failed {
    fn from(error: Startup) -> Self {
        match error {
            Startup::Store(_)
            | Startup::Behind(_)
            | Startup::SetBack(_)
            | Startup::SeenDamaged(_)
            | Startup::Keys(KeysRefused::Store(_))
            | Startup::Seal { source: SealRefused::Store(_), .. }
            | Startup::Postgres(PostgresRefused::Store(_)) => Self::Operation(error.to_string()),
            #[cfg(feature = "pkcs11")]
            Startup::Token(
                Pkcs11Refused::Failed { .. }
                | Pkcs11Refused::Silent { .. }
                | Pkcs11Refused::Unasked { .. },
            ) => Self::Operation(error.to_string()),
            other => Self::Usage(other.to_string()),
        }
    }
}

/// What all commands know.
pub(crate) struct Context {
    config: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    format: Format,
    /// What came from outside at the start, where it can be used.
    sockets: Mutex<Result<Vec<Brought>, String>>,
}

/// Runs a command. Errors are one line on standard error.
pub(crate) async fn run(cli: Cli, sockets: Result<Vec<Brought>, String>) -> ExitCode {
    let Cli { config, data_dir, format, command } = cli;
    let context = Context { config, data_dir, format, sockets: Mutex::new(sockets) };
    let done = match command {
        Command::Demo(demo) => demo.run(&context).await,
        Command::Serve(serve) => serve.run(&context).await,
        Command::Reload => reload::run(&context).await,
        Command::Init(init) => init.run(),
        Command::Doctor => doctor::run(&context).await,
        Command::Apply(apply) => apply.run(&context).await,
        Command::User(user) => user.run(&context).await,
        Command::Client(client) => client.run(&context).await,
        Command::Service(service) => service.run(&context).await,
        Command::Delegation(delegation) => delegation.run(&context).await,
        Command::Bff(bff) => bff.run(&context).await,
        Command::Key(key) => key.run(&context).await,
        Command::ApiKey(key) => key.run(&context).await,
        Command::Token(token) => token.run(&context).await,
        Command::AuditLog(log) => log.run(&context).await,
        Command::Explain(explain) => explain.run(&context).await,
        Command::Restore(restore) => restore.run(&context).await,
        Command::Revoke(revoke) => revoke.run(&context).await,
        Command::Session(session) => session.run(&context).await,
        Command::Sidecar(sidecar) => sidecar.run(&context).await,
        Command::Consent(consent) => consent.run(&context).await,
        Command::Cookies(cookies) => cookies.run(&context),
        Command::Policy(policy) => policy.run(&context).await,
        Command::Plan(plan) => plan.run(&context),
    };
    let Err(failed) = done else { return ExitCode::SUCCESS };
    let code = match &failed {
        Failed::Usage(_) => 2,
        Failed::Operation(_) => 1,
        Failed::Partly { shown, .. } => {
            // Whoever reads it may go away; the line and the code say enough.
            let _ = show::show(shown, context.format);
            1
        }
        Failed::Said(code) => return ExitCode::from(*code),
    };
    warn_line!("tegata: {}", failed.why());
    ExitCode::from(code)
}

impl Context {
    /// The configuration.
    pub(crate) fn load(&self) -> Result<(Config, Source), Failed> {
        self.read().map(|(config, source, _)| (config, source))
    }

    /// The configuration, with what was set.
    pub(crate) fn read(&self) -> Result<(Config, Source, Given), Failed> {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            config::unheeded(std::env::vars()).iter().for_each(|it| warn_line!("tegata: {it}"));
        });
        let (config, mut source, given) = config::read(self.config.as_deref(), std::env::vars())?;
        if let Some(data) = &self.data_dir {
            // Paths in the file stay relative to the file; this one is relative to where we are.
            source.data_dir = Some(data.clone());
        }
        Ok((config, source, given))
    }

    /// The sockets that came from outside at the start, to be taken once.
    pub(crate) fn brought(&self) -> Result<Vec<Brought>, Failed> {
        // Whoever has them closes them.
        std::mem::replace(&mut *self.sockets.lock(), Ok(Vec::new())).map_err(Failed::Usage)
    }

    /// The data directory, where one was named.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Gives an order to the running server, or carries it out here where none runs.
    pub(crate) async fn order(&self, order: Order) -> Result<Value, Failed> {
        let (config, source) = self.load()?;
        let data = compose::data_dir(&config, &source);
        let bar = self.bar("taken back");
        let draw = |now| _ = bar.as_ref().map(|bar| bar.draw(now));
        let tell = bar.as_ref().map(|_| &draw as &dyn Fn(UnderWay));
        let answered = admin::order(&data, &order, tell).await.map_err(|error| {
            let socket = admin::socket(&data);
            Failed::Operation(format!("`{}` does not answer: {error}", socket.display()))
        })?;
        let done = match answered {
            Some(done) => done,
            None => {
                compose::check_data_dir(&config, &source)?;
                let composed = Arc::new(compose::compose(config, &source).await?);
                let tally = if bar.is_some() { Tally::watched() } else { Tally::default() };
                let mut work = pin!(perform_here(&composed, order, &tally));
                let mut watch = Watch::new(&tally);
                loop {
                    tokio::select! {
                        biased;
                        done = &mut work => break done,
                        now = watch.next() => draw(now),
                    }
                }
            }
        };
        Ok(done?)
    }

    /// A line that says how far something is, where somebody looks, and nothing but text is wanted.
    pub(crate) fn bar(&self, done: &'static str) -> Option<Bar> {
        Some(()).filter(|()| self.format == Format::Text).and_then(|()| Bar::on_terminal(done))
    }

    /// Gives an order and shows its answer.
    pub(crate) async fn order_and_show(&self, order: Order) -> Result<(), Failed> {
        let answer = self.order(order).await?;
        self.show(&answer)
    }

    /// Shows an answer.
    pub(crate) fn show(&self, answer: &Value) -> Result<(), Failed> {
        show::show(answer, self.format)
            .map_err(|error| Failed::Operation(format!("standard output: {error}")))
    }
}

/// Carries out an order where no server runs.
async fn perform_here(
    composed: &Arc<Composed>,
    order: Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    if !order.takes_back() {
        return operate::perform(composed, OPERATOR, order, tally).await;
    }
    let _kept = circle::enter(composed).await;
    let done = match order {
        // Where no other node can be, nobody serves anything.
        Order::Revoke { what, reason, wait: true } if composed.circle.is_some() => {
            operate::revoke_and_confirm(composed, OPERATOR, (what, reason), tally).await
        }
        order => operate::perform(composed, OPERATOR, order, tally).await,
    };
    circle::leave(composed).await;
    done
}

/// A secret from standard input or a file, never from the command line, where others could see it.
pub(crate) fn read_secret(file: Option<&PathBuf>, what: &str) -> Result<String, Failed> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failed::Usage(format!("`{}` cannot be read: {error}", path.display()))
        })?,
        None => secret_line::read(what)
            .map_err(|error| Failed::Usage(format!("standard input: {error}")))?,
    };
    let secret = text.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() { Err(Failed::Usage(format!("{what} is empty"))) } else { Ok(secret) }
}
