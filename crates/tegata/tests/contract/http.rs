//! HTTP/1.1 on a plain socket, so that requests can be as malformed as they have to be. Every
//! exchange has a deadline.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How long an answer may take. Far more than any takes: passwords are slow on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The most that is read of an answer.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A listener on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) port: u16,
}

/// A request to make.
#[derive(Clone)]
pub(crate) struct Ask {
    place: Place,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Place {
    /// The listener that an address names.
    pub(crate) fn of(url: &str) -> Self {
        let port = url.strip_prefix("http://localhost:").unwrap_or_else(|| panic!("{url}"));
        Self { port: port.parse().unwrap() }
    }

    /// Its origin, as browsers write it.
    pub(crate) fn origin(self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(crate) fn ask(self, method: &str, target: &str) -> Ask {
        Ask {
            place: self,
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![("Host".to_owned(), format!("localhost:{}", self.port))],
            body: Vec::new(),
        }
    }

    pub(crate) fn get(self, target: &str) -> Ask {
        self.ask("GET", target)
    }

    pub(crate) fn post(self, target: &str) -> Ask {
        self.ask("POST", target)
    }

    /// Sends bytes as they are and reads what comes back until the connection is closed. `None`: it
    /// was closed without an answer.
    pub(crate) fn raw(self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, false)
    }

    /// As [`Self::raw`], and says that no more comes.
    pub(crate) fn raw_and_no_more(self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, true)
    }

    fn exchange(self, bytes: &[u8], no_more: bool) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        // Who refuses a request need not read all of it.
        let _refused_early = stream.write_all(bytes);
        if no_more {
            let _closed_already = stream.shutdown(Shutdown::Write);
        }
        let mut read = Vec::new();
        match stream.take(LARGEST).read_to_end(&mut read) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no answer in {DEADLINE:?}: {error}; so far {} B", read.len()),
        }
        parse(&read)
    }
}

impl Ask {
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.field("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        self.field("Authorization", &format!("Basic {both}"))
    }

    pub(crate) fn form(self, pairs: &[(&str, &str)]) -> Self {
        self.body("application/x-www-form-urlencoded", form(pairs).as_bytes())
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string().as_bytes())
    }

    pub(crate) fn body(mut self, media_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.field("Content-Type", media_type)
    }

    /// The request's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Makes the request.
    pub(crate) fn send(&self) -> Answer {
        let answer = self.place.raw(&self.bytes());
        answer.unwrap_or_else(|| panic!("no answer to {} {}", self.method, self.target))
    }
}

impl Answer {
    /// The value of a field that stands once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "`{name}` stands more than once: {all:?}");
        all.first().copied()
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let own = self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which must be JSON and say so.
    pub(crate) fn json(&self) -> Value {
        let media_type = self.field("content-type").unwrap_or_default();
        assert!(media_type.contains("json"), "{} {media_type}: {}", self.status, self.text());
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// This answer, if it has the status that it must have.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.fields, self.text());
        self
    }

    /// The address that a redirect leads to.
    pub(crate) fn location(&self) -> &str {
        assert!(matches!(self.status, 302 | 303), "{} {}", self.status, self.text());
        self.field("location").unwrap()
    }

    /// Checks that it is a problem document (RFC 9457) of its status, and answers it.
    pub(crate) fn problem(&self) -> Value {
        let media_type = self.field("content-type");
        assert_eq!(media_type, Some("application/problem+json"), "{} {}", self.status, self.text());
        let problem = self.json();
        for name in ["type", "title", "detail", "trace_id"] {
            assert!(problem[name].as_str().is_some_and(|it| !it.is_empty()), "{name}: {problem}");
        }
        assert_eq!(problem["status"], self.status);
        problem
    }
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The parameters in the query of an address.
pub(crate) fn query(address: &str) -> Vec<(String, String)> {
    let url: Vec<_> = address.splitn(2, '?').collect();
    let pairs = url.get(1).copied().unwrap_or_default().split('&');
    let split = pairs.filter_map(|pair| pair.split_once('='));
    split.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// One parameter in the query of an address.
pub(crate) fn parameter(address: &str, name: &str) -> Option<String> {
    query(address).into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The last answer in `bytes`; interim ones are passed over.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if (100..200).contains(&status) {
        return parse(body);
    }
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let mut answer = Answer { status, fields: lines.map(field).collect(), body: body.to_vec() };
    // The answer to `HEAD` may say so, too, and has none.
    if answer.field("transfer-encoding") == Some("chunked") && !body.is_empty() {
        answer.body = unchunked(body);
    } else if let Some(length) = answer.field("content-length") {
        let length: usize = length.parse().unwrap();
        // The answer to `HEAD` has a length and no body.
        assert!(body.is_empty() || body.len() == length, "{head}: the body has {}", body.len());
    }
    Some(answer)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length.split(';').next().unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..][..length]);
        rest = &rest[end + 2 + length + 2..];
    }
}
