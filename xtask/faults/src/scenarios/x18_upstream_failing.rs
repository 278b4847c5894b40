//! A service breaks off whatever it is asked, another one says 503 at one of its addresses: what may be sent
//! again is, within its budget, and nothing else.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tegata_engines::TegataNode;

use crate::{
    http::{Ask, Client},
    ledger::{Checked, lock},
    look,
    report::Seen,
    scenario::Round,
    series::{Outcome, Series},
    stage::{self, PATIENCE, Stage, issued},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How many ask for each of them, and between two requests of one.
const CALLERS: usize = 8;
const PACE: Duration = Duration::from_millis(2);

/// One in how many requests may not be sent again, because doing it twice is not doing it once.
const ONCE: usize = 5;

/// How often a request is sent at most, of how many requests one may be sent again, and how many may be that
/// others have not earned: what holds where nothing is said.
const ATTEMPTS: usize = 3;
const SHARE: usize = 10;
const SAVED: usize = 20;

/// A service that fails.
struct Failing {
    name: &'static str,
    /// What its declaration says beside its addresses.
    declared: &'static str,
    /// What its two addresses answer; `None`: they hang up.
    answers: [Option<u16>; 2],
    /// What its clients may be told.
    told: &'static [u16],
}

const ALL: [Failing; 2] = [
    Failing { name: "breaking", declared: "", answers: [None, None], told: &[502] },
    Failing {
        name: "unwell",
        declared: "retry = { statuses = [503] }\n",
        answers: [Some(503), Some(200)],
        told: &[200, 503],
    },
];

/// One round: both are asked, beside one that is well.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let node = &stage.cluster().member(0).node;
    let token = issued(&mut stage.public(0))?.token;
    let mut seen = Seen::default();
    let watch = Stopwatch::start();
    let other = Series::new("calls of another service beside those that fail", watch);
    let ending = Ending::default();
    let done = thread::scope(|scope| {
        let _over = ending.ends_with();
        scope.spawn(|| {
            let mut client = stage.gateway(0);
            while !ending.pass(PACE) {
                let _ = other.ask(0, 200, || stage::call(&mut client, "/bounded", &token));
            }
        });
        ALL.iter().try_for_each(|failing| one(round, node, failing, &token, &mut seen))
    });
    done?;
    let all = other.all();
    let good = all.iter().filter(|it| it.outcome == Outcome::Good).count();
    seen.fact(other.name, good, all.len());
    seen.must(good == all.len() && good > 0, || "calls to the other service failed".to_owned());
    seen.number("the other service", all.iter().map(|it| it.took).collect());
    Ok(seen)
}

fn one(
    round: &Round,
    node: &TegataNode,
    failing: &Failing,
    token: &str,
    seen: &mut Seen,
) -> Result<()> {
    let name = failing.name;
    let behind = Behind::start(failing.answers)?;
    let [one, other] = behind.ports;
    let declared = format!(
        "[[service]]\nname = \"{name}\"\nbreaker = false\n\
         upstreams = [\"http://127.0.0.1:{one}\", \"http://127.0.0.1:{other}\"]\n{}",
        failing.declared
    );
    fs::write(node.directory().join("failing.toml"), declared)?;
    node.command(&["apply", "failing.toml"]);
    let port = node.ports().gateway;
    let first = Ask::get(&format!("/{name}/first")).bearer(token);
    let known =
        until(PATIENCE, || Client::new(port).ask(&first).is_ok_and(|answer| answer.status != 404));
    ensure!(known.is_some(), "`{name}` is not known");
    behind.forget();
    let metric = format!("gateway_upstream_retries_total{{service=\"{name}\"}}");
    let spent = || look::metrics(node).map(|told| look::sum(&told, &metric));
    let before = spent()?;
    let many = round.many(400, 4000, 20_000);
    let (next, statuses) = (AtomicUsize::new(0), Mutex::new(HashMap::<u16, usize>::new()));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = Client::new(port);
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    if number >= many {
                        return;
                    }
                    let target = format!("/{name}/{number}");
                    let ask = if number.is_multiple_of(ONCE) {
                        Ask::form(&target, &[("order", "one")])
                    } else {
                        Ask::get(&target)
                    };
                    let status = client.ask(&ask.bearer(token)).map_or(0, |answer| answer.status);
                    *lock(&statuses).entry(status).or_default() += 1;
                    let_pass(PACE);
                }
            });
        }
    });
    let spent = spent()? - before;
    let arrived = lock(&behind.arrived).clone();
    let total: usize = arrived.values().sum();
    let again = total.saturating_sub(arrived.len());
    let most = many / SHARE + SAVED;
    seen.fact(
        if failing.answers == [None; 2] {
            "broken off, and sent again"
        } else {
            "503, and sent again"
        },
        again,
        many,
    );
    seen.must(arrived.len() == many, || format!("`{name}`: {} of {many} came", arrived.len()));
    seen.must(again <= most, || format!("`{name}`: {again} were sent again, at most {most}"));
    // Otherwise nothing has been shown of what holds them back, or that there are any.
    let least = if failing.answers == [None; 2] { most / 2 } else { 1 };
    seen.must(again >= least, || format!("`{name}`: {again} were sent again, not {least}"));
    let explained = f64::from(u32::try_from(again)?) <= spent;
    seen.must(explained, || format!("`{name}`: {again} were sent again, and {spent} are counted"));
    for (request, times) in &arrived {
        let may = if request.starts_with("GET ") { ATTEMPTS } else { 1 };
        seen.must(*times <= may, || format!("`{name}`: `{request}` came {times} times"));
    }
    let statuses = lock(&statuses).clone();
    let wrong = statuses.keys().any(|status| !failing.told.contains(status));
    seen.must(!wrong, || format!("`{name}`: clients are answered {statuses:?}"));
    seen.checked = Checked {
        promises: seen.checked.promises + many,
        looks: seen.checked.looks + arrived.len(),
    };
    Ok(())
}

/// A service at two addresses that keeps count of what comes. It ends with the process.
struct Behind {
    ports: [u16; 2],
    /// How often each request came, by its method and path.
    arrived: Arc<Mutex<HashMap<String, usize>>>,
}

impl Behind {
    fn start(answers: [Option<u16>; 2]) -> Result<Self> {
        let arrived = Arc::<Mutex<HashMap<String, usize>>>::default();
        let mut ports = [0; 2];
        for (port, answer) in ports.iter_mut().zip(answers) {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            *port = listener.local_addr()?.port();
            let arrived = Arc::clone(&arrived);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let arrived = Arc::clone(&arrived);
                    // Who goes away has had enough.
                    thread::spawn(move || serve(&stream, answer, &arrived));
                }
            });
        }
        Ok(Self { ports, arrived })
    }

    fn forget(&self) {
        lock(&self.arrived).clear();
    }
}

fn serve(
    mut stream: &TcpStream,
    answer: Option<u16>,
    arrived: &Mutex<HashMap<String, usize>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let Some((name, value)) = field.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let request = first.rsplit_once(' ').map_or("", |(request, _)| request);
        *lock(arrived).entry(request.to_owned()).or_default() += 1;
        let Some(status) = answer else { return Ok(()) };
        let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes())?;
    }
}
