//! A browser: it keeps cookies, says where it comes from, and follows forms.

use serde_json::{Value, json};

use super::{
    demo::{Client, Demo, Person},
    http::{Answer, Ask, Place, form, parameter},
};

/// Where redirects of the demo's clients go.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9999/callback";

/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the browser says that it is.
pub(crate) const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0";

/// A browser at pages of one origin.
pub(crate) struct Browser {
    place: Place,
    cookies: Vec<Cookie>,
    /// What scripts send as `X-CSRF-Token`.
    pub(crate) csrf: String,
}

#[derive(Debug, Clone)]
struct Cookie {
    name: String,
    value: String,
    path: String,
}

impl Browser {
    /// A browser that nobody is signed in with.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, cookies: Vec::new(), csrf: String::new() }
    }

    /// A browser in which `person` signed in over the browser API; and the answer.
    pub(crate) fn signed_in(place: Place, person: &Person) -> (Self, Value) {
        let mut browser = Self::new(place);
        let answer = browser.sign_in(person).expect(200).json();
        browser.csrf = answer["csrf_token"].as_str().unwrap().to_owned();
        (browser, answer)
    }

    /// Signs in over the browser API.
    pub(crate) fn sign_in(&mut self, person: &Person) -> Answer {
        let credentials = json!({"username": person.username, "password": person.password});
        self.send(self.place.post("/api/auth/login").json(&credentials))
    }

    /// Makes a request as the browser does, and keeps the cookies that the answer sets.
    pub(crate) fn send(&mut self, ask: Ask) -> Answer {
        let answer = self.dressed(ask).send();
        self.keep(&answer);
        answer
    }

    /// A request with the browser's cookies, and what it says of itself.
    fn dressed(&self, ask: Ask) -> Ask {
        let path = ask.target.split('?').next().unwrap().to_owned();
        let sent = self.cookies.iter().filter(|cookie| covers(&cookie.path, &path));
        let pairs: Vec<_> =
            sent.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        let mut ask = ask.field("User-Agent", AGENT);
        if !pairs.is_empty() {
            ask = ask.field("Cookie", &pairs.join("; "));
        }
        if !matches!(ask.method.as_str(), "GET" | "HEAD") {
            ask = ask.field("Origin", &self.place.origin());
            ask = ask.field("Sec-Fetch-Site", "same-origin");
        }
        ask
    }

    /// A call of a script that changes something.
    pub(crate) fn change(&mut self, ask: Ask) -> Answer {
        let csrf = self.csrf.clone();
        self.send(ask.field("X-CSRF-Token", &csrf))
    }

    /// The same, to be sent by somebody else.
    pub(crate) fn changing(&self, ask: Ask) -> Ask {
        self.dressed(ask.field("X-CSRF-Token", &self.csrf))
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.send(self.place.get(target))
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let cookie = self.cookies.iter().find(|cookie| cookie.name == name);
        cookie.map(|cookie| cookie.value.as_str())
    }

    /// Replaces the value of a cookie, or plants one.
    pub(crate) fn plant(&mut self, name: &str, value: &str) {
        self.cookies.retain(|cookie| cookie.name != name);
        let (name, value) = (name.to_owned(), value.to_owned());
        self.cookies.push(Cookie { name, value, path: "/".to_owned() });
    }

    /// Sends a page's form with its hidden fields and these.
    pub(crate) fn submit(&mut self, page: &str, fields: &[(&str, &str)]) -> Answer {
        let action = attribute(tag(page, "form", "method=\"post\"").unwrap(), "action").unwrap();
        let hidden: Vec<(String, String)> = tags(page, "input")
            .filter(|tag| tag.contains("type=\"hidden\""))
            .map(|tag| (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap()))
            .collect();
        let mut all: Vec<(&str, &str)> =
            hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(fields);
        self.send(self.place.post(&action).form(&all))
    }

    /// Goes from the authorization endpoint to the callback, signing in and agreeing on the way;
    /// answers the callback's address.
    pub(crate) fn authorize(&mut self, query: &[(&str, &str)], person: &Person) -> String {
        let mut answer = self.get(&format!("/oauth2/authorize?{}", form(query)));
        // At most: sign-in page, its answer, consent page, its answer, and redirects between them.
        for _ in 0..8 {
            if answer.status == 200 {
                let page = answer.text();
                answer = if tag(&page, "input", "name=\"password\"").is_some() {
                    let (username, password) = (&person.username, &person.password);
                    self.submit(&page, &[("username", username), ("password", password)])
                } else {
                    assert!(tag(&page, "button", "name=\"decision\" value=\"allow\"").is_some());
                    self.submit(&page, &[("decision", "allow")])
                };
            } else {
                let location = answer.location().to_owned();
                if location.starts_with("http://127.0.0.1:9999/") {
                    return location;
                }
                assert!(location.starts_with('/'), "{location}");
                answer = self.get(&location);
            }
        }
        panic!("no answer came to the callback");
    }

    fn keep(&mut self, answer: &Answer) {
        for line in answer.all("set-cookie") {
            let mut parts = line.split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let path = parts.find_map(|part| part.strip_prefix("Path=")).unwrap();
            self.cookies.retain(|cookie| cookie.name != name);
            if !line.contains("Max-Age=0") {
                let (name, value) = (name.to_owned(), value.to_owned());
                self.cookies.push(Cookie { name, value, path: path.to_owned() });
            }
        }
    }
}

/// The parameters of an authorization request.
pub(crate) fn authorization(client: &Client) -> Vec<(&str, &str)> {
    vec![
        ("client_id", &client.id),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile email roles"),
        ("state", "a state & more"),
        ("nonce", "a nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

/// A code for `client`, for which `person` signed in and agreed.
pub(crate) fn a_code(demo: &Demo, client: &Client, person: &Person) -> String {
    let mut browser = Browser::new(demo.public);
    let address = browser.authorize(&authorization(client), person);
    parameter(&address, "code").unwrap_or_else(|| panic!("{address}"))
}

/// Redeems a code.
pub(crate) fn redeem(demo: &Demo, client: &Client, code: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    ask_token(demo, client, &fields)
}

/// The tokens of a code.
pub(crate) fn tokens(demo: &Demo, client: &Client, person: &Person) -> Value {
    let code = a_code(demo, client, person);
    redeem(demo, client, &code).expect(200).json()
}

/// Asks the token endpoint, as the client that it is.
pub(crate) fn ask_token(demo: &Demo, client: &Client, fields: &[(&str, &str)]) -> Answer {
    as_client(demo.public.post("/oauth2/token"), client, fields).send()
}

/// A form that a client proves itself with: in the header, where it has a secret.
pub(crate) fn as_client(ask: Ask, client: &Client, fields: &[(&str, &str)]) -> Ask {
    match &client.secret {
        Some(secret) => ask.basic(&client.id, secret).form(fields),
        None => ask.form(&[fields, &[("client_id", client.id.as_str())]].concat()),
    }
}

/// The tags of a page with this name.
pub(crate) fn tags<'p>(page: &'p str, name: &'p str) -> impl Iterator<Item = &'p str> {
    page.split('<')
        .filter(move |tag| tag.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))
        .map(|tag| tag.split('>').next().unwrap())
}

/// The first tag with this name that has `part` in it.
pub(crate) fn tag<'p>(page: &'p str, name: &'p str, part: &str) -> Option<&'p str> {
    tags(page, name).find(|tag| tag.contains(part))
}

/// An attribute of a tag.
pub(crate) fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    Some(value.replace("&#38;", "&").replace("&#47;", "/").replace("&amp;", "&"))
}

/// RFC 6265 §5.1.4.
fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
