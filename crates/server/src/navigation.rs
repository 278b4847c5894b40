//! Pages are for people who go there: by what browsers say of a request (W3C Fetch Metadata), no script
//! reads one, frames one, or sends its form behind somebody's back.
//!
//! Where a gateway serves pages of others on our own origin, a script in one of them has the person's
//! cookies and our origin. `fetch` would give it a page of ours with the token of its form. Browsers say
//! what an answer is for, and no script can say otherwise: `Sec-Fetch-Dest: document` is a window's. What
//! says nothing of it is no browser of these years, and has nobody's cookies but its own.
//!
//! A script can also open a window on our page and reach into it. Such a window is cut off from whoever
//! opened it (`Cross-Origin-Opener-Policy`), by whichever word the browser knows; and what lasts asks for a
//! proof besides ([`crate::pages::presence`]).

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tegata_session::{Agent, agent::Family};

use crate::{
    app::App,
    pages::{Trouble, Visit},
};

static DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Serves windows alone, and forms of our own pages alone.
pub(crate) async fn of_people(
    State(app): State<App>,
    visit: Visit,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let passes =
        is_window(headers) && (request.method() != Method::POST || is_of_our_own_page(headers));
    guarded(&app, &visit, request, next, passes).await
}

/// Serves windows alone, whichever site leads there.
pub(crate) async fn of_clients(
    State(app): State<App>,
    visit: Visit,
    request: Request,
    next: Next,
) -> Response {
    let passes = is_window(request.headers());
    guarded(&app, &visit, request, next, passes).await
}

/// Serves windows and frames: clients look in a frame whether somebody is signed in (`prompt=none`).
/// Nothing that can be read there is a form.
pub(crate) async fn of_requests(
    State(app): State<App>,
    visit: Visit,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let is_framed = says(headers, &DEST, &["iframe", "frame"]) && navigates(headers);
    let passes = is_window(headers) || is_framed;
    guarded(&app, &visit, request, next, passes).await
}

async fn guarded(app: &App, visit: &Visit, request: Request, next: Next, passes: bool) -> Response {
    if !passes {
        return visit.answer(app, Err(Trouble::Foreign));
    }
    let agent = request.headers().get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let is_firefox = Agent::of(agent).family == Family::Firefox;
    let mut response = next.run(request).await;
    if app.shares_origin() {
        let policy = HeaderValue::from_static(opener_policy(is_firefox));
        response.headers_mut().entry(&OPENER).or_insert(policy);
    }
    response
}

/// What cuts a window off from a page of the same origin that opened it. Firefox does not know the word
/// that does so whatever that page says of itself; there, one that says `same-origin` too is not cut off.
const fn opener_policy(is_firefox: bool) -> &'static str {
    if is_firefox { "same-origin" } else { "noopener-allow-popups" }
}

/// Whether an answer is for a window that goes there. What does not say is no browser's request; what says
/// half of it is.
fn is_window(headers: &HeaderMap) -> bool {
    !headers.contains_key(&DEST) || (says(headers, &DEST, &["document"]) && navigates(headers))
}

fn navigates(headers: &HeaderMap) -> bool {
    !headers.contains_key(&MODE) || says(headers, &MODE, &["navigate"])
}

/// Whether a form is of a page of this very origin, or sent again by the person. A page of another origin
/// of ours has no forms of these.
fn is_of_our_own_page(headers: &HeaderMap) -> bool {
    !headers.contains_key(&SITE) || says(headers, &SITE, &["same-origin", "none"])
}

/// Whether a header stands there once and says one of these.
fn says(headers: &HeaderMap, name: &HeaderName, any: &[&str]) -> bool {
    let mut lines = headers.get_all(name).iter();
    let (first, more) = (lines.next(), lines.next());
    let is_one = |line: &HeaderValue| any.iter().any(|it| line.as_bytes() == it.as_bytes());
    first.is_some_and(is_one) && more.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_windows_are_windows() {
        let judge = |pairs: &[_]| is_window(&headers(pairs));
        let (dest, mode) = ("sec-fetch-dest", "sec-fetch-mode");
        assert!(judge(&[]));
        assert!(judge(&[(dest, "document"), (mode, "navigate")]));
        // Programs that call themselves `fetch`, and are no browsers.
        assert!(judge(&[(mode, "cors")]));
        for what in
            ["empty", "iframe", "frame", "object", "embed", "script", "image", "", "Document"]
        {
            assert!(!judge(&[(dest, what), (mode, "navigate")]), "{what}");
            assert!(!judge(&[(dest, what)]), "{what}");
        }
        for how in ["cors", "no-cors", "same-origin", "websocket", "", "navigate, navigate"] {
            assert!(!judge(&[(dest, "document"), (mode, how)]), "{how}");
        }
        assert!(!judge(&[(dest, "document"), (dest, "document")]));
        assert!(!judge(&[(dest, "document"), (mode, "navigate"), (mode, "cors")]));
    }

    #[test]
    fn a_form_is_of_the_very_origin() {
        let judge = |site: &'static str| is_of_our_own_page(&headers(&[("sec-fetch-site", site)]));
        assert!(is_of_our_own_page(&headers(&[])));
        assert!(judge("same-origin") && judge("none"));
        assert!(!judge("same-site") && !judge("cross-site") && !judge(""));
    }
}
