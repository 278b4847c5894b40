//! A service behind the gateway that says what it was asked, and by whom.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// The service. It is closed when this is dropped.
#[derive(Debug)]
pub struct EchoServer {
    port: u16,
    closed: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

impl EchoServer {
    /// Starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::answering(serve)
    }

    /// One that answers with all that it was sent, as it came: the head, the body, and what follows it.
    #[must_use]
    pub fn of_everything() -> Self {
        Self::answering(say_again)
    }

    fn answering(serve: fn(&TcpStream, &AtomicU64) -> io::Result<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for a service");
        let port = listener.local_addr().expect("a port for a service").port();
        let (closed, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&closed), Arc::clone(&served));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let count = Arc::clone(&count);
                // Who goes away has had enough.
                thread::spawn(move || serve(&stream, &count));
            }
        });
        Self { port, closed, served }
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Answers requests until there are no more.
fn serve(mut stream: &TcpStream, served: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut user) = (0, String::new());
        loop {
            let mut field = String::new();
            if reader.read_line(&mut field)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = field.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "x-user-id" => user = value.trim().to_owned(),
                _ => {}
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        // Names of people and paths have no quotes in them where they come from the gateway.
        let body = format!("{{\"path\":\"{path}\",\"user\":\"{user}\"}}\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        // Whoever has the answer finds it counted.
        served.fetch_add(1, Ordering::SeqCst);
        stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
    }
}

/// Answers each request with its text.
fn say_again(mut stream: &TcpStream, served: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut said = Vec::new();
        let head = lines(&mut reader, &mut said)?.to_ascii_lowercase();
        if head.is_empty() {
            return Ok(());
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        if field("transfer-encoding:").is_some() {
            loop {
                let from = said.len();
                reader.read_until(b'\n', &mut said)?;
                let size = String::from_utf8_lossy(said.get(from..).unwrap_or_default());
                let size = u64::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16);
                match size {
                    Ok(0) => break,
                    Ok(size) => (&mut reader).take(size + 2).read_to_end(&mut said)?,
                    Err(error) => return Err(io::Error::other(error)),
                };
            }
            // What follows the body.
            lines(&mut reader, &mut said)?;
        } else if let Some(length) = field("content-length:") {
            let length = length.trim().parse().map_err(io::Error::other)?;
            (&mut reader).take(length).read_to_end(&mut said)?;
        }
        served.fetch_add(1, Ordering::SeqCst);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";
        stream.write_all(format!("{head}{}\r\n\r\n", said.len()).as_bytes())?;
        stream.write_all(&said)?;
    }
}

/// Lines to an empty one, which are added to what was said.
fn lines(reader: &mut BufReader<&TcpStream>, said: &mut Vec<u8>) -> io::Result<String> {
    let from = said.len();
    loop {
        let before = said.len();
        reader.read_until(b'\n', said)?;
        if said.get(before..).unwrap_or_default().trim_ascii().is_empty() {
            return Ok(String::from_utf8_lossy(said.get(from..).unwrap_or_default()).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::connect;

    #[test]
    fn answers_one_request_after_the_other() {
        let server = EchoServer::start();
        let mut stream = connect(server.port()).unwrap();
        for _ in 0..2 {
            let ask = "POST /a/b HTTP/1.1\r\nX-User-ID: usr_1\r\nContent-Length: 2\r\n\r\nab";
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                answer.read_line(&mut line).unwrap();
            }
            line.clear();
            answer.read_line(&mut line).unwrap();
            assert_eq!(line, "{\"path\":\"/a/b\",\"user\":\"usr_1\"}\n");
        }
        assert_eq!(server.served(), 2);
    }

    #[test]
    fn says_again_all_that_came() {
        let server = EchoServer::of_everything();
        let mut stream = connect(server.port()).unwrap();
        for ask in [
            "GET /a HTTP/1.1\r\nX-Odd: 1\r\n\r\n",
            "POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
            "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n",
            "GET /d HTTP/1.1\r\n\r\n",
        ] {
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = BufReader::new(&stream);
            let (mut head, mut length) = (String::new(), 0);
            while head != "\r\n" {
                head.clear();
                answer.read_line(&mut head).unwrap();
                let value = head.strip_prefix("Content-Length: ").map(|it| it.trim().to_owned());
                length = value.map_or(length, |it| it.parse().unwrap());
            }
            let mut said = vec![0; length];
            answer.read_exact(&mut said).unwrap();
            assert_eq!(String::from_utf8(said).unwrap(), ask);
        }
        assert_eq!(server.served(), 4);
    }
}
