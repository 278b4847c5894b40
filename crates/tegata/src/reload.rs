//! The configuration, read anew while the server runs: what can change of it changes for the next request,
//! and what cannot is named.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    command::{Context, apply},
    compose::Composed,
    config::{Config, Declared, Given, Source},
    logging::{self, Level},
    operate::{self, MadeSecrets, Refused, policy},
    run::Running,
};

/// What can change while the server runs: these settings, and all below them. `docs/operations.md` has the
/// same list.
const LIVE: [&str; 10] = [
    "gateway.compression",
    "gateway.cors",
    "gateway.deadlines",
    "gateway.forwarded_by",
    "gateway.hosts",
    "gateway.limits",
    "gateway.trusted_proxies",
    "gateway.upstream",
    "observability.level",
    "operations.linger",
];

/// What is declared, which is made so anew.
const DECLARED: [&str; 6] = ["bff", "client", "delegation", "route", "service", "user"];

/// What says which policies are read anew, which happens whether it has changed or not.
const POLICIES: &str = "policy";

/// What cannot change of the above: how large a table is that was made at the start.
const FIXED: [&str; 1] = ["gateway.limits.callers"];

/// Whether a setting can change while the server runs.
fn is_live(name: &str) -> bool {
    let is_in = |all: &[&str]| {
        all.iter().any(|it| {
            name.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    (is_in(&LIVE) || is_in(&DECLARED) || is_in(&[POLICIES])) && !is_in(&FIXED)
}

/// The configuration that counts, which is what the server was started with, and what has changed since.
pub(crate) struct Current {
    pub(crate) config: Config,
    given: Given,
    base: PathBuf,
    /// What is declared was not all made when it was read last.
    owes: bool,
}

impl Current {
    /// That of the start.
    pub(crate) fn new(config: Config, source: &Source, given: Given) -> Self {
        Self { config, given, base: source.base.clone(), owes: false }
    }

    /// Reads it anew. Either everything that can change is as the file says, or nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the file, or what of it needs a restart; then the answer says what changed all
    /// the same.
    pub(crate) async fn read_anew(
        &mut self,
        context: &Context,
        composed: &Composed,
        running: &mut Running,
        level: &Level,
    ) -> Result<Value, Refused> {
        let (_, _, new) = context.read().map_err(|failed| refused(failed.why()))?;
        if self.given.is_half_written(&new) {
            return Err(refused(
                "the file ends in the middle: it looks as if somebody were writing it; write it beside, \
                 and rename it",
            ));
        }
        let changes = self.given.changes(&new);
        let (live, fixed): (Vec<_>, Vec<_>) = changes.into_iter().partition(|name| is_live(name));
        let given = self.given.with(&new, is_live);
        let config = given.config(&self.base).map_err(|error| refused(error.to_string()))?;
        // Everything is looked at before anything is changed.
        let policies = policy::read_anew(composed, &config.policy).await.map_err(refused)?;
        let filter =
            logging::filter(&config.observability).map_err(|failed| refused(failed.why()))?;
        let declares = self.owes || live.iter().any(|name| DECLARED.contains(&name.as_str()));
        let mut declarations =
            apply::declarations(Declared::of(&config), &self.base).map_err(refused)?;
        if declares {
            declarations.dry_run = true;
            operate::declare(composed, &declarations, MadeSecrets::WouldBeLost).await?;
            declarations.dry_run = false;
        }
        running.reconfigure(&config).await.map_err(refused)?;
        level.set(filter).map_err(refused)?;
        (self.given, self.config, self.owes) = (given, config, declares);
        let mut done = json!({"changed": live, "needs_restart": fixed});
        if let Some(policies) = policies {
            let told = composed.policies.declare(policies, operate::OPERATOR, false).await;
            let told = told.map_err(|error| Refused::from(error).after(done.clone()))?;
            if let (Some(told), Some(members)) = (told, done.as_object_mut()) {
                members.insert("policies".to_owned(), told.into());
            }
            let given = running.give_map().await;
            given.map_err(|error| Refused::from(error).after(done.clone()))?;
        }
        if declares {
            let declared =
                operate::declare(composed, &declarations, MadeSecrets::WouldBeLost).await;
            let given = running.give_map().await;
            declared.map_err(|error| error.after(done.clone()))?;
            self.owes = false;
            given.map_err(|error| Refused::from(error).after(done.clone()))?;
        }
        tracing::info!(changed = ?live, needs_restart = ?fixed, "the configuration was read anew");
        if fixed.is_empty() {
            return Ok(done);
        }
        let names: Vec<_> = fixed.iter().map(|name| format!("`{name}`")).collect();
        let (names, verb) = (names.join(", "), if fixed.len() == 1 { "needs" } else { "need" });
        let why = format!("{names} {verb} a restart; until then what was set before counts");
        Err(Refused::from(why).after(done))
    }
}

fn refused(why: impl Into<String>) -> Refused {
    let why: String = why.into();
    Refused::from(format!("{why}; everything stays as it was"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_begin_alike_are_others() {
        for live in ["gateway.limits", "gateway.limits.body", "gateway.hosts", "service"] {
            assert!(is_live(live), "{live}");
        }
        for fixed in
            ["gateway.limits.callers", "gateway.listen", "gateway", "public.listen", "services"]
        {
            assert!(!is_live(fixed), "{fixed}");
        }
    }

    #[test]
    fn the_documents_have_the_same_list() {
        let page = include_str!("../../../docs/operations.md");
        for name in LIVE {
            assert!(page.contains(&format!("`{name}")), "`{name}` is not in docs/operations.md");
        }
    }
}
