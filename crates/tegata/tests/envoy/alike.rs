//! Ten thousand requests, each asked of the gateway and of Envoy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    browser::{AGENT, Browser},
    cases::{Body, Case, Dice},
    http::Answer,
    world::{World, reason, world},
};

const MANY: usize = 10_000;
const SEED: u64 = 7;

/// What Envoy answers or does by itself, before Tegata is asked or behind it, and why. None of it makes anybody
/// known to a service whom Tegata did not name. `docs/envoy.md` has the same list, and this test looks.
const DIFFERENCES: [Difference; 8] = [
    Difference {
        is: "Envoy knows methods in capitals only, and answers others with 400",
        allows: |it| it.case.method == "get" && it.envoys_own(&[400]),
    },
    Difference {
        is: "Envoy answers a target with bytes beyond ASCII, or with a fragment, with 400",
        allows: |it| {
            let target = &it.case.target;
            (!target.is_ascii() || target.contains(&b'#')) && it.envoys_own(&[400])
        },
    },
    Difference {
        is: "Envoy has no route for `*`, and answers it with 400 or 404",
        allows: |it| it.case.target == b"*" && it.envoys_own(&[400, 404]),
    },
    Difference {
        is: "Envoy takes `Upgrade` away where it names a protocol that Envoy was not told of",
        allows: |it| {
            it.case.has("upgrade") && it.own_is(&["upgrade_not_supported", "several_upgrades"])
        },
    },
    Difference {
        is: "Envoy makes one line of several `Authorization`, and an empty one vanishes",
        allows: |it| {
            let empty = it.case.says("authorization", b"");
            it.own_is(&["several_authorizations"]) && (empty || it.envoys_status() == Some(401))
        },
    },
    Difference {
        is: "Envoy makes one line of several `Expect`",
        allows: |it| it.case.count("expect") > 1 && it.envoys_status() == Some(417),
    },
    Difference {
        is: "Envoy says `Content-Length: 0` of a request without a body",
        allows: |it| {
            it.case.body == Body::None
                && it.what == What::Echo("content-length".to_owned(), None, Some("0".to_owned()))
        },
    },
    Difference {
        is: "The gateway may compress an answer, and says so in `Vary`",
        allows: |it| {
            let says = Some("Accept-Encoding".to_owned());
            it.case.method == "GET" && it.what == What::Field("vary".to_owned(), says, None)
        },
    },
];

/// A difference that is known.
struct Difference {
    is: &'static str,
    allows: fn(&Differing<'_>) -> bool,
}

/// One thing in which two answers differ.
struct Differing<'d> {
    case: &'d Case,
    own: &'d Answer,
    envoys: Option<&'d Answer>,
    what: What,
}

/// In what they differ: a field, with what the one and the other say.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Answer,
    Field(String, Option<String>, Option<String>),
    Echo(String, Option<String>, Option<String>),
}

impl Differing<'_> {
    /// Whether the gateway refuses it for one of these reasons. What answers `HEAD` gives none.
    fn own_is(&self, reasons: &[&str]) -> bool {
        match why(self.case, self.own) {
            Some(own) => reasons.contains(&&*own),
            None => self.case.method == "HEAD" && self.own.status >= 400,
        }
    }

    fn envoys_status(&self) -> Option<u16> {
        self.envoys.map(|it| it.status)
    }

    /// Whether Envoy answers with one of these, and no words of Tegata.
    fn envoys_own(&self, statuses: &[u16]) -> bool {
        let own = |it: &Answer| it.field("x-request-id").is_none();
        self.envoys.is_some_and(|it| statuses.contains(&it.status) && own(it))
    }
}

/// Why a request was refused. To `HEAD` nobody need say it, and the one does where the other does not.
fn why(case: &Case, answer: &Answer) -> Option<String> {
    reason(answer).filter(|_| case.method != "HEAD")
}

/// What callers show.
struct Shown(BTreeMap<&'static str, Vec<(String, String)>>);

impl Shown {
    fn of(world: &World) -> Self {
        let demo = &world.demo;
        let (customer, admin) = (demo.person("customer"), demo.person("admin"));
        let token = world.token(&customer);
        let taken_back = world.of_a_machine();
        world.revoke(&taken_back);
        let (browser, _) = Browser::signed_in(demo.public, &customer);
        let session = format!("session_id={}", browser.cookie("session_id").unwrap());
        let one = |name: &str, value: String| vec![(name.to_owned(), value)];
        let bearer = |token: &str| one("Authorization", format!("Bearer {token}"));
        let twice = [bearer(&token), bearer("x")].concat();
        let with_key = [bearer(&token), one("X-API-Key", "sk_x".to_owned())].concat();
        let with_csrf = [
            one("Cookie", session.clone()),
            one("X-CSRF-Token", browser.csrf),
            one("Origin", demo.gateway.origin()),
            one("User-Agent", AGENT.to_owned()),
        ];
        let two = [one("Cookie", session.clone()), one("Cookie", "session_id=other".to_owned())];
        Self(BTreeMap::from([
            ("none", vec![]),
            ("customer", bearer(&token)),
            ("admin", bearer(&world.token(&admin))),
            ("machine", bearer(&world.of_a_machine())),
            ("taken back", bearer(&taken_back)),
            ("cut off", bearer(&token[..token.len() - 3])),
            ("other scheme", one("Authorization", format!("Basic {token}"))),
            ("small letters", one("authorization", format!("bearer   {token}"))),
            ("no scheme", one("Authorization", token.clone())),
            ("nonsense", bearer("nonsense")),
            ("twice", twice),
            ("with an API key", with_key),
            (
                "an API key that is none",
                one("X-API-Key", "sk_Zk3vQ0aB.0123456789abcdefghijklmnopqrstuv".to_owned()),
            ),
            ("session", [one("Cookie", session), one("User-Agent", AGENT.to_owned())].concat()),
            ("session with csrf", with_csrf.concat()),
            ("two sessions", two.concat()),
            ("without its proof", one("Authorization", format!("DPoP {token}"))),
        ]))
    }
}

#[test]
fn envoy_and_the_gateway_answer_ten_thousand_requests_alike() {
    let world = world();
    let shown = Shown::of(world);
    let mut dice = Dice::new(SEED);
    let cases: Vec<Case> = (0..MANY).map(|_| Case::throw(&mut dice)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Found::default()));
    thread::scope(|scope| {
        // Most of the time passes until connections are closed.
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bytes = case.bytes(&shown.0[case.credential]);
                    let own = world.demo.gateway.raw(&bytes);
                    let own = own.unwrap_or_else(|| panic!("no answer to {case:?}"));
                    let envoys = world.behind().raw(&bytes);
                    found.lock().unwrap().note(case, &own, envoys.as_ref());
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    found.tell();
    assert!(found.wrong.is_empty(), "{} differ: {:#?}", found.wrong.len(), found.first());
    // It was worth it: much passed, much was refused, and in many ways.
    assert!(found.statuses.len() >= 8 && found.reasons.len() >= 12, "{:?}", found.statuses);
    assert!(found.statuses[&200] > MANY / 10 && found.echoed > MANY / 20, "{:?}", found.statuses);
    // What differs is an exception, and each that is listed is one that there is.
    let listed: usize = found.listed.values().sum();
    assert!(listed < MANY / 5, "{:?}", found.listed);
    let page = format!("{}/../../docs/envoy.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(page).unwrap().replace('\n', " ");
    for Difference { is, .. } in DIFFERENCES {
        assert!(found.listed.contains_key(is), "nothing differs so any more: {is}");
        assert!(page.contains(is), "the page does not say: {is}");
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    statuses: BTreeMap<u16, usize>,
    reasons: BTreeMap<String, usize>,
    listed: BTreeMap<&'static str, usize>,
    echoed: usize,
    wrong: Vec<String>,
}

impl Found {
    fn note(&mut self, case: &Case, own: &Answer, envoys: Option<&Answer>) {
        *self.statuses.entry(own.status).or_default() += 1;
        *self.reasons.entry(reason(own).unwrap_or_default()).or_default() += 1;
        self.echoed += usize::from(echoed(own).is_some());
        for what in envoys.map_or_else(|| vec![What::Answer], |envoys| differ(case, own, envoys)) {
            let differing = Differing { case, own, envoys, what };
            match DIFFERENCES.iter().find(|it| (it.allows)(&differing)) {
                Some(known) => *self.listed.entry(known.is).or_default() += 1,
                None => {
                    let said = envoys.map(|it| (it.status, reason(it)));
                    let (what, told) = (&differing.what, told(case));
                    self.wrong
                        .push(format!("{:?} {said:?} {what:?}: {told}", (own.status, reason(own))));
                }
            }
        }
    }

    fn first(&self) -> Vec<&String> {
        self.wrong.iter().take(40).collect()
    }

    fn tell(&self) {
        println!("{:?}\n{:?}\n{:?}", self.statuses, self.reasons, self.listed);
    }
}

fn told(case: &Case) -> String {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    let fields: Vec<_> =
        case.fields.iter().take(5).map(|(name, value)| (name, lossy(value))).collect();
    let Case { method, credential, body, .. } = case;
    format!("{method} {} as `{credential}` {body:?} {fields:?}", lossy(&case.target))
}

/// In what two answers differ.
fn differ(case: &Case, own: &Answer, envoys: &Answer) -> Vec<What> {
    if own.status != envoys.status || why(case, own) != why(case, envoys) {
        return vec![What::Answer];
    }
    let mut all: Vec<_> = apart(&fields(own), &fields(envoys), What::Field).collect();
    match (echoed(own), echoed(envoys)) {
        (None, None) => {}
        (Some(one), Some(other)) => all.extend(apart(&one, &other, What::Echo)),
        (_, _) => all.push(What::Answer),
    }
    all
}

type Lines = BTreeMap<String, String>;

type Apart = fn(String, Option<String>, Option<String>) -> What;

fn apart(one: &Lines, other: &Lines, what: Apart) -> impl Iterator<Item = What> {
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let (one, other) = (one.clone(), other.clone());
    let names: Vec<String> = names.into_iter().cloned().collect();
    names.into_iter().filter_map(move |name| {
        let (said, says) = (one.get(&name).cloned(), other.get(&name).cloned());
        (said != says).then(|| what(name, said, says))
    })
}

/// The fields of an answer, without what names it, dates it or frames it.
fn fields(answer: &Answer) -> Lines {
    const OWN: [&str; 8] = [
        "date",
        "x-request-id",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "etag",
        "last-modified",
    ];
    let mut lines = Lines::new();
    for (name, value) in &answer.fields {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        // Each sets another value.
        let value = match name.as_str() {
            "set-cookie" => value.split('=').next().unwrap_or_default().to_owned(),
            "content-security-policy" => without_nonces(value),
            _ => value.clone(),
        };
        join(&mut lines, name, &value);
    }
    lines
}

/// A policy without what it says once.
fn without_nonces(policy: &str) -> String {
    let words = policy.split(' ').filter(|word| !word.starts_with("'nonce-"));
    words.collect::<Vec<_>>().join(" ")
}

/// Lines of one name are a list, wherever its lines begin (RFC 9110 §5.3).
fn join(lines: &mut Lines, name: &str, value: &str) {
    let value: Vec<&str> = value.split(',').map(str::trim).collect();
    let value = value.join(",");
    match lines.get_mut(name) {
        Some(before) => *before += &format!(",{value}"),
        None => {
            lines.insert(name.to_owned(), value);
        }
    }
}

/// What the echo service saw, without what names this very request.
fn echoed(answer: &Answer) -> Option<Lines> {
    let echo: Value = serde_json::from_slice(&answer.body).ok()?;
    let headers = echo.get("headers")?.as_array()?;
    let mut lines = Lines::new();
    for part in ["method", "path", "query", "body"] {
        lines.insert(format!("({part})"), echo[part].as_str()?.to_owned());
    }
    for pair in headers {
        let (name, value) = (pair[0].as_str()?, pair[1].as_str()?);
        match name {
            "x-request-id" => assert_eq!(value.len(), 32, "{value}"),
            "x-internal-token" => join(&mut lines, name, &claims(value)),
            "traceparent" if !value.contains("0af7651916cd43dd8448eb211c80319c") => {
                join(&mut lines, name, "another");
            }
            _ => join(&mut lines, name, value),
        }
    }
    lines.insert("x-request-id".to_owned(), String::new());
    Some(lines)
}

/// What an internal token says, without what names it, when it was made and when it ends. When the first was issued
/// stands in its lineage only where that was in a second before, and where the first was no session.
fn claims(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap_or_default()).unwrap();
    let mut claims: BTreeMap<String, Value> = serde_json::from_slice(&payload).unwrap();
    let lineage = claims.remove("lineage").unwrap_or_default();
    let mut lineage: BTreeMap<String, Value> = serde_json::from_value(lineage).unwrap_or_default();
    let first = lineage.remove("iat").or_else(|| claims.remove("iat"));
    if !lineage.contains_key("began") {
        claims.insert("first_issued".to_owned(), first.unwrap());
    }
    claims.insert("lineage".to_owned(), json!(lineage));
    for own in ["jti", "iat", "exp"] {
        claims.remove(own);
    }
    json!(claims).to_string().replace(',', ";")
}
