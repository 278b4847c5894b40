//! Another issuer, and an installation whose gateways take its tokens.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    Dependencies, Plan, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    stage::{self, Access, PATIENCE, Stage},
    time::until,
};

/// What the other issuer says it is, and what its tokens are for.
pub const ISSUER: &str = "http://localhost:8000";
const AUDIENCE: &str = "http://localhost:8080";

/// The other issuer: an installation of its own.
///
/// # Errors
/// Nothing can be declared there.
pub fn issuer(program: &Path, echo: u16) -> Result<TegataNode> {
    let shared = Shared {
        root_key: root_key(program),
        program: program.to_owned(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let issuer = TegataNode::start("issuer", &shared, &own);
    stage::declare(&issuer, echo)?;
    Ok(issuer)
}

/// So many nodes that take its tokens, of which so many are expected to be taken back.
#[must_use]
pub fn plan(
    program: &Path,
    issuer: &TegataNode,
    (nodes, dependencies): (usize, Dependencies),
    tokens: usize,
) -> Plan {
    let port = issuer.ports().public;
    let more = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\ntokens = {tokens}\n\
         jwks_uri = \"http://127.0.0.1:{port}/.well-known/jwks.json\"\n"
    );
    Plan { dependencies, more, ..Plan::new(program, nodes) }
}

/// How a gateway answers one of its tokens.
pub fn status(gateway: &mut Client, access: &Access) -> Option<u16> {
    stage::call(gateway, "/bounded", &access.token).ok().map(|answer| answer.status)
}

/// Waits until every node has the keys of the other issuer.
///
/// # Errors
/// One does not come to take its tokens.
pub fn counts_everywhere(stage: &Stage, good: &Access) -> Result<()> {
    for node in 0..stage.nodes() {
        let mut gateway = stage.gateway(node);
        let counts = until(PATIENCE, || status(&mut gateway, good) == Some(200));
        counts.with_context(|| format!("node {node} takes no token of the other issuer"))?;
    }
    Ok(())
}

/// Takes one of its tokens back, as an operator orders it on the first node.
///
/// # Errors
/// It is not done.
pub fn take_back(stage: &Stage, access: &Access) -> Result<()> {
    let claims = stage::claims(&access.token).context("a token that cannot be read")?;
    let jti = claims.get("jti").and_then(|it| it.as_str()).context("a token without `jti`")?;
    let node = &stage.cluster().member(0).node;
    let order = ["revoke", "--issuer", ISSUER, "--jti", jti, "--reason", "test"];
    let done = node.run(&order);
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "it cannot be taken back: {said}");
    Ok(())
}

/// How many of its tokens a layer of a node has said of that they count, or do not.
#[must_use]
pub fn answered_by(stage: &Stage, node: usize, layer: &str) -> u64 {
    let port = stage.cluster().member(node).node.ports().operations;
    let told = Client::new(port).ask(&Ask::get("/metrics")).map(|told| told.text());
    let own = format!("layer=\"{layer}\"");
    let is_answer = |line: &&str| {
        let answers = ["result=\"alive\"", "result=\"revoked\""];
        line.starts_with("revocation_checks_total{")
            && line.contains(&own)
            && answers.iter().any(|result| line.contains(result))
    };
    let told = told.unwrap_or_default();
    let count = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    told.lines().filter(is_answer).filter_map(count).sum()
}
