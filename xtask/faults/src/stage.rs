//! An installation with people, clients and services, and what they ask of it.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_engines::{Cluster, Plan, TegataNode};

use crate::{
    http::{Answer, Ask, Client, NoAnswer, form},
    ledger::lock,
    time::{Stopwatch, let_pass, until},
};

/// How long something may take that must come to be, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Who signs in.
pub const PERSON: (&str, &str) = ("maria", "a long and private phrase");

/// The client that people sign in to.
pub const WEB: (&str, &str) = ("web", "a secret of the web client");

/// The client that gets tokens in its own name, takes them back, and may ask about those of others.
pub const ROBOT: (&str, &str) = ("robot", "a secret of the robot client");

/// Where answers to authorization requests go; nobody is there.
const CALLBACK: &str = "http://127.0.0.1:9999/callback";

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The routes to the one service, by what holds while revocations cannot be learnt.
pub const ROUTES: [&str; 3] = ["/bounded", "/strict", "/available"];

/// An installation in use.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    session: Mutex<Option<String>>,
    old: Mutex<Option<(Stopwatch, Vec<Access>)>>,
}

/// For how long a token is young: so long a gateway that cannot learn what was taken back lets it
/// pass where the route is `bounded`, and a second more for roundings.
const YOUTH: Duration = Duration::from_secs(62);

/// How many tokens are made to be old.
const OLD: usize = 240;

/// How many of them serve to call services with; the others are there to be taken back.
const CALLING: usize = 20;

/// After how long tokens are too old to be used for long: they live for an hour.
const AGE: Duration = Duration::from_secs(45 * 60);

/// An access token that somebody was given.
#[derive(Debug, Clone)]
pub struct Access {
    /// The token.
    pub token: Arc<str>,
    /// When it was given, in seconds of wall time as the node knew it.
    pub issued: u64,
    /// When it ends.
    pub ends: u64,
}

impl Access {
    fn of(token: &str) -> Result<Self> {
        let claims = claims(token).context("an access token cannot be read")?;
        let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
        Ok(Self { token: token.into(), issued: number("iat"), ends: number("exp") })
    }
}

/// What a token says, unverified.
#[must_use]
pub fn claims(token: &str) -> Option<Value> {
    let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&body).ok()
}

/// What a token's header says, unverified.
#[must_use]
pub fn claims_of_head(token: &str) -> Option<Value> {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice(&head).ok()
}

impl Stage {
    /// Starts an installation and declares what is needed on it.
    ///
    /// # Errors
    /// What was declared is refused.
    pub fn set(plan: &Plan) -> Result<Self> {
        let cluster = Cluster::start(plan);
        let stage = Self { cluster, session: Mutex::default(), old: Mutex::default() };
        declare(&stage.cluster.member(0).node, stage.cluster.echo().port())?;
        // Other nodes read what is declared once a second.
        for n in 0..stage.nodes() {
            let token = issued(&mut stage.public(n))?.token;
            let mut gateway = stage.gateway(n);
            let served = || call(&mut gateway, "/strict", &token).is_ok_and(|it| it.status == 200);
            ensure!(until(PATIENCE, served).is_some(), "node {n} does not know its services");
        }
        stage.grow_old()?;
        Ok(stage)
    }

    /// Tokens are issued that will be old.
    fn grow_old(&self) -> Result<()> {
        let mut client = self.public(0);
        let tokens: Result<Vec<Access>> = (0..OLD).map(|_| issued(&mut client)).collect();
        *lock(&self.old) = Some((Stopwatch::start(), tokens?));
        Ok(())
    }

    /// Tokens that were issued more than a minute ago, to call services with; waits until they were.
    ///
    /// # Errors
    /// None can be issued.
    pub fn old_tokens(&self) -> Result<Vec<Access>> {
        let (since, tokens) = self.old(CALLING)?;
        let_pass(YOUTH.saturating_sub(since.read()));
        Ok(tokens.into_iter().take(CALLING).collect())
    }

    /// The same, to be taken back: nobody is given them again.
    ///
    /// # Errors
    /// None can be issued.
    pub fn take_old_tokens(&self, many: usize) -> Result<Vec<Access>> {
        let (since, _) = self.old(CALLING + many)?;
        let_pass(YOUTH.saturating_sub(since.read()));
        let mut kept = lock(&self.old);
        let (_, tokens) = kept.as_mut().context("no tokens were issued")?;
        Ok(tokens.split_off(tokens.len().saturating_sub(many)))
    }

    fn old(&self, least: usize) -> Result<(Stopwatch, Vec<Access>)> {
        let is_good = |old: &(Stopwatch, Vec<Access>)| old.0.read() < AGE && old.1.len() >= least;
        if !lock(&self.old).as_ref().is_some_and(is_good) {
            self.grow_old()?;
        }
        lock(&self.old).clone().context("no tokens were issued")
    }

    /// The installation.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Lets go of what it was given before: it does not count any more.
    pub fn forget(&self) {
        *lock(&self.session) = None;
        *lock(&self.old) = None;
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.cluster.members().len()
    }

    /// A client of a node's public listener.
    #[must_use]
    pub fn public(&self, node: usize) -> Client {
        Client::new(self.cluster.member(node).node.ports().public)
    }

    /// A client of a node's gateway.
    #[must_use]
    pub fn gateway(&self, node: usize) -> Client {
        Client::new(self.cluster.member(node).node.ports().gateway)
    }

    /// Families of refresh tokens: what somebody holds who signed in to the web client.
    ///
    /// # Errors
    /// Nobody can sign in.
    pub fn families(&self, many: usize) -> Result<Vec<String>> {
        let mut client = self.public(0);
        (0..many).map(|_| self.family_of(&mut client)).collect()
    }

    /// One more of them.
    ///
    /// # Errors
    /// Nobody can sign in, or no code becomes tokens.
    pub fn family_of(&self, client: &mut Client) -> Result<String> {
        let code = self.code(client)?;
        let redeemed = redeem(client, &code)?;
        redeemed.member("refresh_token").with_context(|| {
            format!("a code was answered {} without tokens: {}", redeemed.status, redeemed.text())
        })
    }

    /// An authorization code for the web client.
    ///
    /// # Errors
    /// Nobody can sign in.
    pub fn code(&self, client: &mut Client) -> Result<String> {
        let cookie = self.session(client)?;
        let ask = authorization().field("Cookie", &cookie);
        let answer = client.ask(&ask.field("User-Agent", "tegata-faults"))?;
        let address = answer.field("location").unwrap_or_default();
        let code = address.split(['?', '&']).find_map(|part| part.strip_prefix("code="));
        code.map(str::to_owned).with_context(|| {
            format!("there is no code in `{address}` (status {}): {}", answer.status, answer.text())
        })
    }

    /// The cookie of the person's session, who signs in where nobody has yet.
    ///
    /// # Errors
    /// The person cannot sign in.
    pub fn session(&self, client: &mut Client) -> Result<String> {
        let mut kept = lock(&self.session);
        if let Some(cookie) = &*kept {
            return Ok(cookie.clone());
        }
        let answer = client.ask(&self.sign_in())?;
        let cookie = answer.all("set-cookie").find(|line| line.starts_with("session_id="));
        let cookie = cookie.and_then(|line| line.split(';').next());
        let cookie = cookie.with_context(|| {
            format!("signing in was answered {}: {}", answer.status, answer.text())
        })?;
        Ok(kept.insert(cookie.to_owned()).clone())
    }

    /// The request that signs the person in.
    #[must_use]
    pub fn sign_in(&self) -> Ask {
        let credentials = json!({"username": PERSON.0, "password": PERSON.1});
        let ask = Ask::json("/api/auth/login", &credentials);
        ask.field("Origin", self.cluster.issuer()).field("User-Agent", "tegata-faults")
    }
}

/// The request for a code. Of whom no session says who it is, it is kept until they have signed in.
#[must_use]
pub fn authorization() -> Ask {
    let query = form(&[
        ("client_id", WEB.0),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid offline_access"),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    Ask::get(&format!("/oauth2/authorize?{query}"))
}

/// The request that asks whose session a cookie is.
#[must_use]
pub fn whose_session(cookie: &str) -> Ask {
    Ask::get("/api/auth/session").field("Cookie", cookie).field("User-Agent", "tegata-faults")
}

/// Redeems a code.
///
/// # Errors
/// There is no answer.
pub fn redeem(client: &mut Client, code: &str) -> Result<Answer, NoAnswer> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    client.ask(&Ask::form("/oauth2/token", &fields).basic(WEB.0, WEB.1))
}

/// Asks for a token in the robot's own name.
///
/// # Errors
/// There is no answer.
pub fn issue(client: &mut Client) -> Result<Answer, NoAnswer> {
    let ask = Ask::form("/oauth2/token", &[("grant_type", "client_credentials")]);
    client.ask(&ask.basic(ROBOT.0, ROBOT.1))
}

/// A token in the robot's own name.
///
/// # Errors
/// There is none.
pub fn issued(client: &mut Client) -> Result<Access> {
    access_in(&issue(client)?)
}

/// The access token of an answer.
///
/// # Errors
/// There is none in it.
pub fn access_in(answer: &Answer) -> Result<Access> {
    let token = answer.member("access_token");
    let status = answer.status;
    Access::of(&token.with_context(|| format!("no token, but {status}: {}", answer.text()))?)
}

/// Presents a refresh token.
///
/// # Errors
/// There is no answer.
pub fn refresh(client: &mut Client, token: &str) -> Result<Answer, NoAnswer> {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    client.ask(&Ask::form("/oauth2/token", &fields).basic(WEB.0, WEB.1))
}

/// Takes a token of the robot back.
///
/// # Errors
/// There is no answer.
pub fn revoke(client: &mut Client, token: &str) -> Result<Answer, NoAnswer> {
    client.ask(&Ask::form("/oauth2/revoke", &[("token", token)]).basic(ROBOT.0, ROBOT.1))
}

/// Whether the provider says that a token counts.
///
/// # Errors
/// It does not say.
pub fn introspect(client: &mut Client, token: &str) -> Result<bool> {
    let ask = Ask::form("/oauth2/introspect", &[("token", token)]);
    let answer = client.ask(&ask.basic(ROBOT.0, ROBOT.1))?;
    ensure!(answer.status == 200, "introspection was answered {}", answer.status);
    let active = answer.json().get("active").and_then(Value::as_bool);
    active.context("introspection did not say whether the token is active")
}

/// Calls the service on one of its routes.
///
/// # Errors
/// There is no answer.
pub fn call(client: &mut Client, route: &str, token: &str) -> Result<Answer, NoAnswer> {
    client.ask(&Ask::get(&format!("{route}/x")).bearer(token))
}

/// Declares what is needed on a node, with the service at a port of this machine.
///
/// # Errors
/// It cannot be written.
pub fn declare(node: &TegataNode, echo: u16) -> Result<()> {
    fs::write(node.directory().join("declared.toml"), declarations(echo))?;
    node.command(&["apply", "declared.toml"]);
    Ok(())
}

/// One person, two clients, one service with a route for each way of holding.
fn declarations(echo: u16) -> String {
    let routes = ROUTES.map(|path| {
        let mode = path.trim_start_matches('/');
        format!("[[route]]\npath = \"{path}\"\nservice = \"echo\"\nrevocation = \"{mode}\"\n")
    });
    format!(
        "[[user]]\nusername = \"{}\"\npassword = \"{}\"\nroles = [\"reader\"]\n\
         [[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nasks_consent = false\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\n\
         redirect_uris = [\"{CALLBACK}\"]\nscope = \"openid offline_access\"\n\
         access_token_signed_response_alg = \"ES256\"\n\
         [[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nmay_introspect = true\n\
         grant_types = [\"client_credentials\"]\naccess_token_signed_response_alg = \"ES256\"\n\
         [[service]]\nname = \"echo\"\nupstreams = [\"http://127.0.0.1:{echo}\"]\n{}",
        PERSON.0,
        PERSON.1,
        WEB.0,
        WEB.1,
        ROBOT.0,
        ROBOT.1,
        routes.concat()
    )
}

/// An installation of so many nodes on PostgreSQL alone.
///
/// # Errors
/// As [`Stage::set`].
pub fn plain(program: &Path, nodes: usize) -> Result<Stage> {
    Stage::set(&Plan::new(program, nodes))
}
