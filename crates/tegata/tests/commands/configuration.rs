//! Configurations that can be read, and what is signed with them.

use crate::{CONFIGURATION, Place, body, part, sign_in};

#[test]
fn with_keys_of_one_algorithm_people_and_clients_get_tokens_of_it() {
    let place = Place::new();
    place.add_user("alice");
    let args = ["client", "add", "app", "--grant-type", "client_credentials"];
    let secret = place.json(&args)["client_secret"].as_str().unwrap().to_owned();
    let server = place.serve();
    let port = server.ports().public;
    let (status, answer) = sign_in(port, "correct horse battery staple", "");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(part(body(&answer)["access_token"].as_str().unwrap(), 0)["alg"], "ES256");
    let form = format!("grant_type=client_credentials&client_id=app&client_secret={secret}");
    let head = "POST /oauth2/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let basic = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("app:{secret}"))
    };
    assert_ne!(crate::ask(port, head, &form).0, 500);
    let head = format!("{head}\r\nAuthorization: Basic {basic}");
    let (status, answer) = crate::ask(port, &head, "grant_type=client_credentials");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(part(body(&answer)["access_token"].as_str().unwrap(), 0)["alg"], "ES256");
    server.stop();
}

#[test]
fn a_store_whose_address_cannot_be_used_keeps_its_password() {
    let place = Place::new();
    for url in ["mysql://user:hunter2@host", "user:hunter2@host/database", "hunter2"] {
        place.write("tegata.toml", &format!("{CONFIGURATION}[store]\nurl = \"{url}\"\n"));
        for command in [&["serve"][..], &["user", "list"]] {
            let output = place.run(command);
            assert_eq!(output.status.code(), Some(2));
            assert!(!crate::said(&output).contains("hunter2"), "{}", crate::said(&output));
        }
    }
}

#[test]
fn a_database_that_is_away_is_a_failed_operation_and_no_wrong_usage() {
    let place = Place::new();
    // Nothing listens at port 1.
    let url = "postgres://tester@127.0.0.1:1/nothing";
    place.write("tegata.toml", &format!("{CONFIGURATION}[store]\nurl = \"{url}\"\n"));
    place.refused(&["user", "list"], 1);
}
