//! What is known of people, and how another system takes them over.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{Place, said};

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
