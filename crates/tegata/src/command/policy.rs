//! `tegata policy`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tegata_policy::{Auth, Bundle, DecideBy, PolicySet, Requirement, Rules};

use super::{Context, Failed};
use crate::{
    operate::{
        Order,
        policy::{Asked, digest, explained},
    },
    policies::{
        Files, Unsound, cases,
        question::{self, Question},
        replay,
    },
    show::{self, Format},
};

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Reads a directory of policies and says what is wrong with them, with the place of each fault. Ends
    /// with 1 where something is.
    Check {
        /// The directory: `*.cedar`, `*.cedarschema`, `*.test.toml`.
        directory: PathBuf,
    },
    /// Decides the cases that stand beside policies (`*.test.toml`), and shows why those fail that do. Ends
    /// with 1 where one does.
    Test {
        /// The directory.
        directory: PathBuf,
        /// Decides instead about the requests of this log of decisions (`decisions` in the data directory), and
        /// shows who would have been decided about otherwise.
        #[arg(long, value_name = "DIR")]
        log: Option<PathBuf>,
    },
    /// Says what would be decided about a request, by which policies, and what would change that: by the
    /// server that runs, or by the policies of a directory.
    Explain(Box<Explain>),
    /// Shows what the policies that are tried would have changed, on all nodes and since they are tried.
    Shadow,
    /// Has no policies decide any more, on any node. Those of the configuration count again at the next start
    /// or reload.
    Remove,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// Who asks: `user:ID`, `client:ID`, `service:NAME` or `anonymous`.
    #[arg(long)]
    principal: String,
    /// A role that they have.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope of their credentials.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The method.
    #[arg(long, value_name = "METHOD")]
    action: String,
    /// The path that is asked for; with `--directory`, `SERVICE:/route`.
    #[arg(long, value_name = "PATH")]
    resource: String,
    /// With `--directory`: the path, where it is not the route's own.
    #[arg(long)]
    path: Option<String>,
    /// How they were authenticated.
    #[arg(long)]
    acr: Option<String>,
    /// How many seconds ago.
    #[arg(long, value_name = "SECONDS")]
    auth_age: Option<u64>,
    /// From where they ask.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// When they ask, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    now: Option<u64>,
    /// A directory of policies, in place of those that the server decides by.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// With `--directory`: who is asked for a permit, `policies` alone, or `table`: what the route says,
    /// which is taken to permit it.
    #[arg(long, value_name = "WHO", value_parser = decide_by, default_value = "policies")]
    decide_by: DecideBy,
}

fn decide_by(text: &str) -> Result<DecideBy, String> {
    match text {
        "policies" => Ok(DecideBy::Policies),
        "table" => Ok(DecideBy::Table),
        _ => Err("say `policies` or `table`".to_owned()),
    }
}

impl Policy {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self {
            Self::Check { directory } => {
                let files = read(&directory)?;
                let bundle = files.unproven().map_err(|it| unsound(context, &directory, &it))?;
                context.show(&sound(&files, &bundle))
            }
            Self::Test { directory, log: None } => test(context, &directory),
            Self::Test { directory, log: Some(log) } => {
                let bundle = read(&directory)?.unproven();
                let bundle = bundle.map_err(|it| unsound(context, &directory, &it))?;
                let replayed =
                    tokio::task::spawn_blocking(move || replay::replay(&bundle, &log)).await;
                let replayed = replayed.map_err(|error| Failed::Operation(error.to_string()))?;
                context.show(&replayed.map_err(Failed::Usage)?.json())
            }
            Self::Explain(explain) => explain.run(context).await,
            Self::Shadow => context.order_and_show(Order::PolicyShadow).await,
            Self::Remove => context.order_and_show(Order::PolicyRemove).await,
        }
    }
}

fn read(directory: &Path) -> Result<Files, Failed> {
    Files::read(directory).map_err(Failed::Usage)
}

fn sound(files: &Files, bundle: &Bundle) -> Value {
    json!({
        "sound": true,
        "policies": bundle.policies().len(),
        "files": files.policies.len(),
        "schemas": files.schema.len(),
        "tests": files.tests.len(),
        "digest": digest(bundle),
    })
}

/// Tells all faults, one on a line for people.
fn unsound(context: &Context, directory: &Path, unsound: &Unsound) -> Failed {
    let many = unsound.faults.len();
    let why =
        format!("`{}`: {many} {}", directory.display(), if many == 1 { "fault" } else { "faults" });
    match context.format {
        Format::Json => {
            Failed::Partly { shown: json!({"sound": false, "faults": unsound.faults}), why }
        }
        Format::Text => {
            let lines =
                unsound.faults.iter().map(|fault| format!("{}/{fault}\n", directory.display()));
            // Whoever reads it may go away; the line and the code say enough.
            let _ = show::write(&lines.collect::<String>());
            Failed::Operation(why)
        }
    }
}

fn test(context: &Context, directory: &Path) -> Result<(), Failed> {
    let files = read(directory)?;
    let bundle = files.unproven().map_err(|it| unsound(context, directory, &it))?;
    if files.tests.is_empty() {
        let directory = directory.display();
        return Err(Failed::Operation(format!(
            "`{directory}` has no tests: write some into a file whose name ends with `.test.toml`"
        )));
    }
    let outcomes =
        cases::run(&files.tests, &bundle).map_err(|it| unsound(context, directory, &it))?;
    let failed = outcomes.iter().filter(|outcome| outcome.wrong.is_some()).count();
    let (all, passed) = (outcomes.len(), outcomes.len() - failed);
    let told: Vec<Value> = outcomes.iter().map(cases::Outcome::json).collect();
    let summary = format!("{passed} of {all} cases passed");
    match context.format {
        Format::Json => {
            let shown = json!({"passed": passed, "failed": failed, "cases": told});
            if failed == 0 {
                return context.show(&shown);
            }
            Err(Failed::Partly { shown, why: summary })
        }
        Format::Text => {
            let lines = outcomes.iter().map(|outcome| {
                let cases::Outcome { file, line, name, wrong, .. } = outcome;
                match wrong {
                    None => format!("ok    {name}\n"),
                    Some(wrong) => {
                        format!(
                            "FAIL  {name}\n      {}/{file}:{line}: {wrong}\n",
                            directory.display()
                        )
                    }
                }
            });
            let _ = show::write(&lines.chain([format!("{summary}\n")]).collect::<String>());
            if failed == 0 { Ok(()) } else { Err(Failed::Operation(summary)) }
        }
    }
}

impl Explain {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let directory = self.directory.clone();
        let by = self.decide_by;
        let Some(directory) = directory else {
            let question = self.question(String::new(), String::new(), self.resource.clone());
            let asked = Box::new(Asked { question });
            return context.order_and_show(Order::PolicyExplain { asked }).await;
        };
        let (service, route) = question::route(&self.resource).map_err(Failed::Usage)?;
        let path = self.path.clone().unwrap_or_else(|| route.to_owned());
        let question = self.question(service.to_owned(), route.to_owned(), path);
        let bundle =
            read(&directory)?.unproven().map_err(|it| unsound(context, &directory, &it))?;
        let set = of_route(&bundle, &question, by).map_err(Failed::Operation)?;
        context.show(&explained(&set, &question).map_err(Failed::Usage)?)
    }

    fn question(&self, service: String, route: String, path: String) -> Question {
        Question {
            principal: self.principal.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            acr: self.acr.clone(),
            auth_age: self.auth_age,
            ip: self.ip,
            now: self.now,
            method: self.action.clone(),
            service,
            route,
            path,
        }
    }
}

/// A set in which there is the route of a question, which asks for nothing but policies.
fn of_route(bundle: &Arc<Bundle>, question: &Question, by: DecideBy) -> Result<PolicySet, String> {
    let mut rules = Rules::default();
    rules.bundle(Arc::clone(bundle));
    let asked = Requirement { auth: Auth::Optional, decide_by: by, ..Requirement::default() };
    rules.permit(&question.service, &question.route, asked);
    PolicySet::compile(rules).map_err(|error| error.to_string())
}
