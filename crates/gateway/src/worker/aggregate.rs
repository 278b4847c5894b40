//! One request of a client that is answered by several of the gateway's own, put together.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    request::Parts, uri::PathAndQuery,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tegata_mesh::{
    AuthMode, Span, SqlShape, Target,
    bff::{Part, is_reserved},
};
use tegata_session::Agreed;

use super::{
    Worker,
    exchange::{Way, found},
    forward::{On, cut_off},
};
use crate::{
    bff::{
        self, LARGEST, LARGEST_IN_ALL, Together,
        answer::{Failed, Outcome, answer},
        place,
        trim::{Unfit, trim},
    },
    body::{Progress, Reply, Upload},
    cors,
    gate::Gate,
    head::{Fields, Head},
    passport::{Asked, Passport},
    phase::{
        admit::{Admitted, is_public},
        decide::decide,
        forward::{Origin, Outgoing, Passing, X_TOKEN_REFRESH, agreed},
        identify::{carries_token, identify_again, is_taken_back},
    },
    reasons::Phase,
    refusal::{Refusal, Refused, limit_fields},
    socket,
    tally::Verdict,
    upstream::within,
    wire::Ticket,
};

/// What a client says that its parts say, too. The rest is about the one answer that the client gets: that it
/// knows an older one, wants a piece of it, or has it compressed.
static SAID: [HeaderName; 8] = [
    // It names what is for this hop alone.
    header::CONNECTION,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// For how much longer than the service a part is waited for that waits for something else: whoever is late is
/// named, where it is the service.
const BEYOND: Duration = Duration::from_millis(50);

/// What all parts have in common.
struct Asking<'a> {
    head: Head<'a>,
    admitted: &'a Admitted<'a>,
    peer: &'a HeaderValue,
    caller: Option<Rc<Passport>>,
    /// What limits said that apply to any of them.
    limits: RefCell<Vec<Verdict>>,
    /// How many bytes may still come, of all of them.
    left: Cell<usize>,
    /// When it must be over, in milliseconds.
    until: u64,
}

impl Worker {
    /// Answers a request for what is put together.
    pub(super) async fn together(
        self: &Rc<Self>,
        head: &Head<'_>,
        mut admitted: Admitted<'_>,
        way: &mut Way<'_>,
        ticket: &Ticket,
    ) -> Result<Response<Bytes>, Refused> {
        let (gate, routing) = (&***way.gate, way.routing);
        let nowhere = || Refusal::new(StatusCode::NOT_FOUND, "no_route", "nothing is at this path");
        let name = bff::asked(admitted.target.path().as_str());
        let asked = name.and_then(|name| routing.together(name)).ok_or_else(nowhere)?;
        let found = asked.found();
        way.trail.metrics = Arc::clone(&asked.metrics);
        way.trail.service = Some(Arc::clone(&asked.name));
        way.trail.route = Some(Arc::clone(&found.beside.prefix));
        if socket::is_asked(&admitted.fields, way.stream.as_ref()) {
            return Err(socket::not_here());
        }
        if let Some(response) = cors::preflight(&gate.config.cors, head, &admitted.fields)? {
            way.trail.commit().await?;
            return Ok(response);
        }
        self.identified(head, &admitted, &found, way).await?;
        let caller = way.trail.passport.clone();
        way.trail.go_on(Phase::Decide);
        decide(head, &found, caller.as_deref(), admitted.client, gate, &mut way.trail.decided)?;
        way.trail.commit().await?;
        way.trail.note_passed();
        way.waited = true;
        way.trail.go_on(Phase::Bff);
        let limits = RefCell::new(std::mem::take(&mut admitted.limit));
        let asking = Asking {
            head: *head,
            admitted: &admitted,
            peer: &ticket.connection().peer_text,
            caller,
            limits,
            left: Cell::new(LARGEST_IN_ALL),
            until: millis(way.now.0).saturating_add(millis(asked.bff.deadline)),
        };
        let outcomes = self.all(&asking, asked, way, ticket).await;
        if asking.caller.as_ref().is_some_and(|caller| is_taken_back(&caller.caller, gate)) {
            let detail = "the token was taken back meanwhile";
            return Err(Refusal::invalid_token("token_revoked", detail));
        }
        let (asked, outcomes) = (&asked.bff, lacking(asked, outcomes)?);
        let mut response = answer(asked, &outcomes);
        let headers = response.headers_mut();
        headers.extend(limit_fields(asking.limits.take()));
        cors::answer(&gate.config.cors, way.origin.clone(), headers);
        if asking.caller.is_some_and(|caller| caller.is_running_out(gate.node.now())) {
            headers.insert(&X_TOKEN_REFRESH, HeaderValue::from_static("1"));
        }
        Ok(response)
    }

    /// Asks for all parts at the same time. Whoever drops this asks for none of them any more; nor does this, once
    /// one has failed without which there is no answer.
    async fn all(
        self: &Rc<Self>,
        asking: &Asking<'_>,
        asked: &Together,
        way: &Way<'_>,
        ticket: &Ticket,
    ) -> Vec<Option<Outcome>> {
        let parts = asked.bff.parts.iter().zip(&asked.routes);
        let mut outcomes: Vec<Option<Outcome>> = parts.clone().map(|_| None).collect();
        let mut running: FuturesUnordered<_> = parts
            .zip(&mut outcomes)
            .map(|((part, route), outcome)| async move {
                let told = self.part(asking, (part, route.as_deref()), way, ticket).await;
                let goes_on = told.is_ok() || !part.required;
                *outcome = Some(told);
                goes_on
            })
            .collect();
        while running.next().await == Some(true) {}
        // Who has been answered meanwhile counts, too: of several that failed, one may say how to mend it.
        while let Some(Some(_)) = running.next().now_or_never() {}
        drop(running);
        outcomes
    }

    /// One part: what of it is told, and a line about it in the record of decisions.
    async fn part(
        self: &Rc<Self>,
        asking: &Asking<'_>,
        (part, route): (&Part, Option<&str>),
        whole: &Way<'_>,
        ticket: &Ticket,
    ) -> Outcome {
        let claims = asking.caller.as_deref().map(|caller| caller.caller.claims());
        let target = place::target(part, claims, asking.admitted.target.query());
        let parts = asking.parts(target.as_deref().unwrap_or(&part.path.to_string()));
        let now = self.gate.node.since_boot();
        let trail = whole.trail.part(&parts, asking.admitted.client, &self.here, now);
        let mut way = Way::new(trail, (whole.gate, whole.routing), None, None, now);
        let left = Duration::from_millis(asking.until.saturating_sub(self.deadlines.now()));
        let left = part.deadline.map_or(left, |own| own.min(left));
        let deadline = self.deadlines.armed(left + BEYOND);
        let outcome = {
            let asked = self.ask(asking, (part, route), (target, parts), left, &mut way, ticket);
            let asked = pin!(asked);
            within(Some(&deadline), asked).await.unwrap_or_else(|| Err(late().into()))
        };
        let mut failed = match outcome {
            Ok(told) => {
                way.trail.finish(StatusCode::OK.as_u16());
                return Ok(told);
            }
            Err(failed) => failed,
        };
        way.trail.note_refused(&Refusal::new(failed.status, failed.reason, ""));
        // Refusing is deciding, also where it leads nowhere.
        if let Err(unrecorded) = way.trail.commit().await {
            failed = unrecorded.into();
        }
        way.trail.finish(failed.status.as_u16());
        Err(failed)
    }

    async fn ask(
        self: &Rc<Self>,
        asking: &Asking<'_>,
        (part, route): (&Part, Option<&str>),
        (target, parts): (Result<String, Refused>, Parts),
        left: Duration,
        way: &mut Way<'_>,
        ticket: &Ticket,
    ) -> Outcome {
        let mut on = self.judged_part(asking, (&target?, route), &parts, way).await?;
        way.trail.note_passed();
        asking.limits.borrow_mut().append(&mut on.limit);
        on.timeout = Some(on.timeout.map_or(left, |timeout| timeout.min(left)));
        let progress = Rc::new(Progress::default());
        progress.ended.set(true);
        let service = Arc::clone(&on.to.name);
        let response =
            self.forward(Box::new(on), parts, (Upload::Empty, progress), way, ticket).await?;
        let text = read(asking, response, &service, ticket).await?;
        let mut told = Vec::new();
        trim(&text, &part.chosen, &mut told).map_err(|unfit| {
            let reason = match unfit {
                Unfit::Malformed => "part_not_json",
                Unfit::TooDeep | Unfit::Ambiguous | Unfit::NoMembers => "part_unfit",
            };
            Failed::service(reason, StatusCode::BAD_GATEWAY)
        })?;
        Ok(told)
    }

    /// The phases that see the head alone, for a part: as for a request of its own, by whoever is known already.
    async fn judged_part(
        &self,
        asking: &Asking<'_>,
        (text, route): (&str, Option<&str>),
        parts: &Parts,
        way: &mut Way<'_>,
    ) -> Result<On, Refused> {
        let gate = &***way.gate;
        let target = Target::parse(text.as_bytes()).map_err(|_| place::path())?;
        let path = target.path().clone();
        way.trail.note_path(path.as_str());
        if let Some(shape) = SqlShape::of(&path) {
            let detail = "the path has the shape of an SQL statement";
            return Err(Refusal::bad_request(shape.id(), detail));
        }
        let described = way.routing.described.as_ref();
        if is_reserved(path.as_str())
            || is_public(&gate.config, &path)
            || described.is_some_and(|it| it.is_at(&path))
        {
            return Err(place::path());
        }
        let (found, destination) = found(&path, way)?;
        // INVARIANT: what the client says chooses no route.
        if route != Some(found.route.path.as_str()) {
            return Err(place::path());
        }
        let mut admitted = Admitted {
            fields: Fields::read(&parts.headers),
            target,
            client: asking.admitted.client,
            behind_proxy: asking.admitted.behind_proxy,
            came: asking.admitted.came.clone(),
            limit: Vec::new(),
        };
        let head =
            Head { method: &parts.method, uri: &parts.uri, headers: &parts.headers, ..asking.head };
        if let Some(known) = &asking.caller {
            way.trail.go_on(Phase::Identify);
            let authorization = asking.admitted.fields.authorization.one();
            let (known, fresh) = (&known.caller, &self.freshness);
            let identified = identify_again(known, authorization, found.route, gate, fresh).await?;
            way.trail.unchecked = identified.unchecked;
            if let Some(caller) = identified.caller {
                let asked = Asked::from(admitted.client);
                let passport =
                    self.passports.of(caller, found.beside.service, way.routing, asked)?;
                way.trail.passport = Some(passport);
            }
        }
        let limit = self.allow(&head, &found, &mut admitted, way).await?;
        let told = self.told(destination, way).await?;
        let drop_authorization =
            found.route.auth != AuthMode::None || carries_token(&parts.headers, gate);
        let filter = gate.cookies.as_ref();
        let agreed = if admitted.fields.has_cookie {
            agreed(asking.head.headers, filter, gate.node.now())
        } else {
            Agreed::NOTHING
        };
        let passing = Passing::new(&gate.config.private_cookies, filter, agreed);
        let origin = Origin { passing, ..asking.origin(gate) };
        let raw = parts.uri.path_and_query();
        Ok(On {
            outgoing: Outgoing::new(&mut admitted, found.forwarded, raw, &origin, &way.trail.name)?,
            to: Arc::clone(&destination.to),
            timeout: found.beside.timeout,
            socket: None,
            takes_trailers: false,
            revocation: found.route.revocation,
            quiet: found.route.idle_timeout.map(Span::duration),
            told,
            is_service: true,
            agreed,
            drop_authorization,
            largest_body: 0,
            body_rate: found.beside.body_rate,
            certificate: None,
            encode: None,
            graphql: None,
            limit,
        })
    }
}

impl Asking<'_> {
    /// The head of a part's request, before anything of ours is added.
    fn parts(&self, target: &str) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::GET;
        // What is none is refused by whoever reads it.
        if let Ok(target) = target.parse::<PathAndQuery>() {
            parts.uri = target.into();
        }
        let headers = &mut parts.headers;
        for name in &SAID {
            for value in self.head.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        parts
    }

    fn origin<'g>(&'g self, gate: &'g Gate) -> Origin<'g> {
        Origin::of(&self.head, self.admitted, self.peer, &gate.config)
    }
}

/// The body of a part's answer, by this service.
async fn read(
    asking: &Asking<'_>,
    response: Response<Reply>,
    service: &str,
    ticket: &Ticket,
) -> Result<Vec<u8>, Failed> {
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        return Err(Failed::service("part_status", head.status));
    }
    let unlike = || Failed::service("part_not_json", StatusCode::BAD_GATEWAY);
    let too_large = || Failed::service("part_too_large", StatusCode::BAD_GATEWAY);
    if !is_json(&head.headers) {
        return Err(unlike());
    }
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > LARGEST) {
        return Err(too_large());
    }
    let (mut text, mut counted) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cut| cut_off(cut, service))?;
        let Ok(data) = frame.into_data() else { continue };
        let left = asking.left.get().checked_sub(data.len()).ok_or_else(too_large)?;
        asking.left.set(left);
        if text.len() + data.len() > LARGEST {
            return Err(too_large());
        }
        // It waits here until all of it is there, so that it counts as what this process holds.
        let before = text.capacity();
        text.extend_from_slice(&data);
        if text.capacity() > before {
            counted.push(ticket.connection().memory().charge(text.capacity() - before));
        }
    }
    Ok(text)
}

/// Whether an answer is JSON as it is.
fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let encoded = headers.get(header::CONTENT_ENCODING).is_some();
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let structured = kind.starts_with("application/") && kind.ends_with("+json");
    !encoded && (kind == "application/json" || structured)
}

/// What became of the parts; where there is one without which there is no answer, and whoever asks could have it
/// by showing who they are, that is asked of them.
fn lacking(
    asked: &Together,
    mut outcomes: Vec<Option<Outcome>>,
) -> Result<Vec<Option<Outcome>>, Refused> {
    for (part, outcome) in asked.bff.parts.iter().zip(&mut outcomes) {
        if part.required
            && let Some(Err(failed)) = outcome
            && failed.status == StatusCode::UNAUTHORIZED
            && let Some(refused) = failed.refused.take()
        {
            return Err(refused);
        }
    }
    Ok(outcomes)
}

fn late() -> Refused {
    let detail = "it took longer than all of it may take";
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "part_late", detail)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
