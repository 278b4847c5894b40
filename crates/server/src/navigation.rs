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
use tegata_session::{
    Agent,
    agent::{Family, System},
};

use crate::{
    app::App,
    pages::{Trouble, Visit},
};

static DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The first versions that know `noopener-allow-popups`.
const CHROMIUM_KNOWS: (u32, u32) = (131, 0);
const SAFARI_KNOWS: (u32, u32) = (18, 4);

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
/// Nothing that can be read there is a form. A page of our own origin has no need of it, since it can ask for
/// the session; and could read the code that a client gets, where that is of our origin, too
/// ([`may_answer_in`]).
pub(crate) async fn of_requests(
    State(app): State<App>,
    visit: Visit,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let is_of_another = !app.shares_origin() || says(headers, &SITE, &["cross-site", "same-site"]);
    let passes = is_window(headers) || (is_framed(headers) && navigates(headers) && is_of_another);
    guarded(&app, &visit, request, next, passes).await
}

/// Whether what a client gets may be sent into a frame. Not to an address of our own origin, where that has
/// pages of others: they could read it there, however it came, for instance by way of another site, which
/// browsers say is where it comes from.
pub(crate) fn may_answer_in(app: &App, headers: &HeaderMap, redirect_uri: &str) -> bool {
    !(app.shares_origin() && is_framed(headers) && app.origins().include(redirect_uri))
}

async fn guarded(app: &App, visit: &Visit, request: Request, next: Next, passes: bool) -> Response {
    if !passes {
        let is_form = request.method() == Method::POST && is_window(request.headers());
        return visit.answer(app, Err(if is_form { Trouble::Foreign } else { Trouble::NoWindow }));
    }
    let agent = request.headers().get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let policy = opener_policy(agent.unwrap_or_default());
    let mut response = next.run(request).await;
    if app.shares_origin() {
        let policy = HeaderValue::from_static(policy);
        response.headers_mut().entry(&OPENER).or_insert(policy);
    }
    response
}

/// What cuts a window off from a page of the same origin that opened it. Only some browsers know the word that
/// does so whatever that page says of itself; to the others it is as good as nothing. There, one that says
/// `same-origin` too is not cut off.
fn opener_policy(agent: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(agent);
    let version = |product: &str| -> Option<(u32, u32)> {
        let (_, rest) = text.split_once(product)?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
    };
    let knows = match Agent::of(Some(agent)) {
        // Whatever its name, it is Safari's engine there, of the system's version.
        Agent { system: System::iOS, .. } => version("CPU iPhone OS ")
            .or_else(|| version("CPU OS "))
            .is_some_and(|system| system >= SAFARI_KNOWS),
        Agent { family: Family::Firefox, .. } => false,
        _ => match (version("Chrome/"), version("Version/")) {
            (Some(chromium), _) => chromium >= CHROMIUM_KNOWS,
            (None, Some(safari)) => text.contains("Safari/") && safari >= SAFARI_KNOWS,
            (None, None) => false,
        },
    };
    if knows { "noopener-allow-popups" } else { "same-origin" }
}

/// Whether an answer is for a window that goes there. What does not say what it is for is no browser's
/// request, but for those of 2019 and before: programs say where it comes from, and call themselves `fetch`,
/// as they like.
fn is_window(headers: &HeaderMap) -> bool {
    !headers.contains_key(&DEST) || (says(headers, &DEST, &["document"]) && navigates(headers))
}

fn is_framed(headers: &HeaderMap) -> bool {
    says(headers, &DEST, &["iframe", "frame"])
}

fn navigates(headers: &HeaderMap) -> bool {
    !headers.contains_key(&MODE) || says(headers, &MODE, &["navigate"])
}

/// Whether a form is of a page of this very origin, or sent again by the person. A page of another origin
/// of ours has no forms of these.
fn is_of_our_own_page(headers: &HeaderMap) -> bool {
    !headers.contains_key(&SITE) || says(headers, &SITE, &["same-origin", "none"])
}

/// Whether a script of a page of this very origin asks, by what browsers say of it.
pub(crate) fn is_of_our_script(headers: &HeaderMap) -> bool {
    (!headers.contains_key(&SITE) || says(headers, &SITE, &["same-origin"]))
        && (!headers.contains_key(&DEST) || says(headers, &DEST, &["empty"]))
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
        // Programs that send a form as a page would.
        let site = ("sec-fetch-site", "same-origin");
        assert!(judge(&[site]));
        assert!(judge(&[site, (mode, "cors")]));
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
    fn a_browser_is_told_the_word_that_it_knows() {
        let windows =
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        let phone = |system| format!("Mozilla/5.0 (iPhone; CPU iPhone OS {system} like Mac OS X)");
        for agent in [
            format!("{windows} Chrome/131.0.0.0 Safari/537.36"),
            format!("{windows} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0"),
            format!("{windows} Chrome/140.0.0.0 Safari/537.36 OPR/120.0.0.0"),
            format!("{mac} Version/18.4 Safari/605.1.15"),
            format!("{mac} Version/26.0 Safari/605.1.15"),
            format!("{} Version/18.6 Mobile/15E148 Safari/604.1", phone("18_6")),
            format!("{} CriOS/120.0.0.0 Mobile/15E148 Safari/604.1", phone("18_4")),
            format!("{} FxiOS/140.0 Mobile/15E148 Safari/604.1", phone("18_4_1")),
        ] {
            assert_eq!(opener_policy(agent.as_bytes()), "noopener-allow-popups", "{agent}");
        }
        for agent in [
            format!("{windows} Chrome/130.0.0.0 Safari/537.36"),
            format!("{windows} Chrome/99.0.0.0 Safari/537.36"),
            format!("{windows} Chrome/x Safari/537.36"),
            format!("{mac} Version/18.3 Safari/605.1.15"),
            format!("{mac} Version/17.6 Safari/605.1.15"),
            format!("{} Version/18.3 Mobile/15E148 Safari/604.1", phone("18_3")),
            format!("{} CriOS/141.0.0.0 Mobile/15E148 Safari/604.1", phone("17_6")),
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned(),
            "curl/8.14.1".to_owned(),
            "Chrome/99999999999999999999".to_owned(),
            String::new(),
        ] {
            assert_eq!(opener_policy(agent.as_bytes()), "same-origin", "{agent}");
        }
    }

    #[test]
    fn a_form_is_of_the_very_origin() {
        let judge = |site: &'static str| is_of_our_own_page(&headers(&[("sec-fetch-site", site)]));
        assert!(is_of_our_own_page(&headers(&[])));
        assert!(judge("same-origin") && judge("none"));
        assert!(!judge("same-site") && !judge("cross-site") && !judge(""));
    }
}
