//! Tokens for calls, kept for two thirds of their lives. Who asks for the same at once shares one
//! question to the provider.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use tegata_core::{Secret, SinceBoot, flight::Flights};

use crate::{
    authenticate::Caller,
    provider::{Issued, Provider, TokenRefused},
};

/// How many tokens are kept.
const MOST: usize = 1_000;

/// How long a token that speaks for a caller is kept at most: the caller may lose rights meanwhile.
const CALLERS_KEPT: Duration = Duration::from_secs(60);

pub(super) struct Tokens {
    provider: Provider,
    kept: Arc<Cache<Name, Kept>>,
    asked: Flights<Question, Result<Answers, TokenRefused>>,
}

/// For whom (a digest of the caller's token, or the service itself) and for which target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    subject: Option<[u8; 32]>,
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    subject: Option<[u8; 32]>,
    targets: Vec<String>,
}

type Answers = Arc<HashMap<String, Issued>>;

#[derive(Clone)]
struct Kept {
    token: Arc<Secret<String>>,
    until: SinceBoot,
}

impl Tokens {
    pub(super) fn new(provider: Provider) -> Self {
        Self { provider, kept: Arc::new(Cache::new(MOST)), asked: Flights::new() }
    }

    pub(super) const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// A token of the service's own.
    pub(super) async fn own(&self, target: &str) -> Result<Arc<Secret<String>>, TokenRefused> {
        if let Some(token) = self.fresh(None, target) {
            return Ok(token);
        }
        let answers = self.ask(None, vec![target.to_owned()]).await?;
        found(&answers, target)
    }

    /// A token that speaks for a caller.
    pub(super) async fn for_caller(
        &self,
        caller: &Caller,
        target: &str,
    ) -> Result<Arc<Secret<String>>, TokenRefused> {
        if let Some(token) = self.fresh(Some(subject(caller)), target) {
            return Ok(token);
        }
        let answers = self.ask(Some(caller), vec![target.to_owned()]).await?;
        found(&answers, target)
    }

    /// Gets those tokens that speak for a caller and are not there yet.
    pub(super) async fn narrow(
        &self,
        caller: &Caller,
        targets: &[&str],
    ) -> Result<(), TokenRefused> {
        let digest = subject(caller);
        let absent = |target: &&&str| self.fresh(Some(digest), target).is_none();
        let mut missing: Vec<_> =
            targets.iter().filter(absent).map(|&target| target.to_owned()).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() { Ok(()) } else { self.ask(Some(caller), missing).await.map(drop) }
    }

    /// Forgets a token. Answers whether there was one.
    pub(super) fn forget(&self, caller: Option<&Caller>, target: &str) -> bool {
        let name = Name { subject: caller.map(subject), target: target.to_owned() };
        self.kept.remove(&name).is_some()
    }

    fn fresh(&self, subject: Option<[u8; 32]>, target: &str) -> Option<Arc<Secret<String>>> {
        let kept = self.kept.get(&Name { subject, target: target.to_owned() })?;
        (self.provider.node().since_boot() < kept.until).then_some(kept.token)
    }

    async fn ask(
        &self,
        caller: Option<&Caller>,
        targets: Vec<String>,
    ) -> Result<Answers, TokenRefused> {
        let question = Question { subject: caller.map(subject), targets: targets.clone() };
        let (provider, kept) = (self.provider.clone(), Arc::clone(&self.kept));
        let caller = caller.cloned();
        let start = move || async move {
            // Its life counts from before it was made, so that it is never taken for younger.
            let begun = provider.node().since_boot();
            let answers = match (&caller, targets.as_slice()) {
                (Some(caller), targets) => {
                    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
                    provider.exchange(caller, &targets).await?
                }
                (None, targets) => {
                    let mut own = HashMap::new();
                    for target in targets {
                        own.insert(target.clone(), provider.client_credentials(target).await?);
                    }
                    own
                }
            };
            for (target, issued) in &answers {
                let most = if caller.is_some() { CALLERS_KEPT } else { Duration::MAX };
                let until = SinceBoot(begun.0 + (issued.lives * 2 / 3).min(most));
                let name = Name { subject: caller.as_ref().map(subject), target: target.clone() };
                kept.insert(name, Kept { token: Arc::clone(&issued.token), until });
            }
            Ok(Arc::new(answers))
        };
        self.asked.join(question, start).await
    }
}

fn found(answers: &Answers, target: &str) -> Result<Arc<Secret<String>>, TokenRefused> {
    let missing = || TokenRefused::Answer(format!("it has no token for `{target}`"));
    answers.get(target).map(|issued| Arc::clone(&issued.token)).ok_or_else(missing)
}

/// The caller's token in a form that the cache can hold without holding the token.
fn subject(caller: &Caller) -> [u8; 32] {
    let (token, _) = caller.subject_token();
    let mut subject = [0; 32];
    let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
    subject.copy_from_slice(hash.as_ref());
    subject
}
