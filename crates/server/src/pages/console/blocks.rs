//! What the pages of the console say: each page is a row of blocks, and those that change by themselves
//! are sent anew as they do.

use askama::Template;
use serde_json::{Map, Value};
use tegata_core::UserId;
use tegata_oauth::{
    administer::{Administrator, is_administrative},
    redirect::with_query,
};
use tegata_token::Scope;

use super::{
    api_keys::ApiKeyActs,
    place::{Narrowed, Place},
    plot::Plot,
    words::{Moment, Point, Row, Said, confirmed, moment, moment_of},
};
use crate::{
    admin::{self, Operation, Refused, Wish},
    app::App,
    lookout::{Sighted, TakenBack},
    messages::{Lang, console::Words},
    operations::Severity,
    pages::Trouble,
};

/// How many of a list are shown at once.
const PIECE: &str = "25";
/// How many of the latest revocations the overview has.
const FEW: usize = 8;
/// How many people are looked through for a part of a name, and how many at a time.
const LOOKED_THROUGH: usize = 2000;
const AT_A_TIME: &str = "200";

/// A part of a page.
pub(super) struct Block {
    /// Its name on the page.
    pub(super) name: &'static str,
    /// Whether it changes by itself.
    pub(super) live: bool,
    pub(super) html: String,
}

/// Whose page it is, and in which language.
pub(super) struct At<'a> {
    pub(super) app: &'a App,
    pub(super) lang: Lang,
    pub(super) by: &'a Administrator,
    /// The session that looks.
    pub(super) sid: &'a str,
    pub(super) narrowed: &'a Narrowed,
    /// What stands in a form that was refused, so that nobody types it once more.
    pub(super) typed: &'a [(&'static str, String)],
}

#[derive(Template)]
#[template(path = "console_health.html")]
struct Health {
    w: &'static Words,
    it: Sighted,
    since: Moment,
    class: &'static str,
    says: &'static str,
}

#[derive(Template)]
#[template(path = "console_plot.html")]
struct Activity {
    w: &'static Words,
    plot: Plot,
    says: String,
}

#[derive(Template)]
#[template(path = "console_points.html")]
struct Points {
    w: &'static Words,
    points: Vec<Point>,
}

#[derive(Template)]
#[template(path = "console_latest.html")]
struct Latest {
    w: &'static Words,
    rows: Vec<Row>,
    /// Whether there is a page with more of them.
    more: bool,
    lang: &'static str,
}

#[derive(Template)]
#[template(path = "console_confirmation.html")]
struct Confirmation {
    w: &'static Words,
    said: Said,
    over: bool,
}

#[derive(Template)]
#[template(path = "console_search.html")]
struct Search<'a> {
    w: &'static Words,
    lang: &'static str,
    action: &'static str,
    field: &'static str,
    label: &'static str,
    text: &'a str,
}

#[derive(Template)]
#[template(path = "console_list.html")]
pub(super) struct List {
    pub(super) w: &'static Words,
    pub(super) rows: Vec<Listed>,
    pub(super) nothing: &'static str,
    pub(super) note: Option<&'static str>,
    pub(super) next: Option<String>,
    pub(super) first: Option<String>,
}

/// A row of a list with links.
pub(super) struct Listed {
    pub(super) href: String,
    pub(super) name: String,
    pub(super) tags: Vec<Tag>,
    pub(super) detail: String,
}

/// A word beside a name.
pub(super) struct Tag {
    pub(super) class: &'static str,
    pub(super) text: String,
}

#[derive(Template)]
#[template(path = "console_user.html")]
struct Person {
    w: &'static Words,
    id: String,
    email: String,
    verified: bool,
    roles: Vec<String>,
    locked: bool,
    created: Moment,
    factors: String,
    you: bool,
}

#[derive(Template)]
#[template(path = "console_user_acts.html")]
struct PersonActs {
    w: &'static Words,
    /// Of what the person was when this was shown.
    version: u64,
    roles: String,
    locked: bool,
    you: bool,
}

#[derive(Template)]
#[template(path = "console_sessions.html")]
struct Sessions {
    w: &'static Words,
    heading: bool,
    rows: Vec<SessionRow>,
    next: Option<String>,
    first: Option<String>,
}

struct SessionRow {
    sid: String,
    user: String,
    href: String,
    started: Moment,
    used: Moment,
    ends: Moment,
    by: String,
    this: bool,
}

#[derive(Template)]
#[template(path = "console_client.html")]
struct ClientFacts {
    w: &'static Words,
    /// Where its API keys are.
    api_keys: String,
    facts: Vec<(&'static str, Vec<String>)>,
}

#[derive(Template)]
#[template(path = "console_client_acts.html")]
struct ClientActs {
    w: &'static Words,
    /// Of what the client was when this was shown.
    version: u64,
    /// Why nothing of it is changed here, where that is so.
    fixed: Option<&'static str>,
    name: String,
    redirects: String,
    /// How many lines are shown at once.
    rows: usize,
    scope: String,
    has_secret: bool,
    disabled: bool,
}

impl ClientActs {
    fn of(told: &Value, version: u64, w: &'static Words) -> Self {
        let method = text(told, "token_endpoint_auth_method");
        let (redirects, scope) = (texts(told, "redirect_uris"), text(told, "scope"));
        let is_administrative = Scope::new(scope).is_ok_and(|scope| is_administrative(&scope));
        let fixed = if told.get("described").is_some() {
            Some(w.describes_itself)
        } else {
            is_administrative.then_some(w.administers)
        };
        Self {
            w,
            version,
            fixed,
            name: text(told, "client_name").to_owned(),
            rows: redirects.len().clamp(2, 8),
            redirects: redirects.join("\n"),
            scope: scope.to_owned(),
            has_secret: method.starts_with("client_secret_"),
            disabled: flag(told, "disabled"),
        }
    }

    /// The same with what was typed, of the version that it was typed for: somebody else's change of
    /// meanwhile is not overwritten by it.
    fn with(mut self, at: &At<'_>) -> Self {
        let Some(redirects) = at.typed("redirect_uris") else { return self };
        self.rows = redirects.lines().count().clamp(2, 8);
        redirects.clone_into(&mut self.redirects);
        for (name, field) in [("client_name", &mut self.name), ("scope", &mut self.scope)] {
            at.typed(name).unwrap_or_default().clone_into(field);
        }
        self.version = at.typed_version().unwrap_or(self.version);
        self
    }
}

#[derive(Template)]
#[template(path = "console_keys.html")]
struct Keys {
    w: &'static Words,
    /// The steps of a key's life, in words.
    life: [&'static str; 4],
    rings: Vec<Ring>,
}

struct Ring {
    algorithm: String,
    /// Why the next key may not sign yet, in words.
    waits: Option<String>,
    keys: Vec<Key>,
}

struct Key {
    kid: String,
    /// Which step of its life it is at: 0 published, 1 signs, 2 verifies, 3 retired.
    step: usize,
    state: &'static str,
    at: Moment,
    until: bool,
    /// Who has seen it, where it is published and does not sign yet.
    seen: Option<Seen>,
}

/// Who has seen a key.
struct Seen {
    by: String,
    /// Whether everybody has; where there is nobody, nothing follows from it.
    class: &'static str,
    /// Those who have not.
    not: Vec<String>,
}

impl Seen {
    fn of(key: &Value, w: &Words) -> Option<Self> {
        let count = |name| key.get(name).and_then(Value::as_u64);
        let (seen, readers) = (count("seen_by")?, count("readers")?);
        let by = match readers {
            0 => w.seen_by_none.to_owned(),
            readers => w.seen_by.of(readers).replace("{seen}", &seen.to_string()),
        };
        let class = match readers {
            0 => "",
            _ if seen >= readers => "good",
            _ => "waits",
        };
        Some(Self { by, class, not: texts(key, "not_seen_by") })
    }
}

#[derive(Template)]
#[template(path = "console_revoke.html")]
struct Revoke {
    w: &'static Words,
    kinds: [&'static str; 8],
}

/// What can be taken back by a form.
pub(super) const KINDS: [&str; 8] =
    ["jti", "token", "family", "session", "user", "client", "service", "key"];

impl At<'_> {
    pub(super) const fn w(&self) -> &'static Words {
        self.lang.console()
    }

    /// What a page says. `live`: of it what changes by itself alone.
    ///
    /// # Errors
    /// [`Trouble::NotFound`], and what the store says.
    pub(super) async fn blocks(&self, place: &Place, live: bool) -> Result<Vec<Block>, Trouble> {
        let mut all = Blocks { live, blocks: Vec::new() };
        match place {
            Place::Overview => self.overview(&mut all)?,
            Place::Sessions => {
                all.fixed("search", || {
                    self.search(
                        "/console/sessions",
                        "user",
                        self.w().filter_user,
                        &self.narrowed.user,
                    )
                })?;
                all.alive("sessions", &self.sessions(self.narrowed.user.as_deref(), false).await?)?;
            }
            Place::Users => {
                all.fixed("search", || {
                    self.search("/console/users", "q", self.w().search_users, &self.narrowed.search)
                })?;
                if !live {
                    all.still("people", &self.people().await?)?;
                }
            }
            Place::User(id) => self.person(id, &mut all).await?,
            Place::Clients => {
                if !live {
                    all.still("clients", &self.clients().await?)?;
                }
            }
            Place::Client(id) => {
                if !live {
                    let named = vec![id.clone()];
                    let (told, version) = self.versioned(Operation::Client, named, "").await?;
                    all.still("client", &self.client(id, &told))?;
                    let acts = ClientActs::of(&told, version, self.w()).with(self);
                    all.still("acts", &acts)?;
                }
            }
            Place::Keys => all.alive("keys", &self.keys().await?)?,
            Place::ApiKeys => {
                all.fixed("search", || {
                    let (w, text) = (self.w(), &self.narrowed.client);
                    self.search("/console/api-keys", "client", w.api_key_of, text)
                })?;
                if !live {
                    all.still("api-keys", &self.api_keys().await?)?;
                    all.still("new", &self.new_api_key())?;
                }
            }
            Place::ApiKey(id) => {
                if !live {
                    let told = self.ask(Operation::ApiKey, vec![id.clone()], "").await?;
                    all.still("api-key", &self.api_key(&told))?;
                    if let Some(acts) = ApiKeyActs::of(&told, self.w()) {
                        all.still("acts", &acts)?;
                    }
                }
            }
            Place::Revocations => {
                all.fixed("revoke", || Revoke { w: self.w(), kinds: KINDS })?;
                all.alive("latest", &self.latest(usize::MAX))?;
            }
            Place::Tokens | Place::Token(_) => {
                let sought = match place {
                    Place::Token(jti) => Some(jti.clone()),
                    _ => self.narrowed.search.clone(),
                };
                all.fixed("search", || {
                    self.search("/console/tokens", "q", self.w().trace_jti, &sought)
                })?;
                if !live && let Some(jti) = &sought {
                    all.still("token", &self.life(jti).await?)?;
                }
            }
            Place::Requests => {
                all.fixed("search", || {
                    let (w, text) = (self.w(), &self.narrowed.search);
                    self.search("/console/requests", "q", w.request_name, text)
                })?;
                if !live && let Some(requests) = self.requests().await? {
                    all.still("requests", &requests)?;
                }
            }
            Place::Order(order) => {
                if let Some(block) = self.confirmation(*order)? {
                    all.blocks.push(block);
                }
            }
        }
        Ok(all.blocks)
    }

    /// The title of a page: of what is named, its name.
    pub(super) async fn title(&self, place: &Place) -> Result<String, Trouble> {
        Ok(match place {
            Place::User(id) => {
                let told = self.ask(Operation::User, vec![id.clone()], "").await?;
                text(&told, "username").to_owned()
            }
            Place::Client(id) => {
                let told = self.ask(Operation::Client, vec![id.clone()], "").await?;
                let name = Some(text(&told, "client_name")).filter(|name| !name.is_empty());
                name.unwrap_or(id).to_owned()
            }
            Place::ApiKey(id) => {
                let told = self.ask(Operation::ApiKey, vec![id.clone()], "").await?;
                let name = Some(text(&told, "name")).filter(|name| !name.is_empty());
                name.unwrap_or(id).to_owned()
            }
            place => place.title(self.w()).to_owned(),
        })
    }

    fn overview(&self, all: &mut Blocks) -> Result<(), Trouble> {
        let (w, lookout) = (self.w(), self.app.lookout());
        let it = lookout.sighted();
        let points = points(&it, w);
        let worst = it.checks.iter().filter_map(|check| check.severity).max();
        let (class, says) = match worst {
            _ if it.checks.is_empty() => ("waits", w.not_looked),
            None => ("good", w.well),
            Some(Severity::Degraded) => ("waits", w.degraded),
            Some(Severity::Without) => ("waits", w.without),
            Some(Severity::NotReady) => ("bad", w.not_ready),
        };
        let since = moment(it.since);
        all.alive("health", &Health { w, it, since, class, says })?;
        let plot = Plot::of(&lookout.pulse());
        let says = w
            .activity_says
            .replace("{signins}", &w.signed_in.of(plot.last.sign_ins))
            .replace("{refusals}", &w.refused.of(plot.last.refusals))
            .replace("{most}", &plot.most.to_string());
        all.alive("activity", &Activity { w, plot, says })?;
        all.alive("points", &Points { w, points })?;
        all.alive("latest", &self.latest(FEW))
    }

    fn latest(&self, most: usize) -> Latest {
        let w = self.w();
        let all: Vec<TakenBack> = self.app.lookout().taken_back();
        let rows = all.iter().take(most).map(|it| Row::of(it, w)).collect();
        Latest { w, rows, more: most == FEW, lang: self.lang.tag() }
    }

    /// Who refuses what was ordered here under this name. `None`: another node knows.
    pub(super) fn confirmation(&self, order: u64) -> Result<Option<Block>, Trouble> {
        let Some(it) = self.app.lookout().followed(order) else { return Ok(None) };
        let w = self.w();
        let block = Confirmation { w, said: confirmed(&it, w), over: it.is_over() };
        Ok(Some(Block { name: "confirmation", live: true, html: rendered(&block)? }))
    }

    fn search<'s>(
        &self,
        action: &'static str,
        field: &'static str,
        label: &'static str,
        text: &'s Option<String>,
    ) -> Search<'s> {
        let text = text.as_deref().unwrap_or_default();
        Search { w: self.w(), lang: self.lang.tag(), action, field, label, text }
    }

    /// Asks what administration answers, as the person who looks.
    pub(super) async fn ask(
        &self,
        operation: Operation,
        named: Vec<String>,
        query: &str,
    ) -> Result<Value, Trouble> {
        self.versioned(operation, named, query).await.map(|(told, _)| told)
    }

    /// The same, with the version of what is told.
    async fn versioned(
        &self,
        operation: Operation,
        named: Vec<String>,
        query: &str,
    ) -> Result<(Value, u64), Trouble> {
        let wish = Wish { operation, named, query, body: Map::new(), version: None };
        match admin::ordered(self.app, self.by, wish).await {
            // What has no version has none that a form could name.
            Ok(done) => Ok((done.body.unwrap_or_default(), done.version.unwrap_or_default())),
            Err(Refused::Store(error)) => Err(error.into()),
            Err(Refused::Busy) => Err(Trouble::TooMany(std::time::Duration::from_secs(1))),
            Err(_) => Err(Trouble::NotFound),
        }
    }

    /// A piece of a list, and the links to the first and the next.
    pub(super) async fn piece(
        &self,
        operation: Operation,
        place: &Place,
        narrow: &[(&str, &str)],
    ) -> Result<(Vec<Value>, Option<String>, Option<String>), Trouble> {
        let cursor = self.narrowed.cursor.as_deref();
        let own = [("limit", PIECE)].into_iter().chain(narrow.iter().copied());
        let all: Vec<_> = own.chain(cursor.map(|it| ("cursor", it))).collect();
        let told =
            self.ask(operation, Vec::new(), with_query("", &all).trim_start_matches('?')).await?;
        let link = |cursor: Option<&str>| {
            let kept = narrow.iter().copied().chain(cursor.map(|it| ("cursor", it)));
            let all: Vec<_> = kept.chain([("lang", self.lang.tag())]).collect();
            with_query(&place.path(), &all)
        };
        let next = told.get("next").and_then(Value::as_str).map(|it| link(Some(it)));
        Ok((items(&told), next, cursor.map(|_| link(None))))
    }

    async fn people(&self) -> Result<List, Trouble> {
        let w = self.w();
        let (found, next, first, note) = match self.narrowed.search.as_deref() {
            None => {
                let (found, next, first) = self.piece(Operation::Users, &Place::Users, &[]).await?;
                (found, next, first, None)
            }
            Some(sought) => {
                let (found, whole) = self.sought(sought).await?;
                (found, None, None, (!whole).then_some(w.searched_some))
            }
        };
        let rows = found.iter().map(|user| self.listed_user(user)).collect();
        Ok(List { w, rows, nothing: w.nobody_found, note, next, first })
    }

    fn listed_user(&self, user: &Value) -> Listed {
        let w = self.w();
        let (id, roles) = (text(user, "id"), texts(user, "roles"));
        let locked = user.get("disabled").and_then(Value::as_bool).unwrap_or_default();
        let locked = locked.then(|| Tag { class: "bad", text: w.locked.to_owned() });
        let roles = roles.into_iter().map(|text| Tag { class: "", text });
        Listed {
            href: self.link(&Place::User(id.to_owned())),
            name: text(user, "username").to_owned(),
            tags: locked.into_iter().chain(roles).collect(),
            detail: [text(user, "email"), id]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" · "),
        }
    }

    /// Everybody whose name or address has this in it, as far as is looked through; and whether that was
    /// everybody. A whole name, and an id, are found in any case.
    async fn sought(&self, sought: &str) -> Result<(Vec<Value>, bool), Trouble> {
        if UserId::new(sought).is_ok() {
            let found = match self.ask(Operation::User, vec![sought.to_owned()], "").await {
                Err(Trouble::NotFound) => Vec::new(),
                found => vec![found?],
            };
            return Ok((found, true));
        }
        let named = with_query("", &[("username", sought)]);
        // What can be no name is the name of nobody.
        let named =
            match self.ask(Operation::Users, Vec::new(), named.trim_start_matches('?')).await {
                Err(Trouble::NotFound) => Value::Null,
                named => named?,
            };
        let mut found = items(&named);
        let (mut looked, mut cursor) = (0, None::<String>);
        let sought = sought.to_lowercase();
        loop {
            let all = [("limit", AT_A_TIME)].into_iter();
            let all: Vec<_> = all.chain(cursor.as_deref().map(|it| ("cursor", it))).collect();
            let query = with_query("", &all);
            let told =
                self.ask(Operation::Users, Vec::new(), query.trim_start_matches('?')).await?;
            let people = items(&told);
            looked += people.len();
            let has = |user: &Value, name| text(user, name).to_lowercase().contains(&sought);
            for user in people {
                let is_new = !found.iter().any(|known| text(known, "id") == text(&user, "id"));
                if is_new && (has(&user, "username") || has(&user, "email")) {
                    found.push(user);
                }
            }
            cursor = told.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok((found, true));
            }
            if looked >= LOOKED_THROUGH {
                return Ok((found, false));
            }
        }
    }

    async fn person(&self, id: &str, all: &mut Blocks) -> Result<(), Trouble> {
        let w = self.w();
        let (user, version) = self.versioned(Operation::User, vec![id.to_owned()], "").await?;
        let factors = self.ask(Operation::UserFactors, vec![id.to_owned()], "").await?;
        let count = |name: &str| factors.get(name).and_then(Value::as_u64).unwrap_or_default();
        let app = factors.get("totp_since").is_some_and(|since| !since.is_null());
        let parts = [
            (count("passkeys") > 0).then(|| w.passkeys.of(count("passkeys"))),
            app.then(|| w.app.to_owned()),
            (count("recovery_codes") > 0).then(|| w.codes.of(count("recovery_codes"))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let factors = if parts.is_empty() { w.no_factors.to_owned() } else { parts.join(" · ") };
        let locked = user.get("disabled").and_then(Value::as_bool).unwrap_or_default();
        let you = self.by.who.as_str() == id;
        let person = Person {
            w,
            id: id.to_owned(),
            email: text(&user, "email").to_owned(),
            verified: user.get("email_verified").and_then(Value::as_bool).unwrap_or_default(),
            roles: texts(&user, "roles"),
            locked,
            created: moment_of(text(&user, "created")),
            factors,
            you,
        };
        all.alive("person", &person)?;
        all.alive("sessions", &self.sessions(Some(id), true).await?)?;
        let typed = self.typed("roles").map(str::to_owned);
        let version = typed.as_ref().and_then(|_| self.typed_version()).unwrap_or(version);
        let roles = typed.unwrap_or_else(|| texts(&user, "roles").join(" "));
        all.fixed("acts", || PersonActs { w, version, roles, locked, you })
    }

    async fn sessions(&self, user: Option<&str>, of_one: bool) -> Result<Sessions, Trouble> {
        let w = self.w();
        // By name, where it is none of an id.
        let id = match user {
            Some(name) if UserId::new(name).is_err() => {
                let named = with_query("", &[("username", name)]);
                let told =
                    self.ask(Operation::Users, Vec::new(), named.trim_start_matches('?')).await;
                let found = match told {
                    Err(Trouble::NotFound) => Vec::new(),
                    told => items(&told?),
                };
                match found.first() {
                    Some(user) => Some(text(user, "id").to_owned()),
                    None => {
                        let (rows, next, first) = (Vec::new(), None, None);
                        return Ok(Sessions { w, heading: of_one, rows, next, first });
                    }
                }
            }
            user => user.map(str::to_owned),
        };
        let narrow: Vec<_> = id.iter().map(|id| ("user", id.as_str())).collect();
        let place = Place::Sessions;
        let (found, next, first) = self.piece(Operation::Sessions, &place, &narrow).await?;
        let mut rows = Vec::with_capacity(found.len());
        for session in &found {
            let user = text(session, "user_id");
            let name = match UserId::new(user) {
                Ok(id) => self.app.users().recent(self.app.realm(), &id).await?,
                Err(_) => None,
            };
            let name = name.map(|user| user.username.as_str().to_owned());
            let by = [text(session, "acr").to_owned(), texts(session, "amr").join(" ")];
            rows.push(SessionRow {
                sid: text(session, "sid").to_owned(),
                user: name.unwrap_or_else(|| user.to_owned()),
                href: self.link(&Place::User(user.to_owned())),
                started: moment_of(text(session, "started")),
                used: moment_of(text(session, "last_access")),
                ends: moment_of(text(session, "ends")),
                by: by.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" · "),
                this: text(session, "sid") == self.sid,
            });
        }
        Ok(Sessions { w, heading: of_one, rows, next, first })
    }

    async fn clients(&self) -> Result<List, Trouble> {
        let w = self.w();
        let (found, next, first) = self.piece(Operation::Clients, &Place::Clients, &[]).await?;
        let rows = found.iter().map(|client| {
            let id = text(client, "client_id");
            let name = Some(text(client, "client_name")).filter(|name| !name.is_empty());
            let disabled = flag(client, "disabled");
            let disabled = disabled.then(|| Tag { class: "bad", text: w.disabled.to_owned() });
            let grants = texts(client, "grant_types");
            let grants = grants.iter().map(|grant| grant.rsplit(':').next().unwrap_or(grant));
            Listed {
                href: self.link(&Place::Client(id.to_owned())),
                name: name.unwrap_or(id).to_owned(),
                tags: disabled
                    .into_iter()
                    .chain([Tag { class: "", text: self.sort(client).to_owned() }])
                    .collect(),
                detail: format!("{id} · {}", grants.collect::<Vec<_>>().join(", ")),
            }
        });
        let rows = rows.collect();
        Ok(List { w, rows, nothing: w.no_clients, note: None, next, first })
    }

    fn sort(&self, client: &Value) -> &'static str {
        let method = text(client, "token_endpoint_auth_method");
        if method == "none" { self.w().public_client } else { self.w().confidential_client }
    }

    /// What is known of a client. What could be a secret is not among it: what is told is listed here.
    fn client(&self, id: &str, told: &Value) -> ClientFacts {
        let w = self.w();
        let one = |name: &str| {
            let text = text(told, name);
            if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }
        };
        let scope = text(told, "scope").split(' ').filter(|it| !it.is_empty());
        let disabled = flag(told, "disabled").then(|| (w.disabled, vec!["✓".to_owned()]));
        let facts = vec![
            (w.id, vec![id.to_owned()]),
            (w.what, vec![self.sort(told).to_owned()]),
            (w.authentication, one("token_endpoint_auth_method")),
            (w.grants, texts(told, "grant_types")),
            (w.scope, scope.map(str::to_owned).collect()),
            (w.redirects, texts(told, "redirect_uris")),
            (w.audiences, texts(told, "audiences")),
            (
                w.may_introspect,
                if flag(told, "may_introspect") { vec!["✓".to_owned()] } else { Vec::new() },
            ),
        ];
        let described = Some((w.described, one("described"))).filter(|(_, word)| !word.is_empty());
        let api_keys =
            with_query(&Place::ApiKeys.path(), &[("client", id), ("lang", self.lang.tag())]);
        ClientFacts {
            w,
            api_keys,
            facts: disabled.into_iter().chain(facts).chain(described).collect(),
        }
    }

    async fn keys(&self) -> Result<Keys, Trouble> {
        let w = self.w();
        let told = self.ask(Operation::Keys, Vec::new(), "").await?;
        let mut rings: Vec<Ring> = Vec::new();
        for key in items(&told) {
            let (algorithm, state) = (text(&key, "algorithm"), text(&key, "state"));
            let (step, says) = match state {
                "next" => (0, w.published),
                "current" => (1, w.signs),
                "previous" => (2, w.verifies),
                _ => (3, w.retired),
            };
            let key = Key {
                kid: text(&key, "kid").to_owned(),
                step,
                state: says,
                at: moment_of(text(&key, "at")),
                until: step == 2,
                seen: Seen::of(&key, w),
            };
            match rings.iter_mut().find(|ring| ring.algorithm == algorithm) {
                Some(ring) => ring.keys.push(key),
                None => rings.push(Ring {
                    algorithm: algorithm.to_owned(),
                    waits: self.waits(algorithm),
                    keys: vec![key],
                }),
            }
        }
        for ring in &mut rings {
            ring.keys.sort_by_key(|key| key.step);
            // Those of long ago say nothing any more.
            ring.keys.truncate(6);
        }
        Ok(Keys { w, life: [w.published, w.signs, w.verifies, w.retired], rings })
    }

    /// Why the next key of an algorithm may not sign yet.
    fn waits(&self, algorithm: &str) -> Option<String> {
        let algorithm = serde_json::from_value(algorithm.into()).ok()?;
        match self.app.provider().keys().check_rotation(algorithm) {
            Err(tegata_token::RingRefused::TooSoon { until, .. }) => {
                Some(self.w().may_not_know.replace("{until}", &moment(until).0))
            }
            Err(other) => Some(other.to_string()),
            Ok(()) => None,
        }
    }

    /// What was typed under this name.
    pub(super) fn typed(&self, name: &str) -> Option<&str> {
        self.typed.iter().find(|(own, _)| *own == name).map(|(_, text)| text.as_str())
    }

    /// Of which version that was.
    fn typed_version(&self) -> Option<u64> {
        self.typed("version").and_then(|version| version.parse().ok())
    }

    /// The address of a page, in this language.
    pub(super) fn link(&self, place: &Place) -> String {
        with_query(&place.path(), &[("lang", self.lang.tag())])
    }
}

/// Blocks as they are gathered.
struct Blocks {
    /// Whether those are left out that do not change by themselves.
    live: bool,
    blocks: Vec<Block>,
}

impl Blocks {
    fn alive(&mut self, name: &'static str, block: &impl Template) -> Result<(), Trouble> {
        self.blocks.push(Block { name, live: true, html: rendered(block)? });
        Ok(())
    }

    fn still(&mut self, name: &'static str, block: &impl Template) -> Result<(), Trouble> {
        self.blocks.push(Block { name, live: false, html: rendered(block)? });
        Ok(())
    }

    fn fixed<T: Template>(
        &mut self,
        name: &'static str,
        block: impl FnOnce() -> T,
    ) -> Result<(), Trouble> {
        if self.live { Ok(()) } else { self.still(name, &block()) }
    }
}

pub(super) fn rendered(block: &impl Template) -> Result<String, Trouble> {
    block.render().map_err(|_| Trouble::Malformed("a part of the page could not be rendered"))
}

fn points(it: &Sighted, w: &Words) -> Vec<Point> {
    let ahead = it.points.iter().map(|point| point.position).max().unwrap_or_default();
    it.points.iter().map(|point| Point::of(point, ahead, w)).collect()
}

fn items(told: &Value) -> Vec<Value> {
    told.get("items").and_then(Value::as_array).cloned().unwrap_or_default()
}

pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

pub(super) fn texts(value: &Value, name: &str) -> Vec<String> {
    let all = value.get(name).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}
