//! Every path of the public listener.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, Path, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use http::{HeaderName, StatusCode, request::Parts};
use tegata_core::{OsEntropy, Secret, rate::Sparing};

use crate::{
    access, admin,
    app::App,
    browser, headers, limits, navigation, oauth2,
    pages::{
        self, assets, by_link, by_mail, console, device, held, home, login, mail, sdk, security,
    },
    panicked::{self, Panicked},
    problem::Problem,
    recorded, session_data, signals, status_lists, trace, well_known,
};

/// So many lines about those who ask where the gateway alone may.
const STRANGERS: (&str, &str) = ("5/m", "5/m");

static X_INTERNAL_GATEWAY: HeaderName = HeaderName::from_static("x-internal-gateway");

/// What a path has in the place of `{…}`. What cannot be read is nothing that there is.
pub(crate) struct Segment(pub(crate) String);

impl FromRequestParts<App> for Segment {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let read = Path::<String>::from_request_parts(parts, app).await;
        Ok(Self(read.map(|Path(text)| text).unwrap_or_default()))
    }
}

/// Two segments of a path, in the same way.
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl FromRequestParts<App> for Segments {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let read = Path::<(String, String)>::from_request_parts(parts, app).await;
        let (first, second) = read.map(|Path(both)| both).unwrap_or_default();
        Ok(Self(first, second))
    }
}

/// The public listener as one service. Requests should carry a [`crate::Peer`].
pub fn router(app: App) -> Router {
    let people = Router::new()
        .route("/", get(home::home))
        .route("/login", get(login::show).post(login::submit))
        .route("/login/sessions", post(home::end))
        .route("/login/consents", post(home::withdraw))
        .route("/login/tokens", post(held::end))
        .route("/login/security", get(security::show).post(security::submit))
        .route("/login/reset", get(mail::show_reset).post(mail::reset))
        .route("/login/signup", get(mail::show_sign_up).post(mail::sign_up))
        .route("/login/password", get(by_link::show_password).post(by_link::password))
        .route("/login/address", get(by_link::show_address).post(by_link::address))
        .route("/login/link", get(by_mail::show).post(by_mail::submit))
        .route("/login/device", get(device::show).post(device::submit))
        .route("/oauth2/consent", get(oauth2::consent::show).post(oauth2::consent::submit))
        .route("/console", get(console::overview))
        .route("/console/{page}", get(console::page).post(console::submit))
        .route("/console/{page}/{id}", get(console::one).post(console::submit_one))
        .route_layer(from_fn_with_state(app.clone(), navigation::of_people));
    let clients = Router::new()
        .route("/oauth2/logout", get(oauth2::logout::logout).post(oauth2::logout::logout))
        .route_layer(from_fn_with_state(app.clone(), navigation::of_clients));
    let requests = Router::new()
        .route(
            "/oauth2/authorize",
            get(oauth2::authorize::authorize).post(oauth2::authorize::authorize),
        )
        .route_layer(from_fn_with_state(app.clone(), navigation::of_requests));
    let closed = Router::new()
        .merge(people)
        .merge(clients)
        .merge(requests)
        .route("/login/assets/{name}", get(assets::asset))
        .route("/console/events", get(console::events::events))
        .route("/assets/tegata/{name}", get(sdk::module))
        .route("/oauth2/register", post(oauth2::register::register))
        .route(
            "/oauth2/register/{id}",
            get(oauth2::register::read)
                .put(oauth2::register::replace)
                .delete(oauth2::register::remove),
        )
        // Whoever introspects, or keeps data with a session, is a service: no page has a reason to.
        .route("/oauth2/introspect", post(oauth2::introspect::introspect))
        .route("/oauth2/revocations", post(oauth2::revocations::revocations))
        .route("/api/sessions/{sid}/data", get(session_data::all))
        .route(
            "/api/sessions/{sid}/data/{name}",
            get(session_data::one).put(session_data::put).delete(session_data::remove),
        );
    closed
        .merge(signals::routes())
        .merge(access::routes())
        .merge(admin::routes())
        .merge(for_all_origins())
        .merge(for_our_scripts(&app))
        .fallback(pages::not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), every))
        .with_state(app)
}

/// What is done with every request, whatever it asks for. It is one layer, because each has the services
/// beneath it copied for every request.
async fn every(State(app): State<App>, request: Request, next: Next) -> Response {
    let answer = async |request| match limits::check(&app, &request) {
        // What a handler leaves behind that panics is an answer like any other: recorded, and with its trace.
        Ok(()) => panicked::caught(next.run(request)).await.unwrap_or_else(Panicked::into_response),
        Err(problem) => problem.into_response(),
    };
    let answer = async |request| recorded::recorded(&app, request, answer).await;
    trace::named(&app, request, async |request| headers::complete(&app, answer(request).await))
        .await
}

/// The same for the gateway alone, which says on whose behalf it asks. It shows `secret` as
/// `X-Internal-Gateway`; whoever does not is refused before anything else of the request is looked
/// at, because everybody on this machine can connect.
pub fn router_for_gateway(app: App, secret: Secret<String>) -> Router {
    let (secret, node) = (Arc::new(secret), app.node().clone());
    let strangers = Arc::new(Sparing::new(STRANGERS.0, STRANGERS.1));
    router(app).layer(from_fn(move |mut request: Request, next: Next| {
        let (secret, strangers, node) = (Arc::clone(&secret), Arc::clone(&strangers), node.clone());
        async move {
            // It is taken out, so that nothing further in can show it to anybody.
            let shown = request.headers_mut().remove(&X_INTERNAL_GATEWAY);
            if shown.is_some_and(|shown| secret.matches(shown.as_bytes())) {
                return next.run(request).await;
            }
            if let Some(left_out) = strangers.say((), node.since_boot()) {
                tracing::warn!(
                    left_out,
                    "somebody on this machine who does not have the gateway's secret asks where the gateway \
                     alone may: refused"
                );
            }
            let problem = Problem::new(StatusCode::FORBIDDEN, "this listener is the gateway's");
            trace::signed(problem.into_response(), &OsEntropy)
        }
    }))
}

/// What knows nothing of cookies, so that scripts of any origin may read it.
fn for_all_origins() -> Router<App> {
    Router::new()
        .route("/.well-known/openid-configuration", get(well_known::metadata))
        .route("/.well-known/oauth-authorization-server", get(well_known::metadata))
        .route("/.well-known/jwks.json", get(well_known::jwks))
        .route("/.well-known/authzen-configuration", get(access::metadata))
        .route("/.well-known/ssf-configuration", get(signals::configuration))
        .route("/status-lists", get(status_lists::all))
        .route("/status-lists/{id}", get(status_lists::list))
        .route("/oauth2/par", post(oauth2::par::par))
        .route("/oauth2/device", post(oauth2::device::authorize))
        .route("/oauth2/token", post(oauth2::token::token))
        .route("/oauth2/revoke", post(oauth2::revoke::revoke))
        .route("/oauth2/userinfo", get(oauth2::userinfo::userinfo).post(oauth2::userinfo::userinfo))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(headers::open_to_all))
}

/// The browser API.
fn for_our_scripts(app: &App) -> Router<App> {
    Router::new()
        .route("/api/auth/login", post(browser::login::login))
        .route("/api/auth/login/passkey", post(browser::passkey::login))
        .route("/api/auth/mfa", post(browser::mfa::mfa))
        .route("/api/auth/mfa/passkey", post(browser::passkey::mfa))
        .route("/api/auth/refresh", post(browser::refresh::refresh))
        .route("/api/auth/logout", post(browser::logout::logout))
        .route("/api/auth/session", get(browser::session::session))
        .route("/api/auth/sessions", get(browser::sessions::list))
        .route("/api/auth/sessions/{id}", delete(browser::sessions::end))
        .route("/api/auth/csrf", get(browser::csrf::csrf))
        .route("/api/auth/elevate", post(browser::elevate::elevate))
        .route("/api/auth/elevate/passkey", post(browser::passkey::elevate))
        .route(
            "/api/consent",
            get(browser::consent::show)
                .put(browser::consent::choose)
                .delete(browser::consent::withdraw),
        )
        .route("/api/consent/records", get(browser::consent::records))
        .route("/api/consent/{name}", get(assets::banner))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), headers::open_to_allowed))
}

/// The answer to a method that a path does not have. The router says which it has.
pub(crate) async fn method_not_allowed() -> Response {
    let detail = "the address does not have this method; see the header Allow";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).named("invalid_request").into_response()
}
