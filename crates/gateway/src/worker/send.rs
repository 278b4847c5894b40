//! Which connection a request takes, and when it is sent again.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tegata_core::SinceBoot;
use tegata_mesh::Upstream;

use super::Worker;
use crate::{
    body::{Progress, Upload},
    refusal::{Refusal, Refused},
    socket::Opening,
    upstream::{Lease, NoConnection, NoResponse},
};

impl Worker {
    /// Sends a request to one of the addresses of a service. Another address is tried where nothing
    /// was sent; the same once more where a connection turned out to be closed.
    pub(super) async fn send(
        &self,
        (upstreams, service): (&[Upstream], &Arc<str>),
        mut request: Request<Upload>,
        progress: &Rc<Progress>,
        now: SinceBoot,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Lease), Refused> {
        let mut fresh = false;
        for attempt in 0..2 {
            let mut lease = self.lease(upstreams, service, progress, now, fresh).await?;
            lease.address(&mut request);
            let opens = request.extensions().get::<Opening>().is_some();
            if opens && !lease.takes_sockets() {
                return Err(broken(service));
            }
            // What was sent on a connection that had been idle may have met its end on the way.
            let again = (lease.reused && attempt == 0).then(|| copy(&request)).flatten();
            match lease.send(request, patience).await {
                Ok(response) if !opens && response.status() == StatusCode::SWITCHING_PROTOCOLS => {
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
    ) -> Result<Lease, Refused> {
        let first = self.next_of(upstreams.len());
        let in_turn = || upstreams.iter().cycle().skip(first).take(upstreams.len());
        let pools = in_turn().map(|upstream| self.pool(upstream));
        let (avoided, near): (Vec<_>, Vec<_>) = pools.partition(|pool| pool.is_avoided(now));
        let mut failed = NoConnection::Unreachable;
        for pool in near.into_iter().chain(avoided) {
            match pool.lease(progress, now, fresh).await {
                Ok(lease) => return Ok(lease),
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
        *copy.version_mut() = request.version();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = HeaderMap::clone(request.headers());
        if let Some(opening) = request.extensions().get::<Opening>() {
            copy.extensions_mut().insert(opening.clone());
        }
        copy
    })
}

fn late(service: &str) -> Refused {
    let detail = format!("service `{service}` did not answer in time");
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "service_late", detail)
}

pub(super) fn broken(service: &str) -> Refused {
    let detail = format!("service `{service}` broke off, or gave an answer that is none");
    Refusal::new(StatusCode::BAD_GATEWAY, "service_broken", detail)
}
