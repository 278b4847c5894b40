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
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let credentials = STANDARD.encode(format!("worker:{secret}"));
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    let (status, answer) = ask(port, &head, "grant_type=client_credentials");
    assert_eq!(status, 200, "{answer}");
    body(&answer)["access_token"].as_str().unwrap().to_owned()
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
