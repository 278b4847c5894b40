//! A root key in a token, from outside.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use tegata_engines::{SoftHsm, softhsm::PIN};

use crate::{CONFIGURATION, Place, Server, ask, body, get, said, until};

/// A place whose root key is to be in a token.
struct Held {
    place: Place,
    hsm: SoftHsm,
}

impl Held {
    /// With a token in which there is no key yet.
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let hsm = SoftHsm::new();
        hsm.make_token("tegata");
        let this = Self { place, hsm };
        assert!(this.run(&["init", "--pkcs11"]).status.success());
        assert!(!this.place.path().join("root.key").exists());
        this.place.write("pin", &format!("{PIN}\n"));
        this.allow("pin", 0o600);
        this.configure("pin_file = \"pin\"");
        this
    }

    fn configure(&self, more: &str) {
        let section = format!(
            "[keys.pkcs11]\nmodule = \"{}\"\ntoken = \"tegata\"\n{more}\n",
            SoftHsm::module().display()
        );
        self.place.write("tegata.toml", &format!("{CONFIGURATION}{section}"));
    }

    fn allow(&self, name: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.place.path().join(name), permissions).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        let (name, configuration) = self.hsm.environment();
        command.env(name, configuration).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when it is refused, in its last line.
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.contains(PIN), "{said}");
        said.lines().last().unwrap().to_owned()
    }

    fn serve(&self) -> Server {
        let mut child = self.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("started") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended: {all}");
            all.push_str(&line);
        }
        assert!(!all.contains(PIN), "{all}");
        // Read to its end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Server(child)
    }

    fn add_client(&self) -> String {
        let added = self.done(&[
            "client",
            "add",
            "worker",
            "--grant-type",
            "client_credentials",
            "--scope",
            "orders.read",
            "--may-introspect",
            "--format",
            "json",
        ]);
        let added: serde_json::Value = serde_json::from_str(&added).unwrap();
        added["client_secret"].as_str().unwrap().to_owned()
    }
}

#[test]
fn what_init_names_as_next_steps_are_next_steps() {
    let held = Held::new();
    let written = held.done(&["init", "--pkcs11", "my"]);
    let section = fs::read_to_string(held.place.path().join("tegata.toml")).unwrap();
    held.place.write("my/tegata.toml", &section.replace("\"pin\"", "\"../pin\""));
    let next = written.lines().find_map(|line| line.strip_prefix("next: ")).unwrap();
    let make = next.split("; ").find_map(|step| step.strip_prefix("tegata ")).unwrap();
    let make: Vec<_> = make.split(' ').collect();
    // Without what the place says of itself: as it is printed.
    assert!(held.done(&make).contains("tegata-root"));
    assert!(next.ends_with("tegata serve --config my/tegata.toml"), "{next}");
}

#[test]
fn serves_with_a_root_key_in_a_token_and_serves_again_after_a_restart() {
    let held = Held::new();
    let refused = held.refused(&["serve"], 2);
    assert!(refused.contains("there is no key `tegata-root`"), "{refused}");
    assert!(held.done(&["key", "make-root"]).contains("tegata-root"));
    assert!(held.refused(&["key", "make-root"], 2).contains("never replaced"));

    let server = held.serve();
    let secret = held.add_client();
    let issued = token(server.ports().public, &secret);
    let inspected = |token: &str| held.run(&["token", "inspect", token]);
    assert!(inspected(&issued).status.success(), "{}", said(&inspected(&issued)));
    server.kill();

    let server = held.serve();
    assert!(inspected(&issued).status.success(), "what was issued before the restart");
    let another = token(server.ports().public, &secret);
    assert!(inspected(&another).status.success());
    server.stop();
    assert!(inspected(&another).status.success(), "by a command that opens the token itself");
    let doctor = held.done(&["doctor", "--format", "json"]);
    assert!(doctor.contains("store and root key"), "{doctor}");
    // No file has taken its place.
    assert!(!held.place.path().join("root.key").exists());
}

/// An access token for the client.
fn token(port: u16, secret: &str) -> String {
    let (status, answer) = ask_for_token(port, secret);
    assert_eq!(status, 200, "{answer}");
    body(&answer)["access_token"].as_str().unwrap().to_owned()
}

fn ask_for_token(port: u16, secret: &str) -> (u16, String) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let credentials = STANDARD.encode(format!("worker:{secret}"));
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    ask(port, &head, "grant_type=client_credentials")
}

/// With keys of all algorithms in the token, which answers soon or not.
fn signing() -> Held {
    let held = Held::new();
    held.configure("pin_file = \"pin\"\nsigning = true\ntimeout = \"2s\"");
    let path = held.place.path().join("tegata.toml");
    let text = fs::read_to_string(&path).unwrap();
    let all = "algorithms = [\"RS256\", \"PS256\", \"ES256\", \"EdDSA\"]";
    fs::write(&path, text.replace("algorithms = [\"ES256\"]", all)).unwrap();
    held.done(&["key", "make-root"]);
    held
}

impl Held {
    fn keys(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.done(&["key", "list", "--format", "json"])).unwrap()
    }

    /// How many objects there are in the token.
    fn objects(&self) -> usize {
        let token = fs::read_dir(self.hsm.tokens()).unwrap().next().unwrap().unwrap().path();
        let names = fs::read_dir(token).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| {
                let name = name.to_string_lossy();
                name.ends_with(".object") && name != "token.object"
            })
            .count()
    }

    fn counts(&self, token: &str) -> bool {
        self.run(&["token", "inspect", token]).status.success()
    }
}

#[test]
fn signing_keys_stay_in_the_token_and_are_rotated_there() {
    let held = signing();
    let server = held.serve();
    let secret = held.add_client();
    // The root key, and both halves of two keys of four algorithms.
    assert_eq!(held.objects(), 1 + 2 * 8);
    let keys = held.keys();
    assert_eq!(keys.len(), 8);
    assert!(keys.iter().all(|key| key["in_token"] == true), "{keys:?}");
    let first = token(server.ports().public, &secret);
    assert_eq!(crate::part(&first, 0)["alg"], "RS256");
    assert!(held.counts(&first));

    // From many sides at once.
    let port = server.ports().public;
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let secret = secret.clone();
            std::thread::spawn(move || token(port, &secret))
        })
        .collect();
    let issued: Vec<_> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(held.counts(issued.last().unwrap()));

    held.done(&["key", "rotate", "--force", "--algorithm", "RS256"]);
    let second = token(port, &secret);
    assert_ne!(crate::part(&second, 0)["kid"], crate::part(&first, 0)["kid"]);
    assert!(held.counts(&first) && held.counts(&second));
    assert_eq!(held.objects(), 1 + 2 * 9);

    // Emergency: what it signed is taken back, and it is destroyed.
    let leaked = crate::part(&first, 0)["kid"].as_str().unwrap().to_owned();
    held.done(&["revoke", &format!("--key={leaked}"), "--reason", "leaked"]);
    assert!(!held.counts(&first) && held.counts(&second));
    assert_eq!(held.objects(), 1 + 2 * 8);

    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    held.place.write("other.pem", pem);
    let refused = held.run(&["key", "import", "other.pem"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("never leave it"), "{}", said(&refused));

    server.stop();
    let server = held.serve();
    assert!(held.counts(&second));
    token(server.ports().public, &secret);
    server.stop();
    assert!(held.counts(&second), "by a command that opens the token itself");
}

#[test]
fn while_the_token_is_away_nothing_is_issued_and_everything_verified() {
    let held = signing();
    let server = held.serve();
    let ports = server.ports();
    let secret = held.add_client();
    let issued = token(ports.public, &secret);
    assert_eq!(get(ports.operations, "/health/ready").0, 200);
    let tokens = held.hsm.tokens();
    let there = fs::read_dir(&tokens).unwrap().next().unwrap().unwrap().path();
    let away = tokens.with_file_name("away");
    fs::rename(&there, &away).unwrap();
    until("the node says that nothing signs", || {
        let (status, answer) = get(ports.operations, "/health/ready");
        status == 503 && answer.contains("signing_unreachable")
    });
    let (status, answer) = ask_for_token(ports.public, &secret);
    assert_eq!(status, 503, "{answer}");
    assert!(answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
    assert!(!answer.contains("access_token") && !answer.contains(PIN), "{answer}");
    // It lives, publishes its keys and verifies.
    assert_eq!(get(ports.operations, "/health/live").0, 200);
    let (status, published) = get(ports.public, "/.well-known/jwks.json");
    assert_eq!(status, 200);
    assert!(published.contains(crate::part(&issued, 0)["kid"].as_str().unwrap()));
    assert!(held.counts(&issued));
    let (status, answer) = introspect(ports.public, &secret, &issued);
    assert_eq!((status, body(&answer)["active"].clone()), (200, true.into()));
    let refused = held.run(&["key", "rotate", "--force"]);
    assert!(!refused.status.success(), "{}", said(&refused));

    fs::rename(&away, &there).unwrap();
    until("the node signs again", || {
        get(ports.operations, "/health/ready").0 == 200
            && ask_for_token(ports.public, &secret).0 == 200
    });
    assert!(held.counts(&token(ports.public, &secret)));
}

fn introspect(port: u16, secret: &str, token: &str) -> (u16, String) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let credentials = STANDARD.encode(format!("worker:{secret}"));
    let head = format!(
        "POST /oauth2/introspect HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    ask(port, &head, &format!("token={token}"))
}

#[test]
fn a_key_that_is_deleted_in_the_token_stops_what_it_signs_until_another_does() {
    let held = signing();
    let server = held.serve();
    let ports = server.ports();
    let secret = held.add_client();
    let issued = token(ports.public, &secret);
    // Whoever deletes everything but the root key: what is oldest among the files.
    let token_of = fs::read_dir(held.hsm.tokens()).unwrap().next().unwrap().unwrap().path();
    let mut objects: Vec<_> = fs::read_dir(token_of)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".object"))
        .filter(|entry| entry.file_name() != "token.object")
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
        .collect();
    objects.sort();
    for (_, path) in objects.into_iter().skip(1) {
        fs::remove_file(path).unwrap();
    }
    until("the node says which key is gone", || {
        let (status, answer) = get(ports.operations, "/health/ready");
        status == 503 && answer.contains("signing_unreachable")
    });
    assert_eq!(ask_for_token(ports.public, &secret).0, 503);
    assert!(held.counts(&issued));
    // Both that were made are gone: the second rotation makes one sign that is there.
    held.done(&["key", "rotate", "--force"]);
    held.done(&["key", "rotate", "--force"]);
    until("another signs", || ask_for_token(ports.public, &secret).0 == 200);
    until("the node is ready", || get(ports.operations, "/health/ready").0 == 200);
    assert!(held.counts(&issued) && held.counts(&token(ports.public, &secret)));
}

#[test]
fn a_token_that_goes_away_is_told_and_stops_nothing() {
    let held = Held::new();
    held.done(&["key", "make-root"]);
    let server = held.serve();
    let operations = server.ports().operations;
    let secret = held.add_client();
    let unreachable = || get(operations, "/health/ready").1.contains("root_key_unreachable");
    assert!(!unreachable());
    let tokens = held.hsm.tokens();
    let there = fs::read_dir(&tokens).unwrap().next().unwrap().unwrap().path();
    let away = tokens.with_file_name("away");
    fs::rename(&there, &away).unwrap();
    until("the node says that its token is away", unreachable);
    assert_eq!(get(operations, "/health/ready").0, 200);
    token(server.ports().public, &secret);
    fs::rename(&away, &there).unwrap();
    until("the node says that its token is back", || !unreachable());
}

#[test]
fn a_pin_is_refused_that_is_wrong_exposed_or_nowhere() {
    let held = Held::new();
    held.done(&["key", "make-root"]);
    held.place.write("pin", "1618033988\n");
    held.allow("pin", 0o600);
    let refused = held.refused(&["serve"], 2);
    assert!(refused.contains("did not take the PIN") && !refused.contains("1618"), "{refused}");
    let doctor = held.run(&["doctor", "--format", "json"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("did not take the PIN"));
    held.place.write("pin", PIN);
    held.allow("pin", 0o640);
    assert!(held.refused(&["user", "list"], 2).contains("chmod 600"));
    held.configure("pin_file = \"nowhere\"");
    assert!(held.refused(&["user", "list"], 2).contains("nowhere"));

    held.configure("");
    let refused = held.refused(&["user", "list"], 2);
    assert!(refused.contains("TEGATA_KEYS__PKCS11__PIN"), "{refused}");
    // Digits alone are a text as well.
    let given = held.command(&["user", "list"]).env("TEGATA_KEYS__PKCS11__PIN", PIN).output();
    let given = given.unwrap();
    assert!(given.status.success(), "{}", said(&given));
}

#[test]
fn a_store_moves_from_a_file_into_a_token_and_back() {
    let held = Held::new();
    held.place.write("tegata.toml", "");
    fs::remove_file(held.place.path().join("tegata.toml")).unwrap();
    held.done(&["init"]);
    held.place.write("tegata.toml", CONFIGURATION);
    let secret = held.add_client();

    held.configure("pin_file = \"pin\"");
    let rewrap = ["key", "rewrap", "--from-file", "root.key"];
    assert!(held.refused(&rewrap, 2).contains("tegata key make-root"));
    held.done(&["key", "make-root"]);
    let refused = held.refused(&["client", "list"], 2);
    assert!(refused.contains("in a file") && refused.contains("tegata key rewrap"), "{refused}");
    assert!(held.done(&rewrap).contains('1'));
    assert!(held.done(&rewrap).contains('0'));
    fs::rename(held.place.path().join("root.key"), held.place.path().join("old.key")).unwrap();
    let server = held.serve();
    token(server.ports().public, &secret);
    let refused = held.refused(&["key", "rewrap", "--to-file", "old.key"], 2);
    assert!(refused.contains("in use by another process"), "{refused}");
    server.stop();

    assert!(held.done(&["key", "rewrap", "--to-file", "old.key"]).contains('1'));
    assert!(held.refused(&["client", "list"], 2).contains("in a file"));
    held.place.write("tegata.toml", &format!("{CONFIGURATION}root_key_file = \"old.key\"\n"));
    assert!(held.done(&["client", "list"]).contains("worker"));
}
