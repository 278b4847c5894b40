//! One request and its answer, through all phases.

use std::{
    borrow::Cow,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts,
};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};
use tegata_core::SinceBoot;
use tegata_mesh::{AuthMode, IdentityForm, NormalPath, RevocationMode, Route, Span};
use tegata_session::Agreed;
use tegata_token::ClientCertificate;

use super::{
    Worker,
    forward::{On, refused_cut},
    is_framed,
};
use crate::{
    access, bff,
    body::{Cut, Reply},
    certificate, cors, dpop, encode,
    gate::{Begun, Gate},
    guard::Fault,
    head::{Head, Once},
    pace::Patience,
    passport::{Asked, Caller},
    phase::{
        admit::{self, Admitted, admit},
        decide::decide,
        forward::{Origin, Outgoing, Passing, Told, agreed, sign},
        identify::{X_API_KEY, carries_key, carries_token, identify},
        limit::limit,
        record::{FAILED, Trail},
    },
    reasons::Phase,
    refusal::{Refusal, Refused},
    route::{Destination, Found, Routing},
    session::SetCookie,
    shed::{Class, Reason},
    socket::{self, Socket},
    tally::Verdict,
    trace::Name,
    upstream::{Balanced, scatter},
    wire::Ticket,
};

/// The largest body for Tegata's own endpoints, in bytes.
const LARGEST_PUBLIC: u64 = 1024 * 1024;

/// Heads of so many bytes are counted where memory is.
const LARGE_HEAD: usize = 4096;

/// Where an admitted request goes.
pub(super) enum Passage {
    /// It is answered here.
    Here(Response<Bytes>),
    /// It is sent on.
    On(Box<On>),
}

/// Who sent a request, as far as its connection says it.
pub(super) struct Sender<'s> {
    pub(super) peer: IpAddr,
    /// The same, as `X-Forwarded-For` has it.
    pub(super) peer_text: &'s HeaderValue,
    pub(super) secure: bool,
    pub(super) certificate: Option<&'s ClientCertificate>,
    /// What answers to it are made on. `None`: whoever asked for the judgement answers.
    pub(super) ticket: Option<&'s Ticket>,
}

impl<'s> Sender<'s> {
    fn of(ticket: &'s Ticket) -> Self {
        let connection = ticket.connection();
        Self {
            ticket: Some(ticket),
            peer: connection.peer,
            peer_text: &connection.peer_text,
            secure: connection.secure,
            certificate: connection.certificate.get(),
        }
    }
}

/// What one request has with it on its way.
pub(super) struct Way<'w> {
    pub(super) trail: Trail,
    /// What becomes of the session cookie, whatever becomes of it.
    pub(super) set_cookie: Option<SetCookie>,
    /// Whether a client's body or a service was waited for since it was judged.
    pub(super) waited: bool,
    /// The nonce that the answer tells of.
    pub(super) nonce: Option<HeaderValue>,
    /// Which origin's scripts may read the answer.
    pub(super) origin: Option<HeaderValue>,
    /// Whether Tegata's own pages are asked for, which say that themselves.
    pub(super) is_public: bool,
    /// The gate as it was when it began.
    pub(super) gate: &'w Begun,
    /// The stream of a client that asks for a WebSocket with frames of HTTP/2.
    pub(super) stream: Option<OnUpgrade>,
    pub(super) routing: &'w Routing,
    pub(super) now: SinceBoot,
}

impl<'w> Way<'w> {
    pub(super) const fn new(
        trail: Trail,
        (gate, routing): (&'w Begun, &'w Routing),
        origin: Option<HeaderValue>,
        stream: Option<OnUpgrade>,
        now: SinceBoot,
    ) -> Self {
        Self {
            trail,
            set_cookie: None,
            waited: false,
            nonce: None,
            origin,
            is_public: false,
            gate,
            stream,
            routing,
            now,
        }
    }

    /// The line for the session cookie, once the head of the answer is about to be written.
    ///
    /// INVARIANT: while a service was waited for, the browser may have been given another value, by a rise, by
    /// the next rotation or by a new sign-in. No late answer takes that from it.
    async fn settled(&mut self) -> Option<HeaderValue> {
        match self.set_cookie.take()? {
            SetCookie::Cleared(line) => (!self.waited).then_some(line),
            SetCookie::Renewed(renewed) if !self.waited => Some(renewed.line),
            SetCookie::Renewed(renewed) => {
                let sessions = self.gate.sessions.as_deref()?;
                sessions.settle(&renewed).await.then_some(renewed.line)
            }
        }
    }
}

/// Sets a cookie with an answer. What is set for one person must not be kept for others.
pub(super) fn set(headers: &mut HeaderMap, cookie: HeaderValue) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::SET_COOKIE, cookie);
}

impl Worker {
    /// Answers a request.
    pub(super) async fn exchange(
        self: &Rc<Self>,
        (ticket, doubt): (Ticket, Option<Fault>),
        name: Name,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        let now = self.gate.node.since_boot();
        self.deadlines.see(now);
        let connection = ticket.connection();
        let (mut parts, body) = request.into_parts();
        let version = parts.version;
        let gate = &self.seen.now();
        self.reach_as(gate);
        let origin = cors::allowed(&gate.config.cors, parts.headers.get(header::ORIGIN));
        let echoed = access::name(&parts);
        self.shed.measure(now, gate.node.clock());
        let _in_flight = match Class::of(parts.uri.path(), &gate.config) {
            Class::Health => None,
            class => match self.shed.enter(class, &gate.config.limits, now) {
                Ok(in_flight) => Some(in_flight),
                Err(reason) => {
                    if !http_body::Body::is_end_stream(&body) {
                        connection.note_unwanted();
                    }
                    let refused = self.overloaded(reason, name, (version, origin), gate, &ticket);
                    return refused.await;
                }
            },
        };
        // Heads of the usual size are counted with their connection.
        let large: usize =
            parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let _head = (large > LARGE_HEAD).then(|| connection.memory().charge(large));
        // What a flood brings is counted, and not written down one by one.
        let trail = Trail::new(&parts, connection.peer, gate, name, &self.here, now);
        let (stream, routing) = (asked_stream(&mut parts), &*gate.routing);
        let mut way = Way::new(trail, (gate, routing), origin, stream, now);
        let mut has_body = !http_body::Body::is_end_stream(&body);
        let passage = match doubt {
            None => self.judge(&parts, &Sender::of(&ticket), &mut way).await,
            Some(fault) => Err(Refused::from(fault).closing()),
        };
        let answered = match passage {
            Ok(Passage::Here(response)) => {
                if has_body {
                    connection.note_unwanted();
                }
                Ok(response.map(|body| self.here(body, gate, &ticket)))
            }
            Ok(Passage::On(mut on)) => {
                way.waited = true;
                let upload = self.upload(&on, body, gate, connection);
                let looked = match on.graphql.take() {
                    None => Ok((upload, None)),
                    Some(graphql) => {
                        let looked = self.look(&graphql, upload, &mut parts, &mut way, connection);
                        Box::pin(looked).await.map(|(upload, held)| (upload, Some(held)))
                    }
                };
                match looked {
                    Ok((upload, _held)) => {
                        way.trail.note_passed();
                        self.forward(on, parts, upload, &mut way, &ticket).await
                    }
                    Err((refused, read)) => {
                        has_body &= !read;
                        Err(refused)
                    }
                }
            }
            Err(refused) => Err(refused),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(mut refused) => {
                way.trail.note_refused(&refused);
                // Refusing is deciding, also where it leads nowhere.
                if let Err(unrecorded) = way.trail.commit().await {
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
                    let (config, origin) = (&gate.config.cors, way.origin.take());
                    cors::answer(config, origin, response.headers_mut());
                }
                response.map(|body| self.here(body, gate, &ticket))
            }
        };
        if is_framed(version) {
            response.headers_mut().remove(header::CONNECTION);
        } else if self.is_parting() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let Some(cookie) = way.settled().await {
            set(response.headers_mut(), cookie);
        }
        if let Some(nonce) = way.nonce.take() {
            dpop::tell(response.headers_mut(), nonce);
        }
        // What Tegata's own pages say is stricter.
        let said =
            way.is_public && response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY);
        sign(response.headers_mut(), name.value(), self.hsts.as_ref().filter(|_| !said));
        access::echo(response.headers_mut(), echoed.filter(|_| way.is_public));
        way.trail.finish(response.status().as_u16());
        response
    }

    /// Answers a request on which something has panicked: a defect, which costs nobody else anything. What was left
    /// of its body, nobody knows, so with HTTP/1 it is the last of its connection.
    pub(super) fn failed(&self, name: Name, version: Version, ticket: &Ticket) -> Response<Reply> {
        tracing::error!(request = name.as_str(), "a request has panicked: it is answered 500");
        let detail = "the gateway has failed; its log has more under this name";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let refused = Refusal::new(status, FAILED, detail).closing();
        ticket.connection().note_unwanted();
        let mut response = refused.response(name.as_str());
        if is_framed(version) {
            response.headers_mut().remove(header::CONNECTION);
        }
        sign(response.headers_mut(), name.value(), self.hsts.as_ref());
        response.map(|body| self.here(body, &self.seen.now(), ticket))
    }

    /// Refuses a request for which there is no room, before anything else is done for it.
    async fn overloaded(
        &self,
        reason: Reason,
        name: Name,
        (version, origin): (Version, Option<HeaderValue>),
        gate: &Gate,
        ticket: &Ticket,
    ) -> Response<Reply> {
        gate.metrics.shed().count(reason);
        self.here.count(StatusCode::SERVICE_UNAVAILABLE.as_u16());
        self.shed.rest().await;
        let refused = Refusal::overloaded(scatter(self.next_turn()));
        let mut response = refused.response(name.as_str());
        cors::answer(&gate.config.cors, origin, response.headers_mut());
        if !is_framed(version) && self.is_parting() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        sign(response.headers_mut(), name.value(), self.hsts.as_ref());
        response.map(|body| self.here(body, gate, ticket))
    }

    pub(super) fn here(&self, body: Bytes, gate: &Gate, ticket: &Ticket) -> Reply {
        let config = &gate.config;
        let patience = Patience { quiet: config.deadlines.client, rate: config.limits.body_rate };
        Reply::here(body, ticket.again(), &self.deadlines, patience)
    }

    /// The phases that see the head alone.
    pub(super) async fn judge(
        self: &Rc<Self>,
        parts: &Parts,
        sender: &Sender<'_>,
        way: &mut Way<'_>,
    ) -> Result<Passage, Refused> {
        let gate = &***way.gate;
        let head = Head {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            peer: sender.peer,
            secure: sender.secure,
            certificate: sender.certificate,
        };
        if parts.uri.path() == "/health" {
            return self.health(&head).map(Passage::Here);
        }
        // An extended `CONNECT` asks for what a `GET` asks for otherwise (RFC 8441 §5).
        let head = match way.stream {
            Some(_) => Head { method: &Method::GET, ..head },
            None => head,
        };
        let mut admitted = admit(&head, gate, way.now).await?;
        way.trail.client = admitted.client;
        way.trail.note_path(admitted.target.path().as_str());
        let asks = socket::is_asked(&admitted.fields, way.stream.as_ref());
        let described = way.routing.described.as_ref();
        if asks
            && (admit::is_public(&gate.config, admitted.target.path())
                || described.is_some_and(|it| it.is_at(admitted.target.path())))
        {
            return Err(socket::not_here());
        }
        if let Some(described) = described.filter(|it| it.is_at(admitted.target.path())) {
            let mut response = described.answer(head.method)?;
            cors::answer(&gate.config.cors, way.origin.clone(), response.headers_mut());
            return Ok(Passage::Here(response));
        }
        let origin = Origin::of(&head, &admitted, sender.peer_text, &gate.config);
        if let Some(public) = gate
            .ways
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
        if bff::asked(admitted.target.path().as_str()).is_some() {
            let ticket = sender.ticket.ok_or_else(nowhere)?;
            // Few ask for it, and all would have room for it.
            let together = Box::pin(self.together(&head, admitted, way, ticket));
            return together.await.map(Passage::Here);
        }
        self.to_service(&head, admitted, origin, parts, way).await
    }

    fn health(&self, head: &Head<'_>) -> Result<Response<Bytes>, Refused> {
        if *head.method != Method::GET && *head.method != Method::HEAD {
            let detail = "`/health` is read";
            let allow = HeaderValue::from_static("GET, HEAD");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                .with(header::ALLOW, allow));
        }
        if self.is_parting() && !self.gate.handed_over.load(Ordering::Acquire) {
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
        public: &Arc<Balanced>,
        admitted: &mut Admitted<'_>,
        origin: Origin<'_>,
        parts: &Parts,
        way: &mut Way<'_>,
    ) -> Result<On, Refused> {
        way.is_public = true;
        way.trail.metrics = Arc::clone(&self.public);
        way.trail.service = Some(Arc::clone(&public.name));
        check_length(admitted, LARGEST_PUBLIC)?;
        let origin = Origin { passing: Passing::default(), client_alone: true, ..origin };
        let path = admitted.target.path().as_str().to_owned();
        let raw = parts.uri.path_and_query();
        let outgoing = Outgoing::new(admitted, &path, raw, &origin, &way.trail.name)?;
        way.trail.commit().await?;
        Ok(On {
            outgoing,
            to: Arc::clone(public),
            timeout: None,
            socket: None,
            takes_trailers: false,
            revocation: RevocationMode::default(),
            quiet: None,
            told: None,
            is_service: false,
            agreed: Agreed::NOTHING,
            drop_authorization: false,
            largest_body: LARGEST_PUBLIC,
            body_rate: way.gate.config.limits.body_rate,
            certificate: None,
            // Its own pages hold what nobody may guess.
            encode: None,
            limit: Vec::new(),
            graphql: None,
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
        let gate = &***way.gate;
        let path = admitted.target.path().clone();
        let (found, destination) = found(&path, way)?;
        let socket = self.socket(head, &admitted, found.route, way)?;
        if let Some(response) = cors::preflight(&gate.config.cors, head, &admitted.fields)? {
            way.trail.commit().await?;
            return Ok(Passage::Here(response));
        }
        let by_session = self.identified(head, &admitted, &found, way).await?;
        if socket.is_some() && by_session {
            let asked = origin.asked_at_origin(&admitted);
            socket::check_origin(&admitted.fields, &gate.config.cors, asked.as_deref())?;
        }
        let graphql = found.beside.graphql.clone();
        let limit = match &graphql {
            None => self.allow(head, &found, &mut admitted, way).await?,
            Some(_) if found.forwarded != "/" => {
                return Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    "no_route",
                    "no service is at this path",
                ));
            }
            // What is decided is not all yet, so that it is not written down.
            Some(_) => self.allowed(head, &found, &mut admitted, way).await?,
        };
        let told = self.told(destination, way).await?;
        let drop_authorization =
            found.route.auth != AuthMode::None || carries_token(head.headers, gate);
        if drop_authorization && !matches!(admitted.fields.dpop, Once::Absent) {
            // The proof goes with the token that it is for.
            admitted.fields.strip.push(dpop::DPOP.clone());
        }
        if found.route.auth != AuthMode::None || carries_key(head.headers) {
            admitted.fields.strip.push(X_API_KEY.clone());
        }
        let raw = parts.uri.path_and_query();
        let filter = gate.cookies.as_ref();
        let agreed = if admitted.fields.has_cookie {
            agreed(head.headers, filter, gate.node.now())
        } else {
            Agreed::NOTHING
        };
        let passing = Passing::new(&gate.config.private_cookies, filter, agreed);
        let origin = Origin { passing, ..origin };
        let takes_trailers = admitted.fields.takes_trailers;
        let (is_known, said) = (told.is_some(), found.route.compress);
        let encode = gate.config.compression && socket.is_none();
        let encode = encode.then(|| encode::Wish::of(head, &admitted.fields, is_known, said));
        let encode = encode.flatten();
        let mut outgoing =
            Outgoing::new(&mut admitted, found.forwarded, raw, &origin, &way.trail.name)?;
        let mut largest_body = found.beside.body;
        if let Some(graphql) = &graphql {
            outgoing.target = graphql.target();
            largest_body = largest_body.min(LARGEST_PUBLIC);
        }
        Ok(Passage::On(Box::new(On {
            outgoing,
            to: Arc::clone(&destination.to),
            timeout: found.beside.timeout,
            socket,
            takes_trailers,
            revocation: found.route.revocation,
            quiet: found.route.idle_timeout.map(Span::duration),
            told,
            is_service: true,
            agreed,
            drop_authorization,
            largest_body,
            body_rate: found.beside.body_rate,
            certificate: None,
            encode,
            limit,
            graphql,
        })))
    }

    /// The WebSocket that is asked for, where one may be opened here.
    fn socket(
        &self,
        head: &Head<'_>,
        admitted: &Admitted<'_>,
        route: &Route,
        way: &mut Way<'_>,
    ) -> Result<Option<Socket>, Refused> {
        if !socket::is_asked(&admitted.fields, way.stream.as_ref()) {
            return Ok(None);
        }
        if !route.websocket {
            return Err(socket::not_here());
        }
        if self.is_parting() {
            return Err(Refusal::unavailable("stopping", "the gateway is about to stop").closing());
        }
        let stream = way.stream.take();
        socket::check(head, &admitted.fields, stream, self.gate.node.entropy()).map(Some)
    }

    /// Finds out who asks, and notes it. Answers whether a session says so.
    pub(super) async fn identified(
        &self,
        head: &Head<'_>,
        admitted: &Admitted<'_>,
        found: &Found<'_, '_>,
        way: &mut Way<'_>,
    ) -> Result<bool, Refused> {
        way.trail.go_on(Phase::Identify);
        let (fresh, trail) = (&self.freshness, &mut way.trail);
        let told = (&mut way.set_cookie, &mut trail.seen);
        let identified = identify(head, admitted, found.route, way.gate, fresh, told).await;
        if found.route.auth != AuthMode::None {
            trail.note_stale(|| way.gate.staleness(fresh, way.now));
        }
        let identified = identified?;
        let by_session = matches!(identified.caller, Some(Caller::Session(_)));
        way.trail.unchecked = identified.unchecked;
        way.nonce = identified.nonce;
        if let Some(caller) = identified.caller {
            let asked = Asked::from(admitted.client);
            let passport = self.passports.of(caller, found.beside.service, way.routing, asked)?;
            way.trail.passport = Some(passport);
        }
        Ok(by_session)
    }

    /// What the service is told of whoever asks.
    pub(super) async fn told(
        &self,
        destination: &Destination,
        way: &Way<'_>,
    ) -> Result<Option<Told>, Refused> {
        let Some(passport) = &way.trail.passport else { return Ok(None) };
        let internal = match destination.identity {
            IdentityForm::Headers => None,
            IdentityForm::Token => {
                let internal = self.passports.internal(passport, destination).await;
                destination.metrics.told.count(internal.is_ok());
                Some(internal?)
            }
        };
        let (user, roles) = (passport.user.clone(), passport.roles.clone());
        Ok(Some(Told { user, roles, internal }))
    }

    /// Limits, decides, and where it must be, has it written down.
    pub(super) async fn allow(
        &self,
        head: &Head<'_>,
        found: &Found<'_, '_>,
        admitted: &mut Admitted<'_>,
        way: &mut Way<'_>,
    ) -> Result<Vec<Verdict>, Refused> {
        // INVARIANT: where bodies are judged, nobody is let pass who sees heads alone.
        if found.beside.graphql.is_some() {
            return Err(unseen());
        }
        let limit = self.allowed(head, found, admitted, way).await?;
        way.trail.commit().await?;
        Ok(limit)
    }

    /// The same, where more is to be decided: nothing is written down yet.
    async fn allowed(
        &self,
        head: &Head<'_>,
        found: &Found<'_, '_>,
        admitted: &mut Admitted<'_>,
        way: &mut Way<'_>,
    ) -> Result<Vec<Verdict>, Refused> {
        let (gate, passport) = (&***way.gate, way.trail.passport.clone());
        let passport = passport.as_deref();
        way.trail.go_on(Phase::Limit);
        let limit = limit(gate, found, passport, admitted).await?;
        way.trail.note_limits(&limit);
        way.trail.go_on(Phase::Decide);
        decide(head, found, passport, admitted.client, gate, &mut way.trail.decided)?;
        if let Some(passport) = passport.filter(|_| way.trail.decided.outside) {
            let (service, rule) = (found.beside.service, &found.beside.rule);
            way.trail.passport =
                Some(self.passports.outside(passport, service, way.routing, rule)?);
        }
        check_length(admitted, found.beside.body)?;
        Ok(limit)
    }
}

/// Where bodies are judged, and only the head is there.
pub(super) fn unseen() -> Refused {
    let detail = "this route looks at bodies, which are not seen here: ask the gateway itself";
    Refusal::new(StatusCode::FORBIDDEN, "graphql_unseen", detail)
}

fn nowhere() -> Refused {
    Refusal::new(StatusCode::NOT_FOUND, "no_route", "no service is at this path")
}

/// The route and the service of a path, of which note is taken.
pub(super) fn found<'w, 'p>(
    path: &'p NormalPath<'_>,
    way: &mut Way<'w>,
) -> Result<(Found<'w, 'p>, &'w Destination), Refused> {
    let found = way.routing.find(path).ok_or_else(nowhere)?;
    let destination = way.routing.service(found.beside.service).ok_or_else(nowhere)?;
    way.trail.metrics = Arc::clone(&destination.metrics);
    way.trail.service = Some(Arc::clone(&destination.name));
    way.trail.route = Some(Arc::clone(&found.beside.prefix));
    Ok((found, destination))
}

/// The stream of a client that asks for a WebSocket with an extended `CONNECT`.
fn asked_stream(parts: &mut Parts) -> Option<OnUpgrade> {
    if parts.method != Method::CONNECT {
        return None;
    }
    let protocol = parts.extensions.get::<Protocol>()?;
    if !socket::is_websocket(protocol.as_str().as_bytes()) {
        return None;
    }
    parts.extensions.remove::<OnUpgrade>()
}

fn check_length(admitted: &Admitted<'_>, largest: u64) -> Result<(), Refused> {
    let declared = admitted.fields.length.one().and_then(|length| length.to_str().ok());
    match declared.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > largest => Err(refused_cut(Cut::TooLarge)),
        _ => Ok(()),
    }
}
