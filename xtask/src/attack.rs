//! Attacks something with the corpus of the repository, `corpus`.

use std::{
    net::{TcpListener, ToSocketAddrs as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tegata_attack::{
    case::{Places, read_all},
    run::run_over,
    wire::Way,
};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
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
    /// The path for everybody leads to a service that answers with what it was sent
    #[arg(long)]
    echo: bool,
    /// Only cases whose names begin so: `http2/`
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
}

/// A gateway of our own, with a path for everybody and one that needs a token.
fn own_gateway(asked: &Attack) -> Result<(TegataNode, EchoServer)> {
    let program = faults::program(asked.debug)?;
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
    let own = Own { store: "sqlite://tegata.db".to_owned(), environment, ..Own::default() };
    let (node, echo) = (TegataNode::start("attacked", &shared, &own), EchoServer::start());
    let declared = format!(
        "[[service]]\nname = \"echo\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"{}\"\nservice = \"echo\"\nauth = \"none\"\n\
         [[route]]\npath = \"{}\"\nservice = \"echo\"\n",
        echo.port(),
        asked.open,
        asked.guarded,
    );
    std::fs::write(node.directory().join("declared.toml"), declared)?;
    node.command(&["apply", "declared.toml"]);
    Ok((node, echo))
}

/// Says every case, and what is wrong with what came of it.
///
/// # Errors
/// The corpus cannot be read, or what is attacked not be reached.
pub fn run(asked: &Attack) -> Result<ExitCode> {
    let corpus = command::root().join("corpus").join(&asked.what);
    let cases = read_all(&corpus)?;
    let own = if asked.at.is_none() { Some(own_gateway(asked)?) } else { None };
    let at = match (&asked.at, &own) {
        (Some(at), _) => at.clone(),
        (None, Some((node, _))) => format!("127.0.0.1:{}", node.ports().gateway),
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
    };
    let (mut held, mut broke, mut passed_over, mut unsigned) = (0, 0, 0, 0);
    for case in cases.iter().filter(|case| case.name.starts_with(&asked.only)) {
        if case.needs_echo && !asked.echo {
            passed_over += 1;
            continue;
        }
        if case.signed.is_some() {
            unsigned += 1;
            continue;
        }
        // What Tegata calls it is nothing that another gateway would say.
        let mut case = case.clone();
        case.problem = case.problem.filter(|_| own.is_some());
        let wrong = run_over(&case, way, &places)?;
        if wrong.is_empty() {
            held += 1;
            continue;
        }
        broke += 1;
        for what in wrong {
            println!("BROKE  {} ({}): {what}", case.name, case.why);
        }
    }
    if passed_over > 0 {
        println!(
            "{passed_over} passed over: they need a service that says what it was sent (`--echo`)"
        );
    }
    if unsigned > 0 {
        println!(
            "{unsigned} passed over: they need the key of the issuer, which the gateway's own tests have"
        );
    }
    if canary.accept().is_ok() {
        broke += 1;
        println!("BROKE  somebody fetched from where a token said");
    }
    println!("{held} held, {broke} broke");
    Ok(if broke == 0 && held > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
