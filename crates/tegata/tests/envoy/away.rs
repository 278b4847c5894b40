//! While Tegata is away, nothing passes.

use std::process::Command;

use tegata_engines::EnvoyServer;

use super::{demo::Demo, http::Place, world::configuration};

#[test]
fn envoy_refuses_while_tegata_is_away() {
    let demo = Demo::start(&["--ext-authz"]);
    let base = demo.public.port;
    // Another port, where nobody is: the services go on as they were.
    let nobody = tegata_engines::process::free_port();
    let text = move |port| configuration("shop.yaml", base, port);
    let away = EnvoyServer::start(|port| {
        let own = format!("port_value: {}}}", base + 3);
        let text = text(port);
        assert!(text.contains(&own));
        text.replace(&own, &format!("port_value: {nobody}}}"))
    });
    let there = EnvoyServer::start(text);
    let (away, there) = (Place { port: away.port() }, Place { port: there.port() });
    for target in ["/public/echo/x", "/echo/x", "/nowhere", "/health"] {
        away.get(target).send().expect(503);
    }
    there.get("/public/echo/x").send().expect(200);
    // One that stands still answers nobody in time.
    signal(&demo, "-STOP");
    let waited = there.get("/public/echo/x").send();
    signal(&demo, "-CONT");
    assert_eq!(waited.status, 503, "{}", waited.text());
    super::demo::until("it answers again", || there.get("/public/echo/x").send().status == 200);
}

fn signal(demo: &Demo, signal: &str) {
    let pid = demo.pid().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.unwrap().success());
    super::demo::until("it stands still, or goes on", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit(") ").next().unwrap();
        state.starts_with('T') == (signal == "-STOP")
    });
}
