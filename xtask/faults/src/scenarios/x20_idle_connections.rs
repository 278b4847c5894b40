//! Very many connections that do nothing, and some that never come to the end of a head.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tegata_attack::{
    frames::{Http2, flag, kind, request},
    wire::{Way, Wire},
};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::Client,
    report::{Seen, ms},
    scenario::Round,
    series::Latencies,
    stage,
    time::{Stopwatch, let_pass},
};

/// What one that is idle may cost, in bytes.
const EACH: u64 = 30 * 1024;
/// With fewer, what else the node does would be taken for theirs.
const ENOUGH: u64 = 1000;
/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon a head must have come to its end, with what it takes to notice.
const HEAD: Duration = Duration::from_millis(10_500);
/// What a call may take longer, whatever it took before: this machine has other things to do.
const NOISE: Duration = Duration::from_micros(300);

/// In which other ways connections come: whether with TLS, whether with frames, and what that is called.
const OTHERS: [(bool, bool, &str); 3] =
    [(true, false, "over TLS"), (false, true, "of HTTP/2"), (true, true, "of HTTP/2 over TLS")];

/// One round: measure, connect, measure again, and let others dribble.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let (node, echo) = (begun(round, false), EchoServer::start());
    stage::declare(&node, echo.port())?;
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let port = node.ports().gateway;
    let mut active = Client::new(port);
    let calls = round.many(200, 3000, 20_000);
    let mut measure = || -> Result<Latencies> {
        (0..calls)
            .map(|_| {
                let watch = Stopwatch::start();
                let status = stage::call(&mut active, "/bounded", &token)?.status;
                ensure!(status == 200, "an honest call is answered {status}");
                Ok(watch.read())
            })
            .collect()
    };
    measure()?;
    let alone = measure()?;
    let before = resident(&node)?;
    let many = round.many(100, 2000, 10_000);
    let clear = |port| Way::clear(SocketAddr::from(([127, 0, 0, 1], port)));
    let idle = (0..many).map(|_| settled(clear(port))).collect::<Result<Vec<_>>>()?;
    let after = resident(&node)?;
    let among = measure()?;

    let count = u64::try_from(many)?;
    let each = after.saturating_sub(before) / count;
    let mut seen = Seen {
        saw: format!("{many} idle connections of {:.1} KiB each", display(each)),
        ..Seen::default()
    };
    seen.must(each <= EACH || count < ENOUGH, || {
        format!("an idle connection costs {:.1} KiB", display(each))
    });
    for (secure, framed, name) in OTHERS {
        let each = cost(&begun(round, secure), secure, framed, many)?;
        seen.saw.push_str(&format!("; {name}, of {:.1} KiB each", display(each)));
        seen.must(each <= EACH || count < ENOUGH, || {
            format!("an idle connection {name} costs {:.1} KiB", display(each))
        });
    }
    let (usual, then) = (alone.percentile(99), among.percentile(99));
    seen.must(then <= usual * 12 / 10 + NOISE, || {
        format!("99 of 100 calls take {}, and {} among idle connections", ms(usual), ms(then))
    });
    seen.number("a call alone", alone);
    seen.number("a call among idle ones", among);

    let slow = round.many(20, 200, 500);
    let cut = dribble(port, slow, &mut active, &token)?;
    seen.fact("slow heads that were cut", cut.len(), slow);
    seen.must(cut.len() == slow, || format!("{} slow heads were not cut", slow - cut.len()));
    seen.promised("a slow head is cut after", cut, HEAD);
    drop(idle);
    Ok(seen)
}

/// A node by itself.
fn begun(round: &Round, secure: bool) -> TegataNode {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/gateway/tests/gateway/tls");
    let files = [("CERTIFICATE", "certificate.pem"), ("KEY", "key.pem")];
    let environment = files.iter().filter(|_| secure).map(|(name, file)| {
        (format!("TEGATA_GATEWAY__TLS__{name}_FILE"), here.join(file).display().to_string())
    });
    let environment = environment.collect();
    let own = Own { store: "sqlite://tegata.db".to_owned(), environment, ..Own::default() };
    TegataNode::start("idle", &shared, &own)
}

/// What one of so many connections costs a node that had none, in bytes.
fn cost(node: &TegataNode, secure: bool, framed: bool, many: usize) -> Result<u64> {
    let address = SocketAddr::from(([127, 0, 0, 1], node.ports().gateway));
    let way = Way { address, secure };
    // What is there once for all is there then.
    drop(asked(way, framed)?);
    let before = resident(node)?;
    let idle = (0..many).map(|_| asked(way, framed)).collect::<Result<Vec<_>>>()?;
    let after = resident(node)?;
    drop(idle);
    Ok(after.saturating_sub(before) / u64::try_from(many)?)
}

/// A connection that has been served once, with frames or without.
fn asked(way: Way, framed: bool) -> Result<Wire> {
    if !framed {
        return settled(way);
    }
    let mut client = Http2::over(way.connect("h2", PATIENCE)?).begun()?;
    client.send(&request("GET", "/health", 1, true))?;
    let ends = |of: u8, flags: u8| of == kind::DATA && flags & flag::END_STREAM != 0;
    let end = client.until(|frame| ends(frame.kind, frame.flags))?;
    ensure!(end.is_some(), "a connection is not served");
    Ok(client.stream)
}

fn display(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1024.0
}

/// The memory of a node that is in use, in bytes.
fn resident(node: &TegataNode) -> Result<u64> {
    let id = node.process().id().context("the node does not run")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|it| it.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

/// A connection that has been served once.
fn settled(way: Way) -> Result<Wire> {
    let mut stream = way.connect("http/1.1", PATIENCE)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 ") && read > 13, "a connection is not served");
    Ok(stream)
}

/// Sends a byte a second on so many connections, and answers how long each was listened to.
fn dribble(port: u16, many: usize, active: &mut Client, token: &str) -> Result<Latencies> {
    let mut open = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let watch = Stopwatch::start();
        stream.write_all(b"GET /bounded HTTP/1.1\r\nHost: localhost\r\nX: ")?;
        stream.set_nonblocking(true)?;
        open.push((stream, watch));
    }
    let (mut cut, whole, mut turn) = (Vec::new(), Stopwatch::start(), 0_u32);
    while !open.is_empty() && whole.read() < HEAD * 2 {
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
