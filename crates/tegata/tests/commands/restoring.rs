//! `tegata restore --declare`: an older store is not served unasked, and what it does not know any more
//! does not count.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{Place, ask, body, part, sign_in};

const PASSWORD: &str = "correct horse battery staple";

/// Copies the files of the store that stand in one directory to another, in place of what is there.
fn copy_store(from: &Path, to: &Path) {
    let files = |place: &Path| {
        let all = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
        let of_store = |path: &std::path::PathBuf| {
            path.file_name().unwrap().to_str().unwrap().starts_with("tegata.db")
        };
        all.filter(of_store).collect::<Vec<_>>()
    };
    files(to).iter().for_each(|file| fs::remove_file(file).unwrap());
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Somebody who is signed in.
struct SignedIn {
    cookie: String,
    access: String,
    told: Value,
}

impl SignedIn {
    fn at(port: u16) -> Self {
        let (status, answer) = sign_in(port, PASSWORD, "");
        assert_eq!(status, 200, "{answer}");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: session_id="));
        let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
        let told = body(&answer);
        Self { cookie, access: told["access_token"].as_str().unwrap().to_owned(), told }
    }

    /// What becomes of the session and of the token.
    fn statuses(&self, port: u16) -> (u16, u16) {
        let session =
            format!("GET /api/auth/session HTTP/1.1\r\nCookie: session_id={}", self.cookie);
        let token =
            format!("GET /oauth2/userinfo HTTP/1.1\r\nAuthorization: Bearer {}", self.access);
        (ask(port, &session, "").0, ask(port, &token, "").0)
    }
}

#[test]
fn an_older_store_is_refused_until_it_is_declared_and_nothing_from_before_counts() {
    let (place, backup) = (Place::new(), tempfile::tempdir().unwrap());
    place.add_user("alice");
    let server = place.serve();
    let before = SignedIn::at(server.ports().public);
    assert_eq!(before.statuses(server.ports().public).0, 200);
    let kid = part(&before.access, 0)["kid"].clone();
    server.stop();
    copy_store(place.path(), backup.path());

    // Somebody signs in, and is signed out by an operator, and the store forgets it.
    let server = place.serve();
    let said = place.refused(&["restore", "--declare"], 2);
    assert!(said.contains("in use"), "{said}");
    let after = SignedIn::at(server.ports().public);
    place.json(&["session", "end", after.told["sid"].as_str().unwrap()]);
    server.stop();
    copy_store(backup.path(), place.path());

    for command in [&["serve"][..], &["user", "list"]] {
        let said = place.refused_after_log(command, 1);
        assert!(said.contains("older") && said.contains("tegata restore --declare"), "{said}");
    }
    let doctor = String::from_utf8(place.run(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("tegata restore --declare"), "{doctor}");

    let told = place.json(&["restore", "--declare"]);
    assert_eq!((&told["before"], &told["keys_replaced"]), (&1.into(), &2.into()));
    let again = place.json(&["restore", "--declare"]);
    assert!(again["epoch"].as_u64().unwrap() > told["epoch"].as_u64().unwrap());

    let server = place.serve();
    let port = server.ports().public;
    for old in [&before, &after] {
        assert_eq!(old.statuses(port), (401, 401));
    }
    let new = SignedIn::at(port);
    assert_eq!(new.statuses(port).0, 200);
    assert_ne!(part(&new.access, 0)["kid"], kid);
    let epoch = format!("{}.", again["epoch"]);
    assert!(part(&new.access, 1)["jti"].as_str().unwrap().starts_with(&epoch));
    let keys = place.json(&["key", "list"]);
    let of_before = keys.as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
    assert_eq!(of_before["state"], "retired");
    server.stop();
    // The same backup once more: what was issued in between does not count either.
    copy_store(backup.path(), place.path());
    place.json(&["restore", "--declare"]);
    let server = place.serve();
    for old in [&before, &after, &new] {
        assert_eq!(old.statuses(server.ports().public), (401, 401));
    }
    server.stop();
}

#[test]
fn what_is_no_restore_is_not_taken_for_one() {
    let place = Place::new();
    place.add_user("alice");
    place.serve().stop();
    place.serve().kill();
    place.serve().stop();
    // A store that is made anew is another, of which nothing was seen.
    let nothing = tempfile::tempdir().unwrap();
    copy_store(nothing.path(), place.path());
    place.serve().stop();
    // A note that cannot be read says nothing, and that is said.
    place.write("tegata.seen", "{");
    let said = place.refused_after_log(&["serve"], 1);
    assert!(said.contains("tegata.seen") && said.contains("remove the file"), "{said}");
    place.json(&["restore", "--declare"]);
    place.serve().stop();
    // And where there is nothing, nothing was brought back.
    let empty = Place::new();
    assert!(empty.refused(&["restore", "--declare"], 1).contains("empty"));
    assert!(empty.run(&["restore"]).status.code() == Some(2));
}
