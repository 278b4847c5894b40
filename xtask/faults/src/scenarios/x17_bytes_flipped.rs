//! Bytes of the files of a node that is not running are changed, one at a time.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tegata_engines::{
    EchoServer,
    tegata::{Own, Shared, TegataNode, root_key},
};

use crate::{
    http::Client,
    ledger::Checked,
    report::Seen,
    scenario::Round,
    seed::Seed,
    stage::{self, Access, ROUTES},
};

/// How far it is from one byte that is changed to the next.
const STEP: usize = 97;

/// What a run of the node with a changed byte showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It did not start, and said why.
    Refused,
    /// It started, and everything is as it was.
    Same,
    /// It started, and said that something is wrong when it was asked for it.
    Said,
    /// It started, and answers something else than before without a word.
    Changed,
    /// It started, and accepts what was taken back.
    Accepts,
}

/// One round: so many bytes, each in a copy of its own.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let mut seed = Seed::new(round.seed);
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let node = TegataNode::start("sqlite", &shared, &own);
    let echo = EchoServer::start();
    stage::declare(&node, echo.port())?;
    let revoked = revoke(&node, 10)?;
    let before = state(&node).context("a node that nothing happened to says nothing")?;
    // What is written last stands in a log beside the database, and in the database itself once the
    // node has ended in good order.
    let ending = if seed.below(2) == 0 { "killed" } else { "stopped" };
    if ending == "killed" {
        node.kill();
    } else {
        node.stop();
    }

    let files = files(node.directory())?;
    let whole: usize = files.values().map(Vec::len).sum();
    let mut at = seed.below(whole);
    let flips = round.many(4, 30, 1000);
    // So many in the whole of the files, and a step of 97 between neighbours where they are enough.
    let step = (whole / flips.max(1) / STEP).max(1) * STEP + seed.below(STEP);
    let mut seen = Seen::default();
    let mut tally = BTreeMap::<&str, usize>::new();
    for _ in 0..flips {
        at = (at + step) % whole;
        let (file, offset) = place(&files, at).context("no file to change")?;
        let bit = 1_u8 << seed.below(8);
        restore(node.directory(), &files)?;
        flip(&file, offset, bit)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let where_ = format!("byte {offset} of `{name}`, bit {bit:#04x}");
        if file.starts_with(node.directory().join("decisions")) {
            let verified = node.run(&["audit-log", "verify"]);
            let said = String::from_utf8_lossy(&verified.stderr).into_owned();
            let is_named = verified.status.code() == Some(1) && said.contains(&name);
            seen.must(is_named, || format!("`audit-log verify` does not name {where_}: {said}"));
        }
        let found = look(&node, &revoked, &before);
        node.kill();
        match found {
            Found::Refused => *tally.entry("refused to start").or_default() += 1,
            Found::Same => *tally.entry("started, nothing changed").or_default() += 1,
            Found::Said => *tally.entry("started, said what is wrong").or_default() += 1,
            Found::Changed => {
                *tally.entry("started, and something is different").or_default() += 1;
                seen.broken.push(format!("not noticed, and answers differ: {where_}"));
            }
            Found::Accepts => seen.broken.push(format!("accepts what was taken back: {where_}")),
        }
    }
    for (name, count) in tally {
        seen.fact(name, count, flips);
    }
    seen.checked = Checked { promises: revoked.len(), looks: revoked.len() * flips };
    seen.saw = format!("{ending} before; {flips} of {whole} bytes, each by itself");
    Ok(seen)
}

/// Tokens that were taken back, and one family that was ended.
fn revoke(node: &TegataNode, many: usize) -> Result<Vec<Access>> {
    let mut client = Client::new(node.ports().public);
    let mut all = Vec::new();
    for _ in 0..many {
        let access = stage::issued(&mut client)?;
        let answer = stage::revoke(&mut client, &access.token)?;
        anyhow::ensure!(answer.status == 200, "a revocation was answered {}", answer.status);
        all.push(access);
    }
    Ok(all)
}

/// What the node says about everything it keeps; `None` where it says that it cannot.
fn state(node: &TegataNode) -> Option<Vec<String>> {
    let lists = ["user list", "client list", "service list", "key list"];
    let said = lists.map(|list| {
        let words: Vec<_> = list.split(' ').chain(["--format", "json"]).collect();
        let output = node.run(&words);
        let text = || String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then(text)
    });
    said.into_iter().collect()
}

fn look(node: &TegataNode, revoked: &[Access], before: &[String]) -> Found {
    if !node.try_launch() {
        return Found::Refused;
    }
    let (mut public, mut gateway) =
        (Client::new(node.ports().public), Client::new(node.ports().gateway));
    for access in revoked {
        let active = stage::introspect(&mut public, &access.token).unwrap_or(false);
        let served = ROUTES.iter().any(|route| {
            let answer = stage::call(&mut gateway, route, &access.token);
            answer.is_ok_and(|answer| answer.status == 200)
        });
        if active || served {
            return Found::Accepts;
        }
    }
    match state(node) {
        None => Found::Said,
        Some(now) if now == before => Found::Same,
        Some(_) => Found::Changed,
    }
}

/// What is kept, but for the root key and the configuration, which are the operator's.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for place in [directory.to_owned(), directory.join("decisions")] {
        for entry in fs::read_dir(&place)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_kept = name.starts_with("tegata.db") && !name.ends_with("-turn")
                || place.ends_with("decisions");
            if is_kept && path.is_file() {
                all.insert(path.clone(), fs::read(&path)?);
            }
        }
    }
    Ok(all)
}

fn place(files: &BTreeMap<PathBuf, Vec<u8>>, mut at: usize) -> Option<(PathBuf, usize)> {
    for (path, bytes) in files {
        if at < bytes.len() {
            return Some((path.clone(), at));
        }
        at -= bytes.len();
    }
    None
}

/// Makes all files be as they were, and removes those that were made since.
fn restore(directory: &Path, kept: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for path in files(directory)?.into_keys() {
        fs::remove_file(path)?;
    }
    for (path, bytes) in kept {
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn flip(file: &Path, offset: usize, bit: u8) -> Result<()> {
    let mut bytes = fs::read(file)?;
    *bytes.get_mut(offset).context("a byte to change")? ^= bit;
    Ok(fs::write(file, bytes)?)
}
