//! Files of policies are cut off and spoilt, under a node that runs and before it starts: what was forbidden
//! stays forbidden.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    EchoServer,
    tegata::{Own, Shared, TegataNode, root_key},
};

use crate::{http::Client, ledger::Checked, report::Seen, scenario::Round, seed::Seed, stage};

/// What is forbidden to everybody.
const POLICIES: &str = "@id(\"no-secrets\")\nforbid (principal, action, resource)\n\
    when { context.path like \"*/secret*\" };\n\n@id(\"no-vaults\")\nforbid (principal, action, resource)\n\
    when { context.path like \"*/vault*\" };\n";

/// What they are expected to decide.
const CASES: &str = "decide_by = \"table\"\n[[case]]\nname = \"secrets\"\nprincipal = \"user:a\"\n\
    action = \"GET\"\nresource = \"echo:/bounded\"\npath = \"/bounded/secret/x\"\nexpect = \"deny\"\n\
    [[case]]\nname = \"vaults\"\nprincipal = \"user:a\"\naction = \"GET\"\nresource = \"echo:/bounded\"\n\
    path = \"/bounded/vault/x\"\nexpect = \"deny\"\n";

/// How often the node is started anew: each takes a second.
const STARTS: usize = 5;

/// One round: so many ways to spoil the files, one after the other.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let mut seed = Seed::new(round.seed);
    let place = tempfile::tempdir()?;
    let (policies, cases) = (place.path().join("all.cedar"), place.path().join("all.test.toml"));
    fs::write(&policies, POLICIES)?;
    fs::write(&cases, CASES)?;
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own {
        store: "sqlite://tegata.db".to_owned(),
        more: format!("[policy]\ndirectory = \"{}\"\n", place.path().display()),
        ..Own::default()
    };
    let node = TegataNode::start("policies", &shared, &own);
    let echo = EchoServer::start();
    stage::declare(&node, echo.port())?;
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let mut seen = Seen::default();
    look(&node, &token, "before anything broke", &mut seen);
    ensure!(seen.broken.is_empty(), "the policies do not decide: {:?}", seen.broken);

    let times = round.many(10, 30, 300);
    let (mut noticed, mut looks) = (0, 1);
    for time in 0..times {
        let how = spoil(&mut seed, &policies)?;
        let reloaded = node.run(&["reload"]).status.success();
        noticed += usize::from(!reloaded);
        look(&node, &token, &how, &mut seen);
        looks += 1;
        if time < STARTS {
            if time % 2 == 1 {
                // Nor is what the node itself remembers of any use.
                let kept = node.directory().join("policies.json");
                let text = fs::read(&kept).context("the policies that the node decided by")?;
                fs::write(&kept, text.get(..seed.below(text.len())).unwrap_or_default())?;
            }
            node.kill();
            seen.must(node.try_launch(), || format!("it does not start: {how}"));
            look(&node, &token, &format!("started: {how}"), &mut seen);
            looks += 1;
        }
    }
    fs::write(&policies, POLICIES)?;
    let mended = node.run(&["reload"]).status.success();
    seen.must(mended, || "what was mended is not taken over".to_owned());
    look(&node, &token, "mended", &mut seen);
    seen.fact("spoilt files noticed", noticed, times);
    seen.must(noticed == times, || format!("{} of {times} were not noticed", times - noticed));
    seen.checked = Checked { promises: 2, looks: 2 * (looks + 1) };
    seen.saw = format!("{times} times, and {} starts", times.min(STARTS));
    Ok(seen)
}

/// Cuts the file off, or changes a byte of it into one that no policy has there. Answers how.
fn spoil(seed: &mut Seed, file: &Path) -> Result<String> {
    // The last line feed makes no difference.
    let at = seed.below(POLICIES.len() - 1);
    if seed.below(3) == 0 {
        let mut bytes = POLICIES.as_bytes().to_vec();
        let byte = seed.one_of(&[0, 0xff, 0x1b, 0x80]).copied().unwrap_or_default();
        *bytes.get_mut(at).context("a byte to change")? = byte;
        fs::write(file, bytes)?;
        return Ok(format!("byte {at} changed"));
    }
    fs::write(file, POLICIES.get(..at).context("a place to cut at")?)?;
    Ok(format!("cut off at {at}"))
}

/// Nothing that is forbidden passes, and everything else does.
fn look(node: &TegataNode, token: &str, how: &str, seen: &mut Seen) {
    let mut gateway = Client::new(node.ports().gateway);
    for (below, expected) in [("", 200), ("/secret", 403), ("/vault", 403)] {
        let route = format!("/bounded{below}");
        let status = stage::call(&mut gateway, &route, token).map(|answer| answer.status);
        let is_so = status.as_ref().is_ok_and(|status| *status == expected);
        seen.must(is_so, || format!("{route} is answered {status:?}: {how}"));
    }
}
