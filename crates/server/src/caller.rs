//! Who makes a request, as far as one can tell before they prove anything.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use tegata_session::{
    CookieName, CookieProblem, CrossOrigin, Received, Said, Sender, Sent, Traits,
    fingerprint::HINTS,
};

use crate::app::App;

/// The address at the other end of the connection. Whoever serves the router puts it among the
/// extensions of each request; without it, the caller is nobody, from nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Default for Peer {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// Who makes a request.
#[derive(Clone)]
pub(crate) struct Caller {
    /// From where: the peer, or whom trusted proxies name.
    pub(crate) address: IpAddr,
    /// With what kind of browser, from which network.
    pub(crate) binding: tegata_session::Binding,
    /// What that browser says of itself.
    pub(crate) traits: Traits,
    method: String,
    cookies: Vec<Vec<u8>>,
    origins: Vec<Vec<u8>>,
    sites: Vec<Vec<u8>>,
    csrf: Option<String>,
}

/// The header that carries the CSRF token of a script.
pub(crate) const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The header in which scripts say what the server cannot see.
pub(crate) const DEVICE_HINTS: HeaderName = HeaderName::from_static(HINTS);

/// From where a request comes: the peer, or whom trusted proxies name.
pub(crate) fn address(app: &App, headers: &HeaderMap, extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<Peer>().copied().unwrap_or_default();
    let proxies = app.proxies();
    let forwarded = headers.get_all(proxies.forwarded_by.header()).into_iter();
    proxies.client(peer.0, forwarded.map(HeaderValue::as_bytes))
}

/// From which site's page a request with these lines of `Origin` comes, judged as if it changed something.
fn as_if_changing(app: &App, origin: &[&[u8]]) -> Result<Sent, CrossOrigin> {
    let sender = Sender { method: "POST", origin, fetch_site: &[] };
    tegata_session::same_origin_verdict(&sender, app.origins())
}

/// The origin whose scripts send a request and may read what is made for cookies.
pub(crate) fn script(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let lines = headers.get_all(header::ORIGIN).into_iter().map(HeaderValue::as_bytes);
    let may = as_if_changing(app, &lines.collect::<Vec<_>>()) == Ok(Sent::Allowed);
    may.then(|| origin.clone())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let all = |name: HeaderName| parts.headers.get_all(name).into_iter();
        let bytes = |name| all(name).map(|value| value.as_bytes().to_vec()).collect();
        let address = address(app, &parts.headers, &parts.extensions);
        let agent = parts.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
        let lines = |name| all(name).map(HeaderValue::as_bytes).collect::<Vec<_>>();
        let traits = Traits::of(&Said {
            language: &lines(header::ACCEPT_LANGUAGE),
            codings: &lines(header::ACCEPT_ENCODING),
            hints: &lines(DEVICE_HINTS),
            range: parts.headers.contains_key(header::RANGE),
        });
        Ok(Self {
            address,
            binding: tegata_session::Binding::of(address, agent),
            traits,
            method: parts.method.as_str().to_owned(),
            cookies: bytes(header::COOKIE),
            origins: bytes(header::ORIGIN),
            sites: bytes(FETCH_SITE),
            csrf: parts.headers.get(CSRF_TOKEN).and_then(|it| it.to_str().ok()).map(str::to_owned),
        })
    }
}

impl fmt::Debug for Caller {
    /// From where: the rest is credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.address)
    }
}

impl Caller {
    /// The cookies of ours that it sent.
    ///
    /// # Errors
    /// [`CookieProblem`]: then none of them can be believed.
    pub(crate) fn cookies(&self, app: &App) -> Result<Received<'_>, CookieProblem> {
        app.cookies().read(self.cookies.iter().map(Vec::as_slice))
    }

    /// One of ours, where the cookies can be read.
    pub(crate) fn cookie(&self, app: &App, name: CookieName) -> Option<&str> {
        self.cookies(app).ok().and_then(|received| received.get(name))
    }

    /// From which site's page it comes.
    ///
    /// # Errors
    /// [`CrossOrigin`]: it changes something, and comes from a page that may not.
    pub(crate) fn sent(&self, app: &App) -> Result<Sent, CrossOrigin> {
        let origin: Vec<_> = self.origins.iter().map(Vec::as_slice).collect();
        let fetch_site: Vec<_> = self.sites.iter().map(Vec::as_slice).collect();
        let sender = Sender { method: &self.method, origin: &origin, fetch_site: &fetch_site };
        tegata_session::same_origin_verdict(&sender, app.origins())
    }

    /// From which site's page it comes, judged as if it changed something. Fetch metadata is left
    /// out: a preflight has none.
    pub(crate) fn as_if_changing(&self, app: &App) -> Result<Sent, CrossOrigin> {
        as_if_changing(app, &self.origins.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The value of `X-CSRF-Token`.
    pub(crate) fn csrf(&self) -> Option<&str> {
        self.csrf.as_deref()
    }

    /// What refresh tokens of public clients are bound to.
    pub(crate) fn place(&self) -> tegata_token::Binding {
        tegata_token::Binding::Network {
            network: self.binding.network.to_string(),
            agent: self.binding.agent.to_string(),
        }
    }
}
