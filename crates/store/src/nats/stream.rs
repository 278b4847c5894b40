//! The stream of events, and questions to the server.

use std::time::Duration;

use async_nats::{
    Client, RequestErrorKind,
    jetstream::{
        self, Context, ErrorCode,
        context::{self, CreateStreamErrorKind, GetStreamErrorKind},
        stream::{Config, DiscardPolicy, StorageType},
    },
};
use tegata_core::port::Topic;
use tokio::time::timeout;

use super::{NatsConfig, NatsRefused};

/// Within how much time an event that is said again is kept only once. The server remembers the ids
/// that long, also across its own restarts.
const DUPLICATES: Duration = Duration::from_secs(120);

/// Why the stream is not there.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server says that it will not be.
    Refused(NatsRefused),
    /// It did not say anything of use; it may yet.
    Silent(String),
}

/// Makes sure that the server keeps events. A stream that is there keeps its bounds, which somebody
/// may have chosen; only the subjects that it lacks are added.
pub(super) async fn ensure(jetstream: &Context, limits: &NatsConfig) -> Result<(), Fault> {
    let (name, subjects) = (Topic::Events.name(), subjects());
    match jetstream.get_stream(name).await {
        Ok(stream) => {
            let mut config = stream.cached_info().config.clone();
            let missing = subjects.into_iter().filter(|it| !covers(&config.subjects, it));
            let missing = missing.collect::<Vec<_>>();
            if missing.is_empty() {
                return Ok(());
            }
            config.subjects.extend(missing);
            let updated = jetstream.update_stream(config).await;
            updated.map(drop).map_err(|error| unmade(error.kind(), &error))
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(said)
                if said.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                make(jetstream, wanted(limits)).await
            }
            GetStreamErrorKind::JetStream(said) => Err(refused(&said)),
            _ => Err(unanswered(&error)),
        },
    }
}

async fn make(jetstream: &Context, config: Config) -> Result<(), Fault> {
    let Err(error) = jetstream.create_stream(config).await else { return Ok(()) };
    if let CreateStreamErrorKind::JetStream(said) = error.kind() {
        let known = [ErrorCode::STREAM_NAME_EXIST, ErrorCode::STREAM_SUBJECT_OVERLAP];
        // Another node was faster, or somebody keeps these subjects in a stream of another name.
        if known.contains(&said.error_code()) {
            tracing::info!("another stream of NATS keeps events already; it is used as it is");
            return Ok(());
        }
    }
    Err(unmade(error.kind(), &error))
}

fn wanted(limits: &NatsConfig) -> Config {
    Config {
        name: Topic::Events.name().to_owned(),
        description: Some("State changes of Tegata, in their order, at least once".to_owned()),
        subjects: subjects(),
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_age: limits.age,
        max_bytes: i64::try_from(limits.bytes).unwrap_or(i64::MAX),
        num_replicas: usize::from(limits.replicas.max(1)),
        duplicate_window: DUPLICATES.min(limits.age),
        ..Config::default()
    }
}

/// What events are published on: by type, and those whose type nobody can tell.
fn subjects() -> Vec<String> {
    let name = Topic::Events.name();
    vec![name.to_owned(), format!("{name}.>")]
}

/// Whether a stream of these subjects has all of `subject`.
fn covers(subjects: &[String], subject: &str) -> bool {
    subjects.iter().any(|it| it == subject || it == ">")
}

fn refused(said: &jetstream::Error) -> Fault {
    let (code, detail) = (said.error_code(), said.to_string());
    let none = [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];
    if none.contains(&code) {
        return Fault::Refused(NatsRefused::NoJetStream { detail });
    }
    // A cluster that has no leader at the moment has one soon; room that is lacking stays so.
    if said.code() == 503 && code != ErrorCode::INSUFFICIENT_RESOURCES {
        return Fault::Silent(detail);
    }
    Fault::Refused(NatsRefused::Stream { detail })
}

fn unmade(kind: CreateStreamErrorKind, error: &dyn std::error::Error) -> Fault {
    match kind {
        CreateStreamErrorKind::JetStream(said) => refused(&said),
        _ => unanswered(error),
    }
}

/// What the driver says of a question that nobody answered. That nobody is there for it, rather than
/// late, means that the server has no JetStream.
fn unanswered(error: &dyn std::error::Error) -> Fault {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let none = inner.downcast_ref::<context::RequestError>();
        if none.is_some_and(|error| error.kind() == context::RequestErrorKind::NoResponders) {
            let detail = "nobody answers questions about streams".to_owned();
            return Fault::Refused(NatsRefused::NoJetStream { detail });
        }
        cause = inner.source();
    }
    Fault::Silent(error.to_string())
}

/// Waits until the server has taken what was said to it so far: it answers in order. What it answers
/// does not matter.
pub(super) async fn round_trip(client: &Client, patience: Duration) -> Result<(), String> {
    match timeout(patience, client.request("$JS.API.INFO", Vec::new().into())).await {
        Ok(Ok(_answer)) => Ok(()),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("it does not answer".to_owned()),
    }
}
