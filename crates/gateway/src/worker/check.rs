//! A request that Envoy asks about: judged like one of the gateway's own, and passed on by Envoy.

use std::{
    cell::Cell, convert::Infallible, net::IpAddr, pin::pin, rc::Rc, sync::Arc, task::Poll,
    time::Duration,
};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tegata_core::Secret;
use tokio::net::TcpStream;

use super::{
    Open, Worker,
    exchange::{Passage, Sender, Way, set, unseen},
    forward::On,
};
use crate::{
    cors, dpop,
    ext_authz::{
        answer::{self, Passed},
        door::Asking,
        question::{self, Question, Read},
        wire::{self, Told, Unanswered},
    },
    guard::Fault,
    phase::{
        admit,
        forward::{X_TOKEN_REFRESH, sign},
        record::{self, Trail},
    },
    refusal::{Refusal, Refused, limit_fields},
    session::{Renewed, SetCookie},
    shed::{Class, Reason},
    socket,
    upstream::scatter,
};

/// How many questions of one connection are looked at together. Envoy opens another for more.
const TOGETHER: u32 = 1024;

/// How often it is looked whether Envoy is still there, and how long it may take to say so.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Questions of more bytes than this are counted where memory is.
const LARGE: usize = 16 * 1024;

/// Runs the streams of a connection on the thread's own runtime.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Worker {
    /// Answers what is asked on a connection until it ends.
    pub(super) fn listen_to(self: &Rc<Self>, asking: Asking) {
        let Asking { stream, secret, place } = asking;
        let counted = (Open::new(self), place);
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _counted = counted;
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            let Ok(stream) = stream else { return };
            // Answers are small and whole: nothing is gained by waiting for more.
            let _ = stream.set_nodelay(true);
            worker.converse(stream, secret).await;
        });
    }

    async fn converse(self: Rc<Self>, stream: TcpStream, secret: Option<Arc<Secret<String>>>) {
        self.deadlines.see(self.gate.node.since_boot());
        // Whoever connects asks.
        let first = Rc::new(self.deadlines.armed(self.seen.now().config.deadlines.head));
        let (worker, asked) = (Rc::clone(&self), Rc::clone(&first));
        let warned = Rc::new(Cell::new(false));
        let service = service_fn(move |request: Request<Incoming>| {
            asked.disarm();
            let (worker, secret) = (Rc::clone(&worker), secret.clone());
            let warned = Rc::clone(&warned);
            async move { Ok::<_, Infallible>(worker.answer(request, secret, &warned).await) }
        });
        let mut serving = pin!(
            http2::Builder::new(Here)
                .timer(TokioTimer::new())
                .keep_alive_interval(ALIVE.0)
                .keep_alive_timeout(ALIVE.1)
                .max_concurrent_streams(TOGETHER)
                // Clients of Envoy that leave take their questions back, as many of them as there are: that is
                // no attack by Envoy, and must not cost the others their answers.
                .max_pending_accept_reset_streams(usize::try_from(TOGETHER).ok())
                .max_header_list_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut told = false;
        std::future::poll_fn(|cx| {
            if first.is_expired(cx) || (self.is_draining() && first.is_armed()) {
                return Poll::Ready(());
            }
            if self.is_draining() && !told {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
            // How a connection ends concerns Envoy alone.
            serving.as_mut().poll(cx).map(drop)
        })
        .await;
    }

    /// Answers a question.
    async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
        secret: Option<Arc<Secret<String>>>,
        warned: &Cell<bool>,
    ) -> Response<Told> {
        let (parts, body) = request.into_parts();
        if let Err(status) = wire::check_speaks(&parts) {
            return wire::plain(status);
        }
        let answered = async {
            wire::check_asks(&parts, secret.as_deref())?;
            let patience = self.seen.now().config.deadlines.head;
            let read = tokio::time::timeout(patience, wire::read(Request::new(body))).await;
            let asked = read.map_err(|_| Unanswered::TooSlow)??;
            let size = prost::Message::encoded_len(&asked);
            let memory = &self.gate.load.memory;
            let _held = (size > LARGE).then(|| memory.charge(size));
            match question::read(asked)? {
                Read::Request(question) => {
                    Ok::<_, Unanswered>(Box::pin(self.check(*question)).await)
                }
                Read::Faulty(peer, fault) => Ok(self.faulty(peer, fault).await),
            }
        };
        match answered.await {
            Ok(answer) => wire::response(&answer),
            Err(unanswered) => {
                // Whoever connects could fill the log.
                if !warned.replace(true) {
                    tracing::warn!(?unanswered, "a question of Envoy is not answered");
                }
                unanswered.response()
            }
        }
    }

    /// Refuses a request of which no more can be understood, as [`Worker::written`] does.
    async fn faulty(&self, peer: IpAddr, fault: Fault) -> CheckResponse {
        let (name, mut refused) = (self.names.next(), Refused::from(fault));
        admit::count_unread(&self.seen.now(), peer, self.gate.node.since_boot());
        let recording = record::unread(&self.seen.now(), &name, peer, &refused, &self.here);
        if let Some(recording) = recording
            && let Err(unrecorded) = recording.await
        {
            refused = unrecorded;
        }
        let known = vec![("reason", refused.id.to_owned()), ("request", name.as_str().to_owned())];
        let mut response = refused.response(name.as_str());
        sign(response.headers_mut(), name.value(), self.hsts.as_ref());
        answer::answer(response, known)
    }

    /// Judges a request.
    async fn check(self: &Rc<Self>, question: Question) -> CheckResponse {
        let now = self.gate.node.since_boot();
        self.deadlines.see(now);
        let Question { parts, peer, secure, certificate, exact } = question;
        let gate = &self.seen.now();
        let name = self.names.next();
        let origin = cors::allowed(&gate.config.cors, parts.headers.get(header::ORIGIN));
        self.shed.measure(now, gate.node.clock());
        let _in_flight = match Class::of(parts.uri.path(), &gate.config) {
            Class::Health => None,
            class => match self.shed.enter(class, &gate.config.limits, now) {
                Ok(in_flight) => Some(in_flight),
                Err(reason) => {
                    let mut response = self.no_room(reason, name.as_str()).await;
                    cors::answer(&gate.config.cors, origin, response.headers_mut());
                    sign(response.headers_mut(), name.value(), self.hsts.as_ref());
                    let known = vec![("reason", "overloaded".to_owned())];
                    return answer::answer(response, known);
                }
            },
        };
        let trail = Trail::new(&parts, peer, gate, name, &self.here, now);
        let mut way = Way::new(trail, (gate, &*gate.routing), origin, None, now);
        let text = HeaderValue::try_from(peer.to_canonical().to_string());
        let peer_text = &text.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let sender =
            Sender { peer, peer_text, secure, certificate: certificate.as_ref(), ticket: None };
        let mut known = vec![("request", name.as_str().to_owned())];
        // INVARIANT: where bodies are judged, nobody is let pass of whom the head alone is seen.
        let judged = self.judge(&parts, &sender, &mut way).await;
        let judged = judged.and_then(|passage| match passage {
            Passage::On(on) if on.graphql.is_some() => Err(unseen()),
            passage => Ok(passage),
        });
        let mut response = match judged {
            Ok(Passage::On(on)) => return self.pass((&parts.headers, exact), *on, way, known),
            Ok(Passage::Here(response)) => response,
            Err(mut refused) => {
                way.trail.note_refused(&refused);
                // Refusing is deciding, also where it leads nowhere.
                if let Err(unrecorded) = way.trail.commit().await {
                    refused = unrecorded;
                }
                if let Some(described) = &way.routing.described {
                    described.lead(&mut refused);
                }
                known.push(("reason", refused.id.to_owned()));
                let mut response = refused.response(way.trail.trace().unwrap_or(name.as_str()));
                if !way.is_public {
                    let origin = way.origin.take();
                    cors::answer(&gate.config.cors, origin, response.headers_mut());
                }
                response
            }
        };
        self.sign_for(&mut way, response.headers_mut());
        way.trail.finish(response.status().as_u16());
        answer::answer(response, known)
    }

    /// Has Envoy pass on a request that may pass.
    fn pass(
        &self,
        (before, exact): (&HeaderMap, bool),
        on: On,
        mut way: Way<'_>,
        mut known: Vec<(&'static str, String)>,
    ) -> CheckResponse {
        way.trail.note_passed();
        way.waited = true;
        let (gate, target) = (way.gate, on.outgoing.target.clone());
        let (mut after, mut answer) = (before.clone(), HeaderMap::new());
        // Which address it goes to is for Envoy to say.
        let host = before.get(header::HOST).cloned();
        let host = host.unwrap_or_else(|| HeaderValue::from_static(""));
        let user = on.told.as_ref().and_then(|told| told.user.to_str().ok().map(str::to_owned));
        let name = way.trail.name.value();
        on.outgoing.apply(&mut after, &host, on.told, on.drop_authorization, name);
        if on.takes_trailers && !on.to.speaks_http1() {
            after.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(socket) = &on.socket {
            socket::ask(&mut after, &socket.key);
        }
        if on.is_service {
            cors::answer(&gate.config.cors, way.origin.clone(), &mut answer);
            let now = gate.node.now();
            if way.trail.passport.as_deref().is_some_and(|it| it.is_running_out(now)) {
                answer.insert(&X_TOKEN_REFRESH, HeaderValue::from_static("1"));
            }
            known.push(("service", on.to.name.to_string()));
        } else {
            // No service can be called so.
            known.push(("pages", "tegata".to_owned()));
        }
        known.extend(way.trail.route.as_ref().map(|route| ("route", route.to_string())));
        known.extend(user.map(|user| ("user", user)));
        answer.extend(limit_fields(on.limit).map(|(name, value)| (Some(name), value)));
        self.sign_for(&mut way, &mut answer);
        // What becomes of it behind Envoy is not known here.
        way.trail.finish(StatusCode::OK.as_u16());
        answer::pass(Passed {
            target: &target,
            before,
            after: &after,
            exact,
            answer: &answer,
            known,
        })
    }

    /// Adds what every answer says that goes to a client.
    fn sign_for(&self, way: &mut Way<'_>, headers: &mut HeaderMap) {
        // It was judged just now. How long Envoy waits for a service before it writes this is not known here, and a
        // value that is renewed and never given would sign somebody out.
        match way.set_cookie.take() {
            Some(SetCookie::Renewed(Renewed { line, .. })) => set(headers, line),
            Some(SetCookie::Cleared(line)) if !way.waited => set(headers, line),
            Some(SetCookie::Cleared(_)) | None => {}
        }
        if let Some(nonce) = way.nonce.take() {
            dpop::tell(headers, nonce);
        }
        // What Tegata's own pages say is stricter.
        let hsts = self.hsts.as_ref().filter(|_| !way.is_public);
        sign(headers, way.trail.name.value(), hsts);
    }

    /// Refuses a request for which there is no room.
    async fn no_room(&self, reason: Reason, name: &str) -> Response<Bytes> {
        self.gate.metrics.shed().count(reason);
        self.here.count(StatusCode::SERVICE_UNAVAILABLE.as_u16());
        self.shed.rest().await;
        Refusal::overloaded(scatter(self.next_turn())).response(name)
    }
}
