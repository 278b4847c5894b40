//! `tegata apply`, and what `tegata serve` takes from its configuration.

use serde_json::Value;

use crate::{CONFIGURATION, Place, said};

const CLIENT: &str = "[[client]]\nclient_id = \"app\"\ngrant_types = [\"client_credentials\"]\n";

#[test]
fn what_is_wrong_anywhere_in_a_file_changes_nothing_at_all() {
    let place = Place::new();
    for (wrong, word) in [
        ("[[route]]\npath = \"/x\"\nservice = \"nowhere\"\n", "nowhere"),
        ("[[user]]\nusername = \"bob\"\npassword = \"short\"\n", "bob"),
        ("[[user]]\nusername = \"bob\"\nroles = [\"NO ROLE\"]\n", "bob"),
        (
            "[[client]]\nclient_id = \"tegata-x\"\ngrant_types = [\"client_credentials\"]\n",
            "reserved",
        ),
        (
            "[[client]]\nclient_id = \"b\"\ngrant_types = [\"client_credentials\"]\n\
             client_secret = \"short\"\n",
            "16 characters",
        ),
        (CLIENT, "twice"),
        (
            "[[client]]\nclient_id = \"b\"\ngrant_types = [\"client_credentials\"]\n\
             access_token_signed_response_alg = \"RS256\"\n",
            "RS256",
        ),
    ] {
        place.write("wrong.toml", &format!("{CLIENT}{wrong}"));
        for args in [&["apply", "wrong.toml"][..], &["apply", "--dry-run", "wrong.toml"]] {
            let said = place.refused(args, 1);
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(place.json(&["client", "list"]), Value::Array(vec![]), "{word}");
    }
}

#[test]
fn a_dry_run_says_what_would_change_of_what_is_there() {
    let place = Place::new();
    place.write("app.toml", CLIENT);
    let count = |args: &[&str]| place.json(args)["changed"].as_array().unwrap().len();
    let made = place.json(&["apply", "app.toml"]);
    assert!(made["changed"][0]["client_secret"].as_str().unwrap().starts_with("tgcs_"));
    assert_eq!(count(&["apply", "--dry-run", "app.toml"]), 0);
    place.write("app.toml", &format!("{CLIENT}scope = \"orders.read\"\n"));
    assert_eq!(count(&["apply", "--dry-run", "app.toml"]), 1);
    assert_eq!(count(&["apply", "app.toml"]), 1);
    assert_eq!(count(&["apply", "app.toml"]), 0);
}

#[test]
fn serve_makes_no_secret_that_nobody_would_see() {
    let place = Place::new();
    place.write("tegata.toml", &format!("{CONFIGURATION}{CLIENT}"));
    assert!(place.refused_after_log(&["serve"], 2).contains("client_secret_file"));
    place.write("app.secret", "a secret that is long enough");
    let declared = format!("{CONFIGURATION}{CLIENT}client_secret_file = \"app.secret\"\n");
    place.write("tegata.toml", &declared);
    place.serve().stop();
    // Whoever has one keeps it.
    place.write("tegata.toml", &format!("{CONFIGURATION}{CLIENT}"));
    place.serve().stop();
}

#[test]
fn an_unreadable_file_is_not_said_to_be_a_configuration() {
    let place = Place::new();
    let said = place.refused(&["apply", "nowhere.toml"], 2);
    assert!(said.contains("nowhere.toml") && !said.contains("init"), "{said}");
}

#[test]
fn secrets_in_files_are_beside_their_file_wherever_the_data_is() {
    let place = Place::new();
    place.write("alice.pw", "correct horse battery staple\n");
    let user = "[[user]]\nusername = \"alice\"\npassword_file = \"alice.pw\"\n";
    place.write("tegata.toml", &format!("{CONFIGURATION}{user}"));
    let data = place.path().to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = place.path().join("tegata.toml");
    let output = place
        .command(&["doctor", "--config", config.to_str().unwrap(), "--data-dir", data])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("declarations"), "{text}{}", said(&output));
}
