//! How a server begins whose database is not there yet.

use std::{
    io::{BufRead, BufReader, Read as _},
    net::TcpListener,
    process::{ChildStderr, Stdio},
};

use tegata_core::Node;
use tegata_engines::PostgresServer;

use crate::{CONFIGURATION, PATIENCE, Place, Server, get};

/// A server that starts on this database, and what it says.
fn starting(place: &Place, url: &str) -> (Server, BufReader<ChildStderr>) {
    place.write("tegata.toml", &format!("{CONFIGURATION}[store]\nurl = \"{url}\"\n"));
    let mut child = place.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    (Server(child), log)
}

fn said(log: &mut impl BufRead, words: &str) {
    let mut all = String::new();
    while !all.contains(words) {
        assert!(log.read_line(&mut all).unwrap() > 0, "`{words}` is not said: {all}");
    }
}

#[test]
fn a_database_that_is_away_at_the_start_is_waited_for() {
    let (place, postgres) = (Place::new(), PostgresServer::start());
    let database = postgres.database();
    postgres.kill();
    let (mut server, mut log) = starting(&place, &database.url());
    said(&mut log, "trying again");
    postgres.launch();
    said(&mut log, " started ");
    assert_eq!(get(server.ports().operations, "/health/live").0, 200);
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn who_waits_for_a_database_stops_when_told_to() {
    let place = Place::new();
    // Nothing listens at port 1.
    let (mut server, mut log) = starting(&place, "postgres://tester@127.0.0.1:1/nothing");
    said(&mut log, "trying again");
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_try_that_is_under_way_ends_when_told_to() {
    let (place, silent) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let at = silent.local_addr().unwrap();
    let url = format!("postgres://tester@{at}/nothing?connect_timeout=600");
    let (mut server, _log) = starting(&place, &url);
    let _connection = silent.accept().unwrap();
    let node = Node::start();
    let began = node.since_boot();
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
    assert!(node.elapsed(began) < PATIENCE);
}

#[test]
fn a_database_that_refuses_is_not_waited_for() {
    let (place, postgres) = (Place::new(), PostgresServer::shared());
    let database = postgres.database();
    database.sql("CREATE ROLE stranger LOGIN");
    for (url, code) in [
        (postgres.named("nothing").url(), "3D000"),
        (database.url().replace("tester@", "stranger@"), "42501"),
    ] {
        let (mut server, mut log) = starting(&place, &url);
        let mut all = String::new();
        log.read_to_string(&mut all).unwrap();
        assert!(!server.0.wait().unwrap().success());
        assert!(all.contains(code) && !all.contains("trying again"), "{all}");
    }
}

#[test]
fn nobody_takes_the_data_directory_of_who_waits_for_a_database() {
    let place = Place::new();
    let (mut server, mut log) = starting(&place, "postgres://tester@127.0.0.1:1/nothing");
    for _ in 0..3 {
        said(&mut log, "trying again");
        let other = place.run(&["serve"]);
        let told = String::from_utf8_lossy(&other.stderr).into_owned();
        assert!(told.contains("is in use by another process"), "{told}");
    }
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
}
