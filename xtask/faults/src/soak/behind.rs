//! The service behind a gateway that is soaked: it answers shortly or at length, tells of events, and opens
//! WebSockets.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::time::let_pass;

/// The example of RFC 6455 §1.3.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What is compressed: so many lines.
const LINES: usize = 600;

/// How many events there are, and how long after one the next is.
pub(super) const EVENTS: usize = 12;
const PAUSE: Duration = Duration::from_millis(15);

/// Starts it; it ends with the process. Answers its port.
pub(super) fn start() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes away has had enough.
            thread::spawn(move || serve(&stream));
        }
    });
    Ok(port)
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length, mut upgrades) = (String::new(), 0, false);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let Some((name, value)) = field.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "upgrade" => upgrades = true,
                _ => {}
            }
        }
        if upgrades {
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            return say_again(stream, &mut reader);
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/events") {
            events(stream)?;
        } else if path.starts_with("/text") {
            answer(stream, "text/plain", &format!("{path} and so on\n").repeat(LINES))?;
        } else {
            answer(stream, "application/json", &format!("{{\"path\":\"{path}\"}}"))?;
        }
    }
}

fn answer(mut stream: &TcpStream, media_type: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes())
}

/// One event after the other.
fn events(mut stream: &TcpStream) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    for number in 0..EVENTS {
        let event = format!("data: {number}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        let_pass(PAUSE);
    }
    stream.write_all(b"0\r\n\r\n")
}

/// Says what it hears.
fn say_again(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    let mut heard = [0; 4096];
    loop {
        let read = reader.read(&mut heard)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(heard.get(..read).unwrap_or_default())?;
    }
}
