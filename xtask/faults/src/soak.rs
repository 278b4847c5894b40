//! A gateway that is used for long, in every way that it is used, and whether it grows.
//!
//! | module | subject |
//! |---|---|
//! | `behind` | the service that it leads to |
//! | `users` | who uses it, each in one way |
//! | `growth` | how much is too much |

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    Progress,
    stage::{PATIENCE, PERSON, ROBOT},
    time::{Ending, Stopwatch, until},
};

mod behind;
mod growth;
mod users;

pub use growth::{Level, Look, MEASURES, Measure};
use users::{USERS, World};

/// How many people there are: each has sessions of their own.
const PEOPLE: usize = 4;

/// How much the node remembers of callers: so few that it is full when growth is looked for.
const CALLERS: usize = 5000;

/// How long nobody is there before it is looked at: longer than connections to services are kept.
const QUIET: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Soak {
    /// The program.
    pub program: PathBuf,
    /// For how long it is used.
    pub span: Duration,
    /// How often settings are changed.
    pub reload: Duration,
    /// What it may grow.
    pub level: Level,
    /// Whether lines are said about it.
    pub aloud: bool,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// How it was each second.
    pub looks: Vec<Look>,
    /// How it was before, when everything had been done once and nobody was there any more; and how it was
    /// afterwards, with nobody there either.
    pub ends: [Look; 2],
    /// How often each thing was done.
    pub done: Vec<(&'static str, usize)>,
    /// What did not go as it should.
    pub failed: Vec<String>,
    /// What has grown.
    pub grew: Vec<String>,
}

/// Uses a gateway, and looks at it each second.
///
/// # Errors
/// It cannot be started, or ends.
pub fn run(soak: &Soak) -> Result<Seen> {
    let behind = behind::start()?;
    let node = started(soak, behind)?;
    let world = World::new(&node)?;
    // Everything once by itself, and then by all at once, so that what is there once for all is there.
    for user in &USERS {
        world.once(user).with_context(|| user.name.to_owned())?;
    }
    let warm = Duration::from_secs(10).min(soak.span / 8);
    crowd(soak, &world, |ending| {
        ending.pass(warm);
        Ok(())
    })?;
    let first = quiet(&node)?;
    world.forget();
    let looks = used(soak, &node, &world)?;
    let last = until_back(&node, &first)?;
    let mut grew = growth::grown(&looks, &soak.level);
    grew.extend(growth::left(&first, &last));
    let (done, failed) = world.told();
    Ok(Seen { looks, ends: [first, last], done, failed, grew })
}

/// A node with TLS, limits that count, and everything declared.
fn started(soak: &Soak, behind: u16) -> Result<TegataNode> {
    let shared = Shared {
        root_key: root_key(&soak.program),
        program: soak.program.clone(),
        issuer: users::ISSUER.to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let set = |name: &str, value: &str| (format!("TEGATA_GATEWAY__{name}"), value.to_owned());
    let own = Own {
        store: "sqlite://tegata.db".to_owned(),
        environment: vec![
            set("TLS__CERTIFICATE_FILE", &users::fixture("certificate.pem").display().to_string()),
            set("TLS__KEY_FILE", &users::fixture("key.pem").display().to_string()),
            // Who comes says whom they come for: so this machine stands in for many, and each is counted.
            set("TRUSTED_PROXIES", "[\"127.0.0.0/8\"]"),
            set("LIMITS__PER_ADDRESS", users::PER_ADDRESS),
            set("LIMITS__PER_USER", "1000000/m"),
            set("LIMITS__CALLERS", &CALLERS.to_string()),
            // So that connections to services come and go, too.
            set("UPSTREAM__IDLE", "1s"),
        ],
        ..Own::default()
    };
    let node = TegataNode::start("soaked", &shared, &own);
    fs::write(node.directory().join("declared.toml"), declarations(behind))?;
    node.command(&["apply", "declared.toml"]);
    Ok(node)
}

fn declarations(behind: u16) -> String {
    let people: String = (0..PEOPLE)
        .map(|number| {
            let (name, phrase) = (person(number), PERSON.1);
            format!("[[user]]\nusername = \"{name}\"\npassword = \"{phrase}\"\n")
        })
        .collect();
    let routes = [
        ("/open", "auth = \"none\"\n"),
        ("/guarded", ""),
        ("/limited", "auth = \"none\"\nrate_limits = [{ by = \"route\", limit = \"50/s\" }]\n"),
        ("/text", "auth = \"none\"\n"),
        ("/events", ""),
        ("/live", "websocket = true\n"),
    ];
    let routes: String = routes
        .iter()
        .map(|(path, more)| {
            format!("[[route]]\npath = \"{path}\"\nservice = \"all\"\nstrip_prefix = false\n{more}")
        })
        .collect();
    format!(
        "{people}[[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nmay_introspect = true\n\
         grant_types = [\"client_credentials\"]\naccess_token_signed_response_alg = \"ES256\"\n\
         [[service]]\nname = \"all\"\nupstreams = [\"http://127.0.0.1:{behind}\"]\nbreaker = false\n{routes}",
        ROBOT.0, ROBOT.1
    )
}

fn person(number: usize) -> String {
    format!("{}-{number}", PERSON.0)
}

/// How it is once nobody is there any more, and what it had open toward services is closed: at the moment in which it
/// has the fewest files open, because it opens some for a moment by itself.
fn quiet(node: &TegataNode) -> Result<Look> {
    let watch = Stopwatch::start();
    let (mut least, mut since) = (Look::at(node, Duration::ZERO)?, Stopwatch::start());
    loop {
        Ending::default().pass(Duration::from_millis(50));
        let look = Look::at(node, Duration::ZERO)?;
        if look.connections > 0 || look.running > 0 {
            (least, since) = (look, Stopwatch::start());
        } else if look.descriptors < least.descriptors || least.connections > 0 {
            least = look;
        }
        if since.read() > QUIET {
            return Ok(least);
        }
        ensure!(watch.read() < PATIENCE * 2, "it never becomes quiet: {look:?}");
    }
}

/// How it is once it is as it was before, or when that never comes to be.
fn until_back(node: &TegataNode, first: &Look) -> Result<Look> {
    let mut last = Look::at(node, Duration::ZERO)?;
    until(PATIENCE, || {
        last = Look::at(node, Duration::ZERO).unwrap_or(last);
        growth::left(first, &last).is_empty()
    });
    Ok(last)
}

/// Lets everybody use it while something is done.
fn crowd<R>(
    soak: &Soak,
    world: &World<'_>,
    during: impl FnOnce(&Ending) -> Result<R>,
) -> Result<R> {
    let ending = &Ending::default();
    thread::scope(|scope| {
        for user in &USERS {
            for _ in 0..user.many {
                scope.spawn(move || world.again_and_again(user, ending));
            }
        }
        scope.spawn(|| world.declare_and_remove(ending));
        scope.spawn(|| world.reload(soak.reload, ending));
        let _over = ending.ends_with();
        during(ending)
    })
}

/// Lets everybody use it, and looks at it each second.
fn used(soak: &Soak, node: &TegataNode, world: &World<'_>) -> Result<Vec<Look>> {
    let (watch, progress) = (Stopwatch::start(), Progress::of_one(soak.aloud));
    let every = (soak.span / 30).max(Duration::from_secs(2));
    let seconds = |span: Duration| usize::try_from(span.as_secs()).unwrap_or(usize::MAX);
    let (whole, mut next, mut looks) = (seconds(soak.span), Duration::ZERO, Vec::new());
    if soak.aloud {
        println!("{:>8}  {}", "seconds", MEASURES.map(|it| format!("{:>12}", it.0)).join("  "));
    }
    crowd(soak, world, |ending| {
        while watch.read() < soak.span {
            ending.pass(Duration::from_secs(1).min(soak.span / 20));
            let look = Look::at(node, watch.read())?;
            looks.push(look);
            if soak.aloud && watch.read() >= next {
                next += every;
                progress.end();
                let values = MEASURES.map(|it| format!("{:>12}", (it.1)(&look))).join("  ");
                println!("{:>8}  {values}", watch.read().as_secs());
            }
            progress.at(&watch, seconds(watch.read()).min(whole), whole, "seconds");
        }
        progress.end();
        Ok(())
    })?;
    Ok(looks)
}
