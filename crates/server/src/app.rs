//! What the handlers are given. Everything in it is made by whoever wires the program.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tegata_core::{
    BoxFuture, ClientCertificates, Epoch, Limiter, Network, Node, Parting, Proxies, Realm,
    SinceBoot, flight::Flights,
};
use tegata_identity::{Letters, Passwords, SecondFactors, SignIn, Users};
use tegata_oauth::{Client, Provider, signals::Streams};
use tegata_policy::PolicySet;
use tegata_session::{
    CookieConsents, CookieTable, Csrf, Environment, Origins, Sessions, sessions::Endings,
};
use tegata_token::{Algorithm, RealmView, revocation::Taken};
use tokio::sync::watch;

use crate::{
    admin::{Administration, SecondFactor},
    browser::refresh::Refreshes,
    limits::Limits,
    lookout::Lookout,
    metrics::Metrics,
    pages::{assets, console::events::Seats},
    recorded::Decisions,
    refusals::Refusals,
    signals::{Inlet, Waiting},
    status_lists::Published,
    unfinished::Unfinished,
};

/// What can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the installation runs: cookies and `Strict-Transport-Security` depend on it.
    pub environment: Environment,
    /// The proxies in front of the listener, which are believed about the address of the client.
    pub proxies: Proxies,
    /// How it learns of certificates of clients: not at all.
    pub client_certificates: ClientCertificates,
    /// The client that browsers of our own origin get their tokens for.
    pub browser: BrowserClient,
    /// For how long a session stays elevated after a proof: 300 s.
    pub elevation: Duration,
    /// The longest life of a token that is on a status list: 3,660 s. Its lists are published for
    /// that long after they have closed.
    pub longest_token: Duration,
    /// For how long verifiers may keep a status list: 60 s.
    pub status_ttl: Duration,
    /// How stale the view of revocations may be for a status list to be made from it: 5 s.
    pub most_stale: Duration,
    /// Which administrators must have shown a second factor.
    pub administrators: SecondFactor,
    /// How much of a request is read.
    pub limits: Limits,
    /// Whether mail reaches people: without it, there is nothing here that needs it.
    pub mail: bool,
    /// Whether pages ask which cookies somebody agrees to.
    pub asks_for_cookies: bool,
    /// What the pages look like.
    pub appearance: Appearance,
    /// Who shows once more that they are there, before they allow a device or a client.
    pub approval_proof: ApprovalProof,
    /// Whether pages and services of others have the issuer's own origin, too: a listener behind the
    /// gateway ([`App::behind`]) knows that they do.
    pub shares_origin: bool,
    /// Whether pages are given access tokens. Without, they have a cookie alone, and whatever script runs in
    /// one takes nothing away: yes.
    pub page_tokens: bool,
    /// Where the console is open: where no page of others has its origin.
    pub console: ConsoleAt,
    /// For how long somebody may look on in the console after they have shown that they are there: an
    /// hour. Who changes something has shown it within [`Self::elevation`].
    pub console_proof: Duration,
}

/// Where the console is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleAt {
    /// Where it has an origin that no page of others has.
    #[default]
    OwnOrigin,
    /// Nowhere.
    Off,
    /// Also where scripts of other services' pages have the same origin, and can act as whoever is in.
    DangerSharedOrigin,
}

/// What the pages look like.
#[derive(Debug, Clone)]
pub struct Appearance {
    /// The name below every page and in its title: `Tegata`.
    pub brand: String,
    /// A style sheet that comes after our own.
    pub theme: Option<String>,
}

impl Default for Appearance {
    fn default() -> Self {
        Self { brand: "Tegata".to_owned(), theme: None }
    }
}

/// Where a person shows once more that they are there, before they allow a device or a client that they
/// have agreed to nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalProof {
    /// Where pages of others have the same origin: their scripts could say yes in the person's name.
    #[default]
    SharedOrigin,
    /// Everywhere.
    Always,
    /// Nowhere: what a script of such a page allows counts.
    DangerNever,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: Environment::Development,
            proxies: Proxies::default(),
            client_certificates: ClientCertificates::default(),
            browser: BrowserClient::default(),
            elevation: Duration::from_secs(300),
            longest_token: Duration::from_secs(3600 + 60),
            status_ttl: crate::status_lists::TTL,
            most_stale: tegata_token::revocation::MOST_STALE,
            administrators: SecondFactor::default(),
            limits: Limits::default(),
            mail: false,
            asks_for_cookies: false,
            appearance: Appearance::default(),
            approval_proof: ApprovalProof::default(),
            shares_origin: false,
            page_tokens: true,
            console: ConsoleAt::default(),
            console_proof: Duration::from_secs(3600),
        }
    }
}

/// The built-in client of our own pages and scripts. It is in no registry and has no secret: its
/// refresh tokens are in cookies, and the token endpoint does not know it.
#[derive(Debug, Clone)]
pub struct BrowserClient {
    /// Its name: `tegata-browser`. No registered client may have it.
    pub id: String,
    /// What its tokens may be used for: `openid profile email roles`.
    pub scope: String,
    /// Whom its tokens are for; the gateway where nothing is said.
    pub audiences: Vec<String>,
    /// What its tokens are signed with: `RS256`.
    pub algorithm: Algorithm,
}

impl Default for BrowserClient {
    fn default() -> Self {
        Self {
            id: "tegata-browser".to_owned(),
            scope: "openid profile email roles".to_owned(),
            audiences: Vec::new(),
            algorithm: Algorithm::Rs256,
        }
    }
}

/// What the public listener is made of.
pub struct Parts {
    /// The provider of the realm.
    pub provider: Provider,
    /// The issuer epoch.
    pub epoch: Epoch,
    /// The people.
    pub users: Users,
    /// Where they prove who they are.
    pub sign_in: SignIn,
    /// Their passwords.
    pub passwords: Passwords,
    /// Mail to them.
    pub letters: Letters,
    /// Their sessions.
    pub sessions: Sessions,
    /// Where the end of a session is made known: the same that `sessions` was given.
    pub endings: Arc<dyn Endings>,
    /// The tokens of our own pages.
    pub csrf: Csrf,
    /// Our cookies.
    pub cookies: CookieTable,
    /// Which cookies people agreed to.
    pub cookie_consents: CookieConsents,
    /// The origins whose pages may change something.
    pub origins: Origins,
    /// Says which nodes refuse what was taken back here.
    pub confirm: Arc<dyn Confirm>,
    /// What is done to its end though whoever asked for it goes away.
    pub unfinished: Unfinished,
    /// Does what administrators ask for.
    pub administration: Arc<dyn Administration>,
    /// The streams of signals.
    pub streams: Streams,
    /// Hears the signals of others.
    pub inlet: Arc<dyn Inlet>,
    /// What is counted.
    pub metrics: Metrics,
    /// What the console sees.
    pub lookout: Arc<dyn Lookout>,
    /// Whether the process is about to stop.
    pub parting: Parting,
    /// Where decisions are written down. `None`: nowhere.
    pub decisions: Option<Arc<dyn Decisions>>,
}

/// Says which nodes refuse what was taken back here.
pub trait Confirm: Send + Sync {
    /// Answers when all refuse what was taken back since `began`, or, where nothing had to be written
    /// for it, what had been before; or serve nothing that they would have to know it for: which, and
    /// after how long. Holds nobody for longer than
    /// [`MOST_STALE`](tegata_token::revocation::MOST_STALE), and does not let too many wait.
    fn confirmed(&self, began: SinceBoot, taken: Taken) -> BoxFuture<'_, Value>;
}

/// How many callers are remembered whose authorization requests are held.
const CALLERS: usize = 100_000;

/// The parts of the public listener. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
    proxies: Arc<Proxies>,
    certificates: ClientCertificates,
    shares_origin: bool,
    decides: Option<Decides>,
}

/// Who knows what decides at the moment. Nothing does where nobody serves.
pub type Decides = Arc<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>;

struct Inner {
    config: Config,
    parts: Parts,
    browser: Client,
    view: Arc<RealmView>,
    refreshes: Refreshes,
    published: Published,
    news: watch::Receiver<()>,
    making_notices: tokio::sync::Mutex<()>,
    assets: assets::Assets,
    held: Limiter<Network>,
    registered: Limiter<Network>,
    strangers: Limiter<Network>,
    ordered: Limiter<Network>,
    chosen: Limiter<Network>,
    past: Limiter<Network>,
    refusals: Refusals,
    waiting: Waiting,
    seats: Seats,
}

impl App {
    /// The listener of these parts.
    ///
    /// # Errors
    /// What is wrong with [`Config::browser`].
    pub fn new(config: Config, parts: Parts) -> Result<Self, tegata_oauth::client::InvalidClient> {
        let browser = config.browser.client(&parts.provider)?;
        let view = parts.provider.revoker().view().realm(parts.provider.realm());
        let (refreshes, published) = (Flights::new(), Published::default());
        let (tell, news) = watch::channel(());
        parts.provider.revoker().view().listen(move || {
            tell.send_replace(());
        });
        let assets = assets::Assets::new(config.appearance.theme.as_deref());
        let held = Limiter::new(CALLERS);
        let registered = Limiter::new(CALLERS);
        let strangers = Limiter::new(CALLERS);
        let ordered = Limiter::new(CALLERS);
        let chosen = Limiter::new(CALLERS);
        let past = Limiter::new(CALLERS);
        let (proxies, certificates) =
            (Arc::new(config.proxies.clone()), config.client_certificates);
        let shares_origin = config.shares_origin;
        let waiting = Waiting::default();
        let inner = Inner {
            config,
            parts,
            browser,
            view,
            refreshes,
            published,
            news,
            making_notices: tokio::sync::Mutex::default(),
            assets,
            held,
            registered,
            strangers,
            ordered,
            chosen,
            past,
            refusals: Refusals::new(),
            waiting,
            seats: Seats::default(),
        };
        let decides = None;
        Ok(Self { inner: Arc::new(inner), proxies, certificates, shares_origin, decides })
    }

    /// The same listener behind the gateway, which tells of certificates, and serves pages of others under
    /// the origin of ours: in everything else the two are one.
    #[must_use]
    pub fn behind(&self, proxies: Proxies) -> Self {
        let certificates = ClientCertificates::Header;
        let proxies = Arc::new(proxies);
        Self { proxies, certificates, shares_origin: true, ..self.clone() }
    }

    /// The same listener on connections that ask for certificates: in everything else the two are one.
    #[must_use]
    pub fn asking_for_certificates(&self) -> Self {
        Self { certificates: ClientCertificates::Tls, ..self.clone() }
    }

    /// The same listener, which answers what policies decide: the `AuthZEN` Authorization API.
    #[must_use]
    pub fn deciding_by(self, decides: Decides) -> Self {
        Self { decides: Some(decides), ..self }
    }

    /// What decides at the moment.
    pub(crate) fn policies(&self) -> Option<Arc<PolicySet>> {
        self.decides.as_ref().and_then(|decides| decides())
    }

    /// Whether pages of others have the origin that this listener is reached by.
    pub(crate) const fn shares_origin(&self) -> bool {
        self.shares_origin
    }

    /// Whether people show once more that they are there before they allow something lasting.
    pub(crate) fn asks_for_presence(&self) -> bool {
        match self.config().approval_proof {
            ApprovalProof::SharedOrigin => self.shares_origin,
            ApprovalProof::Always => true,
            ApprovalProof::DangerNever => false,
        }
    }

    pub(crate) const fn certificates(&self) -> ClientCertificates {
        self.certificates
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// What was set.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The lines about requests that were refused.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.inner.refusals
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.inner.parts.provider
    }

    pub(crate) fn realm(&self) -> &Realm {
        self.provider().realm()
    }

    pub(crate) fn node(&self) -> &Node {
        self.provider().node()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.inner.parts.epoch
    }

    pub(crate) fn users(&self) -> &Users {
        &self.inner.parts.users
    }

    pub(crate) fn sign_in(&self) -> &SignIn {
        &self.inner.parts.sign_in
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.inner.parts.passwords
    }

    /// Mail to people, and what its links let them do; `None`: mail reaches nobody.
    pub(crate) fn letters(&self) -> Option<&Letters> {
        Some(&self.inner.parts.letters).filter(|_| self.config().mail)
    }

    pub(crate) fn second_factors(&self) -> &SecondFactors {
        self.sign_in().second_factors()
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.parts.sessions
    }

    pub(crate) fn endings(&self) -> &dyn Endings {
        self.inner.parts.endings.as_ref()
    }

    pub(crate) fn csrf(&self) -> &Csrf {
        &self.inner.parts.csrf
    }

    pub(crate) fn cookies(&self) -> &CookieTable {
        &self.inner.parts.cookies
    }

    pub(crate) fn cookie_consents(&self) -> &CookieConsents {
        &self.inner.parts.cookie_consents
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.inner.parts.origins
    }

    pub(crate) fn confirm(&self) -> &dyn Confirm {
        self.inner.parts.confirm.as_ref()
    }

    pub(crate) fn unfinished(&self) -> &Unfinished {
        &self.inner.parts.unfinished
    }

    pub(crate) fn administration(&self) -> &dyn Administration {
        self.inner.parts.administration.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.parts.metrics
    }

    /// The built-in client of our own pages and scripts.
    pub(crate) fn browser(&self) -> &Client {
        &self.inner.browser
    }

    /// What is revoked in the realm.
    pub(crate) fn view(&self) -> &RealmView {
        &self.inner.view
    }

    pub(crate) fn refreshes(&self) -> &Refreshes {
        &self.inner.refreshes
    }

    /// Changes whenever something is learnt to be taken back.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.inner.news.clone()
    }

    /// Held by whoever makes a notice.
    pub(crate) fn making_notices(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.making_notices
    }

    pub(crate) fn published(&self) -> &Published {
        &self.inner.published
    }

    /// Counts the authorization requests that are held for a caller.
    pub(crate) fn held(&self) -> &Limiter<Network> {
        &self.inner.held
    }

    /// Counts the registrations of a caller.
    pub(crate) fn registered(&self) -> &Limiter<Network> {
        &self.inner.registered
    }

    /// Counts the clients that a caller names and nobody knows.
    pub(crate) fn strangers(&self) -> &Limiter<Network> {
        &self.inner.strangers
    }

    /// Counts the letters that a caller asks for.
    pub(crate) fn ordered(&self) -> &Limiter<Network> {
        &self.inner.ordered
    }

    /// Counts the choices of cookies that a caller makes.
    pub(crate) fn chosen(&self) -> &Limiter<Network> {
        &self.inner.chosen
    }

    /// Counts how often a caller asks how lists were.
    pub(crate) fn past(&self) -> &Limiter<Network> {
        &self.inner.past
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.inner.parts.streams
    }

    pub(crate) fn inlet(&self) -> &dyn Inlet {
        self.inner.parts.inlet.as_ref()
    }

    /// Who waits for signals.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.inner.waiting
    }

    /// What the console sees.
    pub(crate) fn lookout(&self) -> &dyn Lookout {
        self.inner.parts.lookout.as_ref()
    }

    /// Whether the process is about to stop.
    pub(crate) fn parting(&self) -> &Parting {
        &self.inner.parts.parting
    }

    /// Where decisions are written down.
    pub(crate) fn decisions(&self) -> Option<&dyn Decisions> {
        self.inner.parts.decisions.as_deref()
    }

    /// Places for those who look on in the console.
    pub(crate) fn seats(&self) -> &Seats {
        &self.inner.seats
    }

    pub(crate) fn assets(&self) -> &assets::Assets {
        &self.inner.assets
    }
}

impl BrowserClient {
    fn client(&self, provider: &Provider) -> Result<Client, tegata_oauth::client::InvalidClient> {
        let audiences = if self.audiences.is_empty() {
            vec![provider.config().audience.clone()]
        } else {
            self.audiences.clone()
        };
        tegata_oauth::ClientMetadata {
            client_id: self.id.clone(),
            public: true,
            grant_types: Some([tegata_oauth::GrantType::RefreshToken].into()),
            scope: self.scope.clone(),
            audiences,
            asks_consent: Some(false),
            access_token_signed_response_alg: Some(self.algorithm),
            ..tegata_oauth::ClientMetadata::default()
        }
        .read(provider.node().now())
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({})", self.provider().issuer())
    }
}
