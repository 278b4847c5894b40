//! `[[issuer]]`: other issuers whose access tokens count at the gateway.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use serde::Deserialize;
use tegata_token::Algorithm;

use super::{Config, Span};

/// The most names that a filter is made for: more than half a gigabyte.
const MOST_TOKENS: usize = 300_000_000;

/// The least and the most memory for answers about their tokens, in bytes: 1 MiB and 4 GiB.
const LEAST_CACHE: usize = 1 << 20;
const MOST_CACHE: usize = 4 << 30;

const HOUR: Duration = Duration::from_secs(3600);

/// Another issuer whose access tokens count.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForeignIssuer {
    /// Its identifier: what its tokens say in `iss`.
    pub(crate) issuer: String,
    /// Where its keys are; without it, where its metadata says.
    pub(crate) jwks_uri: Option<String>,
    /// What its tokens must be for: one of these; `gateway.audience` where there is none.
    #[serde(default)]
    pub(crate) audience: Vec<String>,
    /// What it may sign with.
    #[serde(default = "algorithms")]
    pub(crate) algorithms: Vec<Algorithm>,
    /// The values of `typ` that its access tokens may have.
    #[serde(default = "typ")]
    pub(crate) typ: Vec<String>,
    /// The claim that says what a token may be used for; empty: for nothing.
    #[serde(default = "scope_claim")]
    pub(crate) scope_claim: String,
    /// The claim that holds roles; empty: there are none.
    #[serde(default)]
    pub(crate) roles_claim: String,
    /// How long its tokens may live.
    #[serde(default = "a_day")]
    pub(crate) longest_life: Span,
    /// For how long its keys count while it cannot be asked.
    #[serde(default = "a_day")]
    pub(crate) keys_max_age: Span,
    /// How many of its tokens are expected to be taken back at a time.
    #[serde(default = "tokens")]
    pub(crate) tokens: usize,
    /// Certificates that sign its own; without it, those that this machine trusts.
    pub(crate) ca_file: Option<PathBuf>,
}

fn algorithms() -> Vec<Algorithm> {
    Algorithm::ALL.to_vec()
}

fn typ() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

fn scope_claim() -> String {
    "scope".to_owned()
}

const fn a_day() -> Span {
    Span::secs(86_400)
}

const fn tokens() -> usize {
    1_000_000
}

impl ForeignIssuer {
    /// One of this name, as if nothing else were said of it.
    pub(crate) fn named(issuer: String) -> Self {
        Self {
            issuer,
            jwks_uri: None,
            audience: Vec::new(),
            algorithms: algorithms(),
            typ: typ(),
            scope_claim: scope_claim(),
            roles_claim: String::new(),
            longest_life: a_day(),
            keys_max_age: a_day(),
            tokens: tokens(),
            ca_file: None,
        }
    }
}

impl Config {
    /// What is wrong with other issuers.
    pub(super) fn of_other_issuers(&self, found: &mut Vec<String>) {
        if !(LEAST_CACHE..=MOST_CACHE).contains(&self.revocation.cache) {
            found.push(format!(
                "[revocation] cache is a number of bytes from {LEAST_CACHE} to {MOST_CACHE}"
            ));
        }
        for (at, other) in self.issuer.iter().enumerate() {
            let name = &other.issuer;
            let mut wrong = |what: &str| found.push(format!("[[issuer]] `{name}`: {what}"));
            if !is_fetched_safely(name) || name.contains(['?', '#', ' ']) {
                wrong(
                    "`issuer` is the address in `iss`: it must begin with `https://`, or lead to \
                     this machine, and have no query and no fragment",
                );
            }
            if *name == self.issuer() {
                wrong("this is our own issuer, whose tokens count anyway; leave it out");
            }
            if self.issuer.iter().skip(at + 1).any(|next| next.issuer == *name) {
                wrong("it stands twice");
            }
            if other.jwks_uri.as_deref().is_some_and(|uri| !is_fetched_safely(uri)) {
                wrong("`jwks_uri` must begin with `https://`, or lead to this machine");
            }
            if other.audience.iter().any(String::is_empty) {
                wrong("an `audience` is empty");
            }
            if other.algorithms.is_empty() || other.typ.is_empty() {
                wrong("`algorithms` and `typ` must name something, or no token counts");
            }
            if other.longest_life.get() + HOUR > self.tokens.refresh_absolute.get() {
                wrong(
                    "`longest_life` must be an hour less than `tokens.refresh_absolute`, for which \
                     it is kept what was taken back: a token could outlive that",
                );
            }
            if other.longest_life.get().is_zero()
                || other.keys_max_age.get() < Duration::from_secs(60)
            {
                wrong("`longest_life` must not be 0, and `keys_max_age` not less than a minute");
            }
            if !(1..=MOST_TOKENS).contains(&other.tokens) {
                wrong("`tokens` must be 1 to 300000000");
            }
        }
    }
}

/// Whether what is fetched there comes from there.
pub(super) fn is_fetched_safely(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority().filter(|it| !it.as_str().contains('@')) else {
        return false;
    };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => ["localhost", "127.0.0.1", "[::1]"].contains(&authority.host()),
        _ => false,
    }
}
