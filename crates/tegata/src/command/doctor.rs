//! `tegata doctor`.

use serde_json::{Value, json};

use super::{Context, Failed};
use crate::{
    admin,
    compose::{self, Composed},
    operate::Order,
};

/// Checks everything that can be checked from here, and says what to mend.
pub(crate) async fn run(context: &Context) -> Result<(), Failed> {
    let mut findings = Vec::new();
    let mut note = |check: &str, outcome: Result<String, String>| {
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        findings.push(json!({"check": check, "ok": ok, "detail": detail}));
        ok
    };
    let loaded = context.load();
    let shown = |failed: Failed| match failed {
        Failed::Operation(text) | Failed::Usage(text) => text,
    };
    if let Ok((config, source)) = loaded {
        let file =
            source.file.as_ref().map_or("defaults".to_owned(), |it| it.display().to_string());
        note("configuration", Ok(file));
        let data = compose::data_dir(&config, &source);
        let served = admin::order(&data, &Order::Ping).await;
        match served {
            Ok(Some(Ok(_))) => {
                note(
                    "server",
                    Ok(format!("runs, and answers at {}", admin::socket(&data).display())),
                );
            }
            Ok(Some(Err(error))) => {
                note("server", Err(error));
            }
            Err(error) => {
                note("server", Err(error.to_string()));
            }
            Ok(None) => {
                note("server", Ok("does not run".to_owned()));
                match compose::compose(config, &source).await {
                    Ok(composed) => {
                        note("store and root key", Ok(compose::store_name(&composed.config)));
                        for (check, outcome) in parts(&composed).await {
                            note(check, outcome);
                        }
                    }
                    Err(error) => {
                        note("store and root key", Err(error.to_string()));
                    }
                }
            }
        }
    } else if let Err(failed) = loaded {
        note("configuration", Err(shown(failed)));
    }
    let wrong = findings.iter().filter(|finding| finding.get("ok") == Some(&Value::Bool(false)));
    let wrong = wrong.count();
    context.show(&Value::Array(findings))?;
    match wrong {
        0 => Ok(()),
        wrong => Err(Failed::Operation(format!("{wrong} to mend"))),
    }
}

async fn parts(composed: &Composed) -> Vec<(&'static str, Result<String, String>)> {
    let snapshot = composed.keys.now();
    let lacking: Vec<_> = composed
        .config
        .keys
        .algorithms
        .iter()
        .filter(|algorithm| snapshot.signer(**algorithm).is_none())
        .map(|algorithm| algorithm.name())
        .collect();
    let keys = if lacking.is_empty() {
        Ok(format!("{} published", snapshot.jwks().len()))
    } else {
        Err(format!("no key signs {}", lacking.join(", ")))
    };
    let registry = match composed.registry.map(&composed.realm).await {
        Ok(map) => Ok(format!("{} services", map.services().len())),
        Err(error) => Err(error.to_string()),
    };
    let revocations = format!("{} entries", composed.view.position());
    vec![
        ("issuer epoch", Ok(composed.epoch.to_string())),
        ("signing keys", keys),
        ("services and routes", registry),
        ("revocation log", Ok(revocations)),
    ]
}
