//! An issuer changes its keys as fast as it may, while gateways elsewhere check what it signs and are shown keys
//! that nobody has.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    ledger::{Checked, lock},
    report::Seen,
    scenario::Round,
    stage,
    time::{Ending, Stopwatch},
};

/// For how long verifiers may keep the key set: so long a key is published before it signs.
const MAX_AGE: Duration = Duration::from_secs(10);

/// How often it is tried to have the next key sign.
const ROTATED: Duration = Duration::from_secs(5);

/// How often a token is made.
const MADE: Duration = Duration::from_millis(250);

/// How often a forged token comes, from however many: a thousand who asked as fast as they can would leave the
/// issuer nothing of the machine that they share.
const FORGED: Duration = Duration::from_micros(250);

/// How many gateways take its tokens.
const GATEWAYS: usize = 3;

/// What gateways made of what they were shown.
#[derive(Debug, Default)]
struct Shown {
    good: AtomicUsize,
    refused: AtomicUsize,
    forged: AtomicUsize,
    accepted: AtomicUsize,
    why: Mutex<Option<String>>,
}

/// One round: an issuer whose keys change, gateways that take its tokens, and who asks those.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let (issuer, echo) = (issuer(round), EchoServer::start());
    stage::declare(&issuer, echo.port())?;
    let origin = Origin::before(issuer.ports().public)?;
    let gateways: Vec<_> = (0..GATEWAYS).map(|number| gateway(round, &origin, number)).collect();
    for gateway in &gateways {
        stage::declare(gateway, echo.port())?;
    }
    let many = round.many(6, 60, 1000);
    let span = Duration::from_secs(u64::try_from(round.many(12, 40, 120))?);

    let mut robot = Client::new(issuer.ports().public);
    let tokens = Mutex::new(vec![stage::issued(&mut robot)?.token]);
    let (shown, ending) = (Shown::default(), Ending::default());
    let (watch, mut rotated, mut asked) = (Stopwatch::start(), 0, 0);
    thread::scope(|threads| -> Result<()> {
        let _ends = ending.ends_with();
        let pause = FORGED * u32::try_from(many)?;
        for number in 0..many {
            let port = gateways.get(number % GATEWAYS).context("a gateway")?.ports().gateway;
            let (tokens, shown, ending) = (&tokens, &shown, &ending);
            threads.spawn(move || flood((port, number), pause, tokens, shown, ending));
        }
        for gateway in &gateways {
            threads.spawn(|| honest(gateway.ports().gateway, &tokens, &shown, &ending));
        }
        let mut next = Duration::ZERO;
        // A slow machine is given the time in which another key signs.
        let is_due = || watch.read() >= span && signing(&lock(&tokens)) > 1;
        while !is_due() && watch.read() < span * 6 {
            if watch.read() >= next {
                next += ROTATED;
                asked += 1;
                let done = issuer.run(&["key", "rotate", "--algorithm", "ES256"]);
                rotated += usize::from(done.status.success());
            }
            let made = stage::issued(&mut robot)?.token;
            lock(&tokens).push(made);
            ending.pass(MADE);
        }
        Ok(())
    })?;
    let took = watch.read();

    // Whatever signed them, they count as long as they live.
    let all = lock(&tokens).clone();
    let mut lost = 0;
    for gateway in &gateways {
        let mut client = Client::new(gateway.ports().gateway).waiting(stage::PATIENCE);
        for token in &all {
            let answer = stage::call(&mut client, "/bounded", token);
            lost += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
        }
    }

    let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    let (good, refused) = (read(&shown.good), read(&shown.refused));
    let (forged, accepted) = (read(&shown.forged), read(&shown.accepted));
    let fetches = lock(&origin.asked).clone();
    // The first question, one in each span in which an answer may be kept, and one that has just begun.
    let most = 2 + usize::try_from(took.as_secs() / MAX_AGE.as_secs())?;
    let worst = fetches.values().copied().max().unwrap_or_default();
    let signing = signing(&all);
    let mut seen = Seen {
        saw: format!(
            "{many} who forge, {signing} keys that signed ({asked} asked for, {rotated} in time), fetched {worst} \
             times at most by each of {GATEWAYS} gateways in {} s",
            took.as_secs()
        ),
        checked: Checked { promises: all.len(), looks: all.len() * GATEWAYS },
        ..Seen::default()
    };
    seen.must(lost == 0, || format!("{lost} tokens of earlier keys do not count any more"));
    seen.fact("good tokens that counted", good, good + refused);
    seen.fact("forged tokens that were refused", forged - accepted, forged);
    seen.must(refused == 0, || {
        let why = lock(&shown.why).clone().unwrap_or_default();
        format!("{refused} good tokens were refused: {why}")
    });
    seen.must(accepted == 0, || format!("{accepted} forged tokens counted"));
    seen.must(good >= GATEWAYS && forged >= many, || "not everybody was answered".to_owned());
    seen.must(signing > 1, || "no other key signed, so that nothing was tried".to_owned());
    seen.must(fetches.len() == GATEWAYS, || format!("{} asked for keys at all", fetches.len()));
    seen.must(worst <= most, || {
        format!("one asked for the keys {worst} times, and {most} times are enough")
    });
    Ok(seen)
}

/// An installation of its own, whose keys may change soon.
fn issuer(round: &Round) -> TegataNode {
    let max_age = ("TEGATA_KEYS__JWKS_MAX_AGE".to_owned(), format!("{}s", MAX_AGE.as_secs()));
    let own = Own { environment: vec![max_age], ..Own::default() };
    node(round, "issuer", ("http://localhost:8000", "http://localhost:8080"), own)
}

/// Another, whose gateway takes tokens of the first.
fn gateway(round: &Round, origin: &Origin, number: usize) -> TegataNode {
    let more = format!(
        "[[issuer]]\nissuer = \"http://localhost:8000\"\njwks_uri = \"http://127.0.0.1:{}/{number}\"\n\
         audience = [\"http://localhost:8080\"]\n",
        origin.port
    );
    let name = format!("gateway-{number}");
    let own = Own { more, ..Own::default() };
    node(round, &name, ("http://localhost:8001", "http://localhost:8081"), own)
}

fn node(round: &Round, name: &str, (issuer, audience): (&str, &str), own: Own) -> TegataNode {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..own };
    TegataNode::start(name, &shared, &own)
}

impl Shown {
    fn honest(&self, taken: Result<(), String>) {
        match taken {
            Ok(()) => self.good.fetch_add(1, Ordering::SeqCst),
            Err(why) => {
                lock(&self.why).get_or_insert(why);
                self.refused.fetch_add(1, Ordering::SeqCst)
            }
        };
    }

    fn forged(&self, taken: bool) {
        self.forged.fetch_add(1, Ordering::SeqCst);
        self.accepted.fetch_add(usize::from(taken), Ordering::SeqCst);
    }
}

/// One of all tokens that there are, the newest every other time.
fn chosen(tokens: &Mutex<Vec<Arc<str>>>, turn: usize) -> Arc<str> {
    let tokens = lock(tokens);
    let at = if turn.is_multiple_of(2) { tokens.len() - 1 } else { turn % tokens.len() };
    tokens.get(at).map(Arc::clone).unwrap_or_default()
}

/// The same token, as if another key had signed it.
fn forged(token: &str, (number, turn): (usize, usize)) -> String {
    let kid = format!("nobody-has-{number}-{turn}");
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
    let rest = token.split_once('.').map_or("", |(_, rest)| rest);
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

/// How many keys signed these.
fn signing(tokens: &[Arc<str>]) -> usize {
    let kid = |token: &Arc<str>| {
        let (header, _) = token.split_once('.')?;
        let header = URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: Value = serde_json::from_slice(&header).ok()?;
        Some(header.get("kid")?.as_str()?.to_owned())
    };
    tokens.iter().filter_map(kid).collect::<std::collections::BTreeSet<_>>().len()
}

/// Asks a gateway with forged tokens.
fn flood(
    (port, number): (u16, usize),
    pause: Duration,
    tokens: &Mutex<Vec<Arc<str>>>,
    shown: &Shown,
    ending: &Ending,
) {
    let (mut client, mut turn) = (Client::new(port).waiting(stage::PATIENCE), 0);
    while !ending.is_over() {
        turn += 1;
        let token = forged(&chosen(tokens, turn), (number, turn));
        if let Ok(answer) = stage::call(&mut client, "/bounded", &token) {
            shown.forged(answer.status == 200);
        }
        ending.pass(pause);
    }
}

/// Asks it with good ones.
fn honest(port: u16, tokens: &Mutex<Vec<Arc<str>>>, shown: &Shown, ending: &Ending) {
    let (mut client, mut turn) = (Client::new(port).waiting(stage::PATIENCE), 0);
    while !ending.is_over() {
        turn += 1;
        let answer = stage::call(&mut client, "/bounded", &chosen(tokens, turn));
        shown.honest(match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("at the gateway: {} {}", answer.status, answer.text())),
            Err(error) => Err(format!("at the gateway: {error:?}")),
        });
        ending.pass(MADE / 10);
    }
}

/// Where verifiers fetch the keys of the issuer: it asks for them each time, and counts who asks by the
/// path.
struct Origin {
    port: u16,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    fn before(issuer: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let asked = Arc::new(Mutex::new(HashMap::new()));
        for _ in 0..8 {
            let (listener, asked) = (listener.try_clone()?, Arc::clone(&asked));
            // Ends with the process: nobody asks once the verifiers have gone.
            thread::spawn(move || {
                let mut client = Client::new(issuer).waiting(stage::PATIENCE);
                for stream in listener.incoming().flatten() {
                    let _ = answer(stream, &mut client, &asked);
                }
            });
        }
        Ok(Self { port, asked })
    }
}

fn answer(
    mut stream: TcpStream,
    client: &mut Client,
    asked: &Mutex<HashMap<String, usize>>,
) -> Result<()> {
    stream.set_read_timeout(Some(stage::PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let line = lines.next().context("nothing is asked")??;
    let who = line.split(' ').nth(1).context("no path")?.trim_start_matches('/').to_owned();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    *lock(asked).entry(who).or_default() += 1;
    let keys = client.ask(&Ask::get("/.well-known/jwks.json"));
    let keys = keys.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    ensure!(keys.status == 200, "the keys are answered {}", keys.status);
    let (kept, body) = (keys.field("cache-control").unwrap_or_default(), keys.text());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\nCache-Control: {kept}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
