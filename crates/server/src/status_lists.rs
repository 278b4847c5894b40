//! `/status-lists/{id}`: which tokens are revoked, for verifiers outside (IETF Token Status List).

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use tegata_core::{SinceBoot, StoreError};
use tegata_token::{Algorithm, ListId, StatusBits, jws};

use crate::{app::App, form, problem::Problem, router::Segment};

/// For how long a list is given out as it was made.
const REMEMBERED: Duration = Duration::from_secs(3);

/// The most lists of one quarter of an hour: 2^27 tokens, more than are ever issued in one.
const MOST_LISTS: u32 = 128;

/// The lists that were made lately. Only lists in which something is revoked take work to make.
#[derive(Debug, Default)]
pub(crate) struct Published {
    lately: Mutex<HashMap<ListId, (SinceBoot, Arc<str>)>>,
    empty: std::sync::OnceLock<Arc<str>>,
}

/// How lists are given out.
const FORM: &str = "application/statuslist+jwt";

/// Why a list is not given out.
#[derive(Debug)]
pub(crate) enum NoList {
    /// As it was at another time: that is not kept.
    Earlier,
    /// It is asked for in a form that there is not.
    Form,
    /// It has not been opened yet, has been dead for long, or never was.
    Unknown,
    /// This node does not know what was revoked lately.
    Stale,
    /// It cannot be signed.
    Store(StoreError),
}

pub(crate) async fn list(
    State(app): State<App>,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, NoList> {
    let asked = form::decode(query.unwrap_or_default().as_bytes());
    // As of which second (§8.4).
    if asked.is_ok_and(|it| it.into_pairs().iter().any(|(name, _)| name == "time")) {
        return Err(NoList::Earlier);
    }
    if !takes(&headers) {
        return Err(NoList::Form);
    }
    let id = ListId::parse(&id).filter(|id| is_open(&app, *id)).ok_or(NoList::Unknown)?;
    let staleness = app.provider().revoker().view().staleness();
    if staleness.is_none_or(|age| age > app.config().most_stale) {
        return Err(NoList::Stale);
    }
    let token = token(&app, id).map_err(NoList::Store)?;
    let media_type = HeaderValue::from_static(FORM);
    // Short, because `ttl` begins when a verifier has it: a cache in between would add to that.
    let lasting = HeaderValue::from_static("public, max-age=5");
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, lasting)];
    Ok((headers, token.to_string()).into_response())
}

/// Whether somebody takes a list in the one form that there is (§8.1). Whoever says nothing does.
fn takes(headers: &HeaderMap) -> bool {
    let said = || headers.get_all(header::ACCEPT).iter();
    let ranges = said().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let taken = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let form = parts.next()?.to_ascii_lowercase();
        let refused = parts.any(|it| matches!(it, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (!refused).then_some(form)
    });
    let mut taken = taken.filter(|form| [FORM, "application/*", "*/*"].contains(&form.as_str()));
    said().next().is_none() || taken.next().is_some()
}

/// Whether tokens may have been put on the list, and may be alive.
fn is_open(app: &App, id: ListId) -> bool {
    let now = app.node().now();
    // Of the lists of an epoch before, nobody knows any more what was set on them.
    id.epoch == app.epoch()
        && id.number < MOST_LISTS
        && id.slot <= ListId::slot_at(now)
        && id.closes() + app.config().longest_token > now
}

/// The list's token, made lately or now.
fn token(app: &App, id: ListId) -> Result<Arc<str>, StoreError> {
    let published = app.published();
    let Some(bits) = app.view().list(id) else {
        let nothing = || StatusBits::new().to_lst().into();
        return signed(app, id, published.empty.get_or_init(nothing));
    };
    let now = app.node().since_boot();
    let is_fresh = |made: SinceBoot| now.since(made) < REMEMBERED;
    if let Some((made, token)) = published.lately.lock().get(&id)
        && is_fresh(*made)
    {
        return Ok(Arc::clone(token));
    }
    let token = signed(app, id, &bits.to_lst())?;
    let mut lately = published.lately.lock();
    lately.retain(|_, (made, _)| is_fresh(*made));
    lately.insert(id, (now, Arc::clone(&token)));
    Ok(token)
}

/// The Status List Token (§5.1).
fn signed(app: &App, id: ListId, list: &str) -> Result<Arc<str>, StoreError> {
    let misused = |detail: String| StoreError::Misused { detail };
    let signer = app.provider().keys().now().signer(Algorithm::Es256);
    let key = signer.ok_or_else(|| misused("there is no ES256 key for status lists".to_owned()))?;
    let (now, ttl) = (app.node().now(), app.config().status_ttl.as_secs());
    let claims = json!({
        "iss": app.provider().issuer(),
        "sub": format!("{}/status-lists/{id}", app.provider().issuer()),
        "iat": now.secs(),
        "exp": now.secs() + ttl * 5,
        "ttl": ttl,
        "status_list": {"bits": 1, "lst": list},
    });
    let token = jws::sign(&key, "statuslist+jwt", claims.to_string().as_bytes());
    token.map(Arc::from).map_err(|error| misused(error.to_string()))
}

impl IntoResponse for NoList {
    fn into_response(self) -> Response {
        match self {
            Self::Earlier => {
                let detail = "lists are given out as they are now: ask without `time`";
                Problem::new(StatusCode::NOT_IMPLEMENTED, detail).into_response()
            }
            Self::Form => {
                let detail = "lists are given out as `application/statuslist+jwt`";
                Problem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response()
            }
            Self::Unknown => {
                Problem::new(StatusCode::NOT_FOUND, "there is no such status list").into_response()
            }
            Self::Stale => {
                let detail = "what was revoked lately is not known here";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                    .after(Duration::from_secs(1))
                    .into_response()
            }
            Self::Store(error) => Problem::from(error).into_response(),
        }
    }
}
