//! Who uses a gateway that is soaked, each in one way, again and again. Each comes from an address of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tegata_attack::{
    forge::IssuerKey,
    frames::{Http2, block, fields, flag, frame, kind},
    proof::Proven,
    wire::{Way, Wire},
};
use tegata_engines::TegataNode;

use super::{PEOPLE, behind, person};
use crate::{
    http::{Answer, Ask, Client, way},
    ledger::lock,
    stage::{self, Access, PERSON, ROBOT},
    time::{Ending, Stopwatch},
};

/// The issuer of the tokens, as the node is told it.
pub(super) const ISSUER: &str = "http://localhost:8000";

/// What each address may ask: more than anybody here asks, but for the greedy one.
pub(super) const PER_ADDRESS: &str = "300/m";

/// How many tokens are shown all the time, and for how long each.
const HOT: usize = 8;
const HEAT: Duration = Duration::from_secs(300);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What pages and scripts of one browser say of themselves.
const BROWSER: &str = "tegata-soak";

/// How many failures are told in words.
const TOLD: usize = 20;

/// One way to use it.
pub(super) struct User {
    pub(super) name: &'static str,
    /// How many do so at a time.
    pub(super) many: usize,
    /// How long each waits before they do it again.
    pace: Duration,
    /// Does it once; answers how many requests, or whatever it is named after, that was.
    uses: fn(&World<'_>) -> Result<usize>,
}

const fn user(
    name: &'static str,
    many: usize,
    pace: u64,
    uses: fn(&World<'_>) -> Result<usize>,
) -> User {
    User { name, many, pace: Duration::from_millis(pace), uses }
}

/// All of them.
pub(super) static USERS: [User; 11] = [
    user("requests of nobody in particular", 4, 10, nobody),
    user("requests with tokens that are used once", 2, 10, fresh),
    user("requests with tokens that are used all the time", 4, 10, hot),
    user("requests over HTTP/2", 4, 10, framed),
    user("requests with a session", 2, 2000, session),
    user("requests with tokens that are bound to a key", 1, 20, bound),
    user("answers that are compressed", 2, 20, compressed),
    user("streams of events", 2, 50, events),
    user("WebSockets", 4, 20, socket),
    user("uploads, and such as are broken off", 2, 50, upload),
    user("requests beyond a limit, which are refused", 1, 50, greedy),
];

/// Services that come and go, and changes of settings.
const SERVICES: &str = "services declared and removed";
const RELOADS: &str = "changes of settings";

/// What everybody knows, and what came of what they did.
pub(super) struct World<'n> {
    node: &'n TegataNode,
    way: Way,
    key: IssuerKey,
    /// What the gateway said last in `DPoP-Nonce`.
    nonce: Mutex<Option<String>>,
    /// Wall time in seconds as the node knew it, and since when.
    clock: (u64, Stopwatch),
    hot: Mutex<Option<(Stopwatch, Vec<Arc<str>>)>>,
    next: AtomicU64,
    done: Mutex<BTreeMap<&'static str, usize>>,
    failed: Mutex<(usize, Vec<String>)>,
}

/// A file that tests of the gateway have.
pub(super) fn fixture(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../crates/gateway/tests/gateway/tls").join(name)
}

impl<'n> World<'n> {
    /// A node that is there.
    pub(super) fn new(node: &'n TegataNode) -> Result<Self> {
        let access = stage::issued(&mut Client::new(node.ports().public))?;
        Ok(Self {
            node,
            way: way(node.ports().gateway, true),
            key: IssuerKey::read(&fixture("key.pem"))?,
            nonce: Mutex::default(),
            clock: (access.issued, Stopwatch::start()),
            hot: Mutex::default(),
            next: AtomicU64::new(0),
            done: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Has somebody do it once, which must go well.
    pub(super) fn once(&self, user: &User) -> Result<()> {
        (user.uses)(self).map(drop)
    }

    /// Has somebody do it for as long as it lasts.
    pub(super) fn again_and_again(&self, user: &User, ending: &Ending) {
        while !ending.pass(user.pace) {
            match (user.uses)(self) {
                Ok(many) => self.note(user.name, many),
                Err(error) => self.fail(format!("{}: {error:#}", user.name)),
            }
        }
    }

    /// Services come, are asked, and go: each with a name of its own, at an address that is used again.
    pub(super) fn declare_and_remove(&self, ending: &Ending) {
        while !ending.pass(Duration::from_millis(500)) {
            match self.guest() {
                Ok(()) => self.note(SERVICES, 1),
                Err(error) => self.fail(format!("{SERVICES}: {error:#}")),
            }
        }
    }

    /// Settings change, and nobody notices.
    pub(super) fn reload(&self, every: Duration, ending: &Ending) {
        for number in 0.. {
            if ending.pass(every) {
                return;
            }
            match self.change(number) {
                Ok(()) => self.note(RELOADS, 1),
                Err(error) => self.fail(format!("{RELOADS}: {error:#}")),
            }
        }
    }

    /// Forgets what was done so far.
    pub(super) fn forget(&self) {
        lock(&self.done).clear();
    }

    /// How often each thing was done, and what failed.
    pub(super) fn told(&self) -> (Vec<(&'static str, usize)>, Vec<String>) {
        let names = USERS.iter().map(|user| user.name).chain([SERVICES, RELOADS]);
        let done = lock(&self.done);
        let done = names.map(|name| (name, done.get(name).copied().unwrap_or_default())).collect();
        let (many, mut told) = lock(&self.failed).clone();
        if many > told.len() {
            told.push(format!("and {} more", many - told.len()));
        }
        (done, told)
    }

    fn note(&self, name: &'static str, many: usize) {
        *lock(&self.done).entry(name).or_default() += many;
    }

    fn fail(&self, why: String) {
        let mut failed = lock(&self.failed);
        failed.0 += 1;
        if failed.1.len() < TOLD {
            failed.1.push(why);
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, SeqCst)
    }

    /// An address that nobody has had yet, or not for long.
    fn address(&self) -> String {
        // An odd number goes through all that there are (Knuth, The Art of Computer Programming 6.4).
        let [.., a, b, c] = self.number().wrapping_mul(2_654_435_761).to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }

    fn client(&self) -> Client {
        Client::over(self.way).waiting(ANSWER)
    }

    fn public(&self) -> Client {
        Client::new(self.node.ports().public).waiting(ANSWER)
    }

    /// One of the tokens that are shown all the time.
    fn hot(&self) -> Result<Arc<str>> {
        let number = usize::try_from(self.number())? % HOT;
        let mut hot = lock(&self.hot);
        if hot.as_ref().is_none_or(|(since, _)| since.read() > HEAT) {
            let mut public = self.public();
            let tokens = (0..HOT).map(|_| stage::issued(&mut public).map(|access| access.token));
            *hot = Some((Stopwatch::start(), tokens.collect::<Result<_>>()?));
        }
        let tokens = hot.as_ref().map(|(_, tokens)| tokens);
        Ok(Arc::clone(tokens.and_then(|it| it.get(number)).context("there are no tokens")?))
    }

    fn guest(&self) -> Result<()> {
        let number = self.number();
        let (node, name) = (self.node, format!("guest-{number}"));
        let listed = fs::read_to_string(node.directory().join("declared.toml"))?;
        let upstreams = listed.lines().find(|line| line.starts_with("upstreams = "));
        let upstreams = upstreams.context("no service is declared")?;
        let declared = format!(
            "[[service]]\nname = \"{name}\"\n{upstreams}\n\
             [[route]]\npath = \"/{name}\"\nservice = \"{name}\"\nauth = \"none\"\n"
        );
        fs::write(node.directory().join("guest.toml"), declared)?;
        succeeds(node, &["apply", "guest.toml"])?;
        let ask = Ask::get(&format!("/{name}/x")).field("X-Forwarded-For", &self.address());
        expect(&self.client().ask(&ask)?, 200)?;
        succeeds(node, &["service", "remove", &name])
    }

    fn change(&self, number: usize) -> Result<()> {
        let file = self.node.directory().join("tegata.toml");
        let old = fs::read_to_string(&file)?;
        let lines = old.lines().filter(|line| !line.starts_with("body = "));
        let new: String = lines.map(|line| format!("{line}\n")).collect();
        let set = format!("[gateway.limits]\nbody = {}\n", 10_000_000 + number);
        let beside = file.with_extension("new");
        fs::write(&beside, new.replace("[gateway.limits]\n", &set))?;
        fs::rename(&beside, &file)?;
        if number.is_multiple_of(2) {
            let id = self.node.process().id().unwrap_or_default().to_string();
            ensure!(Command::new("kill").args(["-HUP", &id]).status()?.success(), "`kill`");
        }
        succeeds(self.node, &["reload"])
    }
}

fn succeeds(node: &TegataNode, command: &[&str]) -> Result<()> {
    let output = node.run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`tegata {}`: {said}", command.join(" "));
    Ok(())
}

fn expect(answer: &Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "{} in place of {status}: {}", answer.status, answer.text());
    Ok(())
}

/// A connection for some requests, and now and then one on which none comes to its end.
fn nobody(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 20;
    let (mut client, address) = (world.client(), world.address());
    for number in 0..MANY {
        let ask = Ask::get(&format!("/open/{number}")).field("X-Forwarded-For", &address);
        expect(&client.ask(&ask)?, 200)?;
    }
    if world.number().is_multiple_of(4) {
        let mut stream = world.way.connect("http/1.1", ANSWER)?;
        stream.write_all(b"GET /open/x HTTP/1.1\r\nHo")?;
        stream.flush()?;
    }
    Ok(MANY)
}

/// A token for one request, and now and then one that is taken back: that is remembered for two hours, and what
/// is to be remembered is not what is looked for.
fn fresh(world: &World<'_>) -> Result<usize> {
    let (mut public, mut client, address) = (world.public(), world.client(), world.address());
    let takes_back = world.number().is_multiple_of(64);
    for number in 0..4 {
        let token = stage::issued(&mut public)?.token;
        let ask = Ask::get("/guarded/x").bearer(&token).field("X-Forwarded-For", &address);
        expect(&client.ask(&ask)?, 200)?;
        if number == 0 && takes_back {
            expect(&stage::revoke(&mut public, &token)?, 200)?;
            expect(&client.ask(&ask)?, 401)?;
        }
    }
    Ok(4)
}

fn hot(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 20;
    let (mut client, address) = (world.client(), world.address());
    for _ in 0..MANY {
        let ask = Ask::get("/guarded/x").bearer(&world.hot()?);
        expect(&client.ask(&ask.field("X-Forwarded-For", &address))?, 200)?;
    }
    Ok(MANY)
}

/// A connection on which ten ask at the same time, and one of which the answer is not waited for.
fn framed(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 10;
    let mut client = Http2::over(world.way.connect("h2", ANSWER)?).begun()?;
    let (bearer, address) = (format!("Bearer {}", world.hot()?), world.address());
    let mut head = fields("GET", "/guarded/x");
    head.push(("authorization", bearer.as_bytes()));
    head.push(("x-forwarded-for", address.as_bytes()));
    let head = block(&head);
    let ask =
        |stream: u32| frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &head);
    let mut stream = 1;
    for _ in 0..MANY {
        client.send(&ask(stream))?;
        stream += 2;
    }
    for _ in 0..MANY {
        let heard = client.until(|frame| frame.status().is_some())?;
        let status = heard.context("the connection ends")?.status();
        ensure!(status == Some(200), "a request is answered {status:?}");
    }
    client.send(&ask(stream))?;
    Ok(MANY)
}

/// Somebody signs in, calls, and signs out.
fn session(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 30;
    let number = world.number();
    let name = person(usize::try_from(number)? % PEOPLE);
    let (mut client, address) = (world.client(), world.address());
    let of_theirs = |ask: Ask| ask.field("X-Forwarded-For", &address).field("User-Agent", BROWSER);
    let script = |ask: Ask| of_theirs(ask).field("Origin", ISSUER);
    let credentials = json!({"username": name, "password": PERSON.1});
    let answer = client.ask(&script(Ask::json("/api/auth/login", &credentials)))?;
    expect(&answer, 200)?;
    let csrf = answer.member("csrf_token").context("there is no CSRF token")?;
    let cookies: Vec<_> = (answer.all("set-cookie"))
        .filter_map(|line| line.split(';').next())
        .filter(|cookie| !cookie.ends_with('='))
        .collect();
    let cookies = cookies.join("; ");
    let call = |path: &str| of_theirs(Ask::get(path).field("Cookie", &cookies));
    for _ in 0..MANY {
        expect(&client.ask(&call("/guarded/x"))?, 200)?;
    }
    expect(&client.ask(&call("/api/auth/session"))?, 200)?;
    let leave = Ask::json("/api/auth/logout", &json!({})).field("Cookie", &cookies);
    expect(&client.ask(&script(leave).field("X-CSRF-Token", &csrf))?, 204)?;
    expect(&client.ask(&call("/guarded/x"))?, 401)?;
    Ok(MANY)
}

/// A token that is bound to a key, and a proof of it with each request.
fn bound(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 5;
    let (since, watch) = &world.clock;
    let proof = |method: &str, target: &str, token: Option<&str>| {
        let id = format!("soak-{}-{since}", world.number());
        let now = since + watch.read().as_secs();
        // The issuer asks for none, and does not take those of a gateway.
        let nonce = token.and_then(|_| lock(&world.nonce).clone());
        Proven { method, target, now, id: &id, token, nonce: nonce.as_deref() }.by(&world.key)
    };
    let target = format!("{ISSUER}/oauth2/token");
    let ask = Ask::form("/oauth2/token", &[("grant_type", "client_credentials")]);
    let ask = ask.basic(ROBOT.0, ROBOT.1).field("DPoP", &proof("POST", &target, None)?);
    let answer = world.public().ask(&ask)?;
    let access: Access = stage::access_in(&answer)?;
    ensure!(answer.member("token_type").as_deref() == Some("DPoP"), "the token is not bound");
    let (mut client, address) = (world.client(), world.address());
    for _ in 0..MANY {
        let mut call = || -> Result<Answer> {
            let proof = proof("GET", "https://localhost/guarded/x", Some(&access.token))?;
            let ask = Ask::get("/guarded/x").field("X-Forwarded-For", &address);
            let ask = ask.field("Authorization", &format!("DPoP {}", access.token));
            let answer = client.ask(&ask.field("DPoP", &proof))?;
            if let Some(nonce) = answer.field("dpop-nonce") {
                *lock(&world.nonce) = Some(nonce.to_owned());
            }
            Ok(answer)
        };
        let answer = call()?;
        // The first ones after a start are asked for a nonce.
        let again = answer.status == 401 && answer.text().contains("dpop_nonce");
        expect(&if again { call()? } else { answer }, 200)?;
    }
    Ok(MANY)
}

/// The same text in every way in which it can be compressed.
fn compressed(world: &World<'_>) -> Result<usize> {
    const WAYS: [&str; 3] = ["zstd", "br", "gzip"];
    let (mut client, address) = (world.client(), world.address());
    for way in WAYS {
        let ask = Ask::get(&format!("/text/{}", world.number())).field("Accept-Encoding", way);
        let answer = client.ask(&ask.field("X-Forwarded-For", &address))?;
        expect(&answer, 200)?;
        let encoding = answer.field("content-encoding");
        ensure!(encoding == Some(way), "{encoding:?} in place of `{way}`");
    }
    Ok(WAYS.len())
}

/// Events, of which every second listener hears the first alone.
fn events(world: &World<'_>) -> Result<usize> {
    let mut stream = world.way.connect("http/1.1", ANSWER)?;
    let head = format!(
        "GET /events/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: {}\r\n\
         Authorization: Bearer {}\r\n\r\n",
        world.address(),
        world.hot()?
    );
    stream.write_all(head.as_bytes())?;
    let last = if world.number().is_multiple_of(2) { 0 } else { behind::EVENTS - 1 };
    let wanted = format!("data: {last}\n");
    let heard = until(&mut stream, wanted.as_bytes())?;
    ensure!(heard.starts_with("HTTP/1.1 200 "), "events are answered {heard:?}");
    Ok(1)
}

/// A WebSocket on which something is said and heard, and which is left open or closed.
fn socket(world: &World<'_>) -> Result<usize> {
    let mut stream = world.way.connect("http/1.1", ANSWER)?;
    let head = format!(
        "GET /live/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nX-Forwarded-For: {}\r\n\
         Authorization: Bearer {}\r\n\r\n",
        behind::KEY,
        world.address(),
        world.hot()?
    );
    stream.write_all(head.as_bytes())?;
    let heard = until(&mut stream, b"\r\n\r\n")?;
    ensure!(heard.starts_with("HTTP/1.1 101 "), "a WebSocket is answered {heard:?}");
    let said = [0x82, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    for _ in 0..10 {
        stream.write_all(&said)?;
        let mut heard = [0; 11];
        stream.read_exact(&mut heard)?;
        ensure!(heard == said, "a WebSocket says something else");
    }
    if world.number().is_multiple_of(2) {
        // 1000, masked with nothing (RFC 6455 §5.5.1).
        stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 232])?;
    }
    Ok(1)
}

/// A body that comes, and one of which the half does.
fn upload(world: &World<'_>) -> Result<usize> {
    let (mut client, address) = (world.client(), world.address());
    let body = "x".repeat(100_000);
    let ask = Ask::form("/open/x", &[("x", &body)]).field("X-Forwarded-For", &address);
    expect(&client.ask(&ask)?, 200)?;
    let bytes = ask.bytes();
    let mut stream = world.way.connect("http/1.1", ANSWER)?;
    stream.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    stream.flush()?;
    Ok(2)
}

/// More than one address may ask, and more than may be asked on a route.
fn greedy(world: &World<'_>) -> Result<usize> {
    const MANY: usize = 60;
    let (mut client, mut refused) = (world.client(), 0);
    for number in 0..MANY {
        // Of the route, all share; of the address, each has their own.
        let (path, address) = if number.is_multiple_of(2) {
            ("/open/x", "192.0.2.1".to_owned())
        } else {
            ("/limited/x", world.address())
        };
        match client.ask(&Ask::get(path).field("X-Forwarded-For", &address))?.status {
            200 => {}
            429 => refused += 1,
            status => bail!("a request within or beyond a limit is answered {status}"),
        }
    }
    Ok(refused)
}

/// What is heard to some bytes, them included.
fn until(stream: &mut Wire, wanted: &[u8]) -> Result<String> {
    let (mut heard, mut part) = (Vec::new(), [0; 1024]);
    while !heard.windows(wanted.len()).any(|it| it == wanted) {
        let read = stream.read(&mut part)?;
        ensure!(read > 0, "it ends with {:?}", String::from_utf8_lossy(&heard));
        heard.extend(part.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}
