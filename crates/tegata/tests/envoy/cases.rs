//! Requests, generated from a seed: every method, shape of a path, credential and field with every other.

/// A source of numbers that begins anew with each seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// The first in one of two cases, otherwise any.
    fn mostly<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        if self.below(2) == 0 { &of[0] } else { self.one(of) }
    }
}

/// A request, as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    pub(crate) credential: &'static str,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Body,
}

/// What comes behind the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Length,
    Chunks,
}

/// What callers show. What it is made of is for the test to say.
pub(crate) const CREDENTIALS: [&str; 17] = [
    "customer",
    "none",
    "admin",
    "machine",
    "taken back",
    "cut off",
    "other scheme",
    "small letters",
    "no scheme",
    "nonsense",
    "twice",
    "with an API key",
    "an API key that is none",
    "session",
    "session with csrf",
    "two sessions",
    "without its proof",
];

const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "get", "PURGE", "TRACE", "GET"];

const PREFIXES: [&str; 18] = [
    "/echo",
    "/public/echo",
    "/staff/echo",
    "/catalogue/products",
    "/orders/orders",
    "/users/me",
    "/shop",
    "/nowhere",
    "",
    "/health",
    "/login",
    "/api/auth/session",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
    "/ECHO",
    "//echo",
    "/echo/..",
    "/e%63ho",
];

const SHAPES: [&[u8]; 44] = [
    b"/x",
    b"",
    b"/",
    b"/a%20b/c",
    b"/%61",
    b"/a//b",
    b"/./x",
    b"/../x",
    b"/../../staff/echo/x",
    b"/%2e%2e/x",
    b"/%2E/x",
    b"/a/%2e%2e%2fx",
    b"/a%2fb",
    b"/a%2Fb",
    b"/a%5cb",
    b"/a\\b",
    b"/a;v=1",
    b"/..;/admin",
    b"/a%00b",
    b"/a%0d%0ab",
    b"/\xc3\xa9",
    b"/\xff",
    b"/%c3%a9",
    b"/%ff",
    b"/%",
    b"/%zz",
    b"/%2",
    b"?x=1",
    b"?x=1&y=%20&x=2",
    b"/x?a=b?c",
    b"/x?",
    b"/x?a=%2e%2e/%00",
    b"/x?a=\"b\"",
    b"/x?a=../..",
    b"/a%23b",
    b"/a%3fb",
    b"/~a!$&'()*+,=:@",
    b"/a|b",
    b"/a\"b",
    b"/a<b>",
    b"/a{b}",
    b"/a^b`c",
    b"/1%20UNION%20SELECT%20x",
    b"/x'%20OR%20'1'='1",
];

const FIELDS: [(&str, &[u8]); 54] = [
    ("Accept", b"*/*"),
    ("Accept", b"text/html, application/json;q=0.5"),
    ("X-User-ID", b"usr_mallory"),
    ("x_user_id", b"usr_mallory"),
    ("X.User.ID", b"usr_mallory"),
    ("X-User-Roles", b"admin"),
    ("X_User_Roles", b"admin"),
    ("X-Internal-Token", b"forged"),
    ("X-Request-ID", b"forged"),
    ("X-Service-Name", b"forged"),
    ("X-User-Context", b"forged"),
    ("Txn-Token", b"forged"),
    ("Client-Cert", b":Zm9yZ2Vk:"),
    ("X-Forwarded-For", b"203.0.113.9"),
    ("X-Forwarded-Proto", b"https"),
    ("X-Forwarded-Host", b"evil.example"),
    ("Forwarded", b"for=203.0.113.9;proto=https"),
    ("X-Real-IP", b"203.0.113.9"),
    ("X-Original-URL", b"/staff/echo/x"),
    ("X-Envoy-Original-Path", b"/staff/echo/x"),
    ("X-Envoy-Decorator-Operation", b"forged"),
    ("X-HTTP-Method-Override", b"DELETE"),
    ("X-Middleware-Subrequest", b"forged"),
    ("Remote-User", b"root"),
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("traceparent", b"00-nonsense"),
    ("tracestate", b"a=b"),
    ("Cookie", b"csrf_token=x; theme=dark"),
    ("Cookie", b"theme=dark"),
    ("Cookie", b"cookie_consent=x; refresh_token=y"),
    ("Cookie", b"shop_visits=1; a=b"),
    ("Cookie", b" ;;=; session_id ; x"),
    ("X-Note", b"first"),
    ("X-Note", b"second"),
    ("X-Note", b"\xff\xfe"),
    ("X-Note", b""),
    ("Authorization", b""),
    ("Content-Type", b"application/json"),
    ("Range", b"bytes=0-1"),
    ("If-None-Match", b"\"x\""),
    ("Origin", b"http://evil.example"),
    ("Access-Control-Request-Method", b"POST"),
    ("Service-Worker", b"script"),
    ("X-Device-Hints", b"a"),
    ("TE", b"trailers"),
    ("TE", b"gzip"),
    ("Expect", b"100-continue"),
    ("Expect", b"a miracle"),
    ("Upgrade", b"h2c"),
    ("Upgrade", b"irc"),
    ("Connection", b"X-Note"),
    ("Keep-Alive", b"timeout=5"),
    ("Proxy-Connection", b"keep-alive"),
    ("Proxy-Authorization", b"Basic eDp5"),
];

const BODIES: [Body; 4] = [Body::None, Body::Length, Body::Chunks, Body::None];

impl Case {
    /// The next one.
    pub(crate) fn throw(dice: &mut Dice) -> Self {
        let method = (*dice.mostly(&METHODS)).to_owned();
        let (prefix, shape) = (dice.mostly(&PREFIXES), dice.mostly(&SHAPES));
        let mut target = [prefix.as_bytes(), *shape].concat();
        match dice.below(200) {
            0 => target = b"*".to_vec(),
            1 => target.extend([b'a'; 8300]),
            2 => target.extend([b'a'; 7900]),
            3 => target.extend(b"#fragment"),
            _ => {}
        }
        if target.is_empty() || target.starts_with(b"?") {
            target.insert(0, b'/');
        }
        let credential = *dice.mostly(&CREDENTIALS);
        let many = dice.below(4);
        let mut fields: Vec<(String, Vec<u8>)> = (0..many)
            .map(|_| {
                let (name, value) = dice.one(&FIELDS);
                ((*name).to_owned(), value.to_vec())
            })
            .collect();
        match dice.below(200) {
            0 => fields.push(("X-Long".to_owned(), vec![b'a'; 9000])),
            1 => fields.push(("X-Long".to_owned(), vec![b'a'; 8000])),
            // A few more come on the way, and many servers take a hundred.
            2 => fields.extend((0..80).map(|number| (format!("X-Many-{number}"), b"y".to_vec()))),
            3 => fields.extend((0..105).map(|number| (format!("X-Many-{number}"), b"y".to_vec()))),
            4 => fields.push((format!("X-{}", "n".repeat(300)), b"y".to_vec())),
            _ => {}
        }
        let body = match method.as_str() {
            "POST" | "PUT" | "PATCH" => *dice.one(&BODIES),
            _ => Body::None,
        };
        Self { method, target, credential, fields, body }
    }

    /// Whether a field of this name is written.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// The same with a value.
    pub(crate) fn says(&self, name: &str, value: &[u8]) -> bool {
        self.fields.iter().any(|(own, said)| own.eq_ignore_ascii_case(name) && said == value)
    }

    /// How often a field of this name is written.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).count()
    }

    /// Its bytes, with what its caller shows.
    pub(crate) fn bytes(&self, shown: &[(String, String)]) -> Vec<u8> {
        let mut all = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        let mut add = |name: &str, value: &[u8]| {
            all.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        add("Host", b"shop.example");
        for (name, value) in shown {
            add(name, value.as_bytes());
        }
        for (name, value) in &self.fields {
            add(name, value);
        }
        match self.body {
            Body::None => {}
            Body::Length => add("Content-Length", b"5"),
            Body::Chunks => add("Transfer-Encoding", b"chunked"),
        }
        add("Connection", b"close");
        all.extend(b"\r\n");
        match self.body {
            Body::None => {}
            Body::Length => all.extend(b"hello"),
            Body::Chunks => all.extend(b"5\r\nhello\r\n0\r\n\r\n"),
        }
        all
    }
}
