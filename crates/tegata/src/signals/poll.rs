//! Transmitters that are asked for their signals (RFC 8936).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tegata_sdk::{Credential, Provider, Transport, provider::Issued};
use tegata_server::NotHeard;

use super::{inlet::Ear, lease::Lease, transmitter, way};
use crate::{background::Rounds, command::Failed, compose::Composed, config::signals};

/// How long an answer may take: transmitters wait until there is something to say.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often is asked at most.
const APART: Duration = Duration::from_secs(1);
/// How many questions are asked without a pause.
const MOST_QUESTIONS: u32 = 20;
/// How many signals are asked for.
const MOST: u32 = 50;
/// A token is not used any more when it lives for less.
const LEAST_LIFE: Duration = Duration::from_secs(30);

/// Asks one transmitter.
pub(super) struct Poller {
    ear: Arc<Ear>,
    /// Which of the transmitters.
    index: usize,
    endpoint: Uri,
    scope: String,
    provider: Provider,
    transport: Transport,
    token: Option<(Issued, tegata_core::SinceBoot)>,
    /// What it is told with the next question.
    told: Told,
}

/// What is told of signals that were given.
#[derive(Default)]
struct Told {
    ack: Vec<String>,
    refused: Map<String, Value>,
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    sets: BTreeMap<String, String>,
}

/// One for each transmitter that is to be asked.
pub(super) fn pollers(composed: &Arc<Composed>, ear: &Arc<Ear>) -> Result<Vec<Poller>, Failed> {
    let transport = way::configured(composed, PATIENCE)?;
    let set = &composed.config.signals.transmitter;
    let asked =
        set.iter().enumerate().filter_map(|(index, set)| Some((index, set, set.poll.as_ref()?)));
    asked.map(|(index, set, poll)| Poller::new(ear, index, set, poll, &transport)).collect()
}

impl Poller {
    fn new(
        ear: &Arc<Ear>,
        index: usize,
        set: &signals::Transmitter,
        poll: &signals::Poll,
        transport: &Transport,
    ) -> Result<Self, Failed> {
        let usage = |error: &dyn std::fmt::Display| {
            Failed::Usage(format!("[[signals.transmitter]] `{}`: {error}", set.name))
        };
        let address = |text: &str| text.parse::<Uri>().map_err(|error| usage(&error));
        let secret =
            transmitter::secret(&poll.client_secret_file).map_err(|error| usage(&error))?;
        let credential = Credential::secret(&poll.client_id, secret);
        let (token_endpoint, node) = (address(&poll.token_endpoint)?, ear.composed.node.clone());
        Ok(Self {
            ear: Arc::clone(ear),
            index,
            endpoint: address(&poll.endpoint_url)?,
            scope: poll.scope.clone(),
            provider: Provider::new(token_endpoint, credential, transport.clone(), node),
            transport: transport.clone(),
            token: None,
            told: Told::default(),
        })
    }

    /// Asks again and again.
    pub(super) async fn ask(&mut self) {
        let Some(name) = self.ear.transmitters.get(self.index).map(|it| it.name.clone()) else {
            return;
        };
        let mut lease = Lease::of(&format!("poll.{name}"));
        let mut rounds = Rounds::every(APART, "a transmitter of signals cannot be asked");
        loop {
            rounds.next().await;
            let ours = lease.is_ours(&self.ear.composed).await.map_err(|error| error.to_string());
            let outcome = match ours {
                Ok(false) => Ok(()),
                Ok(true) => self.round().await,
                Err(error) => Err(error),
            };
            let named = outcome.map_err(|error| format!("`{name}`: {error}"));
            rounds.ended(&named);
        }
    }

    /// Asks until there is nothing more, and acknowledges it.
    async fn round(&mut self) -> Result<(), String> {
        // Whoever gives the same again and again is not asked without a pause for ever.
        for _ in 0..MOST_QUESTIONS {
            let given = self.question().await?;
            // It has heard what it was told.
            self.told = Told::default();
            if given.sets.is_empty() {
                return Ok(());
            }
            self.take(given.sets).await?;
        }
        Ok(())
    }

    /// Acts on what was given, and notes what to say of it.
    async fn take(&mut self, sets: BTreeMap<String, String>) -> Result<(), String> {
        let of = self.ear.transmitters.get(self.index).ok_or("it is gone")?;
        let mut failed = None;
        for (jti, signal) in sets {
            match self.ear.take(of, &signal).await {
                Ok(()) => self.told.ack.push(jti),
                Err(NotHeard::Refused { code, description }) => {
                    let error = json!({"err": code, "description": description});
                    self.told.refused.insert(jti, error);
                }
                // Neither: it is given again.
                Err(error @ (NotHeard::Store(_) | NotHeard::Unknown)) => {
                    failed = failed.or(Some(error.to_string()));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn question(&mut self) -> Result<Given, String> {
        // Whoever has something to say is not kept waiting for it to be heard.
        let has_news = !self.told.ack.is_empty() || !self.told.refused.is_empty();
        let body = json!({
            "maxEvents": MOST,
            "returnImmediately": has_news,
            "ack": self.told.ack,
            "setErrs": self.told.refused,
        });
        let token = self.token().await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.token.expose()))
            .map_err(|_| "its token is no value of a header".to_owned())?;
        value.set_sensitive(true);
        let request = Request::post(self.endpoint.clone())
            .header(header::AUTHORIZATION, value)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = self.transport.send(request).await.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                .map_err(|_| "its answer is none to a question for signals".to_owned()),
            status => {
                if status == StatusCode::UNAUTHORIZED {
                    self.token = None;
                }
                Err(format!("it answers {status}"))
            }
        }
    }

    async fn token(&mut self) -> Result<Issued, String> {
        let node = &self.ear.composed.node;
        let lives = |(issued, at): &(Issued, tegata_core::SinceBoot)| {
            node.elapsed(*at) + LEAST_LIFE < issued.lives
        };
        if let Some((issued, _)) = self.token.as_ref().filter(|token| lives(token)) {
            return Ok(issued.clone());
        }
        let at = node.since_boot();
        let issued = self.provider.client_credentials_for_scope(&self.scope).await;
        let issued = issued.map_err(|error| error.to_string())?;
        self.token = Some((issued.clone(), at));
        Ok(issued)
    }
}
