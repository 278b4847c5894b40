//! Clients and services that others wrote: `ws`, `@grpc/grpc-js` and Chromium.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tegata_engines::{process::program, tools::present};
use tegata_gateway::config::Tls;

use crate::{
    framed,
    world::{Plan, World},
};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(name)
}

fn world(services: &Value, tls: Option<Tls>) -> World {
    let at = |name: &str| {
        let port = u16::try_from(services[name].as_u64().unwrap()).unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    let mut plan = Plan::with(at("web"));
    plan.real_time = true;
    plan.config.tls = tls;
    plan.declared = vec![framed::declared("calls", at("calls"))];
    plan.routes = json!([
        {"path": "/web", "service": "echo", "auth": "none", "websocket": true},
        {"path": "/none", "service": "echo", "auth": "none"},
        {"path": "/test.Echo", "service": "calls", "strip_prefix": false, "methods": ["POST"]},
    ]);
    plan.start()
}

#[test]
fn grpc_and_websocket_clients_of_others() {
    let mut script = Command::new(program("node", "nodejs"))
        .arg(here("others.mjs"))
        .arg(present("sockets").join("node_modules"))
        .arg(program("chromium", "chromium"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let services: Value = serde_json::from_str(&line).unwrap();
    let tls = Tls { certificate_file: here("tls/certificate.pem"), key_file: here("tls/key.pem") };
    let (clear, secure) = (world(&services, None), world(&services, Some(tls)));
    let told = json!({
        "clear": format!("localhost:{}", clear.address.port()),
        "secure": format!("localhost:{}", secure.address.port()),
        "token": clear.token(),
    });
    writeln!(script.stdin.as_mut().unwrap(), "{told}").unwrap();
    assert!(script.wait().unwrap().success());
}
