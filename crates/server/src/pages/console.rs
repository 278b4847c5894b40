//! `/console`: what administrators see, and do, with a browser.
//!
//! | module | subject |
//! |---|---|
//! | `enter` | who may |
//! | `place` | its pages and their addresses |
//! | `blocks` | what they say; `requests` of single requests, `tokens` of single tokens, `api_keys` of keys of services; `plot` and `words` say it in pictures and words |
//! | `acts` | what can be done: by the operations of administration, in the person's name |
//! | `events` | what changes by itself, sent as it does |

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tegata_identity::Refused as NotProven;
use tegata_session::CookieName;
use tegata_token::revocation::{MOST_STALE, Taken};
use tokio::time::timeout;

use super::{
    Frame, Trouble, Visit,
    login::{retry_after, status},
    presence, render, see_other, to_sign_in,
};
use crate::{
    admin::{self, Refused, Wish},
    app::App,
    body,
    form::Fields,
    messages::{Lang, console::Words},
    problem::Fault,
    proving::{Again, NotRaised},
    router::{Segment, Segments},
    signed_in::Cookies,
};

mod acts;
mod api_keys;
mod blocks;
mod enter;
pub(crate) mod events;
pub(crate) mod place;
mod plot;
mod requests;
mod tokens;
mod words;

use acts::{Act, NEW_API_KEY, NotRead, Revealing};
use blocks::{At, Block, rendered};
use enter::{Door, Inside, Need, Outside};
use place::{Narrowed, Place};

static OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// How long somebody waits for the nodes who sees meanwhile what they say.
const SOON: Duration = Duration::from_millis(300);

#[derive(Template)]
#[template(path = "console.html")]
struct Page<'a> {
    frame: &'a Frame,
    w: &'static Words,
    style: String,
    script: String,
    title: &'a str,
    /// The pages that there are, and whether one is this.
    places: Vec<(String, &'static str, bool)>,
    username: &'a str,
    csrf: &'a str,
    /// Where its form goes.
    action: &'a str,
    /// Where its events come from.
    stream: Option<String>,
    blocks: Vec<Block>,
}

#[derive(Template)]
#[template(path = "console_outside.html")]
struct Closed<'a> {
    frame: &'a Frame,
    title: &'static str,
    text: &'static str,
    /// Where to go instead.
    link: Option<(String, &'static str)>,
}

#[derive(Template)]
#[template(path = "console_prove.html")]
struct Prove<'a> {
    frame: &'a Frame,
    w: &'static Words,
    csrf: &'a str,
    to: &'a str,
    changes: bool,
    how: How,
    problem: Option<&'static str>,
}

/// How somebody shows that they are there.
enum How {
    Password,
    /// By a code, or by a passkey: what the browser is asked for.
    Second(Option<String>),
    /// They have neither, and sign in once more.
    SignIn(String),
}

#[derive(Template)]
#[template(path = "console_sure.html")]
struct Sure<'a> {
    w: &'static Words,
    act: &'a Act,
    back: String,
}

#[derive(Template)]
#[template(path = "console_done.html")]
struct Finished<'a> {
    w: &'static Words,
    target: &'a str,
    proof: Vec<(String, String)>,
    note: &'a str,
    back: String,
}

#[derive(Template)]
#[template(path = "console_secret.html")]
struct Revealed<'a> {
    w: &'static Words,
    secret: &'a str,
    lead: &'static str,
    /// What becomes of the one before.
    before: Option<String>,
    back: String,
}

#[derive(Template)]
#[template(path = "console_overtaken.html")]
struct Stale<'a> {
    w: &'static Words,
    /// What the person had typed.
    wanted: &'a str,
}

#[derive(Template)]
#[template(path = "console_not_done.html")]
struct NotDone<'a> {
    w: &'static Words,
    why: &'static str,
    detail: Option<&'a str>,
    back: String,
}

/// `GET /console`.
pub(crate) async fn overview(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, show(&app, &visit, "overview", None).await)
}

/// `GET /console/{page}`.
pub(crate) async fn page(State(app): State<App>, visit: Visit, Segment(page): Segment) -> Response {
    visit.answer(&app, show(&app, &visit, &page, None).await)
}

/// `GET /console/{page}/{id}`.
pub(crate) async fn one(
    State(app): State<App>,
    visit: Visit,
    Segments(page, id): Segments,
) -> Response {
    visit.answer(&app, show(&app, &visit, &page, Some(&id)).await)
}

/// `POST /console/{page}`.
pub(crate) async fn submit(
    State(app): State<App>,
    visit: Visit,
    Segment(page): Segment,
    request: Request,
) -> Response {
    let answer = async {
        if page == "prove" {
            return prove(&app, &visit, request).await;
        }
        act(&app, &visit, (&page, None), request).await
    };
    visit.answer(&app, answer.await)
}

/// `POST /console/{page}/{id}`.
pub(crate) async fn submit_one(
    State(app): State<App>,
    visit: Visit,
    Segments(page, id): Segments,
    request: Request,
) -> Response {
    visit.answer(&app, act(&app, &visit, (&page, Some(&id)), request).await)
}

/// The page at an address. What becomes of an order has none.
fn found(page: &str, id: Option<&str>) -> Result<Place, Trouble> {
    let place = Place::read(page, id).filter(|it| !matches!(it, Place::Order(_)));
    place.ok_or(Trouble::NotFound)
}

async fn show(app: &App, visit: &Visit, page: &str, id: Option<&str>) -> Result<Response, Trouble> {
    let query = visit.query()?;
    let lang = visit.lang(query.one("lang"), &[]);
    let place = found(page, id)?;
    let inside = match enter::enter(app, &visit.caller, Need::Look).await? {
        Door::In(inside) => *inside,
        Door::Out(why, inside, cookies) => {
            let at = (&place, Need::Look);
            return outside(app, lang, why, inside.map(|it| *it), cookies, at).await;
        }
    };
    app.lookout().look().await;
    let (narrowed, by) = (Narrowed::read(&query), inside.administrator());
    let sid = inside.session.id.as_str();
    let at = At { app, lang, by: &by, sid, narrowed: &narrowed, typed: &[] };
    let (title, blocks) = (at.title(&place).await?, at.blocks(&place, false).await?);
    let is_live = blocks.iter().any(|block| block.live);
    let stream = is_live.then(|| place::stream(&place, &narrowed, lang.tag()));
    let shown = Shown { place: &place, narrowed: &narrowed, title: &title, stream, blocks };
    answer(app, lang, &inside, StatusCode::OK, shown)
}

/// What a page shows.
struct Shown<'a> {
    place: &'a Place,
    narrowed: &'a Narrowed,
    title: &'a str,
    stream: Option<String>,
    blocks: Vec<Block>,
}

fn answer(
    app: &App,
    lang: Lang,
    inside: &Inside,
    status: StatusCode,
    shown: Shown<'_>,
) -> Result<Response, Trouble> {
    let w = lang.console();
    let path = shown.place.path();
    let parameters = shown.narrowed.parameters();
    let frame = Frame::new(app, lang, Some((&path, parameters.as_slice())));
    let csrf = app.form_csrf_of(&inside.session.id)?;
    let link =
        |place: &Place| tegata_oauth::redirect::with_query(&place.path(), &[("lang", lang.tag())]);
    let places =
        Place::ALL.iter().map(|it| (link(it), it.title(w), shown.place.is_under(it))).collect();
    let page = Page {
        frame: &frame,
        w,
        style: app.assets().console_style(),
        script: app.assets().console_script(),
        title: shown.title,
        places,
        username: inside.user.username.as_str(),
        csrf: csrf.as_str(),
        action: &path,
        stream: shown.stream,
        blocks: shown.blocks,
    };
    let response = alone(render(status, &page, &frame, None));
    Ok((inside.cookies.clone(), response).into_response())
}

/// A page in a window that nobody reaches into who opened it.
fn alone(mut response: Response) -> Response {
    let policy = HeaderValue::from_static("same-origin");
    response.headers_mut().entry(&OPENER).or_insert(policy);
    response
}

/// What somebody is told who does not enter.
async fn outside(
    app: &App,
    lang: Lang,
    why: Outside,
    inside: Option<Inside>,
    cookies: Cookies,
    (place, need): (&Place, Need),
) -> Result<Response, Trouble> {
    let (w, m) = (lang.console(), lang.messages());
    let (title, text, link) = match (why, inside) {
        (Outside::Nobody, _) | (Outside::Unproven, None) => {
            return enter::sign_in(place, lang.tag(), cookies);
        }
        (Outside::Closed, _) => return Err(Trouble::NotFound),
        (Outside::Unproven, Some(inside)) => {
            return ask(app, lang, &inside, (place, need), None).await;
        }
        (Outside::Shared, _) => (w.shared, w.shared_detail, None),
        (Outside::NoRole, _) => {
            let with = [("another", "true"), ("console", &place.path()), ("lang", lang.tag())];
            let to = tegata_oauth::redirect::with_query("/login", &with);
            (w.no_role, w.no_role_detail, Some((to, w.another)))
        }
        (Outside::NoFactor, _) => {
            let with = [("lang", lang.tag())];
            let to = tegata_oauth::redirect::with_query("/login/security", &with);
            (w.no_factor, w.no_factor_detail, Some((to, m.security)))
        }
    };
    let path = place.path();
    let frame = Frame::new(app, lang, Some((&path, &[])));
    let page = Closed { frame: &frame, title, text, link };
    Ok((cookies, alone(render(why.status(), &page, &frame, None))).into_response())
}

/// Asks somebody to show that they are there.
async fn ask(
    app: &App,
    lang: Lang,
    inside: &Inside,
    (place, need): (&Place, Need),
    refused: Option<&NotProven>,
) -> Result<Response, Trouble> {
    let (realm, session) = (app.realm(), &inside.session);
    let path = place.path();
    let how = if inside.enrolled.is_some() {
        How::Second(app.ask_passkey_again(session).await?.map(|options| options.to_string()))
    } else if app.passwords().generation(realm, &session.user).await? > 0 {
        How::Password
    } else {
        let with = [("another", "true"), (place::FIELD, path.as_str()), ("lang", lang.tag())];
        How::SignIn(tegata_oauth::redirect::with_query("/login", &with))
    };
    let csrf = app.form_csrf_of(&session.id)?;
    let frame = Frame::new(app, lang, Some((&path, &[])));
    let page = Prove {
        frame: &frame,
        w: lang.console(),
        csrf: csrf.as_str(),
        to: &path,
        changes: need == Need::Change,
        how,
        problem: refused.map(|refused| presence::told(refused, frame.m)),
    };
    let code = refused.map_or(StatusCode::FORBIDDEN, status);
    let mut response = alone(render(code, &page, &frame, None));
    if let Some(wait) = refused.and_then(retry_after) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    Ok((inside.cookies.clone(), response).into_response())
}

/// `POST /console/prove`: somebody shows that they are there.
async fn prove(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let to = place::back(&fields).unwrap_or_else(|| Place::Overview.path());
    let here = tegata_oauth::redirect::with_query(&to, &[("lang", lang.tag())]);
    // What they were asked for is what they are asked for again.
    let need = if fields.one("for") == Some("change") { Need::Change } else { Need::Look };
    let inside = match enter::enter(app, &visit.caller, Need::Look).await? {
        Door::In(inside) | Door::Out(Outside::Unproven, Some(inside), _) => *inside,
        Door::Out(why, inside, cookies) => {
            let at = (&Place::Overview, need);
            return outside(app, lang, why, inside.map(|it| *it), cookies, at).await;
        }
    };
    app.check_form(&inside.session.id, fields.one("csrf_token"), || here.clone())?;
    let named = |name| fields.one(name).filter(|typed| !typed.is_empty());
    let again = if named("credential").is_some() {
        Again::Passkey(fields.secret("credential"))
    } else if named("code").is_some() {
        Again::Code(fields.secret("code"))
    } else {
        Again::Password(fields.secret("password"))
    };
    match app.raise(&visit.caller, &inside.session.id, &again).await {
        Ok(passage) => {
            let cookies = passage.cookie.iter().fold(Cookies::default(), |cookies, value| {
                cookies.with(app, CookieName::Session, value)
            });
            Ok((cookies, see_other(&here)?).into_response())
        }
        Err(NotRaised::Refused(NotProven::Store(error))) => Err(error.into()),
        Err(NotRaised::Refused(refused)) => {
            let place = place::place(&to).unwrap_or(Place::Overview);
            ask(app, lang, &inside, (&place, need), Some(&refused)).await
        }
        // The form is shown that asks for the code.
        Err(NotRaised::Second(_)) => {
            Ok((inside.cookies.clone(), see_other(&here)?).into_response())
        }
        Err(NotRaised::Nobody(_)) => to_sign_in(),
    }
}

/// Takes a form of a page: asks once more, or does it.
async fn act(
    app: &App,
    visit: &Visit,
    (page, id): (&str, Option<&str>),
    request: Request,
) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let place = found(page, id)?;
    let fields = body::fields(app, request).await?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let w = lang.console();
    let entered = enter::enter(app, &visit.caller, Need::Change).await?;
    let session = match &entered {
        Door::In(inside) | Door::Out(_, Some(inside), _) => Some(&inside.session.id),
        Door::Out(_, None, _) => None,
    };
    // A form that is none of ours gets no further, whoever it comes from.
    if let Some(session) = session {
        let here = || tegata_oauth::redirect::with_query(&place.path(), &[("lang", lang.tag())]);
        app.check_form(session, fields.one("csrf_token"), here)?;
    }
    let inside = match entered {
        Door::In(inside) => *inside,
        Door::Out(why, inside, cookies) => {
            let at = (&place, Need::Change);
            return outside(app, lang, why, inside.map(|it| *it), cookies, at).await;
        }
    };
    let doing = Doing { app, lang, inside: &inside, place: &place };
    let act = match Act::read(&place, &fields, w) {
        Ok(act) => act,
        Err(NotRead::Foreign) => {
            return Err(Trouble::Malformed("do is none that the page offers"));
        }
        Err(NotRead::Reason) => {
            return doing.not_done(StatusCode::UNPROCESSABLE_ENTITY, w.reason_missing, None);
        }
    };
    if !act.harmless && fields.one("confirmed") != Some("yes") {
        let sure = Sure { w, act: &act, back: doing.back() };
        let blocks = vec![Block { name: "sure", live: false, html: rendered(&sure)? }];
        return doing.page(StatusCode::OK, w.sure, None, blocks);
    }
    doing.perform(act, &fields).await
}

/// Something that is done at the wish of a person.
struct Doing<'a> {
    app: &'a App,
    lang: Lang,
    inside: &'a Inside,
    place: &'a Place,
}

impl Doing<'_> {
    async fn perform(&self, act: Act, fields: &Fields) -> Result<Response, Trouble> {
        let (app, w) = (self.app, self.lang.console());
        let began = app.node().since_boot();
        let Act {
            operation, named, body, version, target, takes_back, reveals, once, carried, ..
        } = act;
        let by = self.inside.administrator();
        // A token may have been taken back before; of it, there is no receipt of this moment.
        let taken = if body.contains_key("token") { Taken::Before } else { Taken::Now };
        let wish = Wish { operation, named, query: "", body, version };
        let form = fields.one("csrf_token").unwrap_or_default();
        if once && !app.provider().is_first_of_form(form).await? {
            return self.not_done(StatusCode::CONFLICT, w.sent_before, None);
        }
        let done = match admin::ordered(app, &by, wish).await {
            Ok(done) => done.body.unwrap_or_default(),
            Err(refused) => {
                // Where it is not known whether it was done, the form stays sent.
                if once && !matches!(refused, Refused::Store(_) | Refused::Partly(_)) {
                    app.provider().forget_form(form).await?;
                }
                return self.not_performed(refused, &target, &carried).await;
            }
        };
        if let Some(revealed) = reveals {
            return self.revealed(revealed, &done);
        }
        if !takes_back {
            let to = self.back();
            return Ok((self.inside.cookies.clone(), see_other(&to)?).into_response());
        }
        let order = app.lookout().follow(began, taken).await;
        // Whoever has no script is told how it ended; others see it while it goes on.
        let patience =
            if fields.one("wait") == Some("confirmed") { MOST_STALE + SOON } else { SOON };
        self.wait(order, patience).await;
        let finished = Finished {
            w,
            target: &target,
            proof: proof(&done, w),
            note: blocks::text(&done, "note"),
            back: self.back(),
        };
        let by = self.inside.administrator();
        let narrowed = Narrowed::default();
        let sid = self.inside.session.id.as_str();
        let at = At { app, lang: self.lang, by: &by, sid, narrowed: &narrowed, typed: &[] };
        let mut blocks: Vec<_> = at.confirmation(order)?.into_iter().collect();
        blocks.push(Block { name: "done", live: false, html: rendered(&finished)? });
        let stream = place::stream(&Place::Order(order), &narrowed, self.lang.tag());
        self.page(StatusCode::OK, w.done, Some(stream), blocks)
    }

    /// A secret that was made.
    fn revealed(&self, which: Revealing, done: &Value) -> Result<Response, Trouble> {
        let w = self.lang.console();
        let told = |name| Some(blocks::text(done, name)).filter(|text| !text.is_empty());
        // INVARIANT: the secret stands in this answer alone, which nothing keeps.
        let (title, revealed) = match which {
            Revealing::ClientSecret => {
                let before = Some(w.secret_before.to_owned());
                let secret = blocks::text(done, "client_secret");
                let (lead, back) = (w.secret_once, self.back());
                (w.rotate_secret, Revealed { w, secret, lead, before, back })
            }
            Revealing::ApiKey => {
                let before = told("replaces").map(|_| match told("overlap_end") {
                    Some(end) => w.api_key_until.replace("{until}", &words::moment_of(end).0),
                    None => w.api_key_over.to_owned(),
                });
                let place = told("id").map(|id| Place::ApiKey(id.to_owned()));
                let to = place.as_ref().unwrap_or(self.place).path();
                let back = tegata_oauth::redirect::with_query(&to, &[("lang", self.lang.tag())]);
                let secret = blocks::text(done, "api_key");
                (w.api_key_made, Revealed { w, secret, lead: w.api_key_once, before, back })
            }
        };
        let blocks = vec![Block { name: "secret", live: false, html: rendered(&revealed)? }];
        self.page(StatusCode::OK, title, None, blocks)
    }

    async fn wait(&self, order: u64, patience: Duration) {
        let lookout = self.app.lookout();
        let mut news = lookout.news();
        let over = async {
            while lookout.followed(order).is_some_and(|it| !it.is_over()) {
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(patience, over).await;
    }

    /// What is shown where an act was refused: the page it was ordered on, where that helps to mend it.
    async fn not_performed(
        &self,
        refused: Refused,
        target: &str,
        carried: &[(&'static str, String)],
    ) -> Result<Response, Trouble> {
        let w = self.lang.console();
        let was_typed = carried.iter().any(|(name, _)| is_typed(name));
        match refused {
            Refused::Overtaken => {
                let notice = rendered(&Stale { w, wanted: target })?;
                let notice = Block { name: "overtaken", live: false, html: notice };
                self.once_more(StatusCode::PRECONDITION_FAILED, notice, &[]).await
            }
            Refused::Invalid(faults) if was_typed => {
                self.to_mend(StatusCode::UNPROCESSABLE_ENTITY, &told(faults), carried).await
            }
            Refused::Conflict(why) if was_typed => {
                self.to_mend(StatusCode::CONFLICT, &why, carried).await
            }
            refused => self.refused(refused),
        }
    }

    /// Whoever typed what does not do mends it, and does not type all of it again.
    async fn to_mend(
        &self,
        status: StatusCode,
        detail: &str,
        typed: &[(&'static str, String)],
    ) -> Result<Response, Trouble> {
        let w = self.lang.console();
        let notice = NotDone { w, why: w.not_done, detail: Some(detail), back: self.back() };
        let notice = Block { name: "failed", live: false, html: rendered(&notice)? };
        self.once_more(status, notice, typed).await
    }

    fn refused(&self, refused: Refused) -> Result<Response, Trouble> {
        let w = self.lang.console();
        let (status, why, detail) = match refused {
            Refused::Store(error) => return Err(error.into()),
            Refused::Busy => return Err(Trouble::TooMany(Duration::from_secs(1))),
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, w.unknown, None),
            Refused::Invalid(faults) => {
                (StatusCode::UNPROCESSABLE_ENTITY, w.not_done, Some(told(faults)))
            }
            Refused::Conflict(why) => (StatusCode::CONFLICT, w.not_done, Some(why)),
            Refused::Overtaken => (StatusCode::PRECONDITION_FAILED, w.overtaken, None),
            Refused::Forbidden(why) => (StatusCode::FORBIDDEN, w.not_done, Some(why)),
            Refused::Partly(why) => (StatusCode::INTERNAL_SERVER_ERROR, w.not_done, Some(why)),
        };
        self.not_done(status, why, detail.as_deref())
    }

    /// The page that it was ordered on, as it is now, below what is to be said: that somebody else changed
    /// it since the person saw it, or what is wrong with what was `typed`.
    async fn once_more(
        &self,
        status: StatusCode,
        notice: Block,
        typed: &[(&'static str, String)],
    ) -> Result<Response, Trouble> {
        let (by, narrowed) = (self.inside.administrator(), Narrowed::default());
        let sid = self.inside.session.id.as_str();
        let at = At { app: self.app, lang: self.lang, by: &by, sid, narrowed: &narrowed, typed };
        let mut blocks = vec![notice];
        let title = at.title(self.place).await?;
        blocks.extend(at.blocks(self.place, false).await?);
        let is_live = blocks.iter().any(|block| block.live);
        let stream = is_live.then(|| place::stream(self.place, &narrowed, self.lang.tag()));
        self.page(status, &title, stream, blocks)
    }

    fn not_done(
        &self,
        status: StatusCode,
        why: &'static str,
        detail: Option<&str>,
    ) -> Result<Response, Trouble> {
        let w = self.lang.console();
        let html = rendered(&NotDone { w, why, detail, back: self.back() })?;
        let blocks = vec![Block { name: "failed", live: false, html }];
        self.page(status, w.not_done, None, blocks)
    }

    fn page(
        &self,
        status: StatusCode,
        title: &str,
        stream: Option<String>,
        blocks: Vec<Block>,
    ) -> Result<Response, Trouble> {
        let narrowed = Narrowed::default();
        let shown = Shown { place: self.place, narrowed: &narrowed, title, stream, blocks };
        answer(self.app, self.lang, self.inside, status, shown)
    }

    /// The page that it was ordered on.
    fn back(&self) -> String {
        tegata_oauth::redirect::with_query(&self.place.path(), &[("lang", self.lang.tag())])
    }
}

/// Whether a form's field is one that people type into, and that is shown to them again.
fn is_typed(name: &str) -> bool {
    matches!(name, "client_name" | "redirect_uris" | "scope" | "roles")
        || NEW_API_KEY.iter().any(|(field, ..)| *field == name)
}

/// What is wrong with what was sent.
fn told(faults: Vec<Fault>) -> String {
    let all = faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail));
    all.collect::<Vec<_>>().join("; ")
}

/// How much of each kind was taken back, in words.
fn proof(done: &Value, w: &Words) -> Vec<(String, String)> {
    let counts = done.get("proof").and_then(Value::as_object).into_iter().flatten();
    let named = |kind: &str| match kind {
        "sessions" => w.sessions.to_owned(),
        "families" => w.families.to_owned(),
        "tokens" => w.tokens.to_owned(),
        other => other.replace('_', " "),
    };
    let counts = counts.map(|(kind, count)| (named(kind), count.to_string()));
    let up_to = Some(blocks::text(done, "up_to")).filter(|it| !it.is_empty());
    let up_to = up_to.map(|at| (w.until_at.to_owned(), words::moment_of(at).0));
    counts.chain(up_to).collect()
}
