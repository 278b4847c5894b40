//! Three times as much comes as a gateway can carry, and a thousand uploads that nobody takes.
//!
//! What comes are requests that cost a gateway something: their answers are compressed. Of requests that cost
//! it nothing but being passed on, nobody on the same machine could send three times as many as it carries.

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    ledger::lock,
    look,
    report::{Seen, ms},
    scenario::Round,
    seed::Seed,
    series::Latencies,
    stage,
    time::{Ending, Stopwatch, let_pass, until},
};

/// How many ask at a time while capacity is measured.
const CLOSED: usize = 32;
/// How many connections there are at most while more comes.
const OPEN: usize = 1600;
/// How much more comes.
const TIMES: u32 = 3;
/// How much of that must have been sent for it to be shown at all.
const SHOWN: f64 = 2.5;
/// What the process may hold: `limits.memory`, in MiB.
const MEMORY: u64 = 384;

/// How long a paper is, in bytes.
const PAPER: usize = 16 * 1024;

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
    let (full, papers) = (Full::start()?, papers(round.seed)?);
    let declared = format!(
        "[[service]]\nname = \"full\"\nupstreams = [{}]\n\
         [[route]]\npath = \"/full\"\nservice = \"full\"\nauth = \"none\"\n\
         [[service]]\nname = \"papers\"\nupstreams = [\"http://127.0.0.1:{papers}\"]\n\
         [[route]]\npath = \"/papers\"\nservice = \"papers\"\nrevocation = \"bounded\"\n\
         compress = true\n",
        full.ports.map(|port| format!("\"http://127.0.0.1:{port}\"")).join(", ")
    );
    fs::write(node.directory().join("full.toml"), declared)?;
    node.command(&["apply", "full.toml"]);
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let port = node.ports().gateway;
    let ask = Ask::get("/papers/x").bearer(&token).field("Accept-Encoding", "gzip");
    let span = round.outage(3, 20);
    let answer = Client::new(port).ask(&ask)?;
    let encoding = answer.field("content-encoding");
    ensure!(encoding == Some("gzip"), "answers are not compressed: {encoding:?}");

    let mut seen = Seen::default();
    let _warm = closed(port, &ask, span / 3);
    let peak = closed(port, &ask, span);
    let good = peak.iter().filter(|it| it.1 == 200).count();
    ensure!(good > 0, "nothing is answered");
    let capacity = f64::from(u32::try_from(good)?) / span.as_secs_f64();
    let usual = latencies(&peak, 200);

    let rate = capacity * f64::from(TIMES);
    let (during, held) = with_memory(&node, || open(port, &ask, rate, span * 2));
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
    // Whoever asks runs on the same machine: what it could not send shows nothing of the gateway.
    seen.must(round.hasty || sent >= capacity * SHOWN, || {
        let times = sent / capacity;
        format!("{times:.2} times what is possible was sent, {SHOWN} at least show anything")
    });
    seen.must(!refused.is_empty(), || "nobody was refused, so that it was not too much".to_owned());
    let others = late.iter().filter(|it| !matches!(it.1, 200 | 503)).count();
    seen.must(others == 0, || format!("{others} were answered otherwise, or not at all"));
    // A look, on a machine that does other things, says that it goes on, and that somebody is refused.
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
    most_held("while too much came", held?, &mut seen);
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
        most = most.max(look::resident(node)?);
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
    most_held("beside uploads", most, seen);
    Ok(())
}

/// What a node holds may not be more than it was told.
fn most_held(when: &str, bytes: u64, seen: &mut Seen) {
    let mib = bytes / 1024 / 1024;
    seen.must(mib <= MEMORY, || format!("{mib} MiB are in use {when}, at most {MEMORY}"));
}

/// Does something, and answers the most memory that a node had in use meanwhile.
fn with_memory<R: Send>(node: &TegataNode, work: impl FnOnce() -> R + Send) -> (R, Result<u64>) {
    let ending = Ending::default();
    thread::scope(|scope| {
        let over = &ending;
        let watching = scope.spawn(move || {
            let mut most = 0;
            while !over.pass(Duration::from_millis(50)) {
                most = most.max(look::resident(node)?);
            }
            Ok(most)
        });
        let done = {
            let _over = ending.ends_with();
            work()
        };
        let most = watching.join().unwrap_or_else(|_| Err(anyhow::anyhow!("nobody looked")));
        (done, most)
    })
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

/// A service that answers with a paper that can be compressed by half, and does so for each request. Answers its
/// port.
fn papers(seed: u64) -> Result<u16> {
    let mut seed = Seed::new(seed);
    let text: String = (0..PAPER / 16).map(|_| format!("{:016x}", seed.any())).collect();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length:";
    let answer = format!("{head} {}\r\n\r\n{text}", text.len());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // Who goes away has had enough.
            thread::spawn(move || hand_out(stream, answer.as_bytes()));
        }
    });
    Ok(port)
}

/// Answers each request, none of which has a body.
fn hand_out(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut asked, mut length) = ([0; 16 * 1024], 0);
    loop {
        let read = stream.read(asked.get_mut(length..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        if asked.get(..length).is_some_and(|asked| asked.ends_with(b"\r\n\r\n")) {
            length = 0;
            stream.write_all(answer)?;
        }
    }
}

fn latencies(all: &[Answered], status: u16) -> Latencies {
    all.iter().filter(|it| it.1 == status).map(|it| it.0).collect()
}

/// One who asks the same again and again. It takes less of the machine than a [`Client`], of which three times as
/// much as the gateway can carry would leave it nothing.
struct Caller {
    address: SocketAddr,
    bytes: Vec<u8>,
    kept: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Caller {
    fn new(port: u16, ask: &Ask) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, bytes: ask.bytes(), kept: None, answer: vec![0; 32 * 1024] }
    }

    /// The status of the answer. A connection that has been closed since the last one is opened anew.
    fn ask(&mut self) -> io::Result<u16> {
        let was_kept = self.kept.is_some();
        match self.ask_once() {
            Err(error) if was_kept && error.kind() != ErrorKind::WouldBlock => self.ask_once(),
            done => done,
        }
    }

    fn ask_once(&mut self) -> io::Result<u16> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream
            }
        };
        stream.write_all(&self.bytes)?;
        let mut length = 0;
        loop {
            let read = stream.read(self.answer.get_mut(length..).unwrap_or_default())?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            length += read;
            if let Some((status, closes)) = answered(self.answer.get(..length).unwrap_or_default())
            {
                self.kept = Some(stream).filter(|_| !closes);
                return Ok(status);
            }
        }
    }
}

/// Of an answer that is there in whole: its status, and whether it is the last of its connection.
fn answered(bytes: &[u8]) -> Option<(u16, bool)> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut of = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        of.next().map(|(_, value)| value.trim())
    };
    let is_whole = match field("content-length") {
        Some(length) => bytes.len() >= head + length.parse::<usize>().ok()?,
        // In chunks, of which the last is empty.
        None => bytes.get(head..)?.ends_with(b"\r\n0\r\n\r\n"),
    };
    let closes = field("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    is_whole.then_some((status, closes))
}

/// A few ask, each again as soon as it is answered: as much as there can be.
fn closed(port: u16, ask: &Ask, span: Duration) -> Vec<Answered> {
    let (all, ending) = (Mutex::new(Vec::new()), Ending::default());
    thread::scope(|scope| {
        for _ in 0..CLOSED {
            scope.spawn(|| {
                let (mut caller, mut own) = (Caller::new(port, ask), Vec::new());
                while !ending.is_over() {
                    let watch = Stopwatch::start();
                    let status = caller.ask().unwrap_or(0);
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
                let (mut caller, mut own) = (Caller::new(port, ask), Vec::new());
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
                    let status = caller.ask().unwrap_or(0);
                    own.push((due, (watch.read().saturating_sub(sent), status)));
                }
                lock(&all).extend(own);
            });
        }
    });
    all.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_once_all_of_it_is_there() {
        let counted =
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nConnection: close\r\n\r\nno";
        assert_eq!(answered(counted), Some((503, true)));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n";
        assert_eq!(answered(chunked), Some((200, false)));
        for part in 0..counted.len().min(chunked.len()) {
            assert_eq!((answered(&counted[..part]), answered(&chunked[..part])), (None, None));
        }
        assert_eq!(answered(&chunked[..chunked.len() - 1]), None);
    }
}
