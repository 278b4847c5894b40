//! A request on its way to a service, and what is made of the answer.

use std::sync::Arc;

use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts,
};
use hyper::body::Incoming;
use tegata_core::rate::Answer;
use tegata_mesh::Upstream;
use tegata_session::Agreed;
use tegata_token::ClientCertificate;

use super::{Worker, exchange::Way};
use crate::{
    body::{Cut, Reply, Upload},
    certificate, cors,
    pace::Patience,
    phase::forward::{Outgoing, Passing, Told, X_TOKEN_REFRESH, clean, keep_out},
    refusal::{Refusal, Refused, limit_fields},
    wire::Ticket,
};

/// What carries the secret that the gateway shows to Tegata's own endpoints. A client's is gone by
/// then, like all of this family.
static X_INTERNAL_GATEWAY: HeaderName = HeaderName::from_static("x-internal-gateway");

/// A request that is sent on, and what becomes of its answer.
pub(super) struct On {
    pub(super) outgoing: Outgoing,
    /// The service's name, to be told in refusals.
    pub(super) service: Arc<str>,
    pub(super) upstreams: Vec<Upstream>,
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
    pub(super) limit: Option<(&'static str, Answer)>,
}

impl Worker {
    /// Sends a request on, and makes the answer of what comes back.
    pub(super) async fn forward(
        &self,
        on: On,
        mut parts: Parts,
        body: Incoming,
        way: &Way<'_>,
        ticket: &Ticket,
    ) -> Result<Response<Reply>, Refused> {
        let deadlines = &self.gate.config.deadlines;
        let client = Patience { quiet: deadlines.client, rate: on.body_rate };
        let (upload, progress) = Upload::new(body, on.largest_body, &self.deadlines, client);
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
        progress.answered.set(true);
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
        let waits = (self.gate.config.upstream.pause, client);
        let reply = Reply::from_service(body, lease, ticket.again(), &self.deadlines, waits);
        Ok(Response::from_parts(head, reply))
    }
}

pub(super) fn refused_cut(cut: Cut) -> Refused {
    let (status, id) = match cut {
        Cut::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        Cut::ClientSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        Cut::ClientBroke => (StatusCode::BAD_REQUEST, "body_malformed"),
        Cut::ServiceSlow => (StatusCode::GATEWAY_TIMEOUT, "service_late"),
        Cut::ServiceBroke => (StatusCode::BAD_GATEWAY, "service_broken"),
    };
    Refusal::new(status, id, cut.to_string()).closing()
}
