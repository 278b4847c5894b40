//! Who is heard, and by which keys it is believed.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::Deserialize;
use tegata_core::{Node, Secret, SinceBoot, StoreError};
use tegata_oauth::{
    client::Sector,
    signals::heard::{NamedBy, OnChange},
};
use tegata_sdk::{
    Transport,
    authenticate::{KeyRules, KeySource},
};
use tegata_server::NotHeard;
use tegata_token::{SecurityEventToken, SetRefused, secevent::ExpectedSet};

use crate::{command::Failed, config::signals};

/// The time between two questions where its keys are.
const APART: Duration = Duration::from_secs(10);

/// Somebody whose signals are acted on.
pub(super) struct Transmitter {
    pub(super) name: String,
    pub(super) people: Vec<NamedBy>,
    pub(super) sector: Option<Sector>,
    pub(super) on_change: OnChange,
    pub(super) expected: ExpectedSet,
    secret: Option<Secret<String>>,
    keys: Mutex<Keys>,
    transport: Transport,
    node: Node,
}

/// Its keys, as soon as it is known where they are.
#[derive(Default)]
struct Keys {
    source: Option<KeySource>,
    asked: Option<SinceBoot>,
}

/// What a transmitter says of itself (SSF 1.0 §7.1), of what matters here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Transmitter {
    pub(super) fn new(
        set: &signals::Transmitter,
        transport: Transport,
        node: Node,
    ) -> Result<Self, Failed> {
        let usage = |error: &dyn std::fmt::Display| {
            Failed::Usage(format!("[[signals.transmitter]] `{}`: {error}", set.name))
        };
        let secret = set.secret_file.as_deref().map(secret).transpose();
        let secret = secret.map_err(|error| usage(&error))?;
        let keys = match &set.jwks_uri {
            None => Keys::default(),
            Some(uri) => {
                let uri = uri.parse::<Uri>().map_err(|error| usage(&error))?;
                let source = source(uri, &transport, &node);
                Keys { source: Some(source), asked: None }
            }
        };
        Ok(Self {
            name: set.name.clone(),
            people: set.people.clone(),
            sector: set.sector.clone(),
            on_change: set.on_change,
            expected: ExpectedSet {
                issuer: set.issuer.clone(),
                audiences: vec![set.audience.clone()],
                longest: set.max_age.get(),
            },
            secret,
            keys: Mutex::new(keys),
            transport,
            node,
        })
    }

    /// Whether it is one that may send.
    pub(super) const fn may_send(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether a value of `Authorization` is its.
    pub(super) fn is_shown(&self, authorization: Option<&[u8]>) -> bool {
        let (Some(secret), Some(shown)) = (&self.secret, authorization) else { return false };
        let Some((scheme, token)) = shown.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && secret.matches(token.trim_ascii())
    }

    /// Verifies a signal of its.
    pub(super) async fn believe(&self, signal: &str) -> Result<SecurityEventToken, NotHeard> {
        let kid = SecurityEventToken::claimed_key(signal, &self.expected).map_err(refused)?;
        let source = self.keys().await?;
        let set = source.with(&kid).await.map_err(|error| away(&error))?;
        let now = self.node.now();
        SecurityEventToken::verify(signal, &set, &self.expected, now).map_err(refused)
    }

    async fn keys(&self) -> Result<KeySource, NotHeard> {
        {
            let mut keys = self.keys.lock();
            if let Some(source) = &keys.source {
                return Ok(source.clone());
            }
            if keys.asked.is_some_and(|at| self.node.elapsed(at) < APART) {
                return Err(away(&"it does not say where its keys are"));
            }
            keys.asked = Some(self.node.since_boot());
        }
        let uri = self.discover().await.map_err(|error| away(&error))?;
        let source = source(uri, &self.transport, &self.node);
        self.keys.lock().source = Some(source.clone());
        Ok(source)
    }

    /// Where its configuration says that its keys are (SSF 1.0 §7.2).
    async fn discover(&self) -> Result<Uri, String> {
        let address = configuration_of(&self.expected.issuer);
        let request = Request::get(&address).header(header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let answer = self.transport.send(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("`{address}` answers {}", answer.status()));
        }
        let said: Metadata = serde_json::from_slice(answer.body())
            .map_err(|_| format!("`{address}` is no configuration of a transmitter"))?;
        // SSF 1.0 §7.2.4: another issuer's configuration says nothing of this one.
        if said.issuer != self.expected.issuer {
            return Err(format!("`{address}` is the configuration of another issuer"));
        }
        // Its keys are where it is to be believed itself: over TLS, unless it is on this machine.
        let scheme = |text: &str| text.split_once(':').map(|(scheme, _)| scheme.to_owned());
        let same = scheme(&said.jwks_uri) == scheme(&said.issuer);
        let no_address = || format!("`jwks_uri` of `{address}` is no address to be called");
        if !same || !signals::is_address(&said.jwks_uri) {
            return Err(no_address());
        }
        said.jwks_uri.parse().map_err(|_| no_address())
    }
}

fn source(uri: Uri, transport: &Transport, node: &Node) -> KeySource {
    // A key that is not there yet is looked for again soon: what it signed is given only a few times.
    let rules = KeyRules { missed_for: Duration::from_secs(10), ..KeyRules::default() };
    KeySource::fetched(uri, transport.clone(), node.clone(), rules)
}

/// The well-known part stands between the host and the path of the issuer.
fn configuration_of(issuer: &str) -> String {
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("https", issuer));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{host}/.well-known/ssf-configuration{}", path.trim_end_matches('/'))
}

fn refused(refused: SetRefused) -> NotHeard {
    NotHeard::Refused { code: refused.code(), description: refused.to_string() }
}

fn away(error: &dyn std::fmt::Display) -> NotHeard {
    let detail = error.to_string();
    StoreError::Unavailable { backend: "the keys of the transmitter", detail }.into()
}

/// A secret in a file: its text without the line break at the end.
pub(super) fn secret(path: &std::path::Path) -> Result<Secret<String>, String> {
    let secret = crate::config::read_secret(std::path::Path::new(""), path)?;
    if secret.expose().len() < 16 {
        return Err(format!("`{}` holds less than 16 characters", path.display()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_an_issuer_stands_before_its_path() {
        for (issuer, address) in [
            ("https://tr.example", "https://tr.example/.well-known/ssf-configuration"),
            ("https://tr.example/one", "https://tr.example/.well-known/ssf-configuration/one"),
            ("https://tr.example/one/", "https://tr.example/.well-known/ssf-configuration/one"),
        ] {
            assert_eq!(configuration_of(issuer), address);
        }
    }
}
