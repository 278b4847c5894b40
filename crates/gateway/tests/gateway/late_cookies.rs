//! Answers that take their time, and the session cookie that is set with them: what the browser was given
//! meanwhile stays.

use std::{
    io::Write as _,
    net::{IpAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use http::HeaderValue;
use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Custody, Epoch, Kind, ManualClock, Node, Realm, Records,
    Secret, SeededEntropy, UserId,
};
use tegata_gateway::{
    Checked, Head, Renewed, SessionCheck, SessionIdentity, SessionRefused, SetCookie,
};
use tegata_session::{
    Beginning, Begun, Binding, Ending, Endings, KINDS, Keys, Limits, Passage, Presentation, Reason,
    Rise, Session, Sessions, Standing, Traits, Verdict, sessions,
};
use tegata_store::{FileCustody, MemoryEphemeral, MemoryRecords, Sealed, sealed::DATA_KEYS};
use tegata_token::Claims;

use crate::{
    ext_authz,
    websocket::{self, Asked},
    world::{Answer, Plan, World, block_on, get, request},
};

/// The revocation log of one node that has nothing but its store.
struct Ends(Arc<dyn Records>);

impl Endings for Ends {
    fn has_ended(&self, _: &Realm, _: &Session) -> bool {
        false
    }

    fn has_changed(&self, _: &Realm, _: &Session) -> bool {
        false
    }

    fn is_current(&self) -> bool {
        false
    }

    fn commit(&self, batch: Batch, _: Vec<Ending>) -> BoxFuture<'_, Result<(), CommitRefused>> {
        self.0.commit(batch)
    }
}

/// Knows real sessions, as whoever keeps them does.
struct Door {
    sessions: Sessions,
    realm: Realm,
    settled: AtomicUsize,
}

fn home() -> Binding {
    Binding::of([192, 0, 2, 1].into(), Some(b"Mozilla/5.0 (X11; Linux) Firefox/140.0"))
}

impl Door {
    async fn present(&self, value: &str) -> Result<Passage, sessions::SessionRefused> {
        let (binding, traits) = (&home(), &Traits::default());
        let shown = Presentation { value, binding, traits, rotates: true };
        self.sessions.present(&self.realm, &shown).await
    }

    async fn judge(&self, value: &str) -> Checked {
        let cleared = HeaderValue::from_static("session_id=; Max-Age=0");
        match self.present(value).await {
            Ok(passage) => {
                let session = passage.session;
                let set_cookie = passage.cookie.map(|value| {
                    let line = format!("session_id={}; HttpOnly", value.expose());
                    let line = HeaderValue::try_from(line).unwrap();
                    let (sid, generation) = (session.id.clone(), session.generation);
                    SetCookie::Renewed(Renewed { line, sid, generation })
                });
                let claims = Claims {
                    sub: session.user.as_str().to_owned(),
                    sid: Some(session.id.as_str().to_owned()),
                    iat: session.started.secs(),
                    exp: session.ends.secs(),
                    ..Claims::default()
                };
                Checked { verdict: Ok(Arc::new(SessionIdentity { claims })), set_cookie }
            }
            Err(sessions::SessionRefused::Verdict(Verdict::Superseded)) => {
                Checked { verdict: Err(SessionRefused::Superseded), set_cookie: None }
            }
            Err(refused) => {
                assert!(matches!(refused, sessions::SessionRefused::Verdict(_)), "{refused}");
                let set_cookie = Some(SetCookie::Cleared(cleared));
                Checked { verdict: Err(SessionRefused::Unknown), set_cookie }
            }
        }
    }
}

impl SessionCheck for Door {
    fn cookie(&self) -> &'static str {
        "session_id"
    }

    fn check<'a>(&'a self, value: &'a str, _: Head<'a>, _: IpAddr) -> BoxFuture<'a, Checked> {
        Box::pin(self.judge(value))
    }

    fn settle<'a>(&'a self, renewed: &'a Renewed) -> BoxFuture<'a, bool> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            let newest = self.sessions.is_newest(&self.realm, &renewed.sid, renewed.generation);
            newest.await.unwrap()
        })
    }
}

/// What the same browser is given while an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Rise,
    Rotation,
    SignIn,
    SignOut,
}

/// A gateway before a service whose answers the test writes, and somebody who is signed in.
struct Bench {
    world: World,
    asked: mpsc::Receiver<Asked>,
    door: Arc<Door>,
    clock: Arc<ManualClock>,
    begun: Begun,
}

impl Bench {
    fn new() -> Self {
        Self::with(Plan::start)
    }

    fn with(start: impl FnOnce(Plan) -> World) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(5)));
        let door = Arc::new(block_on(door(&node, &clock)));
        let begun = block_on(door.sessions.begin(&door.realm, &beginning())).unwrap();
        clock.advance(Duration::from_secs(300));
        let (address, asked) = websocket::service();
        let mut plan = Plan::with(address);
        plan.sessions = Some(door.clone());
        plan.routes = json!([
            {"path": "/own", "service": "echo", "websocket": true},
            {"path": "/maybe", "service": "echo", "auth": "optional"},
        ]);
        plan.bffs = json!([{"name": "home", "part": [
            {"name": "it", "path": "/own/x", "select": ["a"]},
        ]}]);
        let world = start(plan);
        Self { world, asked, door, clock, begun }
    }

    /// The cookie, as the sign-in gave it: 300 s old, so that it is renewed when it is next shown.
    fn cookie(&self) -> String {
        format!("session_id={}", self.begun.cookie.expose())
    }

    fn present(&self, value: &str) -> Result<Passage, sessions::SessionRefused> {
        block_on(self.door.present(value))
    }

    /// Does it, and answers the value that the browser has afterwards, where it has another.
    fn does(&self, meanwhile: Meanwhile) -> Option<String> {
        let (sessions, realm) = (&self.door.sessions, &self.door.realm);
        // A request beside the slow one, which got its answer at once.
        let beside = || self.present(self.begun.cookie.expose()).unwrap().cookie.unwrap();
        let given = match meanwhile {
            Meanwhile::Nothing => return None,
            Meanwhile::Rise => {
                let value = beside();
                let (binding, traits) = (&home(), &Traits::default());
                let value = value.expose().as_str();
                let shown = Presentation { value, binding, traits, rotates: true };
                let standing =
                    Standing { acr: Some("aal2".into()), ..self.begun.session.standing.clone() };
                let rise = Rise { standing, requires: None };
                block_on(sessions.raise(realm, &shown, &rise)).unwrap().unwrap().cookie
            }
            Meanwhile::Rotation => {
                let value = beside();
                self.clock.advance(Duration::from_secs(300));
                self.present(value.expose()).unwrap().cookie
            }
            Meanwhile::SignIn => {
                let replaces = Some(self.begun.session.id.clone());
                let anew = Beginning { replaces, ..beginning() };
                Some(block_on(sessions.begin(realm, &anew)).unwrap().cookie)
            }
            Meanwhile::SignOut => {
                let ended = sessions.end(realm, &self.begun.session.id, &Reason::Logout, "usr_bob");
                assert!(block_on(ended).unwrap());
                return None;
            }
        };
        Some(given.unwrap().expose().clone())
    }

    /// Asks, does something else while the service has not answered, and has it answer.
    fn late(
        &self,
        text: &str,
        meanwhile: Meanwhile,
        answer: impl FnOnce(&str, &mut TcpStream),
    ) -> (u16, Vec<(String, String)>) {
        let mut client = self.world.connect();
        client.write(text);
        let (head, mut service) = self.asked.recv().unwrap();
        let given = self.does(meanwhile);
        answer(&head, &mut service);
        drop(service);
        let told = client.head().unwrap();
        // What the browser was given meanwhile goes on working.
        if let Some(value) = given {
            self.present(&value).unwrap();
        }
        told
    }
}

async fn door(node: &Node, clock: &Arc<ManualClock>) -> Door {
    let kinds: Vec<&'static Kind> = KINDS.into_iter().chain([&DATA_KEYS]).collect();
    let bare: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
    let root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let custody: Arc<dyn Custody> =
        Arc::new(FileCustody::from_text(root, "the test", node).unwrap());
    let records: Arc<dyn Records> = Arc::new(Sealed::open(bare, custody, node).await.unwrap());
    let sessions = Sessions::new(
        node.clone(),
        Epoch::FIRST,
        records.clone(),
        Arc::new(MemoryEphemeral::new(clock.clone())),
        Keys::of_root(Secret::new([7; 32])),
        Arc::new(Ends(records)),
        Limits::default(),
    );
    Door { sessions, realm: Realm::default(), settled: AtomicUsize::new(0) }
}

fn beginning() -> Beginning {
    Beginning {
        user: UserId::new("usr_bob").unwrap(),
        binding: home(),
        traits: Traits::default(),
        standing: Standing { acr: Some("aal1".into()), ..Standing::default() },
        address: None,
        replaces: None,
    }
}

fn set_cookies(fields: &[(String, String)]) -> Vec<&str> {
    let named = fields.iter().filter(|(name, _)| name == "set-cookie");
    named.map(|(_, value)| value.as_str()).collect()
}

fn fine(_: &str, service: &mut TcpStream) {
    let body = r#"{"a":1}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let head = format!("{head}Cache-Control: public\r\nContent-Length: {}\r\n\r\n", body.len());
    service.write_all((head + body).as_bytes()).unwrap();
}

/// Writes nothing, so that the connection just ends.
fn broken(_: &str, _: &mut TcpStream) {}

fn socket(head: &str, service: &mut TcpStream) {
    service.write_all(websocket::accepted(head).as_bytes()).unwrap();
}

#[test]
fn a_late_answer_takes_no_newer_session_cookie_from_the_browser() {
    type Writes = fn(&str, &mut TcpStream);
    let ways: [(&str, u16, Writes); 4] =
        [("plain", 200, fine), ("bff", 200, fine), ("socket", 101, socket), ("fails", 502, broken)];
    for (way, status, answer) in ways {
        for meanwhile in [
            Meanwhile::Nothing,
            Meanwhile::Rise,
            Meanwhile::Rotation,
            Meanwhile::SignIn,
            Meanwhile::SignOut,
        ] {
            let bench = Bench::new();
            let cookie = bench.cookie();
            let own = ("Cookie", cookie.as_str());
            let text = match way {
                "plain" => get("/own/x", &[own]),
                "bff" => get("/bff/home", &[own]),
                "socket" => {
                    websocket::opening("/own/x", &[own, ("Origin", "http://gateway.example")])
                }
                // What changes something is not sent again.
                _ => request("POST", "/own/x", &[own], ""),
            };
            let (told, fields) = bench.late(&text, meanwhile, answer);
            assert_eq!(told, status, "{way}, {meanwhile:?}: {fields:?}");
            let set = set_cookies(&fields);
            if meanwhile == Meanwhile::Nothing {
                let [line] = set.as_slice() else { panic!("{way}: {fields:?}") };
                let value = line.strip_prefix("session_id=").unwrap().split(';').next().unwrap();
                assert_ne!(value, bench.begun.cookie.expose());
                bench.present(value).unwrap();
                let kept = fields.iter().filter(|(name, _)| name == "cache-control");
                assert_eq!(kept.map(|(_, it)| it.as_str()).collect::<Vec<_>>(), ["no-store"]);
            } else {
                assert_eq!(set, Vec::<&str>::new(), "{way}, {meanwhile:?}");
            }
            assert_eq!(bench.door.settled.load(Ordering::SeqCst), 1, "{way}, {meanwhile:?}");
        }
    }
}

#[test]
fn nothing_is_asked_of_sessions_whose_cookie_stays() {
    let bench = Bench::new();
    let value = bench.present(bench.begun.cookie.expose()).unwrap().cookie.unwrap();
    let cookie = format!("session_id={}", value.expose());
    let text = get("/own/x", &[("Cookie", &cookie)]);
    let (status, fields) = bench.late(&text, Meanwhile::Nothing, fine);
    assert_eq!((status, set_cookies(&fields).len()), (200, 0));
    // What the service says of its answer is its own then.
    assert!(fields.contains(&("cache-control".to_owned(), "public".to_owned())));
    assert_eq!(bench.door.settled.load(Ordering::SeqCst), 0);
}

#[test]
fn a_cookie_of_no_more_use_is_taken_away_at_once_or_not_at_all() {
    let bench = Bench::new();
    bench.does(Meanwhile::SignOut);
    let cookie = bench.cookie();
    let cleared = |answer: &Answer| answer.fields("set-cookie") == ["session_id=; Max-Age=0"];
    let refused = bench.world.ask(&get("/own/x", &[("Cookie", &cookie)]));
    assert_eq!((refused.status, refused.problem().as_str()), (401, "session_unknown"));
    assert!(cleared(&refused));
    assert!(cleared(&bench.world.ask(&get("/bff/home", &[("Cookie", &cookie)]))));
    // Whoever is served as nobody may sign in before the answer comes.
    let text = get("/maybe/x", &[("Cookie", &cookie)]);
    let (status, fields) = bench.late(&text, Meanwhile::SignIn, fine);
    assert_eq!((status, set_cookies(&fields).len()), (200, 0), "{fields:?}");
}

#[test]
fn a_request_that_was_overtaken_leaves_the_cookie_alone() {
    let bench = Bench::new();
    let newer = bench.does(Meanwhile::Rotation).unwrap();
    bench.present(&newer).unwrap();
    let old = bench.world.ask(&get("/own/x", &[("Cookie", &bench.cookie())]));
    assert_eq!((old.status, old.problem().as_str()), (401, "session_superseded"));
    assert_eq!(old.field("set-cookie"), None);
    // The same request with what the browser has by now.
    let cookie = format!("session_id={newer}");
    let text = get("/own/x", &[("Cookie", &cookie)]);
    assert_eq!(bench.late(&text, Meanwhile::Nothing, fine).0, 200);
}

#[test]
fn envoy_is_given_what_is_renewed_and_clears_nothing_late() {
    let mut port = 0;
    let bench = Bench::with(|plan| {
        let (world, at) = ext_authz::asked(plan, None);
        port = at;
        world
    });
    let cookie = bench.cookie();
    let asked = |path: &'static str| {
        let question = ext_authz::question("GET", path, &[("cookie", &cookie)]);
        ext_authz::block_on(async {
            let mut asker = ext_authz::connect(port).await;
            ext_authz::verdict(&mut asker, &question).await
        })
    };
    let passed = ext_authz::passes(asked("/own/x")).response_headers_to_add;
    let line = ext_authz::added(&passed, "set-cookie").unwrap();
    assert!(line.starts_with("session_id=") && !line.contains("Max-Age=0"), "{line}");
    bench.does(Meanwhile::SignOut);
    let passed = ext_authz::passes(asked("/maybe/x")).response_headers_to_add;
    assert_eq!(ext_authz::added(&passed, "set-cookie"), None);
    let response = asked("/own/x");
    assert_eq!(ext_authz::refused(&response), (401, "session_unknown".to_owned()));
    let line = ext_authz::added(ext_authz::of_denied(&response), "set-cookie");
    assert_eq!(line.as_deref(), Some("session_id=; Max-Age=0"));
}
