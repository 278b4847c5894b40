//! The choice between the addresses of a service, and what is learnt of them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tegata_mesh::DeclaredService;

use crate::world::{Plan, World, get, request, vacant};

/// A service that serves each connection on a thread of its own. `answer` is given the head of each
/// request; nothing closes the connection.
pub(crate) fn service(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream.unwrap(), &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Option<String>) {
    loop {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
            seen.push(byte[0]);
        }
        let Some(text) = answer(&String::from_utf8_lossy(&seen)) else { return };
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

pub(crate) fn ok(body: &str) -> Option<String> {
    status(200, body)
}

fn status(status: u16, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// `orders` at these addresses, declared with these words, for everybody at `/orders`.
fn orders(addresses: &[SocketAddr], words: Value) -> Plan {
    let mut plan = Plan::with(addresses[0]);
    let upstreams: Vec<_> = addresses.iter().map(|it| format!("http://{it}")).collect();
    let mut declared = json!({"name": "orders", "upstreams": upstreams});
    let Value::Object(words) = words else { panic!("words are a table") };
    declared.as_object_mut().unwrap().extend(words);
    plan.declared = vec![serde_json::from_value::<DeclaredService>(declared).unwrap()];
    plan.routes = json!([{"path": "/orders", "service": "orders", "auth": "none"}]);
    plan
}

/// The answers of many clients that ask as many times each, all at once.
fn many(world: &World, clients: u32, times: u32, text: &str) -> Vec<(u16, Vec<u8>)> {
    thread::scope(|scope| {
        let ask = || {
            let mut client = world.connect();
            (0..times)
                .map(|_| {
                    let answer = client.ask(text);
                    if answer.field("connection") == Some("close") {
                        client = world.connect();
                    }
                    (answer.status, answer.body)
                })
                .collect::<Vec<_>>()
        };
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    })
}

/// Holds requests until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[test]
fn the_slower_of_two_gets_less() {
    let gate = Gate::default();
    let (asked, held) = (Arc::new(AtomicU32::new(0)), gate.clone());
    let count = Arc::clone(&asked);
    let slow = service(move |_| {
        count.fetch_add(1, SeqCst);
        held.wait();
        ok("slow")
    });
    let fast = service(|_| ok("fast"));
    let mut plan = orders(&[slow, fast], json!({}));
    plan.config.workers = 2;
    let world = plan.start();
    // Those that the slow one has hold their clients up; the others get their answers.
    let fast = thread::scope(|scope| {
        let ask = || {
            let mut client = world.connect();
            (0..100).filter(|_| client.ask(&get("/orders/x", &[])).body == b"fast").count()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        // Seven clients are held at most: whoever comes after them sees that it has more.
        while !all.iter().any(thread::ScopedJoinHandle::is_finished) {
            thread::yield_now();
        }
        gate.open();
        all.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
    });
    assert!(asked.load(SeqCst) < 400, "{asked:?}");
    assert!(fast >= 100, "{fast}");
    let metrics = world.metrics();
    assert!(metrics.contains("gateway_upstream_running{service=\"orders\""), "{metrics}");
}

#[test]
fn a_sick_address_gets_nothing_and_comes_back() {
    // By what becomes of requests: it answers, but with errors.
    let (sick, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let (is_sick, count) = (Arc::clone(&sick), Arc::clone(&asked));
    let one = service(move |_| {
        count.fetch_add(1, SeqCst);
        if is_sick.load(SeqCst) { status(500, "sick") } else { ok("one") }
    });
    let two = service(|_| ok("two"));
    let world = orders(&[one, two], json!({})).start();
    let answers = many(&world, 1, 100, &get("/orders/x", &[]));
    assert_eq!(answers.iter().filter(|(status, _)| *status == 500).count(), 5);
    assert_eq!(asked.load(SeqCst), 5);
    let address = one.to_string();
    let up = |world: &World, is: u32| {
        let line =
            format!("gateway_upstream_up{{service=\"orders\",upstream=\"http://{address}\"}} {is}");
        world.metrics().contains(&line)
    };
    assert!(up(&world, 0));
    // After a while one request finds out, and the next only after twice as long.
    world.clock.advance(Duration::from_secs(2));
    many(&world, 4, 25, &get("/orders/x", &[]));
    assert_eq!(asked.load(SeqCst), 6);
    world.clock.advance(Duration::from_secs(2));
    many(&world, 4, 25, &get("/orders/x", &[]));
    assert_eq!(asked.load(SeqCst), 6);
    sick.store(false, SeqCst);
    world.clock.advance(Duration::from_secs(2));
    let answers = many(&world, 1, 100, &get("/orders/x", &[]));
    assert!(answers.iter().filter(|(_, body)| body == b"one").count() > 30);
    assert!(up(&world, 1));
    // Where all are sick, all are asked: the client sees their error, not ours.
    let world = orders(&[service(|_| status(500, "a")), service(|_| status(500, "b"))], json!({}));
    let answers = many(&world.start(), 2, 30, &get("/orders/x", &[]));
    assert!(answers.iter().all(|(status, body)| *status == 500 && body.len() == 1));
}

#[test]
fn addresses_are_asked_how_they_are_whether_or_not_anybody_calls() {
    let (well, wanted) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let (checked, checks) = mpsc::channel();
    let checked = Mutex::new(checked);
    let (is_well, count) = (Arc::clone(&well), Arc::clone(&wanted));
    let one = service(move |head| {
        if head.starts_with("GET /up?deep=1 HTTP/1.1\r\n") {
            assert!(head.contains("user-agent: tegata-health\r\n"), "{head}");
            let _ = checked.lock().unwrap().send(());
            // Gigabytes are promised, of which nobody wants to know.
            let endless = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx";
            return if is_well.load(SeqCst) {
                Some(endless.to_owned())
            } else {
                // Whoever is sent elsewhere is not well here.
                Some("HTTP/1.1 302 Found\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n".to_owned())
            };
        }
        count.fetch_add(1, SeqCst);
        ok("one")
    });
    let two = service(|head| if head.starts_with("GET /up") { ok("") } else { ok("two") });
    let health = json!({"health": {"path": "/up?deep=1", "interval": "20ms", "timeout": "10s"}});
    let world = orders(&[one, two], health.clone()).start();
    // When a check comes, what the one before it found is known. Those that came before do not count.
    let look = |times: usize| {
        while checks.try_recv().is_ok() {}
        (0..times).for_each(|_| checks.recv().unwrap());
    };
    look(3);
    many(&world, 1, 10, &get("/orders/x", &[]));
    assert!(wanted.swap(0, SeqCst) > 0);
    well.store(false, SeqCst);
    look(6);
    let answers = many(&world, 2, 20, &get("/orders/x", &[]));
    assert!(answers.iter().all(|(_, body)| body == b"two"));
    assert_eq!(wanted.load(SeqCst), 0);
    // Another map that says the same changes nothing.
    world.gateway.replace(&orders(&[one, two], health).map(), vec![]).unwrap();
    look(1);
    many(&world, 1, 10, &get("/orders/x", &[]));
    assert_eq!(wanted.load(SeqCst), 0);
    well.store(true, SeqCst);
    look(5);
    many(&world, 1, 10, &get("/orders/x", &[]));
    assert!(wanted.swap(0, SeqCst) > 0);
    // Whom nobody checks any more is not left alone for what was found before.
    well.store(false, SeqCst);
    look(6);
    world.gateway.replace(&orders(&[one, two], json!({})).map(), vec![]).unwrap();
    while wanted.load(SeqCst) == 0 {
        world.ask(&get("/orders/x", &[]));
    }
}

#[test]
fn retries_stay_within_a_tenth() {
    let calls = Arc::new(AtomicU32::new(0));
    let breaking = |calls: &Arc<AtomicU32>| {
        let calls = Arc::clone(calls);
        service(move |_| {
            calls.fetch_add(1, SeqCst);
            None
        })
    };
    let mut plan = orders(&[breaking(&calls), breaking(&calls)], json!({"breaker": false}));
    plan.config.workers = 2;
    let world = plan.start();
    let answers = many(&world, 20, 50, &get("/orders/x", &[]));
    assert!(answers.iter().all(|(status, _)| *status == 502));
    let calls = calls.load(SeqCst);
    assert!((1000..=1000 + 100 + 20).contains(&calls), "{calls}");
    let line = format!("gateway_upstream_retries_total{{service=\"orders\"}} {}", calls - 1000);
    assert!(world.metrics().contains(&line));
}

#[test]
fn nothing_that_may_have_had_an_effect_is_sent_twice_to_anybody() {
    for (method, body, times) in
        [("POST", "", 1), ("PATCH", "", 1), ("PUT", "x", 1), ("GET", "", 2), ("DELETE", "", 2)]
    {
        let calls = Arc::new(AtomicU32::new(0));
        let count = |calls: &Arc<AtomicU32>, answer: fn() -> Option<String>| {
            let calls = Arc::clone(calls);
            service(move |_| {
                calls.fetch_add(1, SeqCst);
                answer()
            })
        };
        let away = || status(503, "");
        let words = json!({"retry": {"statuses": [503], "attempts": 2}});
        for (one, two) in [
            (count(&calls, || None), count(&calls, || None)),
            (count(&calls, away), count(&calls, away)),
        ] {
            let world = orders(&[one, two], words.clone()).start();
            let answer = world.ask(&request(method, "/orders/x", &[], body));
            assert!(matches!(answer.status, 502 | 503));
            assert_eq!(calls.swap(0, SeqCst), times, "{method} {body}");
        }
    }
    // An address that cannot be reached has seen nothing: whatever it is goes to another one.
    let free = vacant();
    let world = orders(&[free, service(|_| ok("there"))], json!({"retry": {"budget": 0}})).start();
    for _ in 0..4 {
        assert_eq!(world.ask(&request("POST", "/orders/x", &[], "")).status, 200);
    }
}

#[test]
fn more_than_a_service_may_have_is_refused_at_once() {
    let gate = Gate::default();
    let (asked, held) = (Arc::new(AtomicU32::new(0)), gate.clone());
    let count = Arc::clone(&asked);
    let at = service(move |_| {
        count.fetch_add(1, SeqCst);
        held.wait();
        ok("late")
    });
    let mut plan = orders(&[at], json!({"max_requests": 3}));
    // The limit is the node's, not a worker's.
    plan.config.workers = 2;
    let world = plan.start();
    let mut waiting: Vec<_> = (0..3).map(|_| world.connect()).collect();
    waiting.iter_mut().for_each(|client| client.write(get("/orders/x", &[])));
    while asked.load(SeqCst) < 3 {
        thread::yield_now();
    }
    for _ in 0..10 {
        let refused = world.ask(&get("/orders/x", &[]));
        assert_eq!((refused.status, refused.problem().as_str()), (503, "service_busy"));
        assert_eq!(refused.field("retry-after"), Some("1"));
    }
    // One that goes away makes room, and what is answered does.
    drop(waiting.pop());
    let mut next = world.connect();
    next.write(get("/orders/x", &[]));
    while was_refused(&mut next, &asked) {
        next.write(get("/orders/x", &[]));
    }
    gate.open();
    assert!(waiting.iter_mut().all(|client| client.answer().unwrap().status == 200));
    assert_eq!(next.answer().unwrap().status, 200);
    assert!(many(&world, 3, 20, &get("/orders/x", &[])).iter().all(|(status, _)| *status == 200));
}

#[test]
fn a_few_wait_for_a_place_and_no_more_and_not_for_ever() {
    let gate = Gate::default();
    let (asked, held) = (Arc::new(AtomicU32::new(0)), gate.clone());
    let count = Arc::clone(&asked);
    let at = service(move |_| {
        count.fetch_add(1, SeqCst);
        held.wait();
        ok("late")
    });
    let mut plan = orders(&[at], json!({"max_requests": 2, "max_waiting": 3}));
    plan.config.workers = 2;
    let world = plan.start();
    let ask = || {
        let mut client = world.connect();
        client.write(get("/orders/x", &[]));
        client
    };
    let mut first = [ask(), ask()];
    while asked.load(SeqCst) < 2 {
        thread::yield_now();
    }
    // Three of these wait, and the others are refused, whichever they are.
    let (mut waiting, mut refused) = (Vec::new(), 0);
    while waiting.len() < 3 || refused < 2 {
        let mut client = ask();
        if client.is_quiet() {
            waiting.push(client);
        } else {
            assert_eq!(client.answer().unwrap().problem(), "service_busy");
            refused += 1;
        }
    }
    assert_eq!(waiting.len(), 3);
    // One who goes away makes room for another, and takes no place.
    drop(waiting.pop());
    let mut next = loop {
        let mut client = ask();
        if client.is_quiet() {
            break client;
        }
        assert_eq!(client.answer().unwrap().status, 503);
    };
    assert_eq!(asked.load(SeqCst), 2);
    gate.open();
    for client in first.iter_mut().chain(&mut waiting).chain([&mut next]) {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert!(many(&world, 4, 20, &get("/orders/x", &[])).iter().all(|(status, _)| *status == 200));
    // And who waits for too long is told so.
    let gate = Gate::default();
    let held = gate.clone();
    let at = service(move |_| {
        held.wait();
        ok("late")
    });
    let world = orders(&[at], json!({"max_requests": 1, "max_waiting": 1})).start();
    let mut first = world.connect();
    first.write(get("/orders/x", &[]));
    assert!(first.is_quiet());
    let mut second = world.connect();
    second.write(get("/orders/x", &[]));
    while second.is_quiet() {
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(second.answer().unwrap().problem(), "service_busy");
    gate.open();
    assert_eq!(first.answer().unwrap().status, 200);
}

/// Whether a request that was written comes back refused, and not to the service.
fn was_refused(client: &mut crate::world::Client, asked: &AtomicU32) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let refused = loop {
        if asked.load(SeqCst) > 3 {
            break false;
        }
        if client.stream.peek(&mut [0]).is_ok() {
            break true;
        }
        thread::yield_now();
    };
    client.stream.set_nonblocking(false).unwrap();
    if refused {
        assert_eq!(client.answer().unwrap().status, 503);
    }
    refused
}

#[test]
fn an_open_breaker_gives_the_declared_answer_and_asks_once() {
    let (gate, sick) = (Gate::default(), Arc::new(AtomicBool::new(true)));
    let asked = Arc::new(AtomicU32::new(0));
    let (held, is_sick, count) = (gate.clone(), Arc::clone(&sick), Arc::clone(&asked));
    let at = service(move |head| {
        count.fetch_add(1, SeqCst);
        if head.contains("/held") {
            held.wait();
        }
        if is_sick.load(SeqCst) { status(503, "sick") } else { ok("well") }
    });
    let answer = json!({"status": 200, "content_type": "application/json; x=1", "body": "[]"});
    let words = json!({"breaker": {"failures": 4, "open_for": "30s", "answer": answer}});
    let mut plan = orders(&[at], words);
    plan.config.workers = 2;
    let world = plan.start();
    let state = |is: u32| assert_eq!(world.breaker("orders"), Some(is));
    state(0);
    for _ in 0..4 {
        assert_eq!(world.ask(&get("/orders/x", &[])).body, b"sick");
    }
    state(2);
    for answer in many(&world, 4, 5, &get("/orders/x", &[])) {
        assert_eq!(answer, (200, b"[]".to_vec()));
    }
    let answer = world.ask(&get("/orders/x", &[]));
    assert_eq!(answer.field("content-type"), Some("application/json; x=1"));
    assert_eq!(answer.field("retry-after"), Some("31"));
    assert_eq!(asked.load(SeqCst), 4);
    // One is let through; while it waits, nobody else is.
    world.clock.advance(Duration::from_secs(30));
    let mut probe = world.connect();
    probe.write(get("/orders/held", &[]));
    while asked.load(SeqCst) < 5 {
        thread::yield_now();
    }
    state(1);
    assert!(many(&world, 4, 5, &get("/orders/x", &[])).iter().all(|it| it.1 == b"[]"));
    assert_eq!(asked.load(SeqCst), 5);
    // That its client goes away does not leave it so for ever: the next one finds out.
    drop(probe);
    while world.breaker("orders") == Some(1) {
        thread::yield_now();
    }
    state(2);
    sick.store(false, SeqCst);
    assert_eq!(world.ask(&get("/orders/x", &[])).body, b"well");
    state(0);
    gate.open();
    // Without an answer of its own, a problem is told; and a map that says the same forgets nothing.
    sick.store(true, SeqCst);
    world.gateway.replace(&orders(&[at], json!({"breaker": {}})).map(), vec![]).unwrap();
    for _ in 0..5 {
        assert_eq!(world.ask(&get("/orders/x", &[])).status, 503);
    }
    let refused = world.ask(&get("/orders/x", &[]));
    assert_eq!((refused.status, refused.problem().as_str()), (503, "service_resting"));
    assert_eq!(refused.field("retry-after"), Some("61"));
    let same = orders(&[at], json!({"breaker": {}})).map();
    world.gateway.replace(&same, vec![]).unwrap();
    assert_eq!(world.ask(&get("/orders/x", &[])).problem(), "service_resting");
}

#[test]
fn a_service_that_says_nothing_of_it_is_left_alone_after_five_failures() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let at = service(move |_| {
        count.fetch_add(1, SeqCst);
        status(503, "sick")
    });
    let world = orders(&[at], json!({})).start();
    for _ in 0..5 {
        assert_eq!(world.ask(&get("/orders/x", &[])).body, b"sick");
    }
    let refused = world.ask(&get("/orders/x", &[]));
    assert_eq!((refused.status, refused.problem().as_str()), (503, "service_resting"));
    assert_eq!((refused.field("retry-after"), asked.load(SeqCst)), (Some("61"), 5));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.ask(&get("/orders/x", &[])).body, b"sick");
    // Unless it says that it is never.
    let off = orders(&[at], json!({"breaker": false})).map();
    world.gateway.replace(&off, vec![]).unwrap();
    assert_eq!(world.breaker("orders"), None);
    for _ in 0..10 {
        assert_eq!(world.ask(&get("/orders/x", &[])).body, b"sick");
    }
}

#[test]
fn clients_that_break_off_close_no_service_to_others() {
    let at = service(|head| if head.contains("/bad") { status(500, "bad") } else { ok("well") });
    let world = orders(&[at], json!({"breaker": {"failures": 2}})).start();
    for _ in 0..10 {
        // Bodies that end in the middle, and requests that the service cannot bear.
        let mut client = world.connect();
        client.write("POST /orders/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = client.answer();
        let mut chunked = world.connect();
        chunked.write(
            "POST /orders/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        );
        let _ = chunked.answer();
        assert_eq!(world.ask(&get("/orders/bad", &[])).status, 500);
    }
    assert_eq!(world.breaker("orders"), Some(0));
    assert_eq!(world.ask(&get("/orders/x", &[])).body, b"well");
}

#[test]
fn a_route_has_its_own_time_for_the_whole_of_it() {
    let silent = service(|head| {
        if head.contains("/trickle") {
            // A part comes, and then nothing.
            return Some("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_owned());
        }
        if head.contains("/well") { ok("well") } else { Some(String::new()) }
    });
    let mut plan = orders(&[silent], json!({"breaker": {"failures": 3}}));
    plan.routes =
        json!([{"path": "/orders", "service": "orders", "auth": "none", "timeout": "100ms"}]);
    plan.real_time = true;
    let world = plan.start();
    assert_eq!(world.ask(&get("/orders/well", &[])).body, b"well");
    let mut trickle = world.connect();
    trickle.write(get("/orders/trickle", &[]));
    assert_eq!(trickle.head().unwrap().0, 200);
    let mut rest = Vec::new();
    let _ = trickle.stream.read_to_end(&mut rest);
    assert!(rest.len() <= 4);
    for _ in 0..3 {
        let answer = world.ask(&get("/orders/silent", &[]));
        assert_eq!((answer.status, answer.problem().as_str()), (504, "service_late"));
    }
    // Whoever is too late for a route has failed.
    assert_eq!(world.ask(&get("/orders/well", &[])).problem(), "service_resting");
}
