//! `tegata audit-log`: whether the log of decisions is what was written, and handing it on.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use tegata_gateway::decision_log::{self, Altered, Found, Known, Verified};
use tegata_token::{Jwk, VerifyingKey};

use super::{Context, Failed};
use crate::{
    background::pause,
    compose,
    decisions::{self, KnownLogs},
    operate::Order,
};

mod export;

/// How often a log is read again that ends within a line, where somebody may be writing that line.
const LOOKS: u32 = 5;

/// How long is waited in between: a write takes less.
const BETWEEN: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(crate) enum AuditLog {
    /// Reads a log of decisions and says whether anything in it was changed, removed, added or cut off:
    /// where, and what should be there. Ends with 1 where it was.
    Verify(Verify),
    /// Hands on what was decided, or what happened, to a file or another system, and goes on where it was.
    Export(export::Export),
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The directory, or one segment of it; the one of the data directory, if nothing is said.
    path: Option<PathBuf>,
    /// JWK sets with the keys that may have signed the log, in place of those of the server or its
    /// store: for a log of another machine, or of before a key was lost.
    #[arg(long, value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// A checkpoint that the log must contain: the `number:hash` that an earlier look said, or that
    /// stands in the log of the program.
    #[arg(long, value_name = "NUMBER:HASH")]
    checkpoint: Option<Checkpoint>,
    /// The first segment that must be there, where those before were moved away on purpose.
    #[arg(long, value_name = "SEGMENT", default_value_t = 1)]
    first: u64,
}

/// How many records a log had, and the hash of the last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Checkpoint(u64, String);

impl FromStr for Checkpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a checkpoint is a number, `:` and a hash of 64 hexadecimal digits";
        let (number, hash) = text.split_once(':').ok_or(FORM)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|it| it.is_ascii_hexdigit());
        let number = number.parse().ok().filter(|_| is_hash).ok_or(FORM)?;
        Ok(Self(number, hash.to_ascii_lowercase()))
    }
}

impl AuditLog {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self {
            Self::Verify(verify) => verify.run(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Verify {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => {
                let (config, source) = context.load()?;
                decisions::directory(&compose::data_dir(&config, &source))
            }
        };
        if let Err(error) = fs::metadata(&path) {
            return Err(Failed::Usage(format!("`{}` cannot be read: {error}", path.display())));
        }
        let keys = Arc::new(self.keys(context).await?);
        // Before anything of the log is read, which goes on meanwhile.
        let logs = match self.keys.is_empty() {
            true => serde_json::from_value(context.order(Order::DecisionLogs).await?)
                .map_err(|error| Failed::Operation(format!("where the log was: {error}")))?,
            false => KnownLogs::default(),
        };
        let known = Known {
            first: self.first,
            checkpoint: self.checkpoint.map(|Checkpoint(number, hash)| (number, hash)),
            // A log that was brought here from elsewhere may be any.
            chain: logs.chain.clone().filter(|_| self.path.is_none()),
            anchors: logs.anchors(),
        };
        let mut looks = 0;
        let found = loop {
            let found = look(path.clone(), Arc::clone(&keys), known.clone()).await?;
            looks += 1;
            // A line that is just being written is whole in a moment, and the next segment there.
            let is_written =
                |what: &Found| matches!(what, Found::Cut | Found::Removed | Found::Shortened);
            let is_written = matches!(&found, Err(altered) if is_written(&altered.what));
            if !is_written || looks >= LOOKS {
                break found;
            }
            pause(BETWEEN).await;
        };
        match found {
            Ok(sound) => context.show(&told(&path, &sound)),
            Err(altered) => Err(Failed::Partly { shown: found_in(&altered), why: why(&altered) }),
        }
    }

    /// The keys that may have signed.
    async fn keys(&self, context: &Context) -> Result<Vec<VerifyingKey>, Failed> {
        let mut keys = Vec::new();
        for file in &self.keys {
            let wrong = |error: &dyn std::fmt::Display| {
                Failed::Usage(format!("`{}` is no JWK set: {error}", file.display()))
            };
            let text = fs::read(file).map_err(|error| {
                Failed::Usage(format!("`{}` cannot be read: {error}", file.display()))
            })?;
            let set: Set = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
            // What signs nothing of ours may stand among them.
            keys.extend(set.keys.into_iter().filter_map(read));
        }
        if self.keys.is_empty() {
            let known = context.order(Order::KeysKnown).await?;
            let set: Set = serde_json::from_value(known)
                .map_err(|error| Failed::Operation(format!("the server's keys: {error}")))?;
            keys.extend(set.keys.into_iter().filter_map(read));
        }
        Ok(keys)
    }
}

fn read(jwk: Value) -> Option<VerifyingKey> {
    VerifyingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk).ok()?).ok()
}

/// Reads the log, on a thread that nobody waits on.
async fn look(
    path: PathBuf,
    keys: Arc<Vec<VerifyingKey>>,
    known: Known,
) -> Result<Result<Verified, Altered>, Failed> {
    let looked = tokio::task::spawn_blocking(move || {
        let key = |kid: &str| keys.iter().find(|key| key.kid().as_str() == kid);
        if path.is_dir() {
            decision_log::verify(&path, &key, &known)
        } else {
            decision_log::verify_segment(&path, &key, &known)
        }
    });
    looked.await.map_err(|error| Failed::Operation(error.to_string()))
}

fn told(path: &Path, sound: &Verified) -> Value {
    let Verified { segments, records, requests, lost, span, checkpoint, unsigned, open, .. } =
        sound;
    let checkpoint = checkpoint.as_ref().map(|(number, hash)| format!("{number}:{hash}"));
    let known_to_store = sound.anchor.as_ref().map(|it| format!("{}:{}", it.number, it.hash));
    json!({
        "sound": true,
        "log": path.display().to_string(),
        "name": sound.chain,
        "from": span.map(|(from, _)| from.to_string()),
        "to": span.map(|(_, to)| to.to_string()),
        "segments": segments,
        "records": records,
        "requests": requests,
        "lost": lost,
        "unsigned": unsigned,
        "open_ends": open,
        "checkpoint": checkpoint,
        "known_to_store": known_to_store,
    })
}

fn found_in(altered: &Altered) -> Value {
    json!({
        "sound": false,
        "file": altered.file.display().to_string(),
        "line": altered.line,
        "found": altered.what.name(),
        "says": altered.what.to_string(),
        "expected": altered.expected,
    })
}

fn why(altered: &Altered) -> String {
    match altered.what {
        Found::UnknownKey(_) => {
            format!("{altered}; if it was one of yours, name a key set that has it: `--keys FILE`")
        }
        _ => altered.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_a_number_and_a_hash() {
        let hash = "0f".repeat(32);
        let good = format!("12:{}", hash.to_uppercase());
        assert_eq!(good.parse(), Ok(Checkpoint(12, hash.clone())));
        for bad in ["", "12", "12:", ":0f", &format!("x:{hash}"), &format!("1:{hash}0")] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
        }
    }
}
