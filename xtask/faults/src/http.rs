//! HTTP/1.1 as a client of an API speaks it: one connection that is kept, a deadline, and a clear word
//! about whether anything was sent.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tegata_attack::wire::{Way, Wire};

/// The largest answer that is read.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nothing was sent: nobody is there, or nobody took the connection.
    NotSent(io::Error),
    /// Something was sent, so it may have been done.
    Lost(io::Error),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "not sent: {error}"),
            Self::Lost(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    method: &'static str,
    target: String,
    fields: String,
    body: String,
}

impl Ask {
    /// `GET`.
    #[must_use]
    pub fn get(target: &str) -> Self {
        let target = target.to_owned();
        Self { method: "GET", target, fields: String::new(), body: String::new() }
    }

    /// `POST` of a form.
    #[must_use]
    pub fn form(target: &str, pairs: &[(&str, &str)]) -> Self {
        let ask = Self { method: "POST", ..Self::get(target) };
        ask.body("application/x-www-form-urlencoded", form(pairs))
    }

    /// `POST` of JSON.
    #[must_use]
    pub fn json(target: &str, value: &Value) -> Self {
        let ask = Self { method: "POST", ..Self::get(target) };
        ask.body("application/json", value.to_string())
    }

    fn body(mut self, media_type: &str, body: String) -> Self {
        self.body = body;
        self.field("Content-Type", media_type)
    }

    /// With a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// With a token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.field("Authorization", &format!("Bearer {token}"))
    }

    /// As a client with a secret.
    #[must_use]
    pub fn basic(self, id: &str, secret: &str) -> Self {
        let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        self.field("Authorization", &format!("Basic {both}"))
    }

    /// The request as it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (method, target) = (self.method, &self.target);
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{}", self.fields);
        if method == "POST" {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// The first field of a name, which is in small letters.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// All fields of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| field.1.as_str())
    }

    /// Its body.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body, where that is JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A text in its JSON.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<String> {
        self.json().get(name)?.as_str().map(str::to_owned)
    }
}

/// A client of one port of this machine.
#[derive(Debug)]
pub struct Client {
    way: Way,
    deadline: Duration,
    kept: Option<BufReader<Wire>>,
}

/// The way to a port of this machine.
#[must_use]
pub fn way(port: u16, secure: bool) -> Way {
    Way { address: SocketAddr::from(([127, 0, 0, 1], port)), secure }
}

impl Client {
    /// A client that waits ten seconds for an answer.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self::over(way(port, false))
    }

    /// The same, with TLS or without it.
    #[must_use]
    pub const fn over(way: Way) -> Self {
        Self { way, deadline: Duration::from_secs(10), kept: None }
    }

    /// The same with another deadline.
    #[must_use]
    pub fn waiting(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The certificate that was shown on the connection that is kept, in DER.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.kept.as_ref()?.get_ref().certificate()
    }

    /// Makes a request. Where the connection that was kept turns out to be closed before a byte of the
    /// answer came, it is made once more on a new one only if the request changes nothing.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let was_kept = self.kept.is_some();
        match self.ask_once(ask) {
            Err(NoAnswer::Lost(error)) if was_kept && ask.method == "GET" && is_closed(&error) => {
                self.ask_once(ask)
            }
            done => done,
        }
    }

    fn ask_once(&mut self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let mut stream = match self.kept.take() {
            Some(kept) if is_open(&kept) => kept,
            _ => self.connect().map_err(NoAnswer::NotSent)?,
        };
        stream.get_mut().write_all(&ask.bytes()).map_err(NoAnswer::Lost)?;
        let (answer, keeps) = read(&mut stream).map_err(NoAnswer::Lost)?;
        if keeps {
            self.kept = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<Wire>> {
        self.way.connect("http/1.1", self.deadline).map(BufReader::new)
    }
}

/// Whether a connection that was kept has not been closed meanwhile by the other end.
fn is_open(kept: &BufReader<Wire>) -> bool {
    let stream = kept.get_ref().socket();
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let open = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    open && stream.set_nonblocking(false).is_ok()
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The next answer, and whether the connection can be used again.
fn read(stream: &mut BufReader<Wire>) -> io::Result<(Answer, bool)> {
    loop {
        let first = line(stream)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| bad("no status"))?;
        let mut fields = Vec::new();
        loop {
            let line = line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if (100..200).contains(&status) {
            continue;
        }
        let mut answer = Answer { status, fields, body: Vec::new() };
        let closes = answer.field("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        let length = answer.field("content-length").and_then(|length| length.parse::<u64>().ok());
        let mut keeps = !closes;
        if answer.field("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
            answer.body = chunks(stream)?;
        } else if let Some(length) = length {
            answer.body = exactly(stream, length)?;
        } else if !matches!(status, 204 | 304) {
            stream.take(LARGEST).read_to_end(&mut answer.body)?;
            keeps = false;
        }
        return Ok((answer, keeps));
    }
}

fn line(stream: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.take(LARGEST).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn exactly(stream: &mut BufReader<Wire>, length: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    stream.take(length.min(LARGEST)).read_to_end(&mut body)?;
    let read = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if read == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn chunks(stream: &mut BufReader<Wire>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let head = line(stream)?;
        let length = u64::from_str_radix(head.split(';').next().unwrap_or_default().trim(), 16);
        let length = length.map_err(|_| bad("a chunk without a length"))?;
        body.extend(exactly(stream, length)?);
        line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `application/x-www-form-urlencoded`.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Somebody who gives these answers, each on a connection of its own, whatever is asked.
    fn somebody(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                // To its blank line: what is asked here has no body.
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while line(&mut reader).is_ok_and(|line| !line.is_empty()) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    #[test]
    fn reads_bodies_of_all_forms() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1;a=b\r\ny\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody",
        ] {
            let port = somebody(Box::leak(Box::new([answer])));
            let answer = Client::new(port).ask(&Ask::get("/")).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
        }
    }

    #[test]
    fn says_whether_anything_was_sent() {
        let nobody = tegata_engines::process::free_port();
        let refused = Client::new(nobody).ask(&Ask::get("/"));
        assert!(matches!(refused, Err(NoAnswer::NotSent(_))), "{refused:?}");
        let cut = Client::new(somebody(&[""])).ask(&Ask::get("/"));
        assert!(matches!(cut, Err(NoAnswer::Lost(_))), "{cut:?}");
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        let cut = Client::new(somebody(Box::leak(Box::new([cut])))).ask(&Ask::get("/"));
        assert!(matches!(cut, Err(NoAnswer::Lost(_))), "{cut:?}");
    }

    #[test]
    fn what_was_closed_meanwhile_is_opened_anew() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut client = Client::new(somebody(&[ANSWER, ANSWER]));
        client.ask(&Ask::get("/")).unwrap();
        client.ask(&Ask::get("/")).unwrap();
    }
}
