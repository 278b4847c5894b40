//! What does the service say? The request as it is sent there, and its answer as it comes back.

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::PathAndQuery};
use tegata_core::ForwardedBy;
use tegata_session::Agreed;
use tegata_token::TargetUri;

use crate::{
    config::Config,
    head::{Fields, Head, Once, is_hop},
    phase::admit::{Admitted, is_served},
    refusal::{Refusal, Refused},
    trace::{Name, trace_of},
};

mod cookies;

pub(crate) use cookies::{Passing, agreed};

static X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
static X_USER_ROLES: HeaderName = HeaderName::from_static("x-user-roles");
static X_INTERNAL_TOKEN: HeaderName = HeaderName::from_static("x-internal-token");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Tells a client that its token has ended since it asked, or is about to: that it is time for another.
pub(crate) static X_TOKEN_REFRESH: HeaderName = HeaderName::from_static("x-token-refresh");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
static SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// What a browser says of itself so that its session is bound to it, which is nothing to a service.
static X_DEVICE_HINTS: HeaderName = HeaderName::from_static("x-device-hints");

/// What a request becomes on its way to a service, beside its body. Owns what it needs of the head,
/// so that the head can be changed.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) target: PathAndQuery,
    strip: Vec<HeaderName>,
    /// The fields that tell where the request comes from.
    forwarded: [HeaderValue; 2],
    host: Option<HeaderValue>,
    /// The `Cookie` field, where it must change; `Some(None)`: all of it is left out.
    cookie: Option<Option<HeaderValue>>,
    /// A trace to start, in place of what the client says.
    traceparent: Option<HeaderValue>,
}

/// Who sent a request, on this side of the gateway.
pub(crate) struct Origin<'o> {
    pub(crate) headers: &'o HeaderMap,
    pub(crate) peer: &'o HeaderValue,
    pub(crate) secure: bool,
    /// `Host`, or the authority of the target.
    pub(crate) host: Option<HeaderValue>,
    /// Which cookies reach who receives it.
    pub(crate) passing: Passing<'o>,
    pub(crate) keep_traceparent: bool,
    pub(crate) forwarded_by: ForwardedBy,
    /// The names under which the gateway may be asked; none: any.
    pub(crate) hosts: &'o [String],
    /// Whether who receives it is told the client alone, not the proxies between. Tegata's own pages
    /// are: they believe the gateway about who asks, and know no proxy before it.
    pub(crate) client_alone: bool,
}

impl<'o> Origin<'o> {
    /// The origin of a request. `peer` is how the other end of its connection is written.
    pub(crate) fn of(
        head: &Head<'o>,
        admitted: &Admitted<'_>,
        peer: &'o HeaderValue,
        config: &'o Config,
    ) -> Self {
        let named = admitted.fields.host.one().cloned();
        let authority = || HeaderValue::from_str(head.uri.authority()?.as_str()).ok();
        Self {
            headers: head.headers,
            peer,
            secure: head.secure,
            host: named.or_else(authority),
            passing: Passing::new(&config.private_cookies, None, Agreed::NOTHING),
            keep_traceparent: config.keep_traceparent,
            forwarded_by: config.forwarded_by,
            hosts: &config.hosts,
            client_alone: false,
        }
    }

    /// The origin that was asked, as its pages know it.
    pub(crate) fn asked_at_origin(&self, admitted: &Admitted<'_>) -> Option<String> {
        let (scheme, host) = (scheme(self, admitted), forwarded_host(self, admitted)?);
        Some(format!("{}://{}", scheme.to_str().ok()?, host.to_str().ok()?))
    }

    /// Where a request was sent, as its client knows it.
    pub(crate) fn asked_at(&self, admitted: &Admitted<'_>, path: &str) -> Option<TargetUri> {
        let (scheme, host) = (scheme(self, admitted), forwarded_host(self, admitted)?);
        TargetUri::parse(&format!("{}://{}{path}", scheme.to_str().ok()?, host.to_str().ok()?))
    }
}

/// Who calls, as the service is told.
pub(crate) struct Told {
    pub(crate) user: HeaderValue,
    pub(crate) roles: HeaderValue,
    /// `None`: it is told by the other two alone.
    pub(crate) internal: Option<HeaderValue>,
}

/// How many fields are added to a request at most: `TE` and `Transfer-Encoding` come with its body.
const MOST_ADDED: usize = 11;

impl Outgoing {
    /// What becomes of an admitted request. `path` is the path that the service is asked for.
    pub(crate) fn new(
        admitted: &mut Admitted<'_>,
        path: &str,
        raw: Option<&PathAndQuery>,
        origin: &Origin<'_>,
        name: &Name,
    ) -> Result<Self, Refused> {
        let target = target(path, admitted.target.query(), raw)?;
        let mut strip = std::mem::take(&mut admitted.fields.strip);
        if !origin.client_alone {
            strip.push(X_DEVICE_HINTS.clone());
        }
        let starts = !origin.keep_traceparent || !is_traced(&admitted.fields);
        let cookie =
            admitted.fields.has_cookie.then(|| origin.passing.of_request(origin.headers)).flatten();
        Ok(Self {
            target,
            forwarded: [address(origin, admitted), scheme(origin, admitted)],
            strip,
            host: forwarded_host(origin, admitted),
            cookie,
            traceparent: starts.then(|| name.traceparent()),
        })
    }

    /// Changes the header fields of a request into those that the service gets. What the client said
    /// under names of ours is gone before ours are added.
    pub(crate) fn apply(
        self,
        headers: &mut HeaderMap,
        host: &HeaderValue,
        told: Option<Told>,
        drop_authorization: bool,
        request_id: HeaderValue,
    ) {
        for name in self.strip {
            headers.remove(name);
        }
        if drop_authorization {
            headers.remove(header::AUTHORIZATION);
        }
        match self.cookie {
            None => {}
            Some(None) => {
                headers.remove(header::COOKIE);
            }
            Some(Some(rest)) => {
                headers.insert(header::COOKIE, rest);
            }
        }
        let [address, scheme] = self.forwarded;
        // The map grows once, not twice or three times.
        headers.reserve(MOST_ADDED);
        headers.insert(header::HOST, host.clone());
        headers.insert(&X_FORWARDED_FOR, address);
        headers.insert(&X_FORWARDED_PROTO, scheme);
        if let Some(host) = self.host {
            headers.insert(&X_FORWARDED_HOST, host);
        }
        headers.insert(&X_REQUEST_ID, request_id);
        if let Some(traceparent) = self.traceparent {
            headers.remove(&TRACESTATE);
            headers.insert(&TRACEPARENT, traceparent);
        }
        if let Some(told) = told {
            headers.insert(&X_USER_ID, told.user);
            headers.insert(&X_USER_ROLES, told.roles);
            if let Some(internal) = told.internal {
                headers.insert(&X_INTERNAL_TOKEN, internal);
            }
        }
    }
}

/// The path and the query for the service. The request's own where nothing of it changes.
fn target(
    path: &str,
    query: Option<&str>,
    raw: Option<&PathAndQuery>,
) -> Result<PathAndQuery, Refused> {
    if let Some(raw) = raw.filter(|raw| raw.path() == path && raw.query() == query) {
        return Ok(raw.clone());
    }
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| {
        Refusal::bad_request("target_illegal_byte", "the target holds a byte that must be encoded")
    })
}

fn is_traced(fields: &Fields<'_>) -> bool {
    matches!(fields.traceparent, Once::One(value) if trace_of(value).is_some())
}

/// `X-Forwarded-For`. What a trusted proxy wrote is continued; what a client wrote is replaced.
fn address(origin: &Origin<'_>, admitted: &Admitted<'_>) -> HeaderValue {
    if !admitted.behind_proxy {
        return origin.peer.clone();
    }
    let client = admitted.client.to_string();
    let mut address = Vec::new();
    match origin.forwarded_by {
        _ if origin.client_alone => address.extend_from_slice(client.as_bytes()),
        ForwardedBy::XForwardedFor => {
            for line in origin.headers.get_all(&X_FORWARDED_FOR) {
                address.extend_from_slice(line.as_bytes());
                address.extend_from_slice(b", ");
            }
            address.extend_from_slice(origin.peer.as_bytes());
        }
        ForwardedBy::Forwarded => {
            address.extend_from_slice(client.as_bytes());
            address.extend_from_slice(b", ");
            address.extend_from_slice(origin.peer.as_bytes());
        }
    }
    HeaderValue::try_from(address).unwrap_or_else(|_| origin.peer.clone())
}

/// `X-Forwarded-Proto`: how the request came to the first proxy that is believed, or else to us.
fn scheme(origin: &Origin<'_>, admitted: &Admitted<'_>) -> HeaderValue {
    let [proto, _] = &admitted.came;
    let said = said(origin, admitted, proto.as_ref(), &X_FORWARDED_PROTO);
    let is = |scheme: &str| {
        said.as_ref().is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let secure = is("https") || (origin.secure && !is("http"));
    HeaderValue::from_static(if secure { "https" } else { "http" })
}

/// `X-Forwarded-Host`: for which host the first proxy that is believed was asked, or else we were. A
/// host that is not served here is none that somebody asked for.
fn forwarded_host(origin: &Origin<'_>, admitted: &Admitted<'_>) -> Option<HeaderValue> {
    let [_, host] = &admitted.came;
    let said = said(origin, admitted, host.as_ref(), &X_FORWARDED_HOST);
    said.filter(|host| is_served(origin.hosts, host.as_bytes())).or_else(|| origin.host.clone())
}

/// What a trusted proxy says: in its element of `Forwarded`, or in a field of this name. Only one of
/// the two is its own; the other passes it as the client wrote it.
fn said(
    origin: &Origin<'_>,
    admitted: &Admitted<'_>,
    element: Option<&String>,
    field: &HeaderName,
) -> Option<HeaderValue> {
    match origin.forwarded_by {
        _ if !admitted.behind_proxy => None,
        ForwardedBy::XForwardedFor => origin.headers.get(field).cloned(),
        ForwardedBy::Forwarded => HeaderValue::from_str(element?).ok(),
    }
}

/// Takes out of a response what is for one hop, and what only the gateway may say.
pub(crate) fn clean(headers: &mut HeaderMap) {
    let mut strip: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let kept = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::SET_COOKIE];
        strip.extend(
            names
                .filter_map(|name| HeaderName::from_bytes(name).ok())
                .filter(|name| !kept.contains(name)),
        );
        strip.push(header::CONNECTION);
    }
    for name in headers.keys() {
        let hop = matches!(
            *name,
            header::TRANSFER_ENCODING
                | header::UPGRADE
                | header::PROXY_AUTHENTICATE
                | header::PROXY_AUTHORIZATION
        );
        let ours = [&X_INTERNAL_TOKEN, &X_REQUEST_ID, &X_TOKEN_REFRESH].contains(&name);
        if hop || ours || is_hop(name.as_str()) {
            strip.push(name.clone());
        }
    }
    for name in strip {
        headers.remove(name);
    }
}

/// Takes out of a service's answer what would reach beyond the service: it shares its origin with
/// the pages where people sign in, and may not set or clear their cookies, nor stand between a
/// browser and them.
pub(crate) fn keep_out(headers: &mut HeaderMap, passing: &Passing<'_>) {
    passing.of_answer(headers);
    headers.remove(&CLEAR_SITE_DATA);
    headers.remove(&SERVICE_WORKER_ALLOWED);
}

/// Adds what every answer to the client says.
pub(crate) fn sign(headers: &mut HeaderMap, request_id: HeaderValue, hsts: Option<&HeaderValue>) {
    headers.insert(&X_REQUEST_ID, request_id);
    if !headers.contains_key(header::X_CONTENT_TYPE_OPTIONS) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if let Some(hsts) = hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

#[cfg(test)]
mod tests;
