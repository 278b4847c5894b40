//! What is known of people, and how another system takes them over.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{CONFIGURATION, Place, said, sign_in};

#[test]
fn what_clients_are_told_of_a_person_is_set_by_a_file_or_refused_as_a_whole() {
    let place = Place::new();
    place.write("claims.json", r#"{"name": "Maria de la Cruz", "phone_number": "+14255550100"}"#);
    place.write("pw", "correct horse battery staple\n");
    let add = ["user", "add", "maria", "--password-file", "pw", "--claims-file", "claims.json"];
    let added = place.json(&add);
    assert_eq!(added["claims"]["name"], "Maria de la Cruz");
    assert_eq!(added["updated"], Value::Null);
    place.write(
        "more.json",
        r#"{"name": null, "birthdate": "0000-05-04", "phone_number": "+14255550100", "phone_number_verified": true}"#,
    );
    let changed = place.json(&["user", "claims", "maria", "--file", "more.json"]);
    let expected = json!({
        "birthdate": "0000-05-04", "phone_number": "+14255550100", "phone_number_verified": true,
    });
    assert_eq!(changed["claims"], expected);
    assert!(changed["updated"].is_string());
    for (bad, word) in [
        (r#"{"nickname": "Mia", "birthdate": "4 May"}"#, "birthdate"),
        (r#"{"email": "maria@example.com"}"#, "email"),
        (r#"{"picture": "http://people.example/maria.png"}"#, "https"),
        (r#"{"phone_number": null, "phone_number_verified": true}"#, "phone_number"),
        (r#"{"nickname": "Mia", "phone_number_verified": true}"#, "set them together"),
        (r#"["name"]"#, "JSON object"),
        (r#"{"name": "very secret"#, "JSON object"),
    ] {
        place.write("bad.json", bad);
        let output = place.run(&["user", "claims", "maria", "--file", "bad.json"]);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(word), "{bad}: {said}");
        assert!(!said.contains("very secret"), "{said}");
    }
    assert_eq!(place.json(&["user", "show", "maria"])["claims"], expected);
    // Declared with them, somebody is registered with them.
    place.write(
        "people.toml",
        "[[user]]\nusername = \"sol\"\nclaims = { name = \"Sol\", address = { country = \"ES\" } }\n",
    );
    assert!(place.run(&["apply", "people.toml"]).status.success());
    let sol = place.json(&["user", "show", "sol"]);
    assert_eq!(sol["claims"], json!({"name": "Sol", "address": {"country": "ES"}}));
    place.write("people.toml", "[[user]]\nusername = \"luz\"\nclaims = { planet = \"Mars\" }\n");
    assert!(!place.run(&["apply", "people.toml"]).status.success());
}

/// From Django, from an export of this program, and what no system should have written.
#[test]
fn people_of_another_system_are_taken_over_and_whoever_is_there_stays() {
    let place = Place::new();
    place.add_user("maria");
    let known = place.json(&["user", "show", "maria"]);
    let django = "pbkdf2_sha256$1000$Q8sPuU4wW1mD$4vIQUKPVGIqtYJxYjBIpWSFeW6+NfEfKiu3bVIP7X0g=";
    let people = [
        json!({"username": "sol", "password_hash": django, "email": "sol@people.example", "email_verified": true}),
        json!({"username": "luz", "roles": ["customer"], "disabled": true, "password_hash": django}),
        json!({"username": "maria", "roles": ["admin"], "password_hash": django}),
        json!({"username": "bad name", "password_hash": django}),
        json!({"username": "costly", "password_hash": "$2b$31$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"}),
        json!({"username": "open", "password": "a very secret phrase"}),
    ];
    let text: String = people.iter().map(|person| format!("{person}\n\n")).collect();
    place.write("people.jsonl", &text);
    let import = |more: &[&str]| {
        let args = [&["user", "import", "people.jsonl", "--format", "json"], more].concat();
        let output = place.run(&args);
        assert!(!said(&output).contains("very secret"), "{}", said(&output));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let counted =
        |told: &Value| ["registered", "known", "refused"].map(|it| told[it].as_u64().unwrap());
    let looked = import(&["--dry-run"]);
    assert_eq!((counted(&looked), &looked["dry_run"]), ([2, 1, 3], &json!(true)));
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 1);
    let server = place.serve();
    let told = import(&[]);
    assert_eq!(counted(&told), [2, 1, 3]);
    let lines: Vec<_> =
        told["lines"].as_array().unwrap().iter().map(|it| it["line"].clone()).collect();
    assert_eq!(lines, [7, 9, 11]);
    // Done again, it does nothing more.
    assert_eq!(counted(&import(&[])), [0, 3, 3]);
    assert_eq!(place.json(&["user", "show", "maria"]), known);
    let sol = place.json(&["user", "show", "sol"]);
    assert_eq!((&sol["email_verified"], &sol["disabled"]), (&json!(true), &json!(false)));
    let public = server.ports().public;
    let sign_in = |name: &str, password: &str| {
        let body = json!({"username": name, "password": password}).to_string();
        let head = "POST /api/auth/login HTTP/1.1\r\nOrigin: http://localhost:8000\r\n\
                    Content-Type: application/json";
        crate::ask(public, head, &body).0
    };
    assert_eq!((sign_in("sol", "correct horse"), sign_in("luz", "correct horse")), (200, 401));
    server.stop();
    // What this program exports, another installation of it takes over whole.
    let exported = place.run(&["user", "export", "--hashes", "--output", "all.jsonl"]);
    assert!(exported.status.success());
    let other = Place::new();
    other.write("all.jsonl", &fs::read_to_string(place.path().join("all.jsonl")).unwrap());
    assert_eq!(counted(&other.json(&["user", "import", "all.jsonl"])), [3, 0, 0]);
    let told = |place: &Place, name: &str| {
        let mut told = place.json(&["user", "show", name]);
        for own in ["id", "created", "updated"] {
            told.as_object_mut().unwrap().remove(own);
        }
        told
    };
    for name in ["maria", "sol", "luz"] {
        assert_eq!(told(&place, name), told(&other, name));
    }
    let missing = other.run(&["user", "import", "nobody.jsonl"]);
    assert!(!missing.status.success() && said(&missing).contains("nobody.jsonl"));
}

#[test]
fn more_people_are_exported_than_fit_into_one_order() {
    let place = Place::new();
    let people: String =
        (0..2001).map(|number| format!("[[user]]\nusername = \"person-{number}\"\n")).collect();
    place.write("people.toml", &people);
    let applied = place.run(&["apply", "people.toml"]);
    assert!(applied.status.success(), "{}", said(&applied));
    let all = place.run(&["user", "export"]);
    let all = String::from_utf8(all.stdout).unwrap();
    let mut names: Vec<String> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["username"].to_string())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2001);
}

#[test]
fn everybody_is_exported_and_hashes_only_where_that_is_asked_for() {
    let place = Place::new();
    for name in ["maria", "sol"] {
        place.add_user(name);
    }
    let lines = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let plain = place.run(&["user", "export"]);
    let text = String::from_utf8(plain.stdout).unwrap();
    let names: Vec<_> = lines(&text).iter().map(|it| it["username"].clone()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&json!("maria")) && names.contains(&json!("sol")));
    assert!(!text.contains("argon2") && !text.contains("password"), "{text}");
    // With them, into a file of the owner alone, and with a warning.
    let output = place.run(&["user", "export", "--hashes", "--output", "people.jsonl"]);
    assert!(output.status.success() && said(&output).contains("hashes of passwords"));
    assert!(output.stdout.is_empty());
    let file = place.path().join("people.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let told = lines(&fs::read_to_string(&file).unwrap());
    assert!(told.iter().all(|it| it["password_hash"].as_str().unwrap().starts_with("$argon2id$")));
    // Whoever cannot be asked leaves nothing behind that looks like everybody.
    let server = place.serve();
    server.signal("STOP");
    let unanswered = place.run(&["user", "export", "--output", "later.jsonl"]);
    assert!(!unanswered.status.success() && said(&unanswered).contains("does not answer"));
    let before: Vec<_> = fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(!before.contains(&place.path().join("later.jsonl")), "{before:?}");
    server.signal("CONT");
    assert!(place.run(&["user", "export", "--output", "later.jsonl"]).status.success());
    assert_eq!(lines(&fs::read_to_string(place.path().join("later.jsonl")).unwrap()).len(), 2);
    let mode = fs::metadata(place.path().join("later.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop();
    let names = fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_str().unwrap().ends_with(".part")));
    // Nothing is written over.
    let again = place.run(&["user", "export", "--hashes", "--output", "people.jsonl"]);
    assert!(!again.status.success());
    // What was exported is taken over by another installation.
    let other = Place::new();
    other.write("hash", told[0]["password_hash"].as_str().unwrap());
    let name = told[0]["username"].as_str().unwrap();
    let taken = other.run(&["user", "add", name, "--password-hash-file", "hash"]);
    assert!(taken.status.success(), "{}", said(&taken));
    // And what would cost too much is not.
    for bad in [
        format!("scrypt:1048576:8:1$Q8sPuU4wW1mDQ8sP${}", "00".repeat(64)),
        format!("pbkdf2:sha256:4294967295$Q8sPuU4wW1mDQ8sP${}", "00".repeat(32)),
        "argon2$argon2id$v=19$m=4194304,t=9,p=8$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg".to_owned(),
    ] {
        other.write("hash", &bad);
        let refused = other.run(&["user", "add", "mallory", "--password-hash-file", "hash"]);
        assert!(!refused.status.success(), "{bad}");
    }
}

/// A list of what was stolen counts where a password is chosen, and never where somebody signs in.
#[test]
fn what_was_stolen_is_not_chosen_and_still_signs_in() {
    use std::fmt::Write as _;
    let stolen = "correct horse battery staple";
    let place = Place::new();
    place.add_user("alice");
    let mut hashes: Vec<String> = [stolen, "password", "123456", "letmein"]
        .iter()
        .map(|text| {
            let algorithm = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
            let hash = aws_lc_rs::digest::digest(algorithm, text.as_bytes());
            hash.as_ref().iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02X}").unwrap();
                text
            })
        })
        .collect();
    hashes.sort();
    // In this order it is no list.
    place.write("stolen.txt", &format!("{}:9\r\n{}:3\r\n", hashes[3], hashes[0]));
    let users = "[users]\nbreached_passwords = \"stolen.txt\"\n";
    place.write("tegata.toml", &format!("{CONFIGURATION}{users}"));
    let refused = place.run(&["user", "list"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("not ordered by hash"), "{}", said(&refused));

    let lines: String = hashes.iter().map(|hash| format!("{hash}:42\r\n")).collect();
    place.write("stolen.txt", &lines);
    let server = place.serve();
    let add = ["user", "add", "bob", "--role", "customer", "--password-file", "pw"];
    let refused = place.run(&add);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("stolen from other services"), "{}", said(&refused));
    assert!(!said(&refused).contains(stolen), "{}", said(&refused));
    assert!(!place.run(&["user", "passwd", "alice", "--password-file", "pw"]).status.success());
    assert_eq!(sign_in(server.ports().public, stolen, "").0, 200);
    place.write("pw", "another phrase that nobody has stolen\n");
    assert!(place.run(&add).status.success());
    server.stop();
}
