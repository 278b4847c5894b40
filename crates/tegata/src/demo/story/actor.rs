//! Somebody who speaks HTTP: a browser with its cookies, or a client without.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::Value;
use tegata_sdk::{Transport, transport::TransportLimits};

use super::PATIENCE;

/// Somebody who speaks HTTP and keeps cookies.
pub(crate) struct Actor {
    transport: Transport,
    origin: String,
    cookies: BTreeMap<String, String>,
}

/// A request to make.
#[derive(Default)]
pub(crate) struct Ask<'a> {
    pub(crate) bearer: Option<&'a str>,
    pub(crate) basic: Option<(&'a str, &'a str)>,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) form: Option<&'a [(&'a str, &'a str)]>,
    pub(crate) json: Option<Value>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON; `null` where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A member of the body that is a text.
    pub(crate) fn text(&self, name: &str) -> Result<String, String> {
        let json = self.json();
        let text = json.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| format!("{}: there is no `{name}` in the answer", self.status))
    }

    /// This answer, if it has the status that it must have.
    pub(crate) fn expect(self, status: u16) -> Result<Self, String> {
        if self.status == status {
            Ok(self)
        } else {
            let body: String = self.body.chars().take(300).collect();
            Err(format!("{} where {status} was expected: {body}", self.status))
        }
    }
}

impl Actor {
    /// Somebody at pages of this origin, without cookies yet.
    pub(crate) fn new(origin: &str) -> Self {
        // The machine may be busy with other things than the story.
        let limits = TransportLimits { timeout: PATIENCE, ..TransportLimits::default() };
        Self {
            transport: Transport::new(limits),
            origin: origin.to_owned(),
            cookies: BTreeMap::new(),
        }
    }

    /// Makes a request and keeps the cookies that the answer sets.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        address: &str,
        ask: Ask<'_>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(address);
        request = request.header(header::USER_AGENT, "tegata-demo/1 (story)");
        if !self.cookies.is_empty() {
            let pairs: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if !matches!(method, "GET" | "HEAD") {
            request = request.header(header::ORIGIN, &self.origin);
        }
        if let Some(token) = ask.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((id, secret)) = ask.basic {
            let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
            request = request.header(header::AUTHORIZATION, format!("Basic {both}"));
        }
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let body = match (ask.form, ask.json) {
            (Some(pairs), _) => {
                let kind = "application/x-www-form-urlencoded";
                request = request.header(header::CONTENT_TYPE, kind);
                form(pairs)
            }
            (None, Some(json)) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                json.to_string()
            }
            (None, None) => String::new(),
        };
        let request = request.body(Bytes::from(body)).map_err(|error| error.to_string())?;
        let response = self.transport.send(request).await.map_err(|error| error.to_string())?;
        self.keep(&response);
        let location = response.headers().get(header::LOCATION);
        Ok(Answer {
            status: response.status().as_u16(),
            location: location.and_then(|it| it.to_str().ok()).map(str::to_owned),
            body: String::from_utf8_lossy(response.body()).into_owned(),
        })
    }

    fn keep(&mut self, response: &Response<Bytes>) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let pair = line.to_str().ok().and_then(|line| line.split(';').next());
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                if value.is_empty() {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
    }
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The value of an input of a page, by its name.
pub(crate) fn input(page: &str, name: &str) -> Option<String> {
    let tag = page
        .split('<')
        .find(|tag| tag.starts_with("input") && tag.contains(&format!("name=\"{name}\"")))?;
    let (_, rest) = tag.split_once("value=\"")?;
    rest.split('"').next().map(unescaped)
}

/// Where the form of a page is sent.
pub(crate) fn action(page: &str) -> Option<String> {
    let tag =
        page.split('<').find(|tag| tag.starts_with("form") && tag.contains("method=\"post\""))?;
    let (_, rest) = tag.split_once("action=\"")?;
    rest.split('"').next().map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("&#38;", "&").replace("&amp;", "&").replace("&#x2F;", "/").replace("&#47;", "/")
}
