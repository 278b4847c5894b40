//! Very many connections that do nothing, and some that never come to the end of a head.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use tegata_attack::{
    frames::{Frame, Http2, flag, kind, request},
    wire::{Way, Wire},
};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Client, way},
    look,
    report::{Seen, ms},
    scenario::Round,
    series::Latencies,
    stage::{self, PATIENCE},
    time::{Stopwatch, let_pass, until},
};

/// What one that is idle may cost, in bytes.
const EACH: u64 = 30 * 1024;
/// With fewer, what else the node does would be taken for theirs.
const ENOUGH: u64 = 1000;
/// How long a gateway may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How many times so many calls are looked at for themselves: what the machine does to one of them says nothing.
const BLOCKS: usize = 10;

/// How an answer ends that says that the gateway is there.
const HEALTHY: &[u8] = b"\"ok\"}";

/// In which way connections come, and what is measured beside them.
struct Kind {
    secure: bool,
    framed: bool,
    name: &'static str,
    alone: &'static str,
    among: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        secure: false,
        framed: false,
        name: "in the clear",
        alone: "a call alone",
        among: "a call among idle connections",
    },
    Kind {
        secure: true,
        framed: false,
        name: "over TLS",
        alone: "a call over TLS alone",
        among: "a call over TLS among idle connections over TLS",
    },
    Kind {
        secure: false,
        framed: true,
        name: "of HTTP/2",
        alone: "a call alone, before those of HTTP/2",
        among: "a call among idle connections of HTTP/2",
    },
    Kind {
        secure: true,
        framed: true,
        name: "of HTTP/2 over TLS",
        alone: "a call over TLS alone, before those of HTTP/2",
        among: "a call over TLS among idle connections of HTTP/2 over TLS",
    },
];

/// How soon a head must have come to its end: what the gateway is told, and what noticing may take.
fn head(round: &Round) -> (Duration, Duration) {
    if round.hasty {
        (Duration::from_secs(3), Duration::from_secs(10))
    } else {
        (Duration::from_secs(10), Duration::from_millis(500))
    }
}

/// What a call among them may take longer than a fifth more: what a machine does to calls of a quarter of a
/// millisecond, and much more where it does other things.
fn noise(round: &Round) -> Duration {
    if round.full {
        Duration::from_micros(100)
    } else if round.hasty {
        Duration::from_millis(250)
    } else {
        Duration::from_micros(300)
    }
}

/// One round: for each way to connect, measure, connect, measure again; and let others dribble.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let (mut seen, watch) = (Seen::default(), Stopwatch::start());
    for (number, kind) in KINDS.iter().enumerate() {
        round.progress.at(&watch, number, KINDS.len(), "ways to connect");
        beside(round, kind, &mut seen)?;
    }
    Ok(seen)
}

/// What so many connections cost that have been served once and stay, and whether others notice.
fn beside(round: &Round, kind: &Kind, seen: &mut Seen) -> Result<()> {
    let many = round.many(100, 2000, 10_000);
    let (node, echo) = (begun(round, kind.secure, many), EchoServer::start());
    stage::declare(&node, echo.port())?;
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let way = way(node.ports().gateway, kind.secure);
    let mut active = Client::over(way);
    let calls = round.many(20, 400, 2000);
    let mut measure = || -> Result<Vec<Latencies>> {
        (0..BLOCKS).map(|_| block(&mut active, &token, calls)).collect()
    };
    // What is there once for all is there then.
    measure()?;
    drop(asked(way, kind.framed)?);
    let mut alone = measure()?;
    let before = look::resident(&node)?;
    let mut idle = (0..many).map(|_| asked(way, kind.framed)).collect::<Result<Vec<_>>>()?;
    let after = look::resident(&node)?;
    there(&node, many, kind, "when their memory is read", seen)?;
    let among = measure()?;
    there(&node, many, kind, "when calls among them have been timed", seen)?;

    let count = u64::try_from(many)?;
    let each = after.saturating_sub(before) / count;
    let said = format!("{many} {}, of {:.1} KiB each", kind.name, look::kib(each));
    seen.saw = if seen.saw.is_empty() { said } else { format!("{}; {said}", seen.saw) };
    seen.must(each <= EACH || count < ENOUGH, || {
        format!("an idle connection {} costs {:.1} KiB", kind.name, look::kib(each))
    });
    if !kind.secure && !kind.framed {
        slow(round, &node, (&mut active, &token), seen)?;
        there(&node, many, kind, "when slow ones have been cut", seen)?;
    }
    // That they are open is shown by their being served.
    let served: usize = idle.iter_mut().map(|it| usize::from(it.again().is_ok())).sum();
    seen.fact("idle connections that are served again", served, many);
    seen.must(served == many, || format!("{} {} are gone", many - served, kind.name));
    seen.checked.promises += many;
    seen.checked.looks += served;
    drop(idle);
    let gone = until(PATIENCE, || look::connections(&node).is_ok_and(|open| open <= 1));
    seen.must(gone.is_some(), || format!("those {} are counted for ever", kind.name));
    // So that a machine that has become slower or quicker meanwhile is not taken for a gateway that has.
    alone.extend(
        (0..BLOCKS).map(|_| block(&mut active, &token, calls)).collect::<Result<Vec<_>>>()?,
    );
    let (usual, then) = (usual_p99(&alone), usual_p99(&among));
    seen.must(then <= usual * 12 / 10 + noise(round), || {
        let (usual, then) = (ms(usual), ms(then));
        format!("99 of 100 calls take {usual}, and {then} among idle connections {}", kind.name)
    });
    let all = |blocks: &[Latencies]| {
        blocks.iter().fold(Latencies::default(), |all, block| all.and(block))
    };
    seen.number(kind.alone, all(&alone));
    seen.number(kind.among, all(&among));
    Ok(())
}

/// A node by itself, which lets in this many more than its idle ones, and waits for them for long.
fn begun(round: &Round, secure: bool, many: usize) -> TegataNode {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/gateway/tests/gateway/tls");
    let files = [("CERTIFICATE", "certificate.pem"), ("KEY", "key.pem")];
    let files = files.iter().filter(|_| secure).map(|(name, file)| {
        (format!("TEGATA_GATEWAY__TLS__{name}_FILE"), here.join(file).display().to_string())
    });
    let set = |name: &str, value: String| (format!("TEGATA_GATEWAY__{name}"), value);
    let mut environment: Vec<_> = files.collect();
    environment.extend([
        set("LIMITS__CONNECTIONS", (many + 2000).to_string()),
        set("DEADLINES__IDLE", "1h".to_owned()),
        set("DEADLINES__HEAD", format!("{}s", head(round).0.as_secs())),
    ]);
    let own = Own { store: "sqlite://tegata.db".to_owned(), environment, ..Own::default() };
    TegataNode::start("idle", &shared, &own)
}

/// So many calls, one after the other.
fn block(active: &mut Client, token: &str, calls: usize) -> Result<Latencies> {
    (0..calls)
        .map(|_| {
            let watch = Stopwatch::start();
            let status = stage::call(active, "/bounded", token)?.status;
            ensure!(status == 200, "an honest call is answered {status}");
            Ok(watch.read())
        })
        .collect()
}

/// The 99th percentile of the middle one of several blocks.
fn usual_p99(blocks: &[Latencies]) -> Duration {
    let mut all: Vec<_> = blocks.iter().map(|block| block.percentile(99)).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// The gateway itself must say that so many are open.
fn there(node: &TegataNode, many: usize, kind: &Kind, when: &str, seen: &mut Seen) -> Result<()> {
    let open = look::connections(node)?;
    seen.must(open >= many, || format!("{open} of {many} {} are open {when}", kind.name));
    Ok(())
}

/// A connection that has been served, with frames or without.
enum Idle {
    Plain(Wire),
    Framed(Box<Http2<Wire>>),
}

impl Idle {
    /// Has it served once more.
    fn again(&mut self) -> Result<()> {
        match self {
            Self::Plain(stream) => ask(stream),
            Self::Framed(client) => ask_in(client, 3),
        }
    }
}

fn asked(way: Way, framed: bool) -> Result<Idle> {
    if framed {
        let mut client = Http2::over(way.connect("h2", ANSWER)?).begun()?;
        ask_in(&mut client, 1)?;
        return Ok(Idle::Framed(Box::new(client)));
    }
    let mut stream = way.connect("http/1.1", ANSWER)?;
    ask(&mut stream)?;
    Ok(Idle::Plain(stream))
}

fn ask(stream: &mut Wire) -> Result<()> {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.windows(HEALTHY.len()).any(|it| it == HEALTHY) {
        let read = stream.read(&mut part)?;
        ensure!(read > 0, "a connection ends before it is served");
        answer.extend(part.get(..read).unwrap_or_default());
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "a connection is not served");
    Ok(())
}

fn ask_in(client: &mut Http2<Wire>, stream: u32) -> Result<()> {
    client.send(&request("GET", "/health", stream, true))?;
    let of = |frame: &Frame| frame.stream == stream;
    let head = client.until(|frame| of(frame) && frame.status().is_some())?;
    ensure!(head.and_then(|it| it.status()) == Some(200), "a connection is not served");
    let ends = |it: &Frame| of(it) && it.kind == kind::DATA && it.flags & flag::END_STREAM != 0;
    ensure!(client.until(ends)?.is_some(), "a connection ends within an answer");
    Ok(())
}

/// Others send a head a byte a second, beside those that are idle and one that calls.
fn slow(
    round: &Round,
    node: &TegataNode,
    (active, token): (&mut Client, &str),
    seen: &mut Seen,
) -> Result<()> {
    let (many, (deadline, noticing)) = (round.many(20, 200, 500), head(round));
    let cut = dribble((node.ports().gateway, many), deadline * 2 + noticing, active, token)?;
    seen.fact("slow heads that were cut", cut.len(), many);
    seen.must(cut.len() == many, || format!("{} slow heads were not cut", many - cut.len()));
    seen.promised("a slow head is cut after", cut, deadline + noticing);
    Ok(())
}

/// Sends a byte a second on so many connections, and answers how long each was listened to.
fn dribble(
    (port, many): (u16, usize),
    most: Duration,
    active: &mut Client,
    token: &str,
) -> Result<Latencies> {
    let mut open = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let watch = Stopwatch::start();
        stream.write_all(b"GET /bounded HTTP/1.1\r\nHost: localhost\r\nX: ")?;
        stream.set_nonblocking(true)?;
        open.push((stream, watch));
    }
    let (mut cut, whole, mut turn) = (Vec::new(), Stopwatch::start(), 0_u32);
    while !open.is_empty() && whole.read() < most {
        let_pass(Duration::from_millis(50));
        turn += 1;
        open.retain_mut(|(stream, watch)| {
            if turn.is_multiple_of(20) {
                let _ = stream.write(b"x");
            }
            let closed = match stream.read(&mut [0]) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if closed {
                cut.push(watch.read());
            }
            !closed
        });
        let status = stage::call(active, "/bounded", token)?.status;
        ensure!(status == 200, "an honest call is answered {status} among slow ones");
    }
    Ok(cut.into_iter().collect())
}
