//! `GET /console/events`: what of a page changes by itself, as server-sent events.
//!
//! A stream has no past that a server would have to keep. The id of an event says which state of each part of
//! the page its reader has, so whoever comes back with `Last-Event-ID`, to whichever node, is sent what
//! differs, and whoever comes with none, or with one that is of another page, is sent everything. So nobody
//! who reads slowly is waited for: what waits for them is bounded, and who does not take it is told to
//! begin anew.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::digest;
use axum::{
    body::{Body, HttpBody},
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::json;
use tegata_core::SessionId;
use tegata_oauth::administer::Administrator;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::Instrument as _;

use super::{
    blocks::{At, Block},
    enter::{self, Door, Inside, Need, Outside},
    place::{Narrowed, Place},
};
use crate::{
    app::App,
    headers::no_store,
    messages::Lang,
    navigation,
    pages::{Trouble, Visit},
    problem::Problem,
};

/// How many streams a session may have at once, and how many there are in all.
const OF_A_SESSION: usize = 4;
const IN_ALL: usize = 64;

/// How many events wait for a reader.
const WAITING: usize = 16;

/// How often is looked whether something has changed, and whether whoever looks on still may.
const LOOKS: Duration = Duration::from_secs(1);

/// Within which time what changes is sent together.
const TOGETHER: Duration = Duration::from_millis(100);

/// After so many looks without news, the reader is told that the stream is there.
const QUIET: u32 = 10;

/// For so many looks, the stores may say nothing.
const AWAY: u32 = 5;

/// When a reader comes back whose stream has ended, in ms.
const BACK: u32 = 2000;

/// The longest id that is read.
const LONGEST_ID: usize = 256;

/// Places for those who look on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<SessionId, usize>>>);

/// A place, given back when it is dropped.
struct Seat {
    seats: Seats,
    sid: SessionId,
}

impl Seats {
    fn take(&self, sid: &SessionId) -> Option<Seat> {
        let mut taken = self.0.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(sid).copied().unwrap_or_default();
        if own >= OF_A_SESSION || all >= IN_ALL {
            return None;
        }
        taken.insert(sid.clone(), own + 1);
        Some(Seat { seats: self.clone(), sid: sid.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        match taken.get_mut(&self.sid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.sid)),
        }
    }
}

/// Begins a stream, or says why there is none.
pub(crate) async fn events(State(app): State<App>, visit: Visit, headers: HeaderMap) -> Response {
    begin(&app, &visit, &headers).await.unwrap_or_else(|problem| problem.into_response())
}

async fn begin(app: &App, visit: &Visit, headers: &HeaderMap) -> Result<Response, Problem> {
    let refused = |status, detail, name| Problem::new(status, detail).named(name);
    if !navigation::is_of_our_script(headers) {
        let detail = "this is read by the pages of the console alone";
        return Err(refused(StatusCode::FORBIDDEN, detail, "foreign"));
    }
    if app.parting().has_begun() {
        let detail = "this node is about to stop; ask again";
        let problem = refused(StatusCode::SERVICE_UNAVAILABLE, detail, "temporarily_unavailable");
        return Err(problem.after(Duration::from_secs(1)));
    }
    let inside = match enter::enter(app, &visit.caller, Need::Look).await? {
        Door::In(inside) => *inside,
        Door::Out(why, ..) => {
            let detail = "whoever reads this is not, or not any more, let into the console";
            return Err(refused(why.status(), detail, why.name()));
        }
    };
    let unknown = || refused(StatusCode::NOT_FOUND, "there is no such page", "not_found");
    let query = visit.query().map_err(|_| unknown())?;
    let place = query.one("page").and_then(|page| Place::read(page, query.one("id")));
    let place = place.ok_or_else(unknown)?;
    let lang = visit.lang(query.one("lang"), &[]);
    let Some(seat) = app.seats().take(&inside.session.id) else {
        let detail = "too many streams are open; close one";
        let problem = refused(StatusCode::TOO_MANY_REQUESTS, detail, "too_many_streams");
        return Err(problem.after(Duration::from_secs(5)));
    };
    let last = headers.get("last-event-id").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let last = last.or_else(|| query.one("after").map(str::to_owned));
    let (queue, waiting) = mpsc::channel(WAITING);
    let end = Arc::new(Mutex::new(None));
    let Inside { session, cookies, user, .. } = &inside;
    let reader = Reader {
        app: app.clone(),
        sid: session.id.clone(),
        by: inside.administrator(),
        lang,
        place,
        narrowed: Narrowed::read(&query),
        has: Held::read(last.as_deref().unwrap_or_default()),
        queue,
        end: Arc::clone(&end),
    };
    let user = user.id.clone();
    tokio::spawn(
        async move {
            reader.follow(&user).await;
            drop(seat);
        }
        .in_current_span(),
    );
    let body = Body::new(Events { waiting, end });
    let mut response = (cookies.clone(), body).into_response();
    let map = response.headers_mut();
    no_store(map);
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather answers would hold it back.
    map.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Which state of each part of a page a reader has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held(Vec<(String, String)>);

impl Held {
    /// Reads the id of an event. What is none is the id of nothing.
    fn read(id: &str) -> Self {
        if id.len() > LONGEST_ID {
            return Self::default();
        }
        let pairs = id.split(',').filter_map(|pair| pair.split_once('.'));
        // It is said again: nothing may stand in it that ends a line.
        let pairs = pairs.filter(|(_, state)| state.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Self(pairs.map(|(name, state)| (name.to_owned(), state.to_owned())).collect())
    }

    /// Whether this is another state than the reader has. Then they have it now.
    fn takes(&mut self, name: &str, state: String) -> bool {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) if *known == state => false,
            Some((_, known)) => {
                *known = state;
                true
            }
            None => {
                self.0.push((name.to_owned(), state));
                true
            }
        }
    }

    /// Only what a page has.
    fn keep(&mut self, blocks: &[Block]) {
        self.0.retain(|(name, _)| blocks.iter().any(|block| block.name == name));
    }

    fn id(&self) -> String {
        let pairs: Vec<_> = self.0.iter().map(|(name, state)| format!("{name}.{state}")).collect();
        pairs.join(",")
    }
}

/// A state in a few characters.
fn state(html: &str) -> String {
    let digest = digest::digest(&digest::SHA256, html.as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Somebody who looks on.
struct Reader {
    app: App,
    sid: SessionId,
    by: Administrator,
    lang: Lang,
    place: Place,
    narrowed: Narrowed,
    has: Held,
    queue: mpsc::Sender<Bytes>,
    /// What is said at the end, though nothing else finds room.
    end: Arc<Mutex<Option<Bytes>>>,
}

/// Why a stream ends.
enum Over {
    /// Whoever reads has gone.
    Gone,
    /// The reader may come back at once.
    Anew(&'static str),
    /// The reader may not look on any more.
    Outside(&'static str),
}

impl Reader {
    async fn follow(mut self, user: &tegata_core::UserId) {
        let over = self.until_over(user).await;
        let event = match over {
            Over::Gone => return,
            Over::Anew(why) => event("anew", None, &json!({"why": why})),
            Over::Outside(why) => event("outside", None, &json!({"why": why})),
        };
        *self.end.lock() = Some(event);
    }

    async fn until_over(&mut self, user: &tegata_core::UserId) -> Over {
        let mut ticks = interval(LOOKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Other pages say nothing of either.
        let mut news = match self.place {
            Place::Overview | Place::Revocations | Place::Order(_) => {
                Some(self.app.lookout().news())
            }
            Place::Sessions | Place::User(_) => Some(self.app.lookout().endings()),
            Place::Users
            | Place::Clients
            | Place::Client(_)
            | Place::Keys
            | Place::ApiKeys
            | Place::ApiKey(_)
            | Place::Tokens
            | Place::Token(_)
            | Place::Requests => None,
        };
        let (mut quiet, mut away) = (0, 0);
        if let Err(over) = self.send(Bytes::from(format!("retry: {BACK}\n\n"))) {
            return over;
        }
        loop {
            let closed = self.queue.clone();
            tokio::select! {
                _ = ticks.tick() => {}
                alive = changed(&mut news) => {
                    if !alive {
                        news = None;
                        continue;
                    }
                    let _ = timeout(TOGETHER, std::future::pending::<()>()).await;
                }
                () = closed.closed() => return Over::Gone,
            }
            if self.app.parting().has_begun() {
                return Over::Anew("drain");
            }
            self.app.lookout().look().await;
            // INVARIANT: whoever is not known to be let in is told nothing.
            let sent = match enter::still(&self.app, &self.sid, user).await {
                Ok(Ok(())) => self.look().await,
                Ok(Err(why)) => return Over::Outside(Outside::name(why)),
                Err(error) => Err(Err(Trouble::from(error))),
            };
            match sent {
                Ok(0) => (quiet, away) = (quiet + 1, 0),
                Ok(_) => (quiet, away) = (0, 0),
                Err(Ok(over)) => return over,
                Err(Err(Trouble::NotFound)) => return Over::Outside("gone"),
                Err(Err(_)) => away += 1,
            }
            if away >= AWAY {
                return Over::Anew("away");
            }
            if quiet >= QUIET {
                quiet = 0;
                if let Err(over) = self.send(Bytes::from_static(b": here\n\n")) {
                    return over;
                }
            }
        }
    }

    /// Sends what has changed. Answers how much that was.
    async fn look(&mut self) -> Result<usize, Result<Over, Trouble>> {
        let at = At {
            app: &self.app,
            lang: self.lang,
            by: &self.by,
            sid: self.sid.as_str(),
            narrowed: &self.narrowed,
            typed: &[],
        };
        let blocks = at.blocks(&self.place, true).await.map_err(Err)?;
        self.has.keep(&blocks);
        let mut sent = 0;
        for block in blocks.into_iter().filter(|block| block.live) {
            if !self.has.takes(block.name, state(&block.html)) {
                continue;
            }
            let data = json!({"part": block.name, "html": block.html});
            self.send(event("part", Some(&self.has.id()), &data)).map_err(Ok)?;
            sent += 1;
        }
        Ok(sent)
    }

    fn send(&self, bytes: Bytes) -> Result<(), Over> {
        self.queue.try_send(bytes).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Over::Anew("behind"),
            mpsc::error::TrySendError::Closed(_) => Over::Gone,
        })
    }
}

async fn changed(news: &mut Option<watch::Receiver<u64>>) -> bool {
    match news {
        Some(news) => news.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// An event (HTML §9.2.5). JSON has no line breaks of its own.
fn event(name: &str, id: Option<&str>, data: &serde_json::Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

/// What a reader is sent: what waits for them, and then why it ended.
struct Events {
    waiting: mpsc::Receiver<Bytes>,
    end: Arc<Mutex<Option<Bytes>>>,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = std::task::ready!(self.waiting.poll_recv(cx));
        let next = next.or_else(|| self.end.lock().take());
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_sent_what_differs() {
        let mut has = Held::default();
        assert!(has.takes("points", state("one")) && has.takes("latest", state("two")));
        let mut back = Held::read(&has.id());
        assert_eq!(back, has);
        assert!(!back.takes("points", state("one")));
        assert!(back.takes("latest", state("three")));
        for nothing in ["", "x", ",,,", "points", "points.\nevent: part", &"a.b,".repeat(1000)] {
            assert!(Held::read(nothing).takes("points", state("one")), "{nothing}");
        }
    }

    #[test]
    fn places_are_given_back() {
        let seats = Seats::default();
        let sid = |name: &str| SessionId::new(name).unwrap();
        let one = sid("1.20781.AAAAAAAAAAAAAAAAAAAAAA");
        let mut all: Vec<_> = (0..OF_A_SESSION).map(|_| seats.take(&one).unwrap()).collect();
        assert!(seats.take(&one).is_none());
        all.pop();
        assert!(seats.take(&one).is_some());
        drop(all);
        assert!(seats.0.lock().is_empty());
    }

    #[test]
    fn an_event_is_one_line_of_data() {
        let data = json!({"html": "<p>\n</p>\r\n\u{2028}"});
        let text = String::from_utf8(event("part", Some("a.1"), &data).to_vec()).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\r'));
    }
}
