//! Is this one request, and can it be read in one way?

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use http::{HeaderValue, Method, StatusCode, Version, header, uri::Authority};
use tegata_core::{Quota, SinceBoot};
use tegata_mesh::{NormalPath, PathRefused, SqlShape, path};

use crate::{
    config::Config,
    gate::Gate,
    guard::{LARGEST_BLOCK, LARGEST_VALUE, MOST_FIELDS},
    head::{Fields, Head, Once},
    phase::limit::limit_address,
    refusal::{Refusal, Refused},
    socket,
    tally::{Kind, Verdict},
};

static ADDRESS: LazyLock<Arc<str>> = LazyLock::new(|| "address".into());
static SIGN_IN: LazyLock<Arc<str>> = LazyLock::new(|| "sign-in".into());

/// A request that can be read in one way.
#[derive(Debug)]
pub(crate) struct Admitted<'r> {
    pub(crate) fields: Fields<'r>,
    /// The target, normalised.
    pub(crate) target: tegata_mesh::Target<'r>,
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) behind_proxy: bool,
    /// What a trusted proxy says in `Forwarded` of how the request came to it: the scheme and the
    /// host.
    pub(crate) came: [Option<String>; 2],
    /// What the limit of the address said.
    pub(crate) limit: Vec<Verdict>,
}

/// Admits a request, or says what is wrong with it. The address is limited first, so that hostile
/// requests are counted too.
pub(crate) async fn admit<'r>(
    head: &Head<'r>,
    gate: &Gate,
    now: SinceBoot,
) -> Result<Admitted<'r>, Refused> {
    let fields = Fields::read(head.headers);
    let behind_proxy = gate.proxies.are_at(head.peer);
    let forwarded = head.headers.get_all(gate.proxies.forwarded_by.header()).iter();
    let said = gate.proxies.say(head.peer, forwarded.map(HeaderValue::as_bytes));
    let client = said.client;
    let limit = match of_address(gate, client) {
        Some(quota) => {
            let what = (&*ADDRESS, Kind::Address, "gateway");
            limit_address(gate, what, client, quota, (now, Vec::new())).await?
        }
        None => Vec::new(),
    };
    check_sizes(head, &fields)?;
    check_framing(&fields)?;
    check_host(head, &fields, &gate.config)?;
    check_method(head.method)?;
    check_expectations(&fields)?;
    let text = head.uri.path_and_query().map_or("", |target| target.as_str());
    let target = tegata_mesh::Target::parse(text.as_bytes()).map_err(refused_path)?;
    if let Some(shape) = SqlShape::of(target.path()) {
        return Err(Refusal::bad_request(shape.id(), "the path has the shape of an SQL statement"));
    }
    let limit = match of_sign_in(gate, head.method, target.path(), client) {
        Some(quota) => {
            let what = (&*SIGN_IN, Kind::SignIn, "sign-in");
            // Whoever is asked about an address has been waited for.
            let told = (gate.node.since_boot(), limit);
            limit_address(gate, what, client, quota, told).await?
        }
        None => limit,
    };
    Ok(Admitted { fields, target, client, behind_proxy, came: [said.proto, said.host], limit })
}

/// Counts a request of which nothing can be read. Behind a proxy it is nobody's: whose it is would
/// stand in what cannot be read, and the proxy answers for many.
pub(crate) fn count_unread(gate: &Gate, peer: IpAddr, now: SinceBoot) {
    let client = peer.to_canonical();
    let quota = of_address(gate, client).filter(|_| !gate.proxies.are_at(peer));
    let Some(quota) = quota else { return };
    // It is refused whatever the limit says.
    for policy in gate.tally.of_address((&ADDRESS, Kind::Address, "gateway"), client, quota) {
        gate.tally.note(&gate.config.limits, &policy, now);
    }
}

/// Whether requests of this address are counted.
pub(crate) fn is_counted(gate: &Gate, client: IpAddr) -> bool {
    !gate.config.limits.exempt.iter().any(|network| network.contains(client))
}

/// How often an address may come.
fn of_address(gate: &Gate, client: IpAddr) -> Option<Quota> {
    let limit = gate.config.limits.per_address.filter(|_| is_counted(gate, client))?;
    Some(limit.into())
}

/// Guessing passwords is limited more than other requests are: how often, where this is a guess.
fn of_sign_in(
    gate: &Gate,
    method: &Method,
    path: &NormalPath<'_>,
    client: IpAddr,
) -> Option<Quota> {
    let tries = |path: &str| {
        ["/login", "/api/auth/login", "/api/auth/mfa"].iter().any(|end| path.ends_with(end))
    };
    if *method != Method::POST
        || !tries(path.as_str())
        || gate.config.public.is_none()
        || !is_public(&gate.config, path)
    {
        return None;
    }
    let limit = gate.config.limits.sign_in.filter(|_| is_counted(gate, client))?;
    Some(limit.into())
}

/// Whether Tegata's own pages and endpoints are asked for.
pub(crate) fn is_public(config: &Config, path: &NormalPath<'_>) -> bool {
    config.is_public(path.as_str())
}

/// Refuses the script of a service worker that would stand before Tegata's own pages: it would see what
/// people type there, and answer in their place. A browser lets a worker stand before what is in the directory
/// of its script, and says what it asks for (Service Workers §6.3).
pub(crate) fn check_worker(
    head: &Head<'_>,
    config: &Config,
    path: &NormalPath<'_>,
) -> Result<(), Refused> {
    let directory = path.as_str().rsplit_once('/').map_or("", |(directory, _)| directory);
    let covers = |ours: &String| {
        ours.strip_prefix(directory)
            .is_some_and(|rest| directory.is_empty() || rest.starts_with('/'))
    };
    if config.public.is_none()
        || !head.headers.contains_key("service-worker")
        || !config.public_paths.iter().any(covers)
    {
        return Ok(());
    }
    let detail = "a service worker here would stand before the pages on which people sign in: serve its \
                  script in a directory of its own";
    Err(Refusal::new(StatusCode::FORBIDDEN, "worker_scope", detail))
}

/// The same limits as of HTTP/1, for heads that came in another way.
fn check_sizes(head: &Head<'_>, fields: &Fields<'_>) -> Result<(), Refused> {
    let too_large = |id, detail| {
        Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, id, detail).closing())
    };
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > path::LONGEST) {
        return Err(refused_path(PathRefused::TooLong));
    }
    if fields.count > MOST_FIELDS {
        return too_large("too_many_fields", "there are more than 100 header fields");
    }
    if fields.bytes > LARGEST_BLOCK || fields.longest > LARGEST_VALUE {
        return too_large("fields_too_large", "a header field, or all of them, are too large");
    }
    Ok(())
}

/// RFC 9112 §6.1: what two servers could frame differently is not passed on.
fn check_framing(fields: &Fields<'_>) -> Result<(), Refused> {
    let digits = |value: &HeaderValue| {
        (1..=18).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_digit)
    };
    let refuse = |id, detail| Err(Refusal::bad_request(id, detail).closing());
    match fields.length {
        Once::Several => refuse("content_length", "`Content-Length` stands more than once"),
        Once::One(_) if fields.has_coding => refuse(
            "ambiguous_framing",
            "`Content-Length` and `Transfer-Encoding` stand side by side",
        ),
        Once::One(value) if !digits(value) => {
            refuse("content_length", "`Content-Length` is not one number")
        }
        Once::Absent | Once::One(_) => Ok(()),
    }
}

/// RFC 9112 §3.2: one host, well-formed, and the same wherever it is named.
fn check_host(head: &Head<'_>, fields: &Fields<'_>, config: &Config) -> Result<(), Refused> {
    let refuse = |detail| Err(Refusal::bad_request("host", detail).closing());
    let named = match fields.host {
        Once::Several => return refuse("`Host` stands more than once"),
        Once::One(value) => Some(value.as_bytes()),
        Once::Absent => None,
    };
    let target = head.uri.authority().map(Authority::as_str);
    if let (Some(named), Some(target)) = (named, target)
        && !named.eq_ignore_ascii_case(target.as_bytes())
    {
        return refuse("`Host` is not the host of the target");
    }
    let host = match named.or(target.map(str::as_bytes)) {
        Some(host) => host,
        None if head.version == Version::HTTP_10 => return Ok(()),
        None => return refuse("there is no `Host`"),
    };
    if host_name(host).is_none() {
        return refuse("`Host` is not a name or address with an optional port");
    }
    if is_served(&config.hosts, host) {
        Ok(())
    } else {
        let detail = "this host is not served here";
        Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
    }
}

/// Whether a host is one of these, where there are any; and a host at all.
pub(crate) fn is_served(hosts: &[String], host: &[u8]) -> bool {
    let known = |name: &[u8]| hosts.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name));
    host_name(host).is_some_and(|name| hosts.is_empty() || known(name))
}

/// The name in `host`, without the port: letters, digits, hyphens, dots and underscores, or an IPv6
/// address in brackets.
fn host_name(host: &[u8]) -> Option<&[u8]> {
    let (name, port) = if host.first() == Some(&b'[') {
        let end = host.iter().position(|byte| *byte == b']')?;
        let (name, rest) = host.split_at_checked(end + 1)?;
        let inner = name.get(1..end)?;
        let legal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        (inner.iter().all(legal) && !inner.is_empty()).then_some((name, rest))?
    } else {
        let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
        let (name, rest) = host.split_at_checked(end)?;
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        (name.iter().all(legal) && (1..=255).contains(&name.len())).then_some((name, rest))?
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => {
            (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    is_port.then_some(name)
}

fn check_method(method: &Method) -> Result<(), Refused> {
    if *method != Method::CONNECT && *method != Method::TRACE {
        return Ok(());
    }
    let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    let detail = "this method is not passed on";
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .with(header::ALLOW, allow)
        .closing())
}

/// Another protocol is refused before anything of it is read: what a client sends ahead of the
/// answer would be taken for requests otherwise (RFC 9931). An offer of HTTP/2 without TLS is
/// passed over, because clients make it with every first request. Whether there are WebSockets, the
/// route says.
fn check_expectations(fields: &Fields<'_>) -> Result<(), Refused> {
    match fields.upgrade {
        Once::Absent => {}
        Once::One(protocol) if protocol.as_bytes().eq_ignore_ascii_case(b"h2c") => {}
        Once::One(protocol) if socket::is_websocket(protocol.as_bytes()) => {}
        Once::One(_) => return Err(socket::not_here()),
        Once::Several => {
            let detail = "`Upgrade` stands more than once";
            return Err(Refusal::bad_request("several_upgrades", detail).closing());
        }
    }
    if fields.expects_more {
        let detail = "nothing but `100-continue` can be expected";
        return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "expectation", detail).closing());
    }
    Ok(())
}

fn refused_path(refused: PathRefused) -> Refused {
    let status = match refused {
        PathRefused::TooLong => StatusCode::URI_TOO_LONG,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, refused.id(), refused.to_string())
}
