//! Settings, a route and a certificate change again and again under a node that is alone. Each answer must be that
//! of what counted before or of what counts since, and of the latter alone once the change is made.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Ports},
};

use super::x22_one_node::{Trial, with_traffic};
use crate::{
    http::{Ask, Client, way},
    ledger::lock,
    report::Seen,
    scenario::Round,
    time::{Ending, Stopwatch, until},
};

/// How long a change may take until it is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// `limits.body` before and after, in bytes, and what is sent: too much for the second.
const BODIES: [usize; 2] = [3000, 1000];
const SENT: usize = 2000;

/// One of several things that change, each from one of two forms into the other.
#[derive(Debug, Default)]
struct Turned {
    /// Which change has begun, and which is made.
    begun: AtomicUsize,
    made: AtomicUsize,
    /// Those after which it was asked while nothing changed.
    judged: Mutex<BTreeSet<usize>>,
}

impl Turned {
    /// Asks, and answers what is wrong with the form that was seen: that of no change that counted meanwhile.
    fn judge(&self, ask: impl FnOnce() -> Result<usize, String>) -> Result<(), String> {
        let least = self.made.load(SeqCst);
        let form = ask()?;
        let most = self.begun.load(SeqCst);
        if !(least..=most).any(|change| change % 2 == form) {
            return Err(format!("form {form} counts after change {least}, before {}", most + 1));
        }
        if least == most {
            lock(&self.judged).insert(least);
        }
        Ok(())
    }

    fn is_judged(&self) -> bool {
        lock(&self.judged).contains(&self.made.load(SeqCst))
    }
}

/// All that changes.
#[derive(Debug, Default)]
struct Changes {
    route: Turned,
    limit: Turned,
    certificate: Turned,
    /// How often was asked, and what was wrong.
    asked: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

/// One round: settings, a route and a certificate change again and again, by the command and by SIGHUP.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let (place, echo) = (tempfile::tempdir()?, EchoServer::start());
    let certificates = [Shown::new()?, Shown::new()?];
    let [first, _] = &certificates;
    first.write(place.path())?;
    let file = |name: &str| place.path().join(name).display().to_string();
    let own = Own {
        store: "sqlite://tegata.db".to_owned(),
        more: format!(
            "[[service]]\nname = \"turned\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
             [[route]]\npath = \"/turned\"\nservice = \"turned\"\nauth = \"none\"\n{}",
            echo.port(),
            STRIPS[0]
        ),
        environment: vec![
            ("TEGATA_GATEWAY__TLS__CERTIFICATE_FILE".to_owned(), file("chain.pem")),
            ("TEGATA_GATEWAY__TLS__KEY_FILE".to_owned(), file("key.pem")),
        ],
        ..Own::default()
    };
    let changes = Changes::default();
    let ders = certificates.each_ref().map(|it| it.der.clone());
    let beside = |ports: Ports, ending: &Ending| {
        thread::scope(|threads| {
            threads.spawn(|| changes.ask(ports, ending, &|ports| changes.ask_route(ports)));
            threads.spawn(|| changes.ask(ports, ending, &|ports| changes.ask_limit(ports)));
            threads.spawn(|| changes.ask(ports, ending, &|ports| changes.shake(ports, &ders)));
        });
    };
    let trial = Trial { own, secure: true, ends: false, beside: &beside };
    let mut seen = with_traffic(round, &trial, |node, step, took| {
        changes.make(node, step + 1, took)?;
        // It is looked at every 10 s whether files have changed.
        if step.is_multiple_of(2) {
            changes.renew(node, (step / 2) + 1, place.path(), &certificates)?;
        }
        Ok(None)
    })?;
    let (asked, wrong) = (changes.asked.load(SeqCst), lock(&changes.wrong).clone());
    seen.fact("answers of the old or the new", asked - wrong.len(), asked);
    seen.must(asked > wrong.len(), || "nobody asked for what changes".to_owned());
    seen.broken.extend(wrong.into_iter().take(4));
    Ok(seen)
}

/// Whether the service sees the prefix of its route.
const STRIPS: [&str; 2] = ["strip_prefix = true\n", "strip_prefix = false\n"];

impl Changes {
    /// Asks again and again, each time on a connection of its own.
    fn ask(
        &self,
        ports: Ports,
        ending: &Ending,
        once: &(dyn Fn(Ports) -> Result<(), String> + Sync),
    ) {
        while !ending.pass(Duration::from_millis(2)) {
            self.asked.fetch_add(1, SeqCst);
            if let Err(wrong) = once(ports) {
                lock(&self.wrong).push(wrong);
            }
        }
    }

    fn ask_route(&self, ports: Ports) -> Result<(), String> {
        let judged = self.route.judge(|| {
            let ask = Ask::get("/turned/x");
            let answer = client(ports).ask(&ask).map_err(|error| error.to_string())?;
            match (answer.status, answer.member("path").as_deref()) {
                (200, Some("/x")) => Ok(0),
                (200, Some("/turned/x")) => Ok(1),
                (status, path) => Err(format!("{status}, and the service sees {path:?}")),
            }
        });
        judged.map_err(|wrong| format!("the route: {wrong}"))
    }

    fn ask_limit(&self, ports: Ports) -> Result<(), String> {
        let judged = self.limit.judge(|| {
            let ask = Ask::form("/turned/x", &[("x", &"x".repeat(SENT))]);
            match client(ports).ask(&ask).map_err(|error| error.to_string())?.status {
                200 => Ok(0),
                413 => Ok(1),
                status => Err(format!("{status} to a body of {SENT} bytes")),
            }
        });
        judged.map_err(|wrong| format!("the limit: {wrong}"))
    }

    fn shake(&self, ports: Ports, ders: &[Vec<u8>; 2]) -> Result<(), String> {
        let judged = self.certificate.judge(|| {
            let shown = certificate_of(ports).map_err(|error| error.to_string())?;
            let form = ders.iter().position(|der| *der == shown);
            form.ok_or_else(|| "it is neither of the two".to_owned())
        });
        judged.map_err(|wrong| format!("the certificate: {wrong}"))
    }

    /// Makes one change of settings and of the route; it counts when the command has ended. Then it is asked for
    /// both.
    fn make(&self, node: &TegataNode, change: usize, took: &mut Vec<Duration>) -> Result<()> {
        let form = change % 2;
        let file = node.directory().join("tegata.toml");
        let old = fs::read_to_string(&file)?;
        let is_ours = |line: &str| line.starts_with("body = ") || line.starts_with("strip_prefix");
        let lines = old.lines().filter(|line| !is_ours(line));
        let mut new: String = lines.map(|line| format!("{line}\n")).collect();
        let body = BODIES.get(form).context("no such form")?;
        let strips = STRIPS.get(form).context("no such form")?;
        new = new.replace("[gateway.limits]\n", &format!("[gateway.limits]\nbody = {body}\n"));
        new.push_str(strips);
        for turned in [&self.route, &self.limit] {
            turned.begun.store(change, SeqCst);
        }
        replace(&file, &new)?;
        let watch = Stopwatch::start();
        if change.is_multiple_of(2) {
            let id = node.process().id().unwrap_or_default().to_string();
            ensure!(Command::new("kill").args(["-HUP", &id]).status()?.success(), "`kill`");
        }
        node.command(&["reload"]);
        took.push(watch.read());
        for turned in [&self.route, &self.limit] {
            turned.made.store(change, SeqCst);
            let judged = until(PATIENCE, || turned.is_judged() || !lock(&self.wrong).is_empty());
            ensure!(judged.is_some(), "nobody asked after change {change}");
        }
        Ok(())
    }

    /// Puts another certificate into the files, and waits until it is shown.
    fn renew(
        &self,
        node: &TegataNode,
        change: usize,
        place: &Path,
        certificates: &[Shown; 2],
    ) -> Result<()> {
        let new = certificates.get(change % 2).context("no such form")?;
        self.certificate.begun.store(change, SeqCst);
        new.write(place)?;
        let is_shown = || certificate_of(node.ports()).is_ok_and(|shown| shown == new.der);
        ensure!(until(PATIENCE, is_shown).is_some(), "the new certificate is never shown");
        self.certificate.made.store(change, SeqCst);
        let is_judged = || self.certificate.is_judged() || !lock(&self.wrong).is_empty();
        ensure!(until(PATIENCE, is_judged).is_some(), "nobody connects after a renewal");
        Ok(())
    }
}

fn client(ports: Ports) -> Client {
    Client::over(way(ports.gateway, true)).waiting(PATIENCE)
}

/// What a new connection is shown, in DER.
fn certificate_of(ports: Ports) -> Result<Vec<u8>> {
    let connection = way(ports.gateway, true).connect("http/1.1", PATIENCE)?;
    Ok(connection.certificate().context("no certificate is shown")?.to_vec())
}

/// A certificate with its key.
struct Shown {
    der: Vec<u8>,
    pem: String,
    key: String,
}

impl Shown {
    fn new() -> Result<Self> {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (der, pem) = (own.cert.der().to_vec(), own.cert.pem());
        Ok(Self { der, pem, key: own.signing_key.serialize_pem() })
    }

    /// Puts it where the gateway reads it: one file after the other, as people do.
    fn write(&self, place: &Path) -> Result<()> {
        replace(&place.join("key.pem"), &self.key)?;
        replace(&place.join("chain.pem"), &self.pem)
    }
}

/// Writes a file beside, and renames it.
fn replace(file: &Path, text: &str) -> Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, text)?;
    Ok(fs::rename(&beside, file)?)
}
