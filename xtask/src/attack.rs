//! Attacks something with the corpus of the repository, `corpus`.

use std::{
    net::{TcpListener, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use tegata_attack::{
    case::{Case, Places, read_all},
    forge::{Forge, IssuerKey, public},
    run::run_over,
    wire::Way,
};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own as OwnNode, Shared, root_key},
};
use tegata_faults::{
    http::Client,
    stage::{self, ROBOT, claims},
};

use crate::{command, faults};

/// What is asked for.
#[derive(Args)]
pub struct Attack {
    /// What is attacked: `gateway`
    #[arg(value_parser = ["gateway"])]
    what: String,
    /// Where it listens; a gateway is built and started where nothing is said
    #[arg(long, value_name = "HOST:PORT")]
    at: Option<String>,
    /// Speaks TLS with it, HTTP/1.1 and HTTP/2 as each case needs. Whom it proves to be is not asked
    #[arg(long)]
    tls: bool,
    /// The host that it answers for
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A path that everybody may ask for
    #[arg(long, value_name = "PATH", default_value = "/open")]
    open: String,
    /// A path that needs a token
    #[arg(long, value_name = "PATH", default_value = "/guarded")]
    guarded: String,
    /// Both paths lead to a service that answers with what it was sent
    #[arg(long)]
    echo: bool,
    /// A file with a good token for the path that needs one, of which others are made: those that need no key of its
    /// issuer
    #[arg(long, value_name = "FILE", requires = "at")]
    token: Option<PathBuf>,
    /// A file with the public key of the token's issuer, in PEM (`BEGIN PUBLIC KEY`): what is signed with that as a
    /// secret is said, too
    #[arg(long, value_name = "FILE", requires = "token")]
    public_key: Option<PathBuf>,
    /// Leaves out what cannot be said to a gateway elsewhere: tokens that only its issuer could sign, without `--token`
    /// all of them, and without `--echo` what asks for a service that says what it was sent. Otherwise that counts as
    /// broken
    #[arg(long, requires = "at")]
    without: bool,
    /// Only cases whose names begin so: `http2/`
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// The program, where it is built already
    #[arg(long, conflicts_with_all = ["debug", "at"])]
    program: Option<PathBuf>,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
}

/// A gateway of our own.
struct Own {
    node: TegataNode,
    /// The key of its issuer, by this name, and what it says in a good token.
    key: IssuerKey,
    good: Value,
    _echo: EchoServer,
}

/// How the key is called that tokens of the corpus are signed with.
const KID: &str = "of-the-corpus";

/// A gateway of our own, with a path for everybody and one that needs a token, and the key of its issuer.
fn own_gateway(asked: &Attack) -> Result<Own> {
    let program = match &asked.program {
        Some(program) => program.canonicalize().context("the program is not there")?,
        None => faults::program(asked.debug)?,
    };
    let shared = Shared {
        root_key: root_key(&program),
        program,
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let here = command::root().join("crates/gateway/tests/gateway/tls");
    let files = [("CERTIFICATE", "certificate.pem"), ("KEY", "key.pem")];
    let environment = files.iter().filter(|_| asked.tls).map(|(name, file)| {
        (format!("TEGATA_GATEWAY__TLS__{name}_FILE"), here.join(file).display().to_string())
    });
    let environment = environment.collect();
    let own = OwnNode { store: "sqlite://tegata.db".to_owned(), environment, ..OwnNode::default() };
    let node = TegataNode::start("attacked", &shared, &own);
    let echo = EchoServer::of_everything();
    let (client, secret) = ROBOT;
    let declared = format!(
        "[[service]]\nname = \"echo\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"{}\"\nservice = \"echo\"\nauth = \"none\"\n\
         [[route]]\npath = \"{}\"\nservice = \"echo\"\n\
         [[client]]\nclient_id = \"{client}\"\nclient_secret = \"{secret}\"\n\
         grant_types = [\"client_credentials\"]\n\
         access_token_signed_response_alg = \"ES256\"\n",
        echo.port(),
        asked.open,
        asked.guarded,
    );
    std::fs::write(node.directory().join("declared.toml"), declared)?;
    node.command(&["apply", "declared.toml"]);
    let issued = stage::issued(&mut Client::new(node.ports().public))?;
    let good = claims(&issued.token).context("an access token cannot be read")?;
    // The key of a test's certificate, which is known to everybody who reads this, is as good as any.
    let file = here.join("key.pem");
    let key = IssuerKey::read(&file)?;
    node.command(&["key", "import", &file.display().to_string(), "--kid", KID]);
    Ok(Own { node, key, good, _echo: echo })
}

impl Own {
    /// What tokens for it are made of.
    fn forge(&self, canary: &str) -> Result<Forge<'_>> {
        // The token that others are like was issued a moment ago.
        let now = self.good.get("iat").and_then(Value::as_u64).context("a token says when")?;
        let sign = move |text: &[u8]| self.key.sign(text);
        Forge::with_key(KID, &self.good, (now, canary), self.key.public(), sign)
    }
}

/// What tokens for a gateway elsewhere are made of, where a good one is known.
fn forge_of<'f>(asked: &Attack, canary: &str) -> Result<Option<Forge<'f>>> {
    let Some(file) = &asked.token else { return Ok(None) };
    let token = std::fs::read_to_string(file)
        .with_context(|| format!("`{}` cannot be read", file.display()))?;
    let public = asked.public_key.as_deref().map(public::read).transpose()?;
    Ok(Some(Forge::of_token(token.trim(), public, canary)?))
}

/// The places of a case, its token among them; or what is missing to say it.
fn places_of(
    case: &Case,
    places: &Places,
    forge: Option<&Forge<'_>>,
    has_echo: bool,
) -> Result<Places, String> {
    if case.needs_echo && !has_echo {
        return Err("a service that says what it was sent (`--echo`)".to_owned());
    }
    match (&case.token, forge) {
        (None, _) => Ok(places.clone()),
        (Some(_), None) => Err("a good token (`--token`)".to_owned()),
        (Some(token), Some(forge)) => {
            forge.token(token).map(|it| places.showing(it)).map_err(|error| format!("{error:#}"))
        }
    }
}

/// Makes sure that the service says what it was sent: where it does not, nothing that is absent was missing.
fn check_echo(way: Way, places: &Places) -> Result<()> {
    let text = "why: it\nexpect: 200\nabsent: what-was-said\ntarget: {open}/x\nfield: X-Said: what-was-said\n";
    let wrong = run_over(&Case::parse("echo", text)?, way, places)?;
    // Over both versions.
    let is_said = wrong.len() == 2 && wrong.iter().all(|it| it.contains("came through"));
    if !is_said {
        bail!("`{}` leads to no service that says what it was sent: {wrong:?}", places.open);
    }
    Ok(())
}

/// Whether somebody fetched from where a token said, since this was asked last.
fn is_fetched(canary: &TcpListener) -> bool {
    std::iter::from_fn(|| canary.accept().ok()).count() > 0
}

/// Says every case, and what is wrong with what came of it. One that cannot be said is broken, unless it is to be
/// left out.
///
/// # Errors
/// The corpus cannot be read, or what is attacked not be reached.
pub fn run(asked: &Attack) -> Result<ExitCode> {
    let corpus = command::root().join("corpus").join(&asked.what);
    let cases = read_all(&corpus)?;
    let own = if asked.at.is_none() { Some(own_gateway(asked)?) } else { None };
    let at = match (&asked.at, &own) {
        (Some(at), _) => at.clone(),
        (None, Some(own)) => format!("127.0.0.1:{}", own.node.ports().gateway),
        (None, None) => bail!("there is no gateway"),
    };
    let address = at.to_socket_addrs().with_context(|| format!("`{at}` is no address"))?.next();
    let address = address.with_context(|| format!("`{at}` is no address"))?;
    let way = Way { address, secure: asked.tls };
    let canary = TcpListener::bind("127.0.0.1:0")?;
    canary.set_nonblocking(true)?;
    let places = Places {
        host: asked.host.clone(),
        open: asked.open.trim_end_matches('/').to_owned(),
        guarded: asked.guarded.trim_end_matches('/').to_owned(),
        canary: format!("http://{}/", canary.local_addr()?),
        token: None,
    };
    let forge = match &own {
        Some(own) => Some(own.forge(&places.canary)?),
        None => forge_of(asked, &places.canary)?,
    };
    let has_echo = own.is_some() || asked.echo;
    if has_echo {
        check_echo(way, &places)?;
    }
    let (mut held, mut broke, mut left_out) = (0, 0, 0);
    for case in cases.iter().filter(|case| case.name.starts_with(&asked.only)) {
        let places = match places_of(case, &places, forge.as_ref(), has_echo) {
            Ok(places) => places,
            Err(_) if asked.without => {
                left_out += 1;
                continue;
            }
            Err(what) => {
                broke += 1;
                println!("BROKE  {} ({}): not said, for it needs {what}", case.name, case.why);
                continue;
            }
        };
        let mut case = case.clone();
        // What Tegata calls it is nothing that another gateway would say, nor are the names of what it tells services.
        if own.is_none() {
            (case.problem, case.present) = (None, None);
        }
        let mut wrong = run_over(&case, way, &places)?;
        if is_fetched(&canary) {
            wrong.push("somebody fetched from where a token said".to_owned());
        }
        if wrong.is_empty() {
            held += 1;
            continue;
        }
        broke += 1;
        for what in wrong {
            println!("BROKE  {} ({}): {what}", case.name, case.why);
        }
    }
    if is_fetched(&canary) {
        broke += 1;
        println!("BROKE  somebody fetched later from where a token said");
    }
    if left_out > 0 {
        println!("{left_out} left out, as was asked for");
    }
    println!("{held} held, {broke} broke");
    Ok(if broke == 0 && held > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
