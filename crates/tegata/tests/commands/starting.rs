//! How a server begins whose database is not there yet.

use std::{
    io::{BufRead, BufReader},
    process::{ChildStderr, Stdio},
};

use tegata_engines::PostgresServer;

use crate::{CONFIGURATION, Place, Server, get};

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
