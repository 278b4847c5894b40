//! `/api/consent`: which cookies there are, and which of them somebody agrees to.
//!
//! Nobody need be signed in; whoever is shows it by the CSRF token of their session. Refusing is never harder than agreeing: it works while the store is away,
//! and however many others of the same network chose before. Agreeing needs a record of it.

use std::collections::BTreeMap;

use axum::{
    extract::{RawQuery, Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tegata_core::{Secret, UserId, port::Page};
use tegata_session::{
    Agreed, Category, Chosen, CookieConsent, CookieName, CookiePolicy, KeptConsent, Words,
};

use super::{Refusal, answer, forged, from_our_pages, reading, rotated};
use crate::{
    app::App,
    body,
    caller::Caller,
    form,
    messages::Lang,
    pages::Visit,
    problem::Problem,
    signed_in::{Cookies, Presence},
};

/// How many records one answer lists.
const LISTED: u32 = 100;

/// What somebody says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// Which version of the policy they were shown.
    version: u32,
    /// What they agree to; what is left out is refused.
    settings: Settings,
}

/// A category has one answer: one that stands there twice is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    essential: bool,
    functional: bool,
    analytics: bool,
    marketing: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { essential: true, functional: false, analytics: false, marketing: false }
    }
}

impl Settings {
    fn agreed(&self) -> Agreed {
        let said = [
            (Category::Functional, self.functional),
            (Category::Analytics, self.analytics),
            (Category::Marketing, self.marketing),
        ];
        let agrees = said.into_iter().filter(|(_, agrees)| *agrees);
        agrees.fold(Agreed::NOTHING, |agreed, (category, _)| agreed.with(category))
    }
}

/// Somebody who chooses.
struct Chooser {
    user: Option<UserId>,
    cookies: Cookies,
}

/// `GET`: what there is to agree to, and what was agreed.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    let consent = given(&app, &visit.caller);
    answer(Cookies::default(), told(&app, consent.as_ref(), lang(&visit)))
}

/// `PUT`: somebody chooses.
pub(crate) async fn choose(
    State(app): State<App>,
    visit: Visit,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &visit.caller)?;
    let said: Said = body::json(&app, request).await?;
    if !said.settings.essential {
        return Err(malformed("what is essential cannot be refused").into());
    }
    let consents = app.cookie_consents();
    let consent = consents.choice(said.settings.agreed());
    if consent.agreed != Agreed::NOTHING && said.version != consent.version {
        let detail = "the policy has changed since it was shown: read it again";
        return Err(Problem::new(StatusCode::CONFLICT, detail).named("policy_changed").into());
    }
    let chooser = chooser(&app, &visit.caller, &consent).await?;
    let recorded = note(&app, &visit.caller, &consent, Chosen::Set, &chooser).await?;
    let value = Secret::new(consents.seal().seal(app.realm(), &consent)?);
    let cookies = chooser.cookies.and(taken_away(&app, &visit.caller, consent.agreed)).with(
        &app,
        CookieName::Consent,
        &value,
    );
    Ok(answer(cookies, changed(&app, Some(&consent), &visit, recorded)))
}

/// `DELETE`: somebody takes back what they agreed to, as if they had never been asked.
pub(crate) async fn withdraw(State(app): State<App>, visit: Visit) -> Result<Response, Refusal> {
    from_our_pages(&app, &visit.caller)?;
    let nothing = app.cookie_consents().choice(Agreed::NOTHING);
    let chooser = chooser(&app, &visit.caller, &nothing).await?;
    let recorded = match given(&app, &visit.caller) {
        Some(_) => note(&app, &visit.caller, &nothing, Chosen::Withdrawn, &chooser).await?,
        // There is nothing to take back.
        None => false,
    };
    // An empty one stays: beside it, one that a neighbour planted does not count, either.
    let cookies = chooser.cookies.and(taken_away(&app, &visit.caller, Agreed::NOTHING)).with(
        &app,
        CookieName::Consent,
        &Secret::new(String::new()),
    );
    Ok(answer(cookies, changed(&app, None, &visit, recorded)))
}

/// `GET /api/consent/records`: what the person chose while they were signed in.
pub(crate) async fn records(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Response, Refusal> {
    let passage = reading(&app, &caller).await?;
    let query = form::decode(query.unwrap_or_default().as_bytes())
        .map_err(|_| malformed("the query of the request is malformed"))?;
    let page = Page { after: query.one("after").map(str::to_owned), limit: LISTED };
    let user = &passage.session.user;
    let kept = app.cookie_consents().of_person(app.realm(), user, page).await?;
    let is_full = u32::try_from(kept.len()).is_ok_and(|count| count >= LISTED);
    let next = kept.last().filter(|_| is_full).map(|last| last.key().to_owned());
    let record = |kept: &KeptConsent| {
        json!({
            "at": kept.at.secs(),
            "version": kept.version,
            "categories": kept.agreed.categories().map(Category::name).collect::<Vec<_>>(),
            "withdrawn": kept.chosen == Chosen::Withdrawn,
        })
    };
    let listed: Vec<_> = kept.iter().map(record).collect();
    Ok(answer(rotated(&app, &passage), json!({"records": listed, "next": next})))
}

/// What the browser's cookie says, where that counts.
fn given(app: &App, caller: &Caller) -> Option<CookieConsent> {
    let value = caller.cookie(app, CookieName::Consent)?;
    app.cookie_consents().read(app.realm(), value)
}

/// Who chooses. Whoever refuses is believed though it cannot be known who they are. A session chooses by
/// its CSRF token; a cookie of none that is served is no session.
async fn chooser(app: &App, caller: &Caller, consent: &CookieConsent) -> Result<Chooser, Refusal> {
    match app.presence(caller).await {
        Ok(presence) => {
            let cookies = presence.cookies(app);
            let session = presence.session();
            let token = caller.csrf().unwrap_or_default();
            let is_of = |sid| app.csrf().is_of_session(app.realm(), sid, token);
            if session.is_some_and(|session| !is_of(&session.id)) {
                return Err(Refusal { problem: forged(), cookies, retry_after: None });
            }
            Ok(Chooser { user: session.map(|session| session.user.clone()), cookies })
        }
        Err(error) if consent.agreed != Agreed::NOTHING => Err(error.into()),
        Err(_) => Ok(Chooser { user: None, cookies: Presence::Nobody(None).cookies(app) }),
    }
}

/// Records a choice, and answers whether that was done. Strangers cannot fill the store: of one network
/// only so many are recorded.
async fn note(
    app: &App,
    caller: &Caller,
    consent: &CookieConsent,
    chosen: Chosen,
    chooser: &Chooser,
) -> Result<bool, Refusal> {
    let agrees = consent.agreed != Agreed::NOTHING;
    let limits = &app.config().limits;
    if let Some(limit) = limits.choices.filter(|_| limits.count(caller.address)) {
        let now = app.node().since_boot();
        let counted = app.chosen().count_address(caller.address, |network| network, limit, now);
        if !counted.passes {
            let detail = "there were too many choices from this network";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
            let problem = problem.named("too_many_requests").after(counted.wait);
            return if agrees { Err(problem.into()) } else { Ok(false) };
        }
    }
    let consents = app.cookie_consents();
    match consents.note(app.realm(), consent, chosen, chooser.user.as_ref()).await {
        Ok(()) => Ok(true),
        Err(error) if agrees => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "that somebody refused cookies was not recorded");
            Ok(false)
        }
    }
}

/// The headers that take away what is not agreed to.
fn taken_away(app: &App, caller: &Caller, agreed: Agreed) -> Vec<String> {
    let received = caller.cookies(app).ok();
    let names = received.iter().flat_map(|received| received.other_names());
    let mut lines = app.cookie_consents().policy().taken_away(agreed, names);
    lines.extend(app.cookies().expire_of_host(CookieName::Consent));
    lines
}

fn lang(visit: &Visit) -> Lang {
    let query = visit.query().ok();
    visit.lang(query.as_ref().and_then(|query| query.one("lang")), &[])
}

fn changed(app: &App, consent: Option<&CookieConsent>, visit: &Visit, recorded: bool) -> Value {
    let mut told = told(app, consent, lang(visit));
    if let Some(members) = told.as_object_mut() {
        members.insert("recorded".to_owned(), recorded.into());
    }
    told
}

/// What there is to agree to, and what was agreed.
fn told(app: &App, consent: Option<&CookieConsent>, lang: Lang) -> Value {
    let policy = app.cookie_consents().policy();
    let agreed = consent.map_or(Agreed::NOTHING, |consent| consent.agreed);
    let settings: BTreeMap<_, _> =
        Category::ALL.into_iter().map(|it| (it.name(), policy.allows(it, agreed))).collect();
    let categories: Vec<_> =
        Category::ALL.into_iter().map(|it| of_category(policy, it, agreed, lang)).collect();
    json!({
        "version": policy.version(),
        "decided": consent.is_some(),
        "decided_at": consent.map(|consent| consent.of_day().at.secs()),
        "asks": policy.asks(),
        "notice": policy.notice(),
        "settings": settings,
        "categories": categories,
    })
}

fn of_category(policy: &CookiePolicy, category: Category, agreed: Agreed, lang: Lang) -> Value {
    let cookies: Vec<_> = policy
        .of(category)
        .map(|row| {
            json!({
                "name": row.name.as_str(),
                "purpose": in_lang(&row.purpose, lang),
                "set_by": row.set_by.name(),
                "life": row.life.map(|life| life.as_secs()),
            })
        })
        .collect();
    json!({
        "category": category.name(),
        "title": in_lang(&category.title(), lang),
        "meaning": in_lang(&category.meaning(), lang),
        "needs_consent": policy.needs_consent(category),
        "allowed": policy.allows(category, agreed),
        "cookies": cookies,
    })
}

fn in_lang(words: &Words, lang: Lang) -> &str {
    match lang {
        Lang::En => &words.en,
        Lang::Ja => &words.ja,
    }
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail).named("invalid_request")
}
