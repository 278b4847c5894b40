//! Answers that are compressed on their way, read by clients that others wrote.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};
use tegata_engines::process::program;

use crate::world::{Answer, Client, Plan, World, get};

/// What a service answers at a path, and whether it says how long that is.
type Said = (&'static str, String, bool);

/// Longer than anything that is sent at once.
fn page() -> String {
    let lines = (0..4000).map(|line| format!("<p>Line {line} of a page that says little.</p>\n"));
    lines.collect()
}

fn said(path: &str) -> Said {
    let json = "Content-Type: application/json\r\n";
    let long = || format!("[\"{}\"]", "x".repeat(5000));
    let (fields, body, has_length) = match path {
        "page" => ("Content-Type: text/html; charset=utf-8\r\n", page(), true),
        "script" => {
            let script = "<script>addEventListener('load', () => { const it = \
                          performance.getEntriesByType('navigation')[0]; \
                          document.body.innerHTML = '<b>' + JSON.stringify([it.encodedBodySize, \
                          it.decodedBodySize]) + '</b>'; })</script>";
            ("Content-Type: text/html\r\n", format!("<body>{}{script}</body>", page()), true)
        }
        "chunked" => ("Content-Type: text/html\r\n", page(), false),
        "tagged" => (
            "Content-Type: application/json\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\n",
            long(),
            true,
        ),
        "short" => (json, "[1]".to_owned(), true),
        "picture" => ("Content-Type: image/png\r\n", long(), true),
        "typeless" => ("", long(), true),
        "cookie" => ("Content-Type: application/json\r\nSet-Cookie: a=b\r\n", long(), true),
        "fixed" => {
            ("Content-Type: application/json\r\nCache-Control: no-transform\r\n", long(), true)
        }
        "encoded" => ("Content-Type: application/json\r\nContent-Encoding: x\r\n", long(), true),
        "digest" => {
            ("Content-Type: application/json\r\nContent-Digest: sha-256=:AA==:\r\n", long(), true)
        }
        _ => (json, long(), true),
    };
    let fields: &'static str = fields;
    (fields, body, has_length)
}

/// A service that answers what its paths name.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// The head of the next request on a connection.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn serve(mut stream: TcpStream) {
    while let Some(head) = head(&mut stream) {
        let path = head.split(' ').nth(1).unwrap().trim_start_matches('/');
        let (fields, body, has_length) = said(path);
        let status = match path {
            "part" => "206 Partial Content\r\nContent-Range: bytes 0-5003/9000",
            "missing" => "404 Not Found",
            "same" => "304 Not Modified\r\nETag: \"1\"",
            _ => "200 OK",
        };
        let mut answer = format!("HTTP/1.1 {status}\r\n{fields}");
        let is_empty = path == "same" || head.starts_with("HEAD ");
        if has_length {
            answer += &format!("Content-Length: {}\r\n\r\n", body.len());
            answer += if is_empty { "" } else { &body };
        } else {
            answer += &format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
        }
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

fn plan(address: SocketAddr) -> Plan {
    let mut plan = Plan::with(address);
    plan.routes = json!([
        {"path": "/public", "service": "echo", "auth": "none"},
        {"path": "/maybe", "service": "echo", "auth": "optional"},
        {"path": "/never", "service": "echo", "auth": "none", "compress": false},
        {"path": "/closed", "service": "echo"},
        {"path": "/harmless", "service": "echo", "compress": true},
    ]);
    plan
}

fn coding(answer: &Answer) -> Option<&str> {
    answer.field("content-encoding")
}

fn varies(answer: &Answer) -> bool {
    answer.fields("vary").iter().any(|it| it.eq_ignore_ascii_case("accept-encoding"))
}

const ANY: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");

#[test]
fn answers_are_compressed_where_it_is_safe_and_nowhere_else() {
    let world = plan(service()).start();
    let ask = |path: &str| world.ask(&get(path, &[ANY]));
    let answer = ask("/public/page");
    assert_eq!(coding(&answer), Some("zstd"));
    assert!(varies(&answer) && answer.field("content-length").is_none());
    assert!(answer.body.len() < page().len() / 8, "{}", answer.body.len());
    for path in ["/public/chunked", "/public/missing", "/maybe/page"] {
        assert_eq!(coding(&ask(path)), Some("zstd"), "{path}");
    }
    // What is too short, gains nothing, or must arrive as it is.
    for path in ["short", "picture", "typeless", "cookie", "fixed", "digest", "part"] {
        let answer = ask(&format!("/public/{path}"));
        assert_eq!((coding(&answer), varies(&answer)), (None, false), "{path}");
        assert!(answer.field("content-length").is_some(), "{path}");
    }
    assert_eq!(coding(&ask("/public/encoded")), Some("x"));
    let head = world.ask(&get("/public/page", &[ANY]).replace("GET ", "HEAD "));
    assert_eq!((head.status, coding(&head)), (200, None));
    // Where somebody is known, only where the route says that nothing can be guessed.
    let token = format!("Bearer {}", world.token());
    for (path, fields, compressed) in [
        ("/closed/page", vec![ANY, ("Authorization", token.as_str())], false),
        ("/maybe/page", vec![ANY, ("Authorization", token.as_str())], false),
        ("/public/page", vec![ANY, ("Authorization", "Basic dTpw")], false),
        ("/public/page", vec![ANY, ("Cookie", "sid=1")], false),
        ("/harmless/page", vec![ANY, ("Authorization", token.as_str())], true),
        ("/harmless/cookie", vec![ANY, ("Authorization", token.as_str())], false),
        ("/never/page", vec![ANY], false),
    ] {
        let answer = world.ask(&get(path, &fields));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(coding(&answer).is_some(), compressed, "{path} {fields:?}");
    }
    // Nothing is known of what the gateway itself says, and of what was never asked for.
    assert_eq!(coding(&world.ask(&get("/nowhere", &[ANY]))), None);
    for wish in
        ["", "identity", "gzip;q=0", "*;q=0", "identity;q=0", "deflate", "gzip;q=0.5, identity"]
    {
        let answer = world.ask(&get("/public/page", &[("Accept-Encoding", wish)]));
        assert_eq!((coding(&answer), varies(&answer)), (None, true), "{wish}");
        assert_eq!(answer.body, page().as_bytes(), "{wish}");
    }
    let many = (0..1000).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
    let many = [many.as_str(), ",br;q=0.1"].concat();
    assert_eq!(coding(&world.ask(&get("/public/page", &[("Accept-Encoding", &many)]))), Some("br"));
    // Another form has another name, of which the service is asked by its own.
    let tagged = ask("/public/tagged");
    assert_eq!(tagged.field("etag"), Some("W/\"1\""));
    assert_eq!(tagged.field("accept-ranges"), None);
    let again = world.ask(&get("/public/same", &[ANY, ("If-None-Match", "W/\"1\"")]));
    assert_eq!((again.status, again.field("etag")), (304, Some("W/\"1\"")));
    let again = world.ask(&get("/public/same", &[ANY, ("If-None-Match", "\"1\"")]));
    assert_eq!((again.status, again.field("etag")), (304, Some("\"1\"")));
    // Several on one connection, one of which is read to its end.
    let mut client = world.connect();
    for path in ["/public/page", "/public/short", "/public/chunked", "/public/page"] {
        assert_eq!(client.ask(&get(path, &[ANY])).status, 200);
    }
    let mut plan = plan(service());
    plan.config.compression = false;
    let world = plan.start();
    for path in ["/public/page", "/harmless/page"] {
        let token = format!("Bearer {}", world.token());
        let answer = world.ask(&get(path, &[ANY, ("Authorization", &token)]));
        assert_eq!((answer.status, coding(&answer)), (200, None), "{path}");
    }
}

fn url(world: &World, path: &str) -> String {
    format!("http://localhost:{}{path}", world.address.port())
}

#[test]
fn clients_of_others_read_what_was_compressed() {
    let world = plan(service()).start();
    let curl = program("curl", "curl");
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        for (coding, path) in [
            ("gzip", "/public/page"),
            ("br", "/public/page"),
            ("zstd", "/public/page"),
            ("gzip", "/public/chunked"),
            ("br", "/public/chunked"),
            ("zstd", "/public/chunked"),
        ] {
            let output = Command::new(&curl)
                .args(["-sS", "--compressed", version, "-D", "/dev/stderr"])
                .args(["-H", &format!("Accept-Encoding: {coding}"), &url(&world, path)])
                .output()
                .unwrap();
            let head = String::from_utf8(output.stderr).unwrap().to_ascii_lowercase();
            let line = format!("content-encoding: {coding}\r\n");
            assert!(head.contains(&line), "{version}: {head}");
            assert!(output.stdout == page().as_bytes(), "{version} {coding} {path}");
        }
    }
    // `fetch` of Node reads gzip and br.
    let script = "fetch(process.argv[1]).then(async it => console.log(JSON.stringify(\
                  [it.headers.get('content-encoding'), await it.text()])))";
    let output = Command::new(program("node", "nodejs"))
        .args(["-e", script, &url(&world, "/public/page")])
        .output()
        .unwrap();
    let came: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(matches!(came[0].as_str(), Some("br" | "gzip")), "{}", came[0]);
    assert_eq!(came[1].as_str().unwrap(), page());
    // A browser says of what it has loaded how much of it came.
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program("chromium", "chromium"))
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .arg(url(&world, "/public/script"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let sizes = shown.split("<b>").nth(1).and_then(|it| it.split("</b>").next());
    let sizes: Value = serde_json::from_str(sizes.unwrap_or("null")).unwrap();
    let [came, read] = [0, 1].map(|it| sizes[it].as_u64().unwrap_or_else(|| panic!("{shown}")));
    assert!(came > 0 && came < read / 8, "{sizes}");
}

/// What comes, as it comes, until there is nothing for now.
fn heard(client: &mut Client) -> Vec<u8> {
    client.chunk().unwrap()
}

#[test]
fn events_are_not_held_back_by_compression() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, streams) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            head(&mut stream).unwrap();
            hand.send(stream).unwrap();
        }
    });
    let world = plan(address).start();
    for coding in ["gzip", "br", "zstd"] {
        let mut client = world.connect();
        client.write(get("/public/x", &[("Accept-Encoding", coding)]));
        let mut service = streams.recv().unwrap();
        let said = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        service.write_all(said.as_bytes()).unwrap();
        let (status, fields) = client.head().unwrap();
        assert_eq!(status, 200);
        assert!(fields.contains(&("content-encoding".to_owned(), coding.to_owned())));
        let (mut bytes, mut expected) = (Vec::new(), String::new());
        for number in 0..10 {
            let event = format!("data: {number}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            service.write_all(chunk.as_bytes()).unwrap();
            expected += &event;
            // Nothing follows before it has come.
            while read(coding, &bytes) != expected.as_bytes() {
                bytes.extend(heard(&mut client));
            }
        }
        service.write_all(b"0\r\n\r\n").unwrap();
        while let Some(rest) = client.chunk() {
            bytes.extend(rest);
        }
        assert_eq!(read(coding, &bytes), expected.as_bytes());
    }
}

/// What has come so far of a text.
fn read(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        _ => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
    };
    text
}
