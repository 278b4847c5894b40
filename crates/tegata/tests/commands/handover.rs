//! Sockets that come from outside, and one server that takes the place of another.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use tegata_engines::process::free_ports;

use crate::{CONFIGURATION, PATIENCE, Place, Server, get, said, until};

/// Ports that stay the same, and the time that they take to be let go.
fn fixed(linger: &str) -> (String, [u16; 3]) {
    let first = free_ports(3);
    let ports = [first, first + 1, first + 2];
    let mut text =
        CONFIGURATION.replace("[operations]\n", &format!("[operations]\nlinger = \"{linger}\"\n"));
    for port in ports {
        text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    }
    // In the order of the configuration: public, operations, gateway.
    (text, ports)
}

/// Starts another server in this place, and reads its log until it says this or ends. Answers the process,
/// and what it said.
fn another(place: &Place, args: &[&str], word: &str) -> (Server, String) {
    let mut child = place.command(args).stderr(Stdio::piped()).spawn().unwrap();
    let said = read_until(&mut child, word);
    (Server(child), said)
}

fn read_until(child: &mut Child, word: &str) -> String {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while !line.contains(word) {
        line.clear();
        if log.read_line(&mut line).unwrap() == 0 {
            break;
        }
        all.push_str(&line);
    }
    // What it says later is read by nobody, and must not stop it.
    thread::spawn(move || {
        let _ = log.read_to_end(&mut Vec::new());
    });
    all
}

/// Asks again and again, on a connection each, until it is over. Answers how many were answered.
fn ask_until(over: &AtomicBool, port: u16, target: &str, answered: &AtomicU64) {
    while !over.load(Ordering::SeqCst) {
        let (status, answer) = get(port, target);
        assert_eq!(status, 200, "port {port}: {answer:?}");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_new_process_takes_the_listeners_and_nobody_notices() {
    let place = Place::new();
    let (text, [public, _, gateway]) = fixed("200ms");
    place.write("tegata.toml", &text);
    place.add_user("alice");
    let mut old = place.serve();
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        for (port, target) in [(public, "/.well-known/jwks.json"), (gateway, "/health")] {
            let (over, answered) = (&over, &answered);
            threads.spawn(move || ask_until(over, port, target, answered));
        }
        for number in 0..3 {
            let name = format!("user{number}");
            // What was acknowledged by the old one is known to the new one.
            place.add_user(&name);
            let (new, said) = another(&place, &["serve", "--take-over"], " started");
            assert!(said.contains("started"), "{said}");
            assert!(old.0.wait().unwrap().success());
            let users = place.json(&["user", "list"]).to_string();
            assert!(users.contains(&name) && users.contains("alice"), "{users}");
            old = new;
            let before = answered.load(Ordering::SeqCst);
            until("it is asked", || answered.load(Ordering::SeqCst) > before + 20);
        }
        over.store(true, Ordering::SeqCst);
    });
    old.stop();
    assert!(TcpStream::connect(("127.0.0.1", public)).is_err());
}

#[test]
fn a_new_process_that_fails_leaves_the_old_serving() {
    let place = Place::new();
    let (text, [public, operations, gateway]) = fixed("100ms");
    place.write("tegata.toml", &text);
    let old = place.serve();
    let serves = || {
        get(public, "/.well-known/jwks.json").0 == 200
            && get(gateway, "/health").0 == 200
            && get(operations, "/health/ready").0 == 200
    };
    // What is wrong with its file, and an address that somebody else has: the old one hears nothing.
    place.write("tegata.toml", &text.replace("audience", "audiense"));
    assert!(place.refused(&["serve", "--take-over"], 2).contains("audiense"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = text
        .replace(&format!(":{gateway}\""), &format!(":{}\"", taken.local_addr().unwrap().port()));
    place.write("tegata.toml", &elsewhere);
    assert!(place.refused_after_log(&["serve", "--take-over"], 2).contains("[gateway] listen"));
    assert!(serves());
    // What turns out when the old one has let go already: it takes everything back.
    let broken =
        text.clone() + "[public.tls]\ncertificate_file = \"no.pem\"\nkey_file = \"no.pem\"\n";
    place.write("tegata.toml", &broken);
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        threads.spawn(|| ask_until(&over, public, "/.well-known/jwks.json", &answered));
        let line = place.refused_after_log(&["serve", "--take-over"], 2);
        assert!(line.contains("no.pem"), "{line}");
        until("the old one serves again", serves);
        over.store(true, Ordering::SeqCst);
    });
    place.write("tegata.toml", &text);
    // It is commanded as before, and hands over to one that is better.
    assert!(place.run(&["user", "list"]).status.success());
    let (new, _) = another(&place, &["serve", "--take-over"], " started");
    let mut old = old;
    assert!(old.0.wait().unwrap().success());
    assert!(serves());
    new.stop();
}

#[test]
fn whoever_dies_in_the_middle_leaves_the_other() {
    let place = Place::new();
    let (text, [public, operations, _]) = fixed("2s");
    place.write("tegata.toml", &text);
    let old = place.serve();
    // It has begun to stop: who asks is asked to connect anew.
    let lets_go = || {
        let mut stream = TcpStream::connect(("127.0.0.1", public)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost:8000\r\n\r\n")
            .unwrap();
        let mut head = [0; 1024];
        let read = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        head.contains("connection: close")
    };
    let take_over = || {
        let mut command = place.command(&["serve", "--take-over"]);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    // The new one is told to stop while it waits, whatever it was told before.
    let mut new = Server(take_over());
    until("the old one lets go", lets_go);
    new.signal("HUP");
    new.signal("TERM");
    assert!(new.0.wait().unwrap().success());
    until("the old one serves again", || !lets_go());
    // The new one is killed while the old one lets go. Whoever asks that for more is in nobody's way.
    let mut new = take_over();
    until("the old one lets go", lets_go);
    assert!(place.refused(&["reload"], 1).contains("anew now"));
    new.kill().unwrap();
    new.wait().unwrap();
    until("the old one serves again", || !lets_go());
    // The old one is killed in the middle: the new one serves.
    let mut new = take_over();
    until("the old one lets go", lets_go);
    old.kill();
    assert!(read_until(&mut new, " started").contains("started"));
    assert!(get(operations, "/health/ready").0 == 200 && !lets_go());
    Server(new).stop();
}

#[test]
fn where_nobody_serves_taking_over_is_starting_and_without_asking_nobody_is_displaced() {
    let place = Place::new();
    let (text, [public, ..]) = fixed("100ms");
    place.write("tegata.toml", &text);
    let (first, said) = another(&place, &["serve", "--take-over"], " started");
    assert!(said.contains("started"), "{said}");
    // A port of its own, so that it is the data directory that is in the way.
    place.write("tegata.toml", CONFIGURATION);
    assert!(place.refused_after_log(&["serve"], 2).contains("in use by another process"));
    assert_eq!(get(public, "/.well-known/jwks.json").0, 200);
    first.stop();
}

/// What systemd says of the units that are shipped, after a change, with a program that is there.
fn units(place: &Place, change: impl Fn(&str) -> String, args: &[&str]) -> Output {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd");
    for name in ["tegata.service", "tegata.socket"] {
        let unit = std::fs::read_to_string(shipped.join(name)).unwrap();
        let here = unit.replace("/usr/bin/tegata", env!("CARGO_BIN_EXE_tegata"));
        place.write(name, &change(&here));
    }
    let mut command = Command::new("systemd-analyze");
    command.args(args).current_dir(place.path()).output().expect("`systemd-analyze` can be run")
}

#[test]
fn systemd_finds_no_fault_in_the_units_that_are_shipped() {
    let place = Place::new();
    let verify = ["verify", "--man=no", "./tegata.service", "./tegata.socket"];
    let found = units(&place, str::to_owned, &verify);
    assert!(found.status.success() && said(&found).is_empty(), "{}", said(&found));
    // A fault would be found.
    for (right, wrong) in [
        ("WatchdogSec=", "WatchdogSecs="),
        ("ProtectSystem=strict", "ProtectSystem=very"),
        ("ListenStream=127.0.0.1:8080", "ListenStream=nowhere:8080:1"),
    ] {
        let found = units(&place, |unit| unit.replace(right, wrong), &verify);
        assert!(said(&found).contains("tegata."), "{wrong}: {}", said(&found));
    }
    // As docs/operations.md says.
    let security = ["security", "--offline=true", "--no-pager", "./tegata.service"];
    let rated = units(&place, str::to_owned, &security);
    let rated = String::from_utf8_lossy(&rated.stdout).into_owned();
    assert!(rated.contains("Overall exposure level for tegata.service: 1.2"), "{rated}");
    // The sockets have the addresses at which a server listens where nothing is said.
    let served = place.run(&["init", "fresh"]);
    assert!(served.status.success(), "{served:?}");
    let fresh = std::fs::read_to_string(place.path().join("fresh/tegata.toml")).unwrap();
    let socket = std::fs::read_to_string(place.path().join("tegata.socket")).unwrap();
    for address in socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")) {
        assert!(fresh.contains(&format!("\"{address}\"")), "{address} is not in {fresh}");
    }
}

/// Runs a command as systemd does: it is given these sockets from descriptor 3 on.
fn with_sockets(place: &Place, sockets: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new("systemd-socket-activate");
    command.args(sockets).arg(env!("CARGO_BIN_EXE_tegata")).args(args);
    command.current_dir(place.path()).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

#[test]
fn sockets_of_systemd_are_taken_over() {
    let place = Place::new();
    let (text, [public, operations, gateway]) = fixed("100ms");
    let outside = free_ports(1);
    // The gateway is where the unit says, whatever is set.
    place.write("tegata.toml", &text.replace(&format!(":{public}\""), &format!(":{outside}\"")));
    let listen = [format!("--listen=127.0.0.1:{outside}"), format!("--listen=127.0.0.1:{gateway}")];
    let arguments = [listen[0].as_str(), &listen[1], "--fdname=x:gateway"];
    let mut command = with_sockets(&place, &arguments, &["serve"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It is started by whoever connects first, who waits meanwhile.
    let asking = thread::spawn(move || {
        until("somebody listens", || TcpStream::connect(("127.0.0.1", gateway)).is_ok());
        get(gateway, "/health").0
    });
    assert!(read_until(&mut child, " started").contains("started"));
    assert_eq!(asking.join().unwrap(), 200);
    assert_eq!(get(outside, "/.well-known/jwks.json").0, 200);
    assert_eq!(get(operations, "/health/live").0, 200);
    // Nothing that it starts has them, and whoever takes over has what the unit chose.
    let (new, said) = another(&place, &["serve", "--take-over"], " started");
    assert!(said.contains("started"), "{said}");
    assert!(child.wait().unwrap().success());
    assert_eq!((get(gateway, "/health").0, get(outside, "/.well-known/jwks.json").0), (200, 200));
    new.stop();
}

#[test]
fn what_is_not_ours_is_not_taken() {
    let place = Place::new();
    let run = |set: &[(&str, &str)]| {
        // Descriptor 3 is a pipe of ours, and no socket.
        let mut command = Command::new("/bin/sh");
        let program = env!("CARGO_BIN_EXE_tegata");
        let set: String = set.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let script = format!("exec 3</dev/null; exec env {set} {program} serve");
        command.args(["-c", &script.replace("OWN", "$$")]).current_dir(place.path()).env_clear();
        let output = command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).output().unwrap();
        (output.status.code(), said(&output))
    };
    for (set, word) in [
        (vec![("LISTEN_PID", "OWN"), ("LISTEN_FDS", "1")], "descriptor 3"),
        (vec![("LISTEN_PID", "OWN"), ("LISTEN_FDS", "many")], "LISTEN_FDS"),
        (vec![("LISTEN_PID", "OWN"), ("LISTEN_FDS", "4000000000")], "LISTEN_FDS"),
        (vec![("LISTEN_PID", "OWN"), ("LISTEN_FDS", "-1")], "LISTEN_FDS"),
        (
            vec![("LISTEN_PID", "OWN"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")],
            "LISTEN_FDNAMES",
        ),
    ] {
        let (code, said) = run(&set);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.lines().last().unwrap().contains(word), "{said}");
    }
    // A socket that is for nothing. It is started by whoever connects.
    let port = free_ports(1);
    let listen = format!("--listen=127.0.0.1:{port}");
    let mut command = with_sockets(&place, &[&listen], &["serve"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("somebody listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let said = read_until(&mut child, "for nothing");
    assert!(said.contains("for nothing") && said.contains("FileDescriptorName="), "{said}");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    // What is for another process is left to it.
    let mut server = place.command(&["serve"]);
    server.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let mut child = server.stderr(Stdio::piped()).spawn().unwrap();
    assert!(read_until(&mut child, " started").contains("started"));
    Server(child).stop();
}

#[test]
fn systemd_is_told_how_it_goes() {
    let place = Place::new();
    place.write("tegata.toml", &fixed("1s").0);
    let path = place.path().join("notify.sock");
    let hears = UnixDatagram::bind(&path).unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |word: &str| loop {
        let mut bytes = [0; 512];
        let read = hears.recv(&mut bytes).unwrap();
        let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
        if said.contains(word) {
            return said;
        }
    };
    let mut command = place.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut server = Server(command.stderr(Stdio::null()).spawn().unwrap());
    assert!(hear("READY=1").contains(&format!("MAINPID={}", server.pid())));
    hear("WATCHDOG=1");
    server.signal("HUP");
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    // It cannot do anything else either while it says nothing.
    server.signal("STOP");
    server.signal("CONT");
    hear("WATCHDOG=1");
    server.signal("TERM");
    hear("STOPPING=1");
    // It is alive until it has ended.
    hear("WATCHDOG=1");
    assert!(server.0.wait().unwrap().success());
}
