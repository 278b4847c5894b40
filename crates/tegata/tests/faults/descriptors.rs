//! A process that has no descriptors left.

use std::{fs, net::TcpStream, path::Path, process::Command, time::Duration};

use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::Client,
    stage,
    time::{Stopwatch, until},
};

use super::PROGRAM;

#[test]
fn descriptors_that_run_out_do_not_stop_it() {
    let shared = Shared {
        root_key: root_key(Path::new(PROGRAM)),
        program: PROGRAM.into(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let (node, echo) = (TegataNode::start("descriptors", &shared, &own), EchoServer::start());
    stage::declare(&node, echo.port()).unwrap();
    let token = stage::issued(&mut Client::new(node.ports().public)).unwrap().token;
    let port = node.ports().gateway;
    let mut active = Client::new(port);
    let status = |client: &mut Client| {
        stage::call(client, "/available", &token).map_or(0, |answer| answer.status)
    };
    assert_eq!(status(&mut active), 200);

    let id = node.process().id().unwrap();
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    let limit = |descriptors: usize| {
        let limit = format!("--nofile={descriptors}:");
        let done = Command::new("prlimit").args(["--pid", &id.to_string(), &limit]).status();
        assert!(done.unwrap().success());
    };
    limit(open + 20);
    let watch = Stopwatch::start();
    let flood: Vec<_> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let said = || node.process().said();
    let seen = until(stage::PATIENCE, || {
        // Whoever is there goes on; that it has idle moments is no reason to hang up on it while others have
        // longer ones.
        assert!(matches!(status(&mut active), 200 | 503));
        said().contains("connections cannot be accepted")
    });
    assert!(seen.is_some(), "{}", said());
    // The door rests, and whoever says nothing goes, until somebody who asks for something comes in.
    let served = until(stage::PATIENCE, || {
        status(&mut Client::new(port).waiting(Duration::from_secs(2))) == 200
    });
    assert!(served.is_some(), "{}", said());
    // It says so once in a while, not whenever it tries.
    let times = said().matches("connections cannot be accepted").count();
    assert!(times <= 1 + usize::try_from(watch.read().as_secs() / 10).unwrap(), "{times}");
    drop(flood);
    limit(open + 2000);
    let well = || (0..50).all(|_| status(&mut Client::new(port)) == 200);
    assert!(until(stage::PATIENCE, well).is_some(), "{}", said());
    assert!(node.is_ready());
}
