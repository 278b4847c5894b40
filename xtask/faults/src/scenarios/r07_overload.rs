//! Three times as much comes as a gateway can carry, and a thousand uploads that nobody takes.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    ledger::lock,
    report::{Seen, ms},
    scenario::Round,
    series::Latencies,
    stage,
    time::{Ending, Stopwatch, let_pass, until},
};

/// How many ask at a time while capacity is measured.
const CLOSED: usize = 32;
/// How many connections there are at most while more comes.
const OPEN: usize = 400;
/// How much more comes.
const TIMES: u32 = 3;
/// What the process may hold: `limits.memory`, in MiB.
const MEMORY: u64 = 384;

/// How long an answer took, and what it was.
type Answered = (Duration, u16);

/// One round: measure, bring three times as much, and let uploads wait.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let memory = (MEMORY * 1024 * 1024).to_string();
    let own = Own {
        store: "sqlite://tegata.db".to_owned(),
        environment: vec![("TEGATA_GATEWAY__LIMITS__MEMORY".to_owned(), memory)],
        ..Own::default()
    };
    let (node, echo) = (TegataNode::start("overload", &shared, &own), EchoServer::start());
    stage::declare(&node, echo.port())?;
    let full = Full::start()?;
    let declared = format!(
        "[[service]]\nname = \"full\"\nupstreams = [{}]\n\
         [[route]]\npath = \"/full\"\nservice = \"full\"\nauth = \"none\"\n",
        full.ports.map(|port| format!("\"http://127.0.0.1:{port}\"")).join(", ")
    );
    fs::write(node.directory().join("full.toml"), declared)?;
    node.command(&["apply", "full.toml"]);
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let port = node.ports().gateway;
    let ask = Ask::get("/bounded/x").bearer(&token);
    let span = round.outage(3, 20);

    let mut seen = Seen::default();
    let _warm = closed(port, &ask, span / 3);
    let peak = closed(port, &ask, span);
    let good = peak.iter().filter(|it| it.1 == 200).count();
    ensure!(good > 0, "nothing is answered");
    let capacity = f64::from(u32::try_from(good)?) / span.as_secs_f64();
    let usual = latencies(&peak, 200);

    let rate = capacity * f64::from(TIMES);
    let during = open(port, &ask, rate, span * 2);
    // The first moments are those in which it is found out how much is too much.
    let late: Vec<_> = during.iter().filter(|it| it.0 > span / 2).map(|it| it.1).collect();
    let (admitted, refused) = (latencies(&late, 200), latencies(&late, 503));
    let counted = span * 2 - span / 2;
    let goodput = f64::from(u32::try_from(admitted.len())?) / counted.as_secs_f64();
    let share = goodput / capacity;
    let sent = f64::from(u32::try_from(late.len())?) / counted.as_secs_f64();
    seen.saw = format!(
        "{capacity:.0} a second at most; {rate:.0} were due and {sent:.0} sent, {goodput:.0} ({:.0} %) served",
        share * 100.0
    );
    let others = late.iter().filter(|it| !matches!(it.1, 200 | 503)).count();
    seen.must(others == 0, || format!("{others} were answered otherwise, or not at all"));
    // A look, on a machine that does other things, says that it goes on and that somebody is refused.
    let (least, most, at_once) = if round.hasty {
        (0.2, 50, Duration::from_secs(2))
    } else {
        (0.8, 5, Duration::from_millis(50))
    };
    seen.must(share >= least, || format!("{:.0} % of what is possible is served", share * 100.0));
    let (p99, may) = (admitted.percentile(99), usual.percentile(99) * most);
    seen.must(p99 <= may, || format!("99 of 100 take {}, at most {}", ms(p99), ms(may)));
    let p99 = refused.percentile(99);
    seen.must(p99 <= at_once, || format!("99 of 100 refusals take {}", ms(p99)));
    seen.number("a call at capacity", usual);
    seen.number("a call that is let in at three times as much", admitted);
    seen.number("a refusal", refused);
    let back = until(stage::PATIENCE, || {
        Client::new(port).ask(&ask).is_ok_and(|answer| answer.status == 200)
    });
    seen.must(back.is_some(), || "it does not come back".to_owned());

    uploads(round, (&node, port), &ask, &full, &mut seen)?;
    seen.checked.promises = late.len();
    Ok(seen)
}

/// Uploads that nobody takes, while others call.
fn uploads(
    round: &Round,
    (node, port): (&TegataNode, u16),
    ask: &Ask,
    full: &Full,
    seen: &mut Seen,
) -> Result<()> {
    let many = round.many(100, 1000, 1000);
    let mut uploads = Vec::new();
    let patience = Stopwatch::start();
    while uploads.len() < many {
        ensure!(
            patience.read() < 2 * stage::PATIENCE,
            "{} of {many} uploads are let in",
            uploads.len()
        );
        let taken = full.taken();
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let head = "POST /full/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        stream.set_nonblocking(true)?;
        // One that comes too soon after others is told to come later, and does.
        let is_refused = || stream.peek(&mut [0]).is_ok();
        until(stage::PATIENCE, || full.taken() > taken || is_refused());
        if full.taken() > taken {
            uploads.push(stream);
        }
    }
    let chunk = vec![b'x'; 64 * 1024];
    let (mut most, mut quiet, mut client) = (0, 0, Client::new(port));
    while quiet < 5 {
        let mut wrote = 0;
        for stream in &mut uploads {
            match stream.write(&chunk) {
                Ok(bytes) => wrote += bytes,
                Err(error) => {
                    ensure!(error.kind() == ErrorKind::WouldBlock, "an upload ends: {error}");
                }
            }
        }
        quiet = if wrote == 0 { quiet + 1 } else { 0 };
        most = most.max(resident(node)?);
        let status = client.ask(ask)?.status;
        seen.must(matches!(status, 200), || format!("a call beside uploads is answered {status}"));
        let_pass(Duration::from_millis(20));
    }
    let mib = most / 1024 / 1024;
    let arrived = full.taken();
    seen.saw = format!(
        "{}; {mib} of {MEMORY} MiB with {many} uploads, {arrived} of which had come to the service",
        seen.saw
    );
    seen.must(mib <= MEMORY, || format!("{mib} MiB are in use, at most {MEMORY}"));
    Ok(())
}

/// A service that takes connections, and nothing of what comes on them. It has several addresses, because there
/// are 512 connections to one.
struct Full {
    ports: [u16; 3],
    open: std::sync::Arc<Mutex<Vec<TcpStream>>>,
}

impl Full {
    fn start() -> Result<Self> {
        let open = std::sync::Arc::<Mutex<Vec<TcpStream>>>::default();
        let mut ports = [0; 3];
        for port in &mut ports {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            *port = listener.local_addr()?.port();
            let held = std::sync::Arc::clone(&open);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    lock(&held).push(stream);
                }
            });
        }
        Ok(Self { ports, open })
    }

    fn taken(&self) -> usize {
        lock(&self.open).len()
    }
}

/// The memory of a node that is in use, in bytes.
fn resident(node: &TegataNode) -> Result<u64> {
    let id = node.process().id().context("the node does not run")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|it| it.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

fn latencies(all: &[Answered], status: u16) -> Latencies {
    all.iter().filter(|it| it.1 == status).map(|it| it.0).collect()
}

/// A few ask, each again as soon as it is answered: as much as there can be.
fn closed(port: u16, ask: &Ask, span: Duration) -> Vec<Answered> {
    let (all, ending) = (Mutex::new(Vec::new()), Ending::default());
    thread::scope(|scope| {
        for _ in 0..CLOSED {
            scope.spawn(|| {
                let (mut client, mut own) = (Client::new(port), Vec::new());
                while !ending.is_over() {
                    let watch = Stopwatch::start();
                    let status = client.ask(ask).map_or(0, |answer| answer.status);
                    own.push((watch.read(), status));
                }
                lock(&all).extend(own);
            });
        }
        let _over = ending.ends_with();
        let_pass(span);
    });
    all.into_inner().unwrap_or_default()
}

/// How late a request may be sent, where everybody who could send it waits for an answer; then it is not.
const LATE: Duration = Duration::from_millis(50);

/// So many ask each second, whether others were answered or not: each is asked for at its time, by whoever is
/// free. Answers when each was due, and how long it took; those for which nobody was free are not among them.
fn open(port: u16, ask: &Ask, rate: f64, span: Duration) -> Vec<(Duration, Answered)> {
    let (all, next, watch) = (Mutex::new(Vec::new()), AtomicU64::new(0), Stopwatch::start());
    thread::scope(|scope| {
        for _ in 0..OPEN {
            scope.spawn(|| {
                let (mut client, mut own) = (Client::new(port), Vec::new());
                loop {
                    let number = u32::try_from(next.fetch_add(1, SeqCst)).unwrap_or(u32::MAX);
                    let due = Duration::from_secs_f64(f64::from(number) / rate);
                    if due >= span {
                        break;
                    }
                    if let Some(early) = due.checked_sub(watch.read()) {
                        let_pass(early);
                    }
                    let sent = watch.read();
                    if sent > due + LATE {
                        continue;
                    }
                    let status = client.ask(ask).map_or(0, |answer| answer.status);
                    own.push((due, (watch.read().saturating_sub(sent), status)));
                }
                lock(&all).extend(own);
            });
        }
    });
    all.into_inner().unwrap_or_default()
}
