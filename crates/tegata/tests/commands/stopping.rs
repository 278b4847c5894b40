//! How a server ends: it says so first, serves for a while, then lets nobody new in, and ends what is
//! under way.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use crate::{CONFIGURATION, Place, get, until};

#[test]
fn a_hang_up_ends_nothing() {
    let place = Place::new();
    place.write("tegata.toml", CONFIGURATION);
    let mut server = place.serve();
    let ports = server.ports();
    for _ in 0..3 {
        server.signal("HUP");
        assert_eq!(get(ports.operations, "/health/live").0, 200);
    }
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_server_that_stops_says_so_and_lets_nobody_new_in_while_requests_end() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", upstream.local_addr().unwrap());
    let declared = format!(
        "[[service]]\nname = \"slow\"\nupstreams = [\"{address}\"]\n\
         [[route]]\npath = \"/slow\"\nservice = \"slow\"\nauth = \"none\"\n"
    );
    let patient = CONFIGURATION.replace("[operations]\n", "[operations]\nlinger = \"5s\"\n");
    place.write("tegata.toml", &patient);
    place.write("slow.toml", &declared);
    place.json(&["apply", "slow.toml"]);
    let mut server = place.serve();
    let ports = server.ports();
    assert_eq!(get(ports.operations, "/health/ready").0, 200);
    let mut client = TcpStream::connect(("127.0.0.1", ports.gateway)).unwrap();
    client
        .write_all(b"GET /slow/x HTTP/1.1\r\nHost: localhost:8000\r\nConnection: close\r\n\r\n")
        .unwrap();
    let (mut service, _) = upstream.accept().unwrap();
    server.signal("TERM");
    until("it says that it stops", || get(ports.operations, "/health/ready").0 == 503);
    // Who has not noticed yet is served, and asked to go elsewhere.
    for (port, path) in [(ports.public, "/.well-known/jwks.json"), (ports.gateway, "/slow/y")] {
        let mut late = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(late, "GET {path} HTTP/1.1\r\nHost: localhost:8000\r\n\r\n").unwrap();
        if port == ports.gateway {
            let (mut service, _) = upstream.accept().unwrap();
            let mut request = [0; 4096];
            assert!(service.read(&mut request).unwrap() > 0);
            service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    for port in [ports.public, ports.gateway] {
        until("nobody is let in", || TcpStream::connect(("127.0.0.1", port)).is_err());
    }
    let (_, ready) = get(ports.operations, "/health/ready");
    assert!(ready.contains("about to stop"), "{ready}");
    // What was under way ends well.
    service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(server.0.wait().unwrap().success());
}
