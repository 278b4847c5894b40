//! `/status-lists/{id}`: which tokens are revoked, for verifiers outside (IETF Token Status List).
//!
//! | module | subject |
//! |---|---|
//! | `token` | a list as a signed token: JWT or CWT |
//! | `past` | a list as it was at another time |
//! | `aggregation` | which lists there are |

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tegata_core::{SinceBoot, StoreError, Timestamp};
use tegata_oauth::check_untroubled;
use tegata_token::{Algorithm, ListId, StatusBits};

use crate::{app::App, caller::Caller, form, negotiate, problem::Problem, router::Segment};

mod aggregation;
mod past;
mod token;

use aggregation::Aggregated;
pub(crate) use aggregation::all;
pub(crate) use past::Past;
use token::{Form, Made};

/// For how long a list is given out as it was made.
const REMEMBERED: Duration = Duration::from_secs(3);

/// For how long caches may give out a list, as they are told.
const CACHED: Duration = Duration::from_secs(5);

/// For how long verifiers may keep a list, which it says as `ttl`.
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// How long after every node knew it, at the latest, something is refused by verifiers that read status
/// lists and keep to their `ttl`.
pub const LISTED_WITHIN: Duration =
    Duration::from_secs(REMEMBERED.as_secs() + CACHED.as_secs() + TTL.as_secs());

/// The most lists of one quarter of an hour: 2^27 tokens, more than are ever issued in one.
const MOST_LISTS: u32 = 128;

/// A token, and when it was made.
type Lately = (SinceBoot, Arc<Made>);

/// Which list was made: in which form, and whether something was revoked in it.
type Which = (ListId, Form, bool);

/// The lists that were made lately.
#[derive(Debug, Default)]
pub(crate) struct Published {
    lately: Mutex<HashMap<Which, Lately>>,
    /// Whoever has it makes lists with a key in a token.
    signing: tokio::sync::Mutex<()>,
    empty: std::sync::OnceLock<Vec<u8>>,
    past: Past,
    aggregated: Aggregated,
}

/// Why a list is not given out.
#[derive(Debug)]
pub(crate) enum NoList {
    /// As of what is no moment.
    NoTime,
    /// As it was at another time, which it was not, is not over for long enough, or is not known any
    /// more: why.
    Earlier(&'static str),
    /// Too much is asked of the past at the moment: when to ask again.
    Busy(Duration),
    /// One network asks too often how lists were: when to ask again.
    TooMany(Duration),
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
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    let given = give(&app, &caller, &id, query.as_deref(), &headers).await;
    let mut response = given.map_or_else(IntoResponse::into_response, |given| {
        let (form, lasting, made) = given;
        made.answer(form, negotiate::gzip(&headers), lasting)
    });
    // Whatever is answered, it was chosen by these.
    let varied = HeaderValue::from_static("Accept, Accept-Encoding");
    response.headers_mut().append(header::VARY, varied);
    response
}

async fn give(
    app: &App,
    caller: &Caller,
    id: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(Form, HeaderValue, Arc<Made>), NoList> {
    let at = asked(query)?;
    let form = negotiate::media_type(headers, &Form::ALL.map(Form::media_type));
    let form = form.and_then(Form::of).ok_or(NoList::Form)?;
    let id = ListId::parse(id).filter(|id| can_be(app, *id)).ok_or(NoList::Unknown)?;
    if at.is_none() && !is_open(app, id) {
        return Err(NoList::Unknown);
    }
    let staleness = app.provider().revoker().view().staleness();
    if staleness.is_none_or(|age| age > app.config().most_stale) {
        return Err(NoList::Stale);
    }
    if let Some(at) = at {
        let bits = past::bits(app, caller, id, at).await?;
        let made =
            token::signed(app, form, id, &bits.to_zlib(), at).await.map_err(NoList::Store)?;
        // It never changes, but its key may go.
        let lasting = HeaderValue::from_static("public, max-age=300");
        return Ok((form, lasting, Arc::new(made)));
    }
    let made = now(app, form, id).await.map_err(NoList::Store)?;
    // Short, because `ttl` begins when a verifier has it: a cache in between would add to that.
    let lasting = format!("public, max-age={}", CACHED.as_secs());
    let lasting = HeaderValue::try_from(lasting).unwrap_or(HeaderValue::from_static("no-store"));
    Ok((form, lasting, made))
}

/// As of which second the list is asked for (§8.4); `None`: as it is.
fn asked(query: Option<&str>) -> Result<Option<Timestamp>, NoList> {
    let fields = form::decode(query.unwrap_or_default().as_bytes()).map_err(|_| NoList::NoTime)?;
    let mut times = fields.into_pairs().into_iter().filter(|(name, _)| name == "time");
    let Some((_, time)) = times.next() else { return Ok(None) };
    let digits = time.bytes().all(|byte| byte.is_ascii_digit());
    let second = time.parse().ok().filter(|_| digits && times.next().is_none());
    second.map(|second| Some(Timestamp::from_secs(second))).ok_or(NoList::NoTime)
}

/// Whether there may be, or have been, such a list.
fn can_be(app: &App, id: ListId) -> bool {
    // Of the lists of an epoch before, nobody knows any more what was set on them.
    id.epoch == app.epoch()
        && id.number < MOST_LISTS
        && id.slot <= ListId::slot_at(app.node().now())
}

/// Whether tokens on the list may be alive.
fn is_open(app: &App, id: ListId) -> bool {
    id.closes() + app.config().longest_token > app.node().now()
}

/// The list as it is, made lately or now.
async fn now(app: &App, form: Form, id: ListId) -> Result<Arc<Made>, StoreError> {
    let published = app.published();
    if let Some(made) = published.lately(app, form, id) {
        return Ok(made);
    }
    let signer = app.provider().keys().now().signer(Algorithm::Es256);
    let Some(key) = signer.filter(|key| key.handle().is_some()) else {
        return make(app, form, id).await;
    };
    // INVARIANT: anybody may ask, so that all who do have one place among those whom the token signs for,
    // and none where it is known not to sign.
    let _turn = published.signing.lock().await;
    if let Some(made) = published.lately(app, form, id) {
        return Ok(made);
    }
    check_untroubled(&key)?;
    make(app, form, id).await
}

async fn make(app: &App, form: Form, id: ListId) -> Result<Arc<Made>, StoreError> {
    let (published, at) = (app.published(), app.node().now());
    let (now, bits) = (app.node().since_boot(), app.view().list(id));
    let which = (id, form, bits.is_some());
    let nothing = || published.empty.get_or_init(|| StatusBits::new().to_zlib()).clone();
    let bits = bits.map_or_else(nothing, |bits| bits.to_zlib());
    let made = Arc::new(token::signed(app, form, id, &bits, at).await?);
    let mut lately = published.lately.lock();
    lately.retain(|_, (made, _)| is_fresh(app, *made));
    lately.insert(which, (now, Arc::clone(&made)));
    Ok(made)
}

fn is_fresh(app: &App, made: SinceBoot) -> bool {
    app.node().since_boot().since(made) < REMEMBERED
}

impl Published {
    /// A list that was made lately. One in which nothing was revoked then counts only as long as nothing
    /// is: what is revoked first is shown at once.
    fn lately(&self, app: &App, form: Form, id: ListId) -> Option<Arc<Made>> {
        let which = (id, form, app.view().list(id).is_some());
        let lately = self.lately.lock();
        let (made, list) = lately.get(&which)?;
        is_fresh(app, *made).then(|| Arc::clone(list))
    }
}

impl Made {
    /// The answer in which it is given out.
    fn answer(&self, form: Form, compressed: bool, lasting: HeaderValue) -> Response {
        let media_type = HeaderValue::from_static(form.media_type());
        let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, lasting)];
        let (body, coding): (Bytes, _) = match self.compressed().filter(|_| compressed) {
            Some(body) => {
                (body, Some((header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))))
            }
            None => (self.plain(), None),
        };
        let mut response = (headers, body).into_response();
        response.headers_mut().extend(coding);
        response
    }
}

impl IntoResponse for NoList {
    fn into_response(self) -> Response {
        match self {
            Self::NoTime => {
                let detail = "`time` is the number of a second since 1970, once";
                Problem::new(StatusCode::BAD_REQUEST, detail).into_response()
            }
            Self::Earlier(detail) => Problem::new(StatusCode::NOT_FOUND, detail).into_response(),
            Self::Busy(wait) => {
                let detail = "others ask how lists were";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(wait).into_response()
            }
            Self::TooMany(wait) => {
                let detail = "too many lists of before are asked for";
                Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).after(wait).into_response()
            }
            Self::Form => {
                let detail = "lists are given out as `application/statuslist+jwt` and \
                              `application/statuslist+cwt`";
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
