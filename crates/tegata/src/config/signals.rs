//! `[signals]`: what other systems are told, and what is heard from them.

use std::path::PathBuf;

use serde::Deserialize;
use tegata_core::Network;
use tegata_oauth::{
    client::Sector,
    signals::{
        heard::{NamedBy, OnChange},
        streams::DefaultSubjects,
    },
};

use super::Span;

/// Signals to and from other systems.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Signals {
    /// Networks that receivers may have signals sent to, beside the internet.
    pub(crate) reach: Vec<Network>,
    /// Whom a new stream is about: `ALL` or `NONE`.
    pub(crate) default_subjects: DefaultSubjects,
    /// Certificates that sign those of other systems; the system's where nothing is said.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who is heard.
    pub(crate) transmitter: Vec<Transmitter>,
}

/// Somebody whose signals are acted on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transmitter {
    /// What it is called here: the end of the address that it sends to.
    pub(crate) name: String,
    /// Its issuer identifier.
    pub(crate) issuer: String,
    /// Who we are to it.
    pub(crate) audience: String,
    /// Where its keys are; where its own configuration says, if nothing is said here.
    #[serde(default)]
    pub(crate) jwks_uri: Option<String>,
    /// The file of what it shows as a bearer token when it sends. Without one, it sends nothing.
    #[serde(default)]
    pub(crate) secret_file: Option<PathBuf>,
    /// How it is asked, if it is.
    #[serde(default)]
    pub(crate) poll: Option<Poll>,
    /// By which subjects it may name our people.
    #[serde(default = "by_our_names")]
    pub(crate) people: Vec<NamedBy>,
    /// The sector by whose names it knows our people, where it is a pairwise client of ours.
    #[serde(default)]
    pub(crate) sector: Option<Sector>,
    /// What follows when a credential or a claim changes there.
    #[serde(default)]
    pub(crate) on_change: OnChange,
    /// How old a signal may be.
    #[serde(default = "a_week")]
    pub(crate) max_age: Span,
}

/// How a transmitter is asked for signals.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Poll {
    /// Where.
    pub(crate) endpoint_url: String,
    /// Where tokens for that are got.
    pub(crate) token_endpoint: String,
    /// As which client.
    pub(crate) client_id: String,
    /// The file of the client's secret.
    pub(crate) client_secret_file: PathBuf,
    /// The scope that is asked for.
    #[serde(default = "to_read")]
    pub(crate) scope: String,
}

fn by_our_names() -> Vec<NamedBy> {
    vec![NamedBy::IssSub]
}

const fn a_week() -> Span {
    Span::secs(7 * 86_400)
}

fn to_read() -> String {
    tegata_oauth::signals::access::READ.to_owned()
}

impl Signals {
    /// The paths that are relative to where the configuration is, by the settings that name them.
    pub(super) fn files(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let of_transmitters = self.transmitter.iter_mut().flat_map(|it| {
            let polled = it.poll.as_mut().map(|poll| &mut poll.client_secret_file);
            let polled = polled.map(|file| ("[signals.transmitter.poll] client_secret_file", file));
            let shown = it.secret_file.as_mut();
            shown.map(|file| ("[signals.transmitter] secret_file", file)).into_iter().chain(polled)
        });
        let own = self.ca_file.as_mut().map(|file| ("[signals] ca_file", file));
        own.into_iter().chain(of_transmitters)
    }

    /// What is wrong although each value can be read.
    pub(super) fn contradictions(&self, found: &mut Vec<String>) {
        for (index, it) in self.transmitter.iter().enumerate() {
            let name = &it.name;
            let mut wrong = |what: &str| {
                found.push(format!("[[signals.transmitter]] `{name}`: {what}"));
            };
            let is_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > 63 || !name.bytes().all(is_name) {
                wrong("`name` is made of 1 to 63 of `a-z`, `0-9` and `-`");
            }
            if self.transmitter.iter().take(index).any(|other| other.name == *name) {
                wrong("there are two of this `name`");
            }
            if it.audience.is_empty() {
                wrong("`audience` is empty: say who we are to it, as in `aud` of its signals");
            }
            if it.people.is_empty() {
                wrong("`people` is empty: it could name nobody");
            }
            if it.sector.is_some() && !it.people.contains(&NamedBy::IssSub) {
                wrong(
                    "`sector` says how `sub` is read under our issuer: `people` must have `iss_sub`",
                );
            }
            if it.secret_file.is_none() && it.poll.is_none() {
                wrong(
                    "give it a `secret_file`, so that it can send, or `poll`, so that it is asked",
                );
            }
            if it.max_age.get() > tegata_oauth::signals::heard::LONGEST {
                wrong("`max_age` is longer than 30 days");
            }
            let polled = it.poll.iter().flat_map(|poll| {
                [
                    ("poll.endpoint_url", &poll.endpoint_url),
                    ("poll.token_endpoint", &poll.token_endpoint),
                ]
            });
            let keys = it.jwks_uri.iter().map(|uri| ("jwks_uri", uri));
            for (key, address) in [("issuer", &it.issuer)].into_iter().chain(keys).chain(polled) {
                if !is_address(address) {
                    wrong(&format!(
                        "`{key}` `{address}` must begin with `https://`; only loopback addresses \
                         may be `http://`"
                    ));
                }
            }
        }
    }
}

/// Whether keys may be fetched there: over TLS, or on this machine.
pub(crate) fn is_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => here,
        _ => false,
    }
}
