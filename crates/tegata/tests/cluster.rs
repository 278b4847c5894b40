//! The guide to three nodes, played as it is written: its commands, on real engines.

#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tegata_engines::{EchoServer, NatsServer, PostgresServer, RedisCluster, process::free_ports};

/// What the guide says to type.
fn guide() -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cluster.md");
    let text = fs::read_to_string(place).unwrap();
    let blocks = text.split("```sh cluster\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_guide_to_three_nodes_is_true() {
    let postgres = PostgresServer::listening("", |_| {});
    let database = postgres.database();
    let (redis, nats, echo) = (RedisCluster::start(), NatsServer::start(), EchoServer::start());
    let place = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tegata")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut guide = guide();
    assert!(guide.contains("tegata serve"), "the guide has no commands");
    // What it starts ends with it.
    guide.insert_str(0, "set -eu\ntrap 'kill -KILL $(cat node?/pid) 2> /dev/null' EXIT\n");
    let output = Command::new("bash")
        .args(["-c", &guide])
        .current_dir(place.path())
        .env("PATH", path)
        .env("DATABASE", database.url_on("127.0.0.1"))
        .env("REDIS", redis.url())
        .env("EVENTS", nats.url())
        .env("UPSTREAM", format!("http://127.0.0.1:{}", echo.port()))
        .env("BASE", free_ports(40).to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let logs = (1..=3).map(|n| fs::read_to_string(place.path().join(format!("node{n}/log"))));
    let logs: Vec<_> = logs.map(Result::unwrap_or_default).collect();
    assert!(output.status.success(), "{told}\n{said}\n{}", logs.join("\n---\n"));
    let codes: Vec<&str> =
        told.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    // Issued by one and passed by another; refused after it was taken back; the same without the
    // first node, which knows it when it comes back; and all three after their restarts.
    let expected = ["200", "401", "401", "401", "200", "401", "200", "200", "200"];
    assert_eq!(codes, expected, "{told}\n{said}");
    let confirmed = told.lines().find(|line| line.contains("confirmed")).unwrap();
    let confirmed = &serde_json::from_str::<Value>(confirmed).unwrap()["confirmed"];
    assert_eq!(confirmed["by"].as_array().unwrap().len(), 3, "{confirmed}");
    let says = confirmed["says"].as_str().unwrap();
    assert!(says.starts_with("refused by all 3 points after "), "{says}");
    println!("{says}");
}
