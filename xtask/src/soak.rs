//! Uses something for long, in every way that it is used, and looks whether it grows.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tegata_attack::frames::{Http2, request};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::{Ask, Client},
    time::{Ending, Stopwatch},
};

use crate::{command, faults};

/// What is asked for.
#[derive(Args)]
pub struct Soak {
    /// What is used: `gateway`
    #[arg(value_parser = ["gateway"])]
    what: String,
    /// For how long
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The program, where it is built already
    #[arg(long, conflicts_with = "debug")]
    program: Option<PathBuf>,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
}

/// How a node is at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    /// Memory in use, in KiB.
    memory: u64,
    descriptors: u64,
    threads: u64,
    /// Lines of its metrics.
    metrics: u64,
    /// Connections of clients.
    connections: u64,
}

/// What may not grow: its name, where it is, and by how much it may differ from one moment to another, beside
/// a tenth.
type Measure = (&'static str, fn(&Look) -> u64, u64);
const MEASURES: [Measure; 5] = [
    ("memory, KiB", |look| look.memory, 16 * 1024),
    ("descriptors", |look| look.descriptors, 48),
    ("threads", |look| look.threads, 2),
    ("metrics", |look| look.metrics, 64),
    ("connections", |look| look.connections, 48),
];

/// What was done.
#[derive(Debug, Default)]
struct Done {
    http1: AtomicU64,
    http2: AtomicU64,
    sockets: AtomicU64,
    changes: AtomicU64,
    failed: AtomicU64,
}

/// Uses it, and says how it was every so often.
///
/// # Errors
/// It cannot be started.
pub fn run(asked: &Soak) -> Result<ExitCode> {
    let program = match &asked.program {
        Some(program) => program.canonicalize().with_context(|| program.display().to_string())?,
        None => faults::program(asked.debug)?,
    };
    let shared = Shared {
        root_key: root_key(&program),
        program,
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let (node, echo, live) =
        (TegataNode::start("soaked", &shared, &own), EchoServer::start(), live()?);
    let declared = format!(
        "[[service]]\nname = \"echo\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"/echo\"\nservice = \"echo\"\nauth = \"none\"\n\
         [[service]]\nname = \"live\"\nupstreams = [\"http://127.0.0.1:{live}\"]\n\
         [[route]]\npath = \"/live\"\nservice = \"live\"\nauth = \"none\"\nwebsocket = true\n",
        echo.port()
    );
    fs::write(node.directory().join("declared.toml"), declared)?;
    node.command(&["apply", "declared.toml"]);
    let (whole, done) = (Duration::from_secs(asked.minutes * 60), Done::default());
    let looks = used(&node, (echo.port(), whole), &done)?;
    let file = command::root().join("target/soak").join(format!("{}.csv", asked.what));
    if let Some(place) = file.parent() {
        fs::create_dir_all(place)?;
    }
    fs::write(&file, table(&looks))?;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{} requests over HTTP/1.1, {} over HTTP/2, {} WebSockets, {} changes of services; {} failed",
        count(&done.http1),
        count(&done.http2),
        count(&done.sockets),
        count(&done.changes),
        count(&done.failed)
    );
    println!("every look is in `{}`", file.display());
    let grown = grown(&looks);
    grown.iter().for_each(|what| println!("GREW   {what}"));
    if count(&done.failed) > 0 {
        bail!("something that should have been answered was not");
    }
    println!("{}", if grown.is_empty() { "level" } else { "it grows" });
    Ok(if grown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Uses a node, and looks at it each second.
fn used(node: &TegataNode, (echo, whole): (u16, Duration), done: &Done) -> Result<Vec<Look>> {
    let gateway = SocketAddr::from(([127, 0, 0, 1], node.ports().gateway));
    let (ending, watch, mut looks) = (Ending::default(), Stopwatch::start(), Vec::new());
    // What a user does: its result counts, and what fails is counted once the node is there.
    let all = thread::scope(|scope| {
        let again = |counter: &'static str, pace: u64, work: fn(SocketAddr) -> Result<u64>| {
            let ending = &ending;
            scope.spawn(move || {
                let counter = match counter {
                    "http1" => &done.http1,
                    "http2" => &done.http2,
                    _ => &done.sockets,
                };
                while !ending.pass(Duration::from_millis(pace)) {
                    match work(gateway) {
                        Ok(many) => counter.fetch_add(many, Relaxed),
                        Err(error) => {
                            eprintln!("{error:#}");
                            done.failed.fetch_add(1, Relaxed)
                        }
                    };
                }
            });
        };
        for _ in 0..8 {
            again("http1", 5, http1);
        }
        for _ in 0..4 {
            again("http2", 5, http2);
            again("sockets", 20, socket);
        }
        let over = &ending;
        scope.spawn(move || churn(node, echo, done, over));
        let _over = ending.ends_with();
        let every = (whole / 30).max(Duration::from_secs(2));
        let mut next = Duration::ZERO;
        println!("{:>8}  {}", "seconds", MEASURES.map(|it| format!("{:>12}", it.0)).join("  "));
        while watch.read() < whole {
            ending.pass(Duration::from_secs(1));
            let look = look(node)?;
            looks.push(look);
            if watch.read() >= next {
                next += every;
                let values = MEASURES.map(|it| format!("{:>12}", (it.1)(&look))).join("  ");
                println!("{:>8}  {values}", watch.read().as_secs());
            }
        }
        Ok::<_, anyhow::Error>(())
    });
    all.map(|()| looks)
}

/// A connection for some requests.
fn http1(gateway: SocketAddr) -> Result<u64> {
    let mut client = Client::new(gateway.port());
    for number in 0..20 {
        let status = client.ask(&Ask::get(&format!("/echo/{number}")))?.status;
        if status != 200 {
            bail!("HTTP/1.1: a request is answered {status}");
        }
    }
    Ok(20)
}

/// A connection on which ten ask at the same time, and one of which the answer is not waited for.
fn http2(gateway: SocketAddr) -> Result<u64> {
    let mut client = Http2::to(gateway)?;
    let streams = (0..10).map(|number| 2 * number + 1);
    for stream in streams.clone() {
        client.send(&request("GET", "/echo/x", stream, true))?;
    }
    for _ in streams {
        let heard = client.until(|frame| frame.status().is_some())?;
        let status = heard.context("HTTP/2: the connection ends")?.status();
        if status != Some(200) {
            bail!("HTTP/2: a request is answered {status:?}");
        }
    }
    client.send(&request("GET", "/echo/x", 21, true))?;
    Ok(10)
}

/// What a service answers to this key (RFC 6455 §1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A socket that says something, hears it, and is left open or closed.
fn socket(gateway: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "GET /live/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let answer = until_blank(&mut stream)?;
    if !answer.starts_with("HTTP/1.1 101 ") {
        bail!("a WebSocket is answered {answer:?}");
    }
    let said = [0x82, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    for _ in 0..10 {
        stream.write_all(&said)?;
        let mut heard = [0; 11];
        stream.read_exact(&mut heard)?;
        if heard != said {
            bail!("a WebSocket says something else");
        }
    }
    Ok(1)
}

/// A service that opens WebSockets and says what it hears.
fn live() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes away has had enough.
            thread::spawn(move || say_again(stream));
        }
    });
    Ok(port)
}

fn say_again(mut stream: TcpStream) -> Result<()> {
    until_blank(&mut stream)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    let mut heard = [0; 4096];
    loop {
        let read = stream.read(&mut heard)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(heard.get(..read).unwrap_or_default())?;
    }
}

fn until_blank(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Services come, are asked, and go: each with a name of its own, at an address that is used again.
fn churn(node: &TegataNode, echo: u16, done: &Done, ending: &Ending) {
    let mut client = Client::new(node.ports().gateway);
    for number in 0.. {
        if ending.pass(Duration::from_millis(500)) {
            return;
        }
        let declared = format!(
            "[[service]]\nname = \"guest-{number}\"\nupstreams = [\"http://127.0.0.1:{echo}\"]\n\
             [[route]]\npath = \"/guest-{number}\"\nservice = \"guest-{number}\"\nauth = \"none\"\n"
        );
        let written = fs::write(node.directory().join("guest.toml"), declared);
        let came = written.is_ok() && node.run(&["apply", "guest.toml"]).status.success();
        let asked = client.ask(&Ask::get(&format!("/guest-{number}/x")));
        let good = came && asked.is_ok_and(|answer| answer.status == 200);
        let gone = node.run(&["service", "remove", &format!("guest-{number}")]);
        let counter = if good && gone.status.success() { &done.changes } else { &done.failed };
        counter.fetch_add(1, Relaxed);
        if !gone.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&gone.stderr));
        }
    }
}

fn look(node: &TegataNode) -> Result<Look> {
    let id = node.process().id().context("the node does not run")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let metrics = Client::new(node.ports().operations).ask(&Ask::get("/metrics"))?.text();
    let connections = metrics.lines().find_map(|line| line.strip_prefix("gateway_connections "));
    Ok(Look {
        memory: number("VmRSS:").context("no VmRSS")?,
        threads: number("Threads:").context("no Threads")?,
        descriptors: u64::try_from(fs::read_dir(format!("/proc/{id}/fd"))?.count())?,
        metrics: u64::try_from(metrics.lines().count())?,
        connections: connections.and_then(|it| it.parse().ok()).unwrap_or_default(),
    })
}

/// What is more in the last third than it was in the middle one, by more than it may be: the first is when
/// caches are filled.
fn grown(looks: &[Look]) -> Vec<String> {
    let third = looks.len() / 3;
    let middle = looks.get(third..2 * third).unwrap_or_default();
    let last = looks.get(2 * third..).unwrap_or_default();
    let differs = |(name, of, slack): &Measure| {
        let (before, after) = (middle.iter().map(of).max()?, last.iter().map(of).max()?);
        let most = before + before / 10 + slack;
        (after > most).then(|| format!("{name}: {after} after {before}, at most {most}"))
    };
    MEASURES.iter().filter_map(differs).collect()
}

fn table(looks: &[Look]) -> String {
    let mut text = format!("second,{}\n", MEASURES.map(|it| it.0.replace(',', "")).join(","));
    for (second, look) in looks.iter().enumerate() {
        let values = MEASURES.map(|it| (it.1)(look).to_string()).join(",");
        // Writing to a text does not fail.
        let _ = writeln!(text, "{second},{values}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(memory: impl Fn(u64) -> u64) -> Vec<Look> {
        let look = |second| Look { memory: memory(second), metrics: 900, ..Look::default() };
        (0..300).map(look).collect()
    }

    #[test]
    fn what_fills_up_at_first_is_level_and_what_goes_on_is_not() {
        assert!(grown(&with(|second| 50_000 + 1000 * second.min(90))).is_empty());
        assert!(grown(&with(|second| 50_000 + (second % 7) * 2000)).is_empty());
        let found = grown(&with(|second| 50_000 + 500 * second));
        assert!(found.len() == 1 && found[0].starts_with("memory"), "{found:?}");
        assert!(grown(&[]).is_empty());
    }

    #[test]
    fn every_look_is_a_line() {
        let text = table(&with(|second| second));
        assert_eq!(text.lines().count(), 301);
        assert!(
            text.starts_with("second,memory KiB,descriptors,")
                && text.contains("\n7,7,0,0,900,0\n")
        );
    }
}
