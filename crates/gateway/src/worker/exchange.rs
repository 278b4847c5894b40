//! One request and its answer, through all phases.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header, request::Parts,
};
use hyper::body::Incoming;
use tegata_core::{SinceBoot, rate::Answer};
use tegata_mesh::{AuthMode, Upstream};
use tegata_session::Agreed;
use tegata_token::ClientCertificate;

use super::{Worker, is_framed};
use crate::{
    body::{Cut, Progress, Reply, Upload},
    certificate, cors, dpop,
    head::{Head, Once},
    phase::{
        admit::{self, Admitted, admit},
        decide::{self, decide},
        forward::{
            Origin, Outgoing, Passing, Told, X_TOKEN_REFRESH, agreed, clean, keep_out, sign,
        },
        identify::{carries_token, identify},
        record::Trail,
    },
    refusal::{Refusal, Refused, limit_fields},
    route::Routing,
    upstream::{Lease, NoConnection, NoResponse, Pool},
    wire::{Connection, Ticket},
};

/// The largest body for Tegata's own endpoints, in bytes.
const LARGEST_PUBLIC: u64 = 1024 * 1024;

/// What carries the secret that the gateway shows to Tegata's own endpoints. A client's is gone by
/// then, like all of this family.
static X_INTERNAL_GATEWAY: HeaderName = HeaderName::from_static("x-internal-gateway");

/// Where an admitted request goes.
enum Passage {
    /// It is answered here.
    Here(Response<Bytes>),
    /// It is sent on.
    On(Box<On>),
}

struct On {
    outgoing: Outgoing,
    /// The service's name, to be told in refusals.
    service: Arc<str>,
    upstreams: Vec<Upstream>,
    told: Option<Told>,
    /// Not one of Tegata's own pages: its answers may not touch what belongs to those.
    is_service: bool,
    /// The cookies that the person agreed to, which a service may set.
    agreed: Agreed,
    drop_authorization: bool,
    largest_body: u64,
    /// The client's certificate, which Tegata's own endpoints are told of.
    certificate: Option<ClientCertificate>,
    limit: Option<(&'static str, Answer)>,
}

/// What one request has with it on its way.
struct Way<'w> {
    trail: Trail,
    /// Cookies to set, whatever becomes of it.
    set_cookie: Vec<HeaderValue>,
    /// The nonce that the answer tells of.
    nonce: Option<HeaderValue>,
    /// Which origin's scripts may read the answer.
    origin: Option<HeaderValue>,
    /// Whether Tegata's own pages are asked for, which say that themselves.
    is_public: bool,
    routing: &'w Routing,
    now: SinceBoot,
}

impl Worker {
    /// Answers a request.
    pub(super) async fn exchange(
        &self,
        (ticket, watched): (Ticket, bool),
        request: Request<Incoming>,
    ) -> Response<Reply> {
        let now = self.gate.node.since_boot();
        self.deadlines.see(now);
        let connection = ticket.connection();
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let routing = self.gate.routing.load_full();
        let name = self.names.next();
        let trail = Trail::new(&parts, connection.peer, &self.gate, name, &self.here, now);
        let origin = cors::allowed(&self.gate.config.cors, parts.headers.get(header::ORIGIN));
        let (set_cookie, nonce, routing) = (Vec::new(), None, &*routing);
        let mut way = Way { trail, set_cookie, nonce, origin, is_public: false, routing, now };
        let has_body = !http_body::Body::is_end_stream(&body);
        let passage = if watched {
            self.judge(&parts, connection, &mut way).await
        } else {
            let detail = "the request was not framed as it was read";
            Err(Refusal::bad_request("ambiguous_framing", detail).closing())
        };
        let answered = match passage {
            Ok(Passage::Here(response)) => {
                if has_body {
                    connection.note_unwanted();
                }
                Ok(response.map(|body| self.here(body, &ticket)))
            }
            Ok(Passage::On(on)) => {
                way.trail.note_passed();
                self.forward(*on, parts, body, &way, &ticket).await
            }
            Err(refused) => Err(refused),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(mut refused) => {
                way.trail.note_refused(&refused);
                // Refusing is deciding, where it was known what was asked for.
                if way.trail.service.is_some()
                    && let Err(unrecorded) = way.trail.commit().await
                {
                    refused = unrecorded;
                }
                if has_body || refused.close {
                    connection.note_unwanted();
                }
                if let Some(described) = &way.routing.described {
                    described.lead(&mut refused);
                }
                let trace = way.trail.trace().unwrap_or(name.as_str());
                let mut response = refused.response(trace);
                if !way.is_public {
                    let (config, origin) = (&self.gate.config.cors, way.origin.take());
                    cors::answer(config, origin, response.headers_mut());
                }
                response.map(|body| self.here(body, &ticket))
            }
        };
        if is_framed(version) {
            response.headers_mut().remove(header::CONNECTION);
        } else if self.is_parting() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if !way.set_cookie.is_empty() {
            // What is set for one person must not be kept for others.
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        }
        for cookie in std::mem::take(&mut way.set_cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        if let Some(nonce) = way.nonce.take() {
            dpop::tell(response.headers_mut(), nonce);
        }
        // What Tegata's own pages say is stricter.
        let said =
            way.is_public && response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY);
        sign(response.headers_mut(), name.value(), self.hsts.as_ref().filter(|_| !said));
        way.trail.finish(response.status().as_u16());
        response
    }

    fn here(&self, body: Bytes, ticket: &Ticket) -> Reply {
        let patience = self.gate.config.deadlines.client;
        Reply::here(body, ticket.again(), &self.deadlines, patience)
    }

    /// The phases that see the head alone.
    async fn judge(
        &self,
        parts: &Parts,
        connection: &Connection,
        way: &mut Way<'_>,
    ) -> Result<Passage, Refused> {
        let gate = &*self.gate;
        let head = Head {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            peer: connection.peer,
            secure: connection.secure,
            certificate: connection.certificate.get(),
        };
        if parts.uri.path() == "/health" {
            return self.health(&head).map(Passage::Here);
        }
        let mut admitted = admit(&head, gate, way.now)?;
        way.trail.client = admitted.client;
        way.trail.note_path(admitted.target.path().as_str());
        let described = way.routing.described.as_ref();
        if let Some(described) = described.filter(|it| it.is_at(admitted.target.path())) {
            let mut response = described.answer(head.method)?;
            cors::answer(&gate.config.cors, way.origin.clone(), response.headers_mut());
            return Ok(Passage::Here(response));
        }
        let origin = Origin::of(&head, &admitted, &connection.peer_text, &gate.config);
        if let Some(public) = gate
            .config
            .public
            .as_ref()
            .filter(|_| admit::is_public(&gate.config, admitted.target.path()))
        {
            let certificate = certificate::shown(&head, &admitted, gate)?;
            let mut on = self.to_public(public, &mut admitted, origin, parts, way).await?;
            on.certificate = certificate.map(Cow::into_owned);
            return Ok(Passage::On(Box::new(on)));
        }
        admit::check_worker(&head, &gate.config, admitted.target.path())?;
        self.to_service(&head, admitted, origin, parts, way).await
    }

    fn health(&self, head: &Head<'_>) -> Result<Response<Bytes>, Refused> {
        if *head.method != Method::GET && *head.method != Method::HEAD {
            let detail = "`/health` is read";
            let allow = HeaderValue::from_static("GET, HEAD");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                .with(header::ALLOW, allow));
        }
        if self.is_parting() {
            return Err(Refusal::unavailable("stopping", "the gateway is about to stop").closing());
        }
        let mut response = Response::new(Bytes::from_static(br#"{"status":"ok"}"#));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Tegata's own pages and endpoints get what the client sent, credentials included: they are
    /// what credentials are for.
    async fn to_public(
        &self,
        public: &Upstream,
        admitted: &mut Admitted<'_>,
        origin: Origin<'_>,
        parts: &Parts,
        way: &mut Way<'_>,
    ) -> Result<On, Refused> {
        let service: Arc<str> = "public".into();
        way.is_public = true;
        way.trail.metrics = Arc::clone(&self.public);
        way.trail.service = Some(Arc::clone(&service));
        check_length(admitted, LARGEST_PUBLIC)?;
        let origin = Origin { passing: Passing::default(), client_alone: true, ..origin };
        let path = admitted.target.path().as_str().to_owned();
        let raw = parts.uri.path_and_query();
        let outgoing = Outgoing::new(admitted, &path, raw, &origin, &way.trail.name)?;
        way.trail.commit().await?;
        Ok(On {
            outgoing,
            service,
            upstreams: vec![public.clone()],
            told: None,
            is_service: false,
            agreed: Agreed::NOTHING,
            drop_authorization: false,
            largest_body: LARGEST_PUBLIC,
            certificate: None,
            limit: None,
        })
    }

    async fn to_service(
        &self,
        head: &Head<'_>,
        mut admitted: Admitted<'_>,
        origin: Origin<'_>,
        parts: &Parts,
        way: &mut Way<'_>,
    ) -> Result<Passage, Refused> {
        let (gate, routing) = (&*self.gate, way.routing);
        let path = admitted.target.path().clone();
        let found = routing.find(&path).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "no_route", "no service is at this path")
        })?;
        let destination = routing.service(found.beside.service).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "no_route", "no service is at this path")
        })?;
        way.trail.metrics = Arc::clone(&destination.metrics);
        way.trail.service = Some(Arc::clone(&destination.name));
        way.trail.route = Some(Arc::clone(&found.beside.prefix));
        if let Some(response) = cors::preflight(&gate.config.cors, head, &admitted.fields)? {
            way.trail.commit().await?;
            return Ok(Passage::Here(response));
        }
        let identified =
            identify(head, &admitted, found.route, gate, &self.freshness, &mut way.set_cookie)
                .await?;
        way.trail.unchecked = identified.unchecked;
        way.nonce = identified.nonce;
        if let Some(caller) = identified.caller {
            let passport = self.passports.of(caller, found.beside.service, routing)?;
            way.trail.passport = Some(passport);
        }
        let passport = way.trail.passport.clone();
        let limit =
            self.allow(head, &found, &admitted, way).await?.map(|answer| ("caller", answer));
        let told = match &passport {
            Some(passport) => {
                let internal = self.passports.internal(passport, destination).await;
                destination.metrics.told.count(internal.is_ok());
                let (user, roles) = (passport.user.clone(), passport.roles.clone());
                Some(Told { user, roles, internal: internal? })
            }
            None => None,
        };
        let drop_authorization =
            found.route.auth != AuthMode::None || carries_token(head.headers, gate);
        if drop_authorization && !matches!(admitted.fields.dpop, Once::Absent) {
            // The proof goes with the token that it is for.
            admitted.fields.strip.push(dpop::DPOP.clone());
        }
        let raw = parts.uri.path_and_query();
        let limit = limit.or(admitted.limit.map(|answer| ("address", answer)));
        let filter = gate.cookies.as_ref();
        let agreed = if admitted.fields.has_cookie {
            agreed(head.headers, filter, gate.node.now())
        } else {
            Agreed::NOTHING
        };
        let passing = Passing::new(&gate.config.private_cookies, filter, agreed);
        let origin = Origin { passing, ..origin };
        Ok(Passage::On(Box::new(On {
            outgoing: Outgoing::new(&mut admitted, found.forwarded, raw, &origin, &way.trail.name)?,
            service: Arc::clone(&destination.name),
            upstreams: destination.upstreams.clone(),
            told,
            is_service: true,
            agreed,
            drop_authorization,
            largest_body: found.beside.body,
            certificate: None,
            limit,
        })))
    }

    /// Limits, decides, and where it must be, has it written down.
    async fn allow(
        &self,
        head: &Head<'_>,
        found: &crate::route::Found<'_, '_>,
        admitted: &Admitted<'_>,
        way: &mut Way<'_>,
    ) -> Result<Option<Answer>, Refused> {
        let (gate, passport) = (&*self.gate, way.trail.passport.clone());
        let passport = passport.as_deref();
        let limit = decide::limit(gate, found, passport, admitted.client, way.now)?;
        decide(head, found, passport, way.routing, gate, &mut way.trail.decided)?;
        check_length(admitted, found.beside.body)?;
        way.trail.commit().await?;
        Ok(limit)
    }

    /// Sends a request on, and makes the answer of what comes back.
    async fn forward(
        &self,
        on: On,
        mut parts: Parts,
        body: Incoming,
        way: &Way<'_>,
        ticket: &Ticket,
    ) -> Result<Response<Reply>, Refused> {
        let deadlines = &self.gate.config.deadlines;
        let (upload, progress) =
            Upload::new(body, on.largest_body, &self.deadlines, deadlines.client);
        parts.uri = Uri::from(on.outgoing.target.clone());
        parts.version = Version::HTTP_11;
        // The address is filled in when it is known which one it is.
        let nowhere = HeaderValue::from_static("");
        on.outgoing.apply(
            &mut parts.headers,
            &nowhere,
            on.told,
            on.drop_authorization,
            way.trail.name.value(),
        );
        if upload.is_of_unknown_length() {
            // Said in so many words: a `GET` is sent without its body otherwise.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        if let Some(secret) = self.gate.config.public_secret.as_ref().filter(|_| !on.is_service) {
            parts.headers.insert(&X_INTERNAL_GATEWAY, secret.clone());
        }
        for (name, value) in on.certificate.iter().flat_map(certificate::fields) {
            parts.headers.insert(name, value);
        }
        let request = Request::from_parts(parts, upload);
        let sent = self.send(&on.upstreams, &on.service, request, &progress, way.now).await;
        let (response, lease) = match sent {
            Ok(sent) => sent,
            Err(refused) => {
                return Err(match progress.cut.get() {
                    Some(cut) => refused_cut(cut),
                    None => refused,
                });
            }
        };
        if !progress.ended.get() {
            // The service answered before it had the whole body.
            ticket.connection().note_unwanted();
        }
        let (mut head, body) = response.into_parts();
        clean(&mut head.headers);
        if on.is_service {
            let config = &self.gate.config;
            let filter = self.gate.cookies.as_ref();
            keep_out(&mut head.headers, &Passing::new(&config.private_cookies, filter, on.agreed));
            cors::answer(&config.cors, way.origin.clone(), &mut head.headers);
            let now = self.gate.node.now();
            if way.trail.passport.as_deref().is_some_and(|it| it.is_running_out(now)) {
                head.headers.insert(&X_TOKEN_REFRESH, HeaderValue::from_static("1"));
            }
        }
        if let Some((policy, answer)) = on.limit {
            head.headers.extend(limit_fields(policy, &answer));
        }
        head.version = Version::default();
        let waits = (self.gate.config.upstream.pause, deadlines.client);
        let reply = Reply::from_service(body, lease, ticket.again(), &self.deadlines, waits);
        Ok(Response::from_parts(head, reply))
    }

    /// Sends a request to one of the addresses of a service. Another address is tried where nothing
    /// was sent; the same once more where a connection turned out to be closed.
    async fn send(
        &self,
        upstreams: &[Upstream],
        service: &Arc<str>,
        mut request: Request<Upload>,
        progress: &Rc<Progress>,
        now: SinceBoot,
    ) -> Result<(Response<Incoming>, Lease), Refused> {
        let patience = self.gate.config.upstream.answer;
        let mut fresh = false;
        for attempt in 0..2 {
            let (pool, mut lease) = self.lease(upstreams, service, progress, now, fresh).await?;
            request.headers_mut().insert(header::HOST, pool.host.clone());
            // What was sent on a connection that had been idle may have met its end on the way.
            let again = (lease.reused && attempt == 0).then(|| copy(&request)).flatten();
            match lease.send(request, patience).await {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(broken(service));
                }
                Ok(response) => return Ok((response, lease)),
                Err(NoResponse::Late) => return Err(late(service)),
                Err(NoResponse::NotSent(back)) if attempt == 0 => request = *back,
                Err(NoResponse::NotSent(_)) => return Err(broken(service)),
                Err(NoResponse::Broken) => match again {
                    Some(again) => request = again,
                    None => return Err(broken(service)),
                },
            }
            fresh = true;
        }
        Err(broken(service))
    }

    /// A connection to one of the addresses, in turn; those that could not be reached lately come
    /// last.
    async fn lease(
        &self,
        upstreams: &[Upstream],
        service: &Arc<str>,
        progress: &Rc<Progress>,
        now: SinceBoot,
        fresh: bool,
    ) -> Result<(Rc<Pool>, Lease), Refused> {
        let first = self.next_of(upstreams.len());
        let in_turn = || upstreams.iter().cycle().skip(first).take(upstreams.len());
        let pools = in_turn().map(|upstream| self.pool(upstream));
        let (avoided, near): (Vec<_>, Vec<_>) = pools.partition(|pool| pool.is_avoided(now));
        let mut failed = NoConnection::Unreachable;
        for pool in near.into_iter().chain(avoided) {
            match pool.lease(progress, now, fresh).await {
                Ok(lease) => return Ok((pool, lease)),
                Err(refused) => failed = refused,
            }
        }
        Err(match failed {
            NoConnection::Unreachable => Refusal::new(
                StatusCode::BAD_GATEWAY,
                "service_unreachable",
                format!("service `{service}` cannot be reached"),
            ),
            NoConnection::Late => late(service),
            NoConnection::Full => Refusal::unavailable(
                "service_busy",
                format!("service `{service}` has as many requests as it may have"),
            ),
        })
    }
}

/// A copy of a request that may be sent twice: it has no body, and doing it twice is doing it once
/// (RFC 9110 §9.2.2).
fn copy(request: &Request<Upload>) -> Option<Request<Upload>> {
    let repeatable = matches!(request.body(), Upload::Empty)
        && matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
    repeatable.then(|| {
        let mut copy = Request::new(Upload::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = HeaderMap::clone(request.headers());
        copy
    })
}

fn check_length(admitted: &Admitted<'_>, largest: u64) -> Result<(), Refused> {
    let declared = admitted.fields.length.one().and_then(|length| length.to_str().ok());
    match declared.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > largest => Err(refused_cut(Cut::TooLarge)),
        _ => Ok(()),
    }
}

fn refused_cut(cut: Cut) -> Refused {
    let (status, id) = match cut {
        Cut::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        Cut::ClientSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        Cut::ClientBroke => (StatusCode::BAD_REQUEST, "body_malformed"),
        Cut::ServiceSlow => (StatusCode::GATEWAY_TIMEOUT, "service_late"),
        Cut::ServiceBroke => (StatusCode::BAD_GATEWAY, "service_broken"),
    };
    Refusal::new(status, id, cut.to_string()).closing()
}

fn late(service: &str) -> Refused {
    let detail = format!("service `{service}` did not answer in time");
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "service_late", detail)
}

fn broken(service: &str) -> Refused {
    let detail = format!("service `{service}` broke off, or gave an answer that is none");
    Refusal::new(StatusCode::BAD_GATEWAY, "service_broken", detail)
}
