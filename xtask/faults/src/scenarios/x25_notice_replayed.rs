//! What a provider told before, signed by it, is told to a follower in place of what it says now.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    http::Ask,
    ledger::Ledger,
    report::Seen,
    scenario::Round,
    sidecar::{STALE, Sidecar},
    stage::{self, PATIENCE, ROBOT, Stage},
    time::{Ending, Stopwatch, until},
};

/// By how much what is seen of a sidecar may lag behind what it knows, on a busy machine.
const LAG: Duration = Duration::from_secs(1);

/// Somebody in the place of the provider, who says the same whatever is asked.
struct Replayer {
    port: u16,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Replayer {
    fn saying(notice: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (asked, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, ended) = (Arc::clone(&asked), Arc::clone(&over));
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/tegata-revocations+jwt\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{notice}",
            notice.len()
        );
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                if answered(&stream, &answer).unwrap_or_default() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Ok(Self { port, asked, over })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Whoever waits for connections is given one.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Reads a request and answers it. Whether it was one for what is taken back.
fn answered(mut stream: &TcpStream, answer: &str) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut about) = (String::new(), 0, false);
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        about |= line.starts_with("POST /oauth2/revocations");
        let field = line.to_ascii_lowercase();
        if let Some(said) = field.strip_prefix("content-length:") {
            length = said.trim().parse()?;
        }
        line.clear();
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    stream.write_all(answer.as_bytes())?;
    Ok(about)
}

/// A sidecar is told again and again what there was before something was taken back.
pub(super) fn round(stage: &Stage, round: &Round, ledger: &Ledger, seen: &mut Seen) -> Result<()> {
    let sidecar = Sidecar::start(stage, &round.program)?;
    let access = stage::issued(&mut stage.public(0))?;
    ensure!(sidecar.check(&access) == 200, "a token does not count beside the service");
    let ask =
        Ask::form("/oauth2/revocations", &[("nonce", "somebody-else-s-nonce"), ("wait_ms", "0")]);
    let told = stage.public(0).ask(&ask.basic(ROBOT.0, ROBOT.1))?;
    ensure!(told.status == 200, "followers are told nothing: {}", told.text());
    let claims = stage::claims(&told.text()).context("a notice that cannot be read")?;
    ensure!(claims.get("whole").is_some_and(|it| it == true), "not all is told: {claims}");

    let (replayer, front) = (Replayer::saying(&told.text())?, stage.cluster().front());
    front.lead_to(&[replayer.port]);
    front.cut();
    let watch = Stopwatch::start();
    let answer = stage::revoke(&mut stage.public(0), &access.token)?;
    ensure!(answer.status == 200, "taking back was answered {}", answer.status);
    ledger.revoked(access.clone());
    let acknowledged = watch.read();
    let (ending, mut late, mut closed) = (Ending::default(), 0, None);
    // As long again as it may go by what it knew.
    while watch.read() < acknowledged + STALE * 2 {
        let at = watch.read();
        match sidecar.check(&access) {
            200 => late += usize::from(at > acknowledged + STALE + LAG),
            503 => closed = closed.or(Some(at)),
            other => seen.broken.push(format!("a sidecar that cannot know answers {other}")),
        }
        ending.pass(Duration::from_millis(20));
    }
    let asked = replayer.asked();
    seen.must(asked > 1, || format!("what was told before was told {asked} times again"));
    seen.must(late == 0, || format!("by an old notice, {late} calls with it were let pass"));
    seen.must(closed.is_some(), || "an old notice passes for a new one".to_owned());
    front.lead_to(&nodes(stage));
    front.cut();
    let learnt = until(PATIENCE, || sidecar.check(&access) == 401);
    seen.must(learnt.is_some(), || "a sidecar does not find its provider again".to_owned());
    Ok(())
}

fn nodes(stage: &Stage) -> Vec<u16> {
    stage.cluster().members().iter().map(|member| member.node.ports().public).collect()
}
