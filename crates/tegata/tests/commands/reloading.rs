//! The configuration is read anew while the server runs, by SIGHUP and by a command.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use rusqlite::Connection;
use serde_json::json;

use crate::{CONFIGURATION, Place, get, said, until};

/// A route that needs nobody, to a service that says `ok`.
fn with_service(place: &Place) -> u16 {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in upstream.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            });
        }
    });
    place.write(
        "open.toml",
        &format!(
            "[[service]]\nname = \"open\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n\
             [[route]]\npath = \"/open\"\nservice = \"open\"\nauth = \"none\"\n"
        ),
    );
    place.json(&["apply", "open.toml"]);
    port
}

/// No limit, so that many can ask.
fn unlimited() -> String {
    format!("{CONFIGURATION}[gateway.limits]\nexempt = [\"127.0.0.0/8\"]\n")
}

#[test]
fn a_hangup_reloads_and_never_kills() {
    let place = Place::new();
    with_service(&place);
    let mut server = place.serve();
    let ports = server.ports();
    assert_eq!(get(ports.gateway, "/open/x").0, 200);
    place.write("tegata.toml", &format!("{CONFIGURATION}[gateway.cors]\norigins = []\n"));
    for _ in 0..3 {
        server.signal("HUP");
    }
    let elsewhere = CONFIGURATION.replace("audience", "hosts = [\"other.example\"]\naudience");
    place.write("tegata.toml", &elsewhere);
    server.signal("HUP");
    until("the host is none of ours any more", || get(ports.gateway, "/open/x").0 == 421);
    // What is wrong is said in the log, and changes nothing.
    place.write("tegata.toml", "[gateway]\nhost = [\"third.example\"]\n");
    server.signal("HUP");
    server.signal("HUP");
    assert_eq!(get(ports.gateway, "/open/x").0, 421);
    server.signal("HUP");
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_wrong_file_changes_nothing() {
    let place = Place::new();
    with_service(&place);
    let server = place.serve();
    let ports = server.ports();
    let good = CONFIGURATION.replace("audience", "hosts = [\"other.example\"]\naudience");
    for (text, names) in [
        // A key, and its line.
        (good.replace("hosts", "hosst"), vec!["hosst", "line", "hosts"]),
        (format!("{good}[gateway.limits]\nbody = \"much\"\n"), vec!["line"]),
        // What parses, and cannot be used.
        (format!("{good}[gateway.upstream]\nca_file = \"nowhere.pem\"\n"), vec!["nowhere.pem"]),
        (format!("{good}[observability]\nlevel = \"=,=\"\n"), vec!["level"]),
        (format!("{good}[[route]]\npath = \"/x\"\nservice = \"nobody\"\n"), vec!["nobody"]),
        // Somebody is still writing.
        (good.trim_end().to_owned(), vec!["middle", "rename"]),
        (String::new(), vec!["middle"]),
    ] {
        place.write("tegata.toml", &text);
        let line = place.refused(&["reload"], 1);
        assert!(names.iter().all(|name| line.contains(name)), "{line}");
        assert_eq!(get(ports.gateway, "/open/x").0, 200, "{line}");
    }
    // It is away for a moment.
    fs::remove_file(place.path().join("tegata.toml")).unwrap();
    assert!(place.refused(&["reload"], 1).contains("middle"));
    assert_eq!(get(ports.gateway, "/open/x").0, 200);
    place.write("tegata.toml", &good);
    assert_eq!(place.json(&["reload"]), json!({"changed": ["gateway.hosts"], "needs_restart": []}));
    assert_eq!(get(ports.gateway, "/open/x").0, 421);
    // The same once more is nothing new.
    assert_eq!(place.json(&["reload"]), json!({"changed": [], "needs_restart": []}));
    server.stop();
    assert!(place.refused(&["reload"], 1).contains("no server runs"));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_changes() {
    let place = Place::new();
    let port = with_service(&place);
    let server = place.serve();
    let ports = server.ports();
    let text = CONFIGURATION.replace("[public]\n", "[public]\nbrand = \"B\"\n")
        + &format!(
            "[gateway.cors]\norigins = [\"https://app.example\"]\n\
             [tokens]\ncode_lifetime = \"30s\"\n[gateway.limits]\ncallers = 5\n\
             [[service]]\nname = \"more\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n\
             [[route]]\npath = \"/more\"\nservice = \"more\"\nauth = \"none\"\n"
        );
    place.write("tegata.toml", &text);
    let output = place.run(&["reload", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let line = said(&output);
    for name in ["gateway.limits.callers", "public.brand", "tokens.code_lifetime"] {
        assert!(line.contains(&format!("`{name}`")), "{line}");
    }
    assert!(line.contains("need a restart") && !line.contains("`gateway.cors"), "{line}");
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["changed"], json!(["gateway.cors.origins", "route", "service"]), "{done}");
    // A declared route is there as soon as the command has ended.
    assert_eq!(get(ports.gateway, "/more/x").0, 200);
    assert_eq!(get(ports.gateway, "/open/x").0, 200);
    // It is said again as long as it is so.
    assert!(said(&place.run(&["reload"])).contains("`public.brand`"));
    server.stop();
    place.serve().stop();
}

#[test]
fn what_could_not_be_made_is_made_by_the_next_reload() {
    let place = Place::new();
    with_service(&place);
    let server = place.serve();
    let gateway = server.ports().gateway;
    let route = "[[route]]\npath = \"/more\"\nservice = \"open\"\nauth = \"none\"\n";
    place.write("tegata.toml", &format!("{CONFIGURATION}{route}"));
    // It can be read, and not written.
    let other = Connection::open(place.path().join("tegata.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.refused(&["reload"], 1);
    // It is said again as long as it is so.
    place.refused(&["reload"], 1);
    assert_eq!(get(gateway, "/more/x").0, 404);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(place.run(&["reload"]).status.success());
    assert_eq!(get(gateway, "/more/x").0, 200);
    server.stop();
}

#[test]
fn reload_under_load_fails_no_request() {
    let place = Place::new();
    with_service(&place);
    place.write("tegata.toml", &unlimited());
    let server = place.serve();
    let ports = server.ports();
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        for kind in 0..4_u32 {
            let (over, answered) = (&over, &answered);
            threads.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    if kind == 0 {
                        assert_eq!(get(ports.public, "/.well-known/jwks.json").0, 200);
                        assert_eq!(get(ports.gateway, "/open/x").0, 200);
                        answered.fetch_add(2, Ordering::SeqCst);
                        continue;
                    }
                    // Many on one connection.
                    let mut kept = TcpStream::connect(("127.0.0.1", ports.gateway)).unwrap();
                    for _ in 0..200 {
                        kept.write_all(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                        let mut answer = Vec::new();
                        while !answer.ends_with(b"\r\n\r\nok") {
                            let mut part = [0; 2048];
                            let read = kept.read(&mut part).unwrap();
                            assert!(read > 0, "cut off after {:?}", String::from_utf8(answer));
                            answer.extend_from_slice(&part[..read]);
                        }
                        assert!(answer.starts_with(b"HTTP/1.1 200"));
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for round in 0..20 {
            let limits = format!("{}body = {}\n", unlimited(), 1000 + round);
            place
                .write("new.toml", &format!("{limits}[gateway.deadlines]\nidle = \"{round}5s\"\n"));
            fs::rename(place.path().join("new.toml"), place.path().join("tegata.toml")).unwrap();
            if round % 2 == 0 {
                server.signal("HUP");
            }
            assert!(place.run(&["reload"]).status.success());
        }
        until("enough were answered", || answered.load(Ordering::SeqCst) > 2000);
        over.store(true, Ordering::SeqCst);
    });
    server.stop();
}
