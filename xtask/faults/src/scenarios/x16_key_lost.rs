//! Somebody else has a signing key; the file of the root key is gone.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    ledger::LEARNT,
    report::Seen,
    scenario::Round,
    seed::Seed,
    stage::{self, Access, ROUTES, Stage, issued},
    time::{Stopwatch, until},
};

/// One round: a key is taken back, and then a root key is lost.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let mut seen = Seen::default();
    compromised(stage, round, &mut seen)?;
    lost(stage, round, &mut seen)?;
    Ok(seen)
}

/// Everything that the key signed is refused everywhere, and everything is signed with another.
fn compromised(stage: &Stage, round: &Round, seen: &mut Seen) -> Result<()> {
    let nodes = stage.nodes();
    let by = Seed::new(round.seed).below(nodes);
    let mut tokens = Vec::new();
    for node in 0..nodes {
        let mut client = stage.public(node);
        let some = (0..round.many(3, 20, 200)).map(|_| issued(&mut client));
        tokens.extend(some.collect::<Result<Vec<_>>>()?);
    }
    let families = stage.families(2)?;
    let kid = tokens.first().and_then(key_of).context("a token names its key")?;
    ensure!(tokens.iter().all(|token| key_of(token) == Some(kid.clone())), "two keys sign");
    let told =
        stage.cluster().member(by).node.command(&["revoke", "--key", &kid, "--reason", "stolen"]);
    ensure!(!told.is_empty(), "nothing was said");
    let watch = Stopwatch::start();
    // A moment later all of them refuse it, and sign with the next.
    let (mut refused, mut replaced) = (Vec::new(), Vec::new());
    for node in 0..nodes {
        let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
        let token = tokens.get(node).context("a token")?;
        let is_refused = || {
            let status = stage::call(&mut gateway, "/strict", &token.token).map(|it| it.status);
            status.is_ok_and(|status| status == 401)
        };
        until(LEARNT * 10, is_refused).context("a gateway goes on serving what the key signed")?;
        refused.push(watch.read());
        let is_replaced = || {
            let fresh = issued(&mut public).ok();
            fresh.as_ref().and_then(key_of).is_some_and(|key| key != kid)
        };
        until(LEARNT * 10, is_replaced).context("a node goes on signing with the key")?;
        replaced.push(watch.read());
    }
    seen.promised("what it signed is refused everywhere", refused.into_iter().collect(), LEARNT);
    seen.promised("every node signs with another", replaced.into_iter().collect(), LEARNT * 2);
    let mut looks = 0;
    for node in 0..nodes {
        let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
        for token in &tokens {
            let active = stage::introspect(&mut public, &token.token)?;
            seen.must(!active, || format!("node {node} says that a token of the key is active"));
            for route in ROUTES {
                let status = stage::call(&mut gateway, route, &token.token)?.status;
                seen.must(status == 401, || {
                    format!("the gateway of node {node} answers a token of the key {status}")
                });
            }
            looks += 1 + ROUTES.len();
        }
        // What the other signs is served by all.
        for other in 0..nodes {
            let fresh = issued(&mut stage.public(other))?;
            let status = stage::call(&mut gateway, "/strict", &fresh.token)?.status;
            seen.must(status == 200, || format!("node {node}: a new token is answered {status}"));
        }
    }
    // Nobody has to sign in anew: refresh tokens are no work of that key.
    for family in &families {
        let status = stage::refresh(&mut stage.public(0), family)?.status;
        seen.must(status == 200, || format!("a refresh is answered {status}"));
    }
    seen.checked.promises += tokens.len();
    seen.checked.looks += looks;
    seen.saw = format!("the key was taken back at node {by}");
    Ok(())
}

/// What runs has the key in memory and goes on, and says that it must not end; what starts says what is
/// missing.
fn lost(stage: &Stage, round: &Round, seen: &mut Seen) -> Result<()> {
    let node = Seed::new(round.seed ^ 1).below(stage.nodes());
    let process = &stage.cluster().member(node).node;
    let file = process.directory().join("root.key");
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside)?;
    let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
    let token = issued(&mut public)?;
    let status = stage::call(&mut gateway, "/strict", &token.token)?.status;
    seen.must(status == 200, || format!("without its file, a call is answered {status}"));
    let says = || process.readiness().is_some_and(|said| said.contains("root_key_missing"));
    let warned = until(Duration::from_secs(10), says);
    seen.must(warned.is_some(), || "a node does not say that its root key is gone".to_owned());
    process.stop();
    seen.must(!process.try_launch(), || "a node starts without its root key".to_owned());
    let said = process.process().said();
    seen.must(said.contains("root.key"), || {
        format!(
            "it does not say which: {}",
            said.trim_end().lines().next_back().unwrap_or_default()
        )
    });
    fs::rename(aside, file)?;
    process.launch();
    let served = until(stage::PATIENCE, || {
        stage::call(&mut stage.gateway(node), "/strict", &token.token)
            .is_ok_and(|answer| answer.status == 200)
    });
    served.context("what was issued meanwhile does not count")?;
    Ok(())
}

/// The name of the key that signed a token.
fn key_of(access: &Access) -> Option<String> {
    let head = URL_SAFE_NO_PAD.decode(access.token.split('.').next()?).ok()?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    Some(head.get("kid")?.as_str()?.to_owned())
}
