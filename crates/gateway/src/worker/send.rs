//! Which connection a request takes, when it is sent again, and what is learnt from how it went.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tegata_core::SinceBoot;

use super::{Worker, exchange::Way};
use crate::{
    body::{Progress, Upload},
    refusal::{Refusal, Refused},
    socket::Opening,
    timer::Deadline,
    upstream::{Balanced, Claim, Lease, NoConnection, NoResponse, Room, pause, scatter, within},
};

/// Why there is no answer.
enum Fell {
    /// No address could be reached. Nothing was sent.
    Unreachable,
    /// Every connection that there may be is in use. Nothing was sent.
    Full,
    /// There was none in time.
    Late,
    /// The same, while the client had not sent all of its request.
    Held,
    /// The service broke off, or gave an answer that is none.
    Broken,
    /// The client broke off, was too slow, or wants what the service has not: that says nothing about how the
    /// service does.
    Client,
}

impl Worker {
    /// Sends a request to one of the addresses of a service, and within limits once more where that can
    /// do no harm. `whole` is when all of it must be over.
    pub(super) async fn send(
        &self,
        to: &Arc<Balanced>,
        request: Request<Upload>,
        progress: &Rc<Progress>,
        way: &Way<'_>,
        times: (Duration, Option<&Deadline>),
    ) -> Result<(Response<Incoming>, Lease), Refused> {
        let room = match to.enter() {
            Ok(room) => room,
            Err(()) => self.wait_for_room(to, way, times.1).await.ok_or_else(|| busy(&to.name))?,
        };
        let permit = to.breaker.as_ref().map(|breaker| breaker.admit(&to.name)).transpose()?;
        to.retry.earn();
        let sent = self.attempt(to, request, (progress, room), way, times).await;
        if let Some(permit) = permit {
            match &sent {
                Ok((response, _)) if is_away(response.status()) => permit.failed(),
                Ok(_) => permit.succeeded(),
                Err(Fell::Unreachable | Fell::Late | Fell::Broken) => permit.failed(),
                // Nobody was asked, or it was the client: nothing was learnt.
                Err(Fell::Full | Fell::Held | Fell::Client) => drop(permit),
            }
        }
        sent.map_err(|fell| match fell {
            Fell::Unreachable => Refusal::new(
                StatusCode::BAD_GATEWAY,
                "service_unreachable",
                format!("service `{}` cannot be reached", to.name),
            ),
            Fell::Full => busy(&to.name),
            Fell::Late | Fell::Held => late(&to.name),
            Fell::Broken | Fell::Client => broken(&to.name),
        })
    }

    /// A place at a service that has as many requests as it may have, where some may wait for one: for as long
    /// as connecting may take.
    async fn wait_for_room(
        &self,
        to: &Arc<Balanced>,
        way: &Way<'_>,
        whole: Option<&Deadline>,
    ) -> Option<Option<Room>> {
        to.reach.max_waiting?;
        let patience = self.deadlines.armed(way.gate.config.upstream.connect);
        let waiting = pin!(to.wait());
        let waiting = pin!(within(Some(&patience), waiting));
        within(whole, waiting).await.flatten().flatten()
    }

    async fn attempt(
        &self,
        to: &Arc<Balanced>,
        mut request: Request<Upload>,
        (progress, mut room): (&Rc<Progress>, Option<Room>),
        way: &Way<'_>,
        (patience, whole): (Duration, Option<&Deadline>),
    ) -> Result<(Response<Incoming>, Lease), Fell> {
        let now = way.now;
        let opens = request.extensions().get::<Opening>().is_some();
        let (mut tried, mut sends) = (0, 0);
        // Where a connection had been closed meanwhile, the same address is asked on a new one.
        let mut same: Option<Claim> = None;
        loop {
            let fresh = same.is_some();
            let (claim, mut lease) = match same.take() {
                Some(claim) => {
                    let leased = {
                        let leasing = pin!(self.lease_of(claim, progress, now, true));
                        within(whole, leasing).await.ok_or(Fell::Late)?
                    };
                    leased.map_err(|it| it.1)?
                }
                None => self.lease(to, &mut tried, progress, now, whole).await?,
            };
            tried = claim.among(tried);
            lease.address(&mut request);
            if opens && !lease.takes_sockets() {
                return Err(Fell::Client);
            }
            sends += 1;
            let may_again = sends < to.retry.attempts() && to.retry.is_there();
            let again = may_again.then(|| Again::of(&request)).flatten();
            let was_reused = lease.reused;
            let answered = {
                let answering = pin!(lease.send(request, patience));
                within(whole, answering).await.unwrap_or(Err(NoResponse::Late))
            };
            let after = || self.gate.node.since_boot();
            match answered {
                Ok(response) if !opens && response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    claim.failed(after(), false);
                    return Err(Fell::Broken);
                }
                Ok(response) => {
                    if is_away(response.status()) || response.status().as_u16() == 500 {
                        claim.failed(after(), false);
                    } else {
                        claim.succeeded();
                    }
                    let no_use = to.retry.is_of_no_use(response.status());
                    let again = again.filter(|_| no_use && to.has_another(tried, now));
                    match again.and_then(Again::request) {
                        Some(again) if to.retry.spend() => request = again,
                        _ => {
                            lease.counts = Some((claim, room.take()));
                            return Ok((response, lease));
                        }
                    }
                }
                Err(NoResponse::Late) => {
                    // A client that does not send its body holds the answer up as well.
                    if !progress.ended.get() {
                        return Err(Fell::Held);
                    }
                    lease.retire();
                    claim.failed(after(), false);
                    return Err(Fell::Late);
                }
                Err(NoResponse::NotSent(back)) if !fresh => {
                    (request, same) = (*back, Some(claim));
                    continue;
                }
                Err(NoResponse::Broken) if progress.cut.get().is_some() => {
                    return Err(Fell::Client);
                }
                Err(NoResponse::NotSent(_) | NoResponse::Broken) => {
                    // What was sent on a connection that had been idle may have met its end on the way.
                    if !was_reused {
                        claim.failed(after(), false);
                    }
                    match again.and_then(Again::request) {
                        Some(again) if to.retry.spend() => request = again,
                        _ => return Err(Fell::Broken),
                    }
                    if was_reused {
                        same = Some(claim);
                        continue;
                    }
                }
            }
            // Another address is asked at once; the same one after a while.
            if !to.has_another(tried, now) {
                let random = scatter(self.next_turn()) as u64;
                // Nobody waits for anything else here, so that the time is all there is to wait for.
                let pausing =
                    tokio::time::timeout(pause(sends, random), std::future::pending::<()>());
                if within(whole, Box::pin(pausing).as_mut()).await.is_none() {
                    return Err(Fell::Late);
                }
                tried = 0;
            }
        }
    }

    /// A connection to one of the addresses; another one is tried where one cannot be reached.
    async fn lease(
        &self,
        to: &Arc<Balanced>,
        tried: &mut u64,
        progress: &Rc<Progress>,
        now: SinceBoot,
        whole: Option<&Deadline>,
    ) -> Result<(Claim, Lease), Fell> {
        let mut late = 0;
        loop {
            let Some(claim) = to.choose(self.next_turn(), *tried, now) else {
                return Err(Fell::Unreachable);
            };
            let among = claim.among(*tried);
            let leased = {
                let leasing = pin!(self.lease_of(claim, progress, now, false));
                within(whole, leasing).await.ok_or(Fell::Late)?
            };
            *tried = among;
            let (no, fell) = match leased {
                Ok(leased) => return Ok(leased),
                Err(failed) => failed,
            };
            late += u32::from(no == NoConnection::Late);
            // Each that does not even refuse costs as long as connecting may take.
            if !to.has_untried(among) || late >= to.retry.attempts() {
                return Err(fell);
            }
        }
    }

    async fn lease_of(
        &self,
        claim: Claim,
        progress: &Rc<Progress>,
        now: SinceBoot,
        fresh: bool,
    ) -> Result<(Claim, Lease), (NoConnection, Fell)> {
        let pool = self.pool(&claim.address);
        match pool.lease(progress, now, fresh).await {
            Ok(lease) => Ok((claim, lease)),
            Err(no) => {
                let fell = match no {
                    NoConnection::Unreachable => Fell::Unreachable,
                    NoConnection::Late => Fell::Late,
                    NoConnection::Full => Fell::Full,
                };
                if no != NoConnection::Full {
                    claim.failed(self.gate.node.since_boot(), true);
                }
                Err((no, fell))
            }
        }
    }
}

/// Whether who answers so says that there is nobody behind it. An error of its own (500) may be about
/// the one request, which must close no service to all others.
const fn is_away(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// What a request says that may be sent twice: it has no body, and doing it twice is doing it once
/// (RFC 9110 §9.2.2). Few are, so that it is kept as text: that is made faster than a copy of the head, and
/// slower read.
struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    opening: Option<Opening>,
    /// Of each field the name and the value, each behind its length.
    fields: Vec<u8>,
}

/// Of a length in [`Again::fields`].
const PREFIX: usize = size_of::<u32>();
/// In the length of a value that is a secret.
const SECRET: u32 = 1 << 31;

impl Again {
    fn of(request: &Request<Upload>) -> Option<Self> {
        let repeatable = matches!(request.body(), Upload::Empty)
            && matches!(
                *request.method(),
                Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
            );
        repeatable.then(|| {
            let headers = request.headers();
            let length = |(name, value): (&HeaderName, &HeaderValue)| {
                2 * PREFIX + name.as_str().len() + value.len()
            };
            let mut fields = Vec::with_capacity(headers.iter().map(length).sum());
            for (name, value) in headers {
                let secret = if value.is_sensitive() { SECRET } else { 0 };
                for (text, mark) in [(name.as_str().as_bytes(), 0), (value.as_bytes(), secret)] {
                    // No head is longer than its block may be.
                    let length = u32::try_from(text.len()).unwrap_or_default();
                    fields.extend_from_slice(&(length | mark).to_be_bytes());
                    fields.extend_from_slice(text);
                }
            }
            Self {
                method: request.method().clone(),
                uri: request.uri().clone(),
                version: request.version(),
                opening: request.extensions().get::<Opening>().cloned(),
                fields,
            }
        })
    }

    /// The request, anew.
    fn request(self) -> Option<Request<Upload>> {
        let mut request = Request::new(Upload::Empty);
        let mut rest = self.fields.as_slice();
        let mut next = || {
            let (length, after) = rest.split_first_chunk::<PREFIX>()?;
            let length = u32::from_be_bytes(*length);
            let (text, after) = after.split_at_checked(usize::try_from(length & !SECRET).ok()?)?;
            rest = after;
            Some((text, length & SECRET != 0))
        };
        while let Some((name, _)) = next() {
            let name = HeaderName::from_bytes(name).ok()?;
            let (value, is_secret) = next()?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(is_secret);
            request.headers_mut().append(name, value);
        }
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        if let Some(opening) = self.opening {
            request.extensions_mut().insert(opening);
        }
        Some(request)
    }
}

fn busy(service: &str) -> Refused {
    let detail = format!("service `{service}` has as many requests as it may have");
    Refusal::unavailable("service_busy", detail)
}

pub(super) fn late(service: &str) -> Refused {
    let detail = format!("service `{service}` did not answer in time");
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "service_late", detail)
}

pub(super) fn broken(service: &str) -> Refused {
    let detail = format!("service `{service}` broke off, or gave an answer that is none");
    Refusal::new(StatusCode::BAD_GATEWAY, "service_broken", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_is_what_was_sent() {
        let mut request = Request::new(Upload::Empty);
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = "/a?b=%20".parse().unwrap();
        *request.version_mut() = Version::HTTP_2;
        let fields = [("x-a", "1"), ("cookie", ""), ("x-a", "2"), ("x-internal-token", "secret")];
        for (name, value) in fields {
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(name == "x-internal-token");
            request.headers_mut().append(name, value);
        }
        request.headers_mut().append("x-odd", HeaderValue::from_bytes(b"\xff\t").unwrap());
        let again = Again::of(&request).and_then(Again::request).unwrap();
        assert_eq!(again.headers(), request.headers());
        assert!(again.headers()["x-internal-token"].is_sensitive());
        assert!(!again.headers()["x-odd"].is_sensitive());
        assert_eq!(
            (again.method(), again.uri(), again.version()),
            (request.method(), request.uri(), request.version())
        );
        // What may have had an effect is not kept.
        *request.method_mut() = Method::POST;
        assert!(Again::of(&request).is_none());
    }
}
