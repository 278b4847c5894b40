//! Mail through a mail server, and passwords of other systems.

use tegata_engines::MailServer;

use crate::{CONFIGURATION, Place, Ports, ask, get, sign_in};

const OLD: &str = "correct horse battery staple";
const NEW: &str = "another long phrase of hers";

/// A place whose mail goes to a server.
fn with_mail(server: &MailServer) -> Place {
    let place = Place::new();
    let mail = format!(
        "[mail]\nurl = \"smtp://127.0.0.1:{}\"\nfrom = \"Example <no-reply@example.com>\"\n\
         [users]\nregistration = \"open\"\nregistration_roles = [\"customer\"]\n",
        server.port()
    );
    place.write("tegata.toml", &format!("{CONFIGURATION}{mail}"));
    place.write("pw", OLD);
    place.json(&[
        "user",
        "add",
        "alice",
        "--email",
        "alice@people.example",
        "--password-file",
        "pw",
    ]);
    place
}

/// Shows the page at `path` and sends its form with these fields; answers the status.
fn fill(ports: Ports, path: &str, fields: &str) -> u16 {
    let (status, page) = get(ports.public, path);
    assert_eq!(status, 200, "{page}");
    let (_, after) = page.split_once("name=\"csrf_token\"").unwrap();
    let token = after.split_once("value=\"").unwrap().1.split_once('"').unwrap().0;
    let (_, cookie) = page.split_once("set-cookie: ").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nOrigin: http://localhost:8000\r\nCookie: {cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded",
        path.split('?').next().unwrap()
    );
    ask(ports.public, &head, &format!("csrf_token={token}&{fields}")).0
}

/// The page that the link of a mail leads to, and what it carries.
fn link(text: &str) -> (String, String) {
    let line = text.lines().find(|line| line.starts_with("http://localhost:8000/login/"));
    let line = line.unwrap_or_else(|| panic!("no link in {text}"));
    let (page, carried) = line.trim_start_matches("http://localhost:8000").split_once('#').unwrap();
    (page.to_owned(), carried.to_owned())
}

#[test]
fn a_link_that_came_by_mail_sets_a_password() {
    let mail = MailServer::start();
    let place = with_mail(&mail);
    let server = place.serve();
    let ports = server.ports();
    // A server that puts us off is asked again.
    mail.put_off(1);
    assert_eq!(fill(ports, "/login/reset", "account=alice%40people.example"), 200);
    let came = mail.next();
    assert_eq!(
        (came.to.as_slice(), mail.puts_off()),
        (&["alice@people.example".to_owned()][..], 0)
    );
    for field in
        ["From: Example <no-reply@example.com>", "To: alice@people.example", "Auto-Submitted: auto"]
    {
        assert!(came.head.contains(field), "{}", came.head);
    }
    let (page, carried) = link(&came.text);
    let fields = format!("link={carried}&password={}", NEW.replace(' ', "+"));
    assert_eq!(fill(ports, &page, &fields), 200);
    assert_eq!(fill(ports, &page, &fields), 410);
    assert_eq!(sign_in(ports.public, OLD, "").0, 401);
    assert_eq!(sign_in(ports.public, NEW, "").0, 200);
    assert!(mail.next().head.contains("was changed"));

    assert_eq!(fill(ports, "/login/signup", "email=maria%40people.example"), 200);
    let (page, carried) = link(&mail.next().text);
    let fields = format!("link={carried}&password={}", NEW.replace(' ', "+"));
    assert_eq!(fill(ports, &page, &fields), 200);
    server.stop();
    let users = place.json(&["user", "list"]);
    let maria =
        users.as_array().unwrap().iter().find(|user| user["username"] == "maria@people.example");
    let maria = maria.unwrap_or_else(|| panic!("{users}"));
    assert_eq!((&maria["email_verified"], &maria["roles"][0]), (&true.into(), &"customer".into()));
}

#[test]
fn nothing_needs_mail_where_there_is_none() {
    let place = Place::new();
    let elsewhere = CONFIGURATION.replace("http://localhost:8000", "https://id.example.com");
    place.write("tegata.toml", &elsewhere);
    let server = place.serve();
    assert_eq!(get(server.ports().public, "/login/reset").0, 404);
    server.stop();
    place.write("tegata.toml", &format!("{elsewhere}[users]\nregistration = \"open\"\n"));
    assert!(place.refused(&["serve"], 2).contains("needs mail"));
}

#[test]
fn a_password_that_another_system_hashed_is_taken_and_one_that_costs_too_much_is_not() {
    let place = Place::new();
    let known = "abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
    place.write("hash", &format!("$2b$05${known}\n"));
    place.json(&["user", "add", "alice", "--password-hash-file", "hash"]);
    place.write("hash", &format!("$2b$31${known}\n"));
    let said = place.refused(&["user", "add", "bob", "--password-hash-file", "hash"], 1);
    assert!(said.contains("costs more than is allowed") && !said.contains(known), "{said}");
    let declared = format!("[[user]]\nusername = \"carol\"\npassword_hash = \"$1$x${known}\"\n");
    place.write("people.toml", &declared);
    let said = place.refused(&["apply", "people.toml"], 1);
    assert!(said.contains("user `carol`") && said.contains("bcrypt"), "{said}");
    place.write("people.toml", "[[user]]\nusername = \"carol\"\npassword = \"sunshinesunshine\"\n");
    let said = place.refused(&["apply", "people.toml"], 1);
    assert!(said.contains("user `carol`") && said.contains("choose another"), "{said}");
    let server = place.serve();
    let public = server.ports().public;
    assert_eq!(sign_in(public, "wrong", "").0, 401);
    assert_eq!(sign_in(public, "correct horse", "").0, 200);
    assert_eq!(sign_in(public, "correct horse", "").0, 200);
    server.stop();
}
