//! A request on its way to a service, and what is made of the answer.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts, response,
};
use hyper::{
    body::{Body as _, Incoming},
    ext::Protocol,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tegata_mesh::RevocationMode;
use tegata_session::Agreed;
use tegata_token::ClientCertificate;

use super::{
    Worker,
    exchange::Way,
    send::{broken, late},
};
use crate::{
    body::{Cut, Progress, Reply, Upload, Watch},
    certificate, cors, encode,
    gate::Gate,
    graphql::Endpoint,
    guard::Fault,
    pace::Patience,
    phase::forward::{Outgoing, Passing, Told, X_TOKEN_REFRESH, clean, keep_out},
    reasons::Phase,
    refusal::{Refusal, Refused, limit_fields},
    socket::{self, Opening, Socket},
    tally::Verdict,
    tunnel::Tunnel,
    upstream::{Balanced, Lease},
    wire::{Connection, Ticket},
};

/// What carries the secret that the gateway shows to Tegata's own endpoints. A client's is gone by
/// then, like all of this family.
static X_INTERNAL_GATEWAY: HeaderName = HeaderName::from_static("x-internal-gateway");

/// A request that is sent on, and what becomes of its answer.
pub(super) struct On {
    pub(super) outgoing: Outgoing,
    pub(super) to: Arc<Balanced>,
    /// How long all of it may take.
    pub(super) timeout: Option<Duration>,
    /// The WebSocket that is to be opened.
    pub(super) socket: Option<Socket>,
    /// Whether the client reads fields behind a body.
    pub(super) takes_trailers: bool,
    /// What the route asks of revocations.
    pub(super) revocation: RevocationMode,
    /// How long a body or a WebSocket may be quiet, where the route says so.
    pub(super) quiet: Option<Duration>,
    pub(super) told: Option<Told>,
    /// Not one of Tegata's own pages: its answers may not touch what belongs to those.
    pub(super) is_service: bool,
    /// The cookies that the person agreed to, which a service may set.
    pub(super) agreed: Agreed,
    pub(super) drop_authorization: bool,
    pub(super) largest_body: u64,
    /// How many bytes of a body each second at least.
    pub(super) body_rate: u64,
    /// The client's certificate, which Tegata's own endpoints are told of.
    pub(super) certificate: Option<ClientCertificate>,
    /// How the client would like the answer, where it may be another than the service's.
    pub(super) encode: Option<encode::Wish>,
    /// What limits said that apply.
    pub(super) limit: Vec<Verdict>,
    /// What looks at the body before anything is sent.
    pub(super) graphql: Option<Arc<Endpoint>>,
}

impl On {
    /// What is waited for of the client.
    fn patience(&self, gate: &Gate) -> Patience {
        let quiet = gate.config.deadlines.client;
        match self.quiet {
            None => Patience { quiet, rate: self.body_rate },
            // Who may be quiet for long may say little, too.
            Some(said) => Patience { quiet: said.max(quiet), rate: 0 },
        }
    }
}

/// What the gateway makes of the head of an answer: whether it is a service's, the cookies that the person agreed
/// to, and which limits it tells of.
type Dress = (bool, Agreed, Vec<Verdict>);

impl Worker {
    /// The body of a client's request, as it is sent on.
    pub(super) fn upload(
        &self,
        on: &On,
        body: Incoming,
        gate: &Gate,
        connection: &Rc<Connection>,
    ) -> (Upload, Rc<Progress>) {
        let client = on.patience(gate);
        Upload::new(body, on.largest_body, &self.deadlines, client, connection)
    }

    /// Sends a request on, and makes the answer of what comes back.
    pub(super) async fn forward(
        self: &Rc<Self>,
        on: Box<On>,
        mut parts: Parts,
        (upload, progress): (Upload, Rc<Progress>),
        way: &mut Way<'_>,
        ticket: &Ticket,
    ) -> Result<Response<Reply>, Refused> {
        let (config, client) = (&way.gate.config, on.patience(way.gate));
        let services = &config.upstream;
        let patience = on.quiet.map_or(services.answer, |quiet| quiet.max(services.answer));
        let pause = on.quiet.unwrap_or(services.pause);
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
        if let Some(secret) = config.public_secret.as_ref().filter(|_| !on.is_service) {
            parts.headers.insert(&X_INTERNAL_GATEWAY, secret.clone());
        }
        for (name, value) in on.certificate.iter().flat_map(certificate::fields) {
            parts.headers.insert(name, value);
        }
        if on.takes_trailers && !on.to.speaks_http1() {
            parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(socket) = &on.socket {
            parts.method = Method::GET;
            parts.extensions.remove::<Protocol>();
            socket::ask(&mut parts.headers, &socket.key);
            parts.extensions.insert(Opening { key: socket.key.clone() });
        }
        way.trail.go_on(Phase::Forward);
        let request = Request::from_parts(parts, upload);
        let whole = on.timeout.map(|span| self.deadlines.armed(span));
        let times = (patience, whole.as_ref());
        let sent = self.send(&on.to, request, &progress, way, times).await;
        let (mut response, lease) = match sent {
            Ok(sent) => sent,
            Err(refused) => {
                return Err(match progress.cut.get() {
                    Some(cut) => refused_cut(cut),
                    None => refused,
                });
            }
        };
        progress.answered.set(true);
        if !progress.ended.get() {
            // The service answered before it had the whole body.
            ticket.connection().note_unwanted();
        }
        let dress = (on.is_service, on.agreed, on.limit);
        let agreed = match &on.socket {
            Some(socket) => is_agreed(&response, &socket.key).ok_or_else(|| broken(&on.to.name))?,
            None => false,
        };
        if agreed {
            let service = hyper::upgrade::on(&mut response);
            let (mut head, _) = response.into_parts();
            clean(&mut head.headers);
            self.dress(&mut head, dress, way);
            let sides = (service, lease, on.socket);
            let opened = self.open(sides, head, (on.revocation, pause), way, ticket);
            return opened.unwrap_or_else(|| Err(broken(&on.to.name)));
        }
        let (mut head, body) = response.into_parts();
        clean(&mut head.headers);
        self.dress(&mut head, dress, way);
        let is_said = head.status == StatusCode::NOT_MODIFIED || !body.is_end_stream();
        let wish = on.encode.filter(|_| is_said);
        let encoding =
            wish.and_then(|it| it.begin(&mut head, body.size_hint().exact(), &self.coders));
        let waits = (pause, client);
        let watch = way.trail.passport.as_ref();
        let watch = watch.map(|passport| Watch::new(way.gate, passport, &self.deadlines));
        let mut reply =
            Reply::from_service(body, lease, ticket.again(), &self.deadlines, waits, watch);
        reply.end_by(whole);
        reply.encode(encoding);
        Ok(Response::from_parts(head, reply))
    }

    /// Makes the head of a service's answer that of the gateway's.
    fn dress(&self, head: &mut response::Parts, (is_service, agreed, limit): Dress, way: &Way<'_>) {
        if is_service {
            let (gate, config) = (way.gate, &way.gate.config);
            let filter = gate.cookies.as_ref();
            keep_out(&mut head.headers, &Passing::new(&config.private_cookies, filter, agreed));
            cors::answer(&config.cors, way.origin.clone(), &mut head.headers);
            let passport = way.trail.passport.as_deref();
            if passport.is_some_and(|it| it.is_running_out(way.trail.now())) {
                head.headers.insert(&X_TOKEN_REFRESH, HeaderValue::from_static("1"));
            }
        }
        head.headers.extend(limit_fields(limit));
        head.version = Version::default();
    }

    /// Opens the WebSocket that the service agreed to.
    fn open(
        self: &Rc<Self>,
        (service, lease, socket): (OnUpgrade, Lease, Option<Socket>),
        mut head: response::Parts,
        (revocation, idle): (RevocationMode, Duration),
        way: &Way<'_>,
        ticket: &Ticket,
    ) -> Option<Result<Response<Reply>, Refused>> {
        let patience = way.gate.config.deadlines.client;
        let socket = socket?;
        head.status = socket::agree(&mut head.headers, &socket);
        let tunnel = Box::new(Tunnel {
            service,
            held: lease.hold(),
            passport: way.trail.passport.clone(),
            revocation,
            idle,
            patience,
            ticket: ticket.again(),
        });
        match socket.stream {
            Some(stream) => {
                let worker = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    // Nobody is there if the client left meanwhile.
                    if let Ok(client) = stream.await {
                        tunnel.run(&worker, TokioIo::new(client)).await;
                    }
                });
            }
            None if ticket.connection().become_tunnel(tunnel) => {}
            None => return Some(Err(Fault::Early.into())),
        }
        let nothing = self.here(Bytes::new(), way.gate, ticket);
        Some(Ok(Response::from_parts(head, nothing)))
    }
}

/// Whether a service agreed to a WebSocket. `None`: it said so in a way that is none, or that would be taken
/// for it.
fn is_agreed(response: &Response<Incoming>, key: &HeaderValue) -> Option<bool> {
    let status = response.status();
    match response.version() {
        Version::HTTP_2 => Some(status.is_success()),
        _ if status == StatusCode::SWITCHING_PROTOCOLS => {
            socket::is_accepted(response.headers(), key).then_some(true)
        }
        // With frames, every success means that the tunnel is open.
        _ => (!status.is_success()).then_some(false),
    }
}

/// The refusal of what would be made of the answer of a service, which did not come to its end.
pub(super) fn cut_off(cut: Cut, service: &str) -> Refused {
    match cut {
        Cut::ServiceSlow => late(service),
        Cut::ServiceBroke => broken(service),
        other => refused_cut(other),
    }
}

pub(super) fn refused_cut(cut: Cut) -> Refused {
    let (status, id) = match cut {
        Cut::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        Cut::ClientSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        Cut::ClientBroke => (StatusCode::BAD_REQUEST, "body_malformed"),
        Cut::ServiceSlow => (StatusCode::GATEWAY_TIMEOUT, "service_late"),
        Cut::ServiceBroke => (StatusCode::BAD_GATEWAY, "service_broken"),
        // Of an answer that has begun, of which nothing can be said any more.
        Cut::TakenBack => (StatusCode::UNAUTHORIZED, "token_revoked"),
    };
    Refusal::new(status, id, cut.to_string()).closing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_off_is_refused_with_the_service_that_it_was_of() {
        for (cut, status, id) in [
            (Cut::ServiceSlow, StatusCode::GATEWAY_TIMEOUT, "service_late"),
            (Cut::ServiceBroke, StatusCode::BAD_GATEWAY, "service_broken"),
        ] {
            let refused = cut_off(cut, "prefs");
            assert_eq!((refused.status, refused.id), (status, id));
            assert!(refused.detail.contains("`prefs`"), "{}", refused.detail);
        }
        let taken_back = cut_off(Cut::TakenBack, "prefs");
        assert_eq!(taken_back.status, StatusCode::UNAUTHORIZED);
    }
}
