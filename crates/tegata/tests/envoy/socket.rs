//! WebSockets through Envoy, where a route takes them.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use tegata_engines::EnvoyServer;

use super::{
    demo::{Demo, until},
    http::Place,
    world::{configuration, of_a_machine, reason},
};

/// The key of RFC 6455 §1.3, and the proof that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A service that agrees to a WebSocket, tells of the head that asked, and sends back what comes.
fn service() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head(&mut stream);
            if tell.send(head).is_err() {
                return;
            }
            let agreed = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {PROOF}\r\n\r\n"
            );
            stream.write_all(agreed.as_bytes()).unwrap();
            let mut back = stream.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut stream, &mut back));
        }
    });
    (port, told)
}

/// What comes up to the empty line.
fn head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap().to_lowercase()
}

#[test]
fn a_websocket_passes_envoy_where_the_route_takes_them() {
    let demo = Demo::start(&["--ext-authz"]);
    let (port, asked) = service();
    let declared = format!(
        "[[service]]\nname = \"live\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n\
         [[route]]\npath = \"/live\"\nservice = \"live\"\nwebsocket = true\n"
    );
    demo.command(&["apply", &demo.file(&declared)]);
    let envoy = EnvoyServer::start(|own| {
        let text = configuration("shop.yaml", demo.public.port, own);
        // The same for one service more.
        let echo = format!("127.0.0.1:{}", demo.public.port + 20);
        let lines = text.lines().collect::<Vec<_>>();
        let route = lines.iter().position(|line| line.contains("exact: echo}")).unwrap();
        let cluster = lines.iter().position(|line| line.trim() == "- name: echo").unwrap();
        let live = |lines: &[&str]| {
            let own = [("exact: echo}", "exact: live}"), ("cluster: echo", "cluster: live")];
            let more = [("name: echo", "name: live"), (&*echo, "live")];
            let text = format!("{}\n", lines.join("\n"));
            let text =
                own.iter().chain(&more).fold(text, |text, (old, new)| text.replace(old, new));
            text.replace(
                &format!("port_value: {}", demo.public.port + 20),
                &format!("port_value: {port}"),
            )
        };
        let (before, rest) = lines.split_at(route);
        let (between, after) = rest.split_at(cluster - route);
        [
            before.join("\n"),
            live(&between[..2]),
            between.join("\n"),
            live(&after[..4]),
            after.join("\n"),
        ]
        .join("\n")
    });
    let token = of_a_machine(&demo);
    let place = Place { port: envoy.port() };
    let opening = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nAuthorization: Bearer {token}\r\n\
             X-User-ID: forged\r\n\r\n"
        )
    };
    // Where the route does not say so, nobody is asked for one.
    let refused = place.raw(opening("/echo/x").as_bytes()).unwrap().expect(501);
    assert_eq!(reason(&refused).as_deref(), Some("upgrade_not_supported"));
    until("the route is known", || place.get("/live/x").send().status == 401);
    let mut stream = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
    stream.write_all(opening("/live/x?y=z").as_bytes()).unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains(&PROOF.to_lowercase()), "{answer}");
    let seen = asked.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(seen.starts_with("get /x?y=z http/1.1\r\n"), "{seen}");
    for line in ["x-user-id: demo-service\r\n", "upgrade: websocket\r\n", "connection: upgrade\r\n"]
    {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    assert!(!seen.contains("authorization") && !seen.contains("forged"), "{seen}");
    stream.write_all(b"both ways").unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"both ways");
}
