//! `tegata demo`: everything in one process on embedded storage, with the ten-service shop behind
//! the gateway.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use tegata_core::{Node, Secret};
use tegata_identity::{TotpSecret, Username};
use tegata_oauth::register::Registration;
use tegata_sdk::{
    Transport,
    authenticate::{KeyRules, KeySource},
};
use tegata_shop::{Registry, Shop, ShopConfig, ShopHandle};
use tegata_store::FileCustody;
use tegata_token::SigningKey;

use crate::{
    command::{Context, Failed},
    compose::{self, Composed},
    config::{
        Config, CookieForm, ForeignIssuer, Listen, PolicyMode, Source, Span, UserRegistration,
    },
    logging,
    operate::{self, Declarations, MadeSecrets, OPERATOR},
    policies::{DeclaredPolicies, Files},
    run::{self, Asked, Listeners, Loopback, Stop},
};

mod banner;
mod describe;
mod household;
mod live;
mod partner;
mod story;

use household::Household;
use partner::Partner;

/// `tegata demo`.
#[derive(Args, Clone)]
pub(crate) struct Demo {
    /// Public on N, gateway on N+1, operations on N+2, a partner on N+4, the shop from N+10.
    #[arg(long, value_name = "N")]
    port_base: Option<u16>,
    /// Once it serves, writes what it is as JSON.
    #[arg(long, value_name = "FILE")]
    describe: Option<PathBuf>,
    /// Plays the whole story, prints each step, and exits 0 only if every step held.
    #[arg(long)]
    once: bool,
    /// A private key (PKCS#8 in PEM) to sign with.
    #[arg(long, value_name = "PEM")]
    signing_key: Option<PathBuf>,
    /// Whether rate limits count what comes from this machine.
    #[arg(long, value_enum, default_value_t)]
    limits: Limits,
    /// Also answers Envoy, on N+3, or 9001.
    #[arg(long)]
    ext_authz: bool,
}

/// Whether rate limits count what comes from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Limits {
    /// They do not.
    #[default]
    Local,
    /// They do.
    Production,
}

impl Limits {
    /// As an option says it.
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Production => "production",
        }
    }
}

/// Where everything listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) public: u16,
    pub(crate) gateway: u16,
    pub(crate) operations: u16,
    pub(crate) ext_authz: u16,
    pub(crate) partner: u16,
    pub(crate) shop: u16,
}

impl Ports {
    fn new(base: Option<u16>) -> Result<Self, Failed> {
        let Some(base) = base else {
            return Ok(Self {
                public: 8000,
                gateway: 8080,
                operations: 9000,
                ext_authz: 9001,
                partner: 9002,
                shop: 8100,
            });
        };
        let at = |offset| {
            base.checked_add(offset).ok_or_else(|| {
                Failed::Usage(format!("--port-base {base}: there are not enough ports above it"))
            })
        };
        if base == 0 {
            return Err(Failed::Usage("--port-base 0: ports begin with 1".to_owned()));
        }
        at(32)?;
        let (public, gateway, operations) = (at(0)?, at(1)?, at(2)?);
        let (ext_authz, partner, shop) = (at(3)?, at(4)?, at(10)?);
        Ok(Self { public, gateway, operations, ext_authz, partner, shop })
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://localhost:{}", self.public)
    }

    pub(crate) fn gateway_url(&self) -> String {
        format!("http://localhost:{}", self.gateway)
    }

    pub(crate) fn operations_url(&self) -> String {
        format!("http://localhost:{}", self.operations)
    }

    /// The issuer of the partner.
    pub(crate) fn partner_url(&self) -> String {
        format!("http://localhost:{}", self.partner)
    }
}

impl Demo {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let ports = Ports::new(self.port_base)?;
        let data = match context.data_dir() {
            Some(data) => data.to_owned(),
            None => default_data_dir(ports.public)?,
        };
        if self.once {
            return story::play(&self, &ports, &data).await;
        }
        let (config, source) = self.configuration(&ports, &data);
        logging::start(&config.observability)?;
        let (listeners, of_partner) = listen(&ports, self.ext_authz)?;
        let mut stop = Stop::listen()?;
        make_root_key(&data, &config)?;
        let composed = Arc::new(compose::compose(config, &source).await?);
        let unusable = |file: &str, error: std::io::Error| {
            Failed::Operation(format!("`{}`: {error}", data.join(file).display()))
        };
        let household = Household::open(&data, composed.node.entropy())
            .map_err(|error| unusable(household::FILE, error))?;
        let partner = Partner::open(&data, composed.node.entropy())
            .map_err(|error| unusable(partner::FILE, error))?;
        let household = household.with_console(composed.provider.administration());
        if let Some(file) = &self.signing_key {
            import(&composed, file).await?;
        }
        let shop = open_shop(&composed, &ports, &household).await?;
        let office = partner.serve(&composed, &ports, of_partner).await?;
        declare(&composed, &household, &shop.registry()).await?;
        let loopback = match self.limits {
            Limits::Local => Loopback::Exempt,
            Limits::Production => Loopback::Counted,
        };
        // There is no file that could be read anew, and nobody takes its place.
        let nobody = tokio::sync::mpsc::channel(1).0;
        let running = run::start(Arc::clone(&composed), listeners, loopback, nobody).await?;
        if let Some(file) = &self.describe {
            let text = describe::describe(&ports, &household, &partner, &shop.registry());
            write_whole(file, &format!("{text:#}\n"))?;
        }
        banner::print(&composed, &ports, (&household, &partner), &data).await?;
        let live = tokio::spawn(live::show(Arc::clone(&composed)));
        let (asked, over) = tokio::select! {
            asked = stop.asked() => (asked, None),
            why = composed.supervisor.ends() => (Asked::Hand, Some(why)),
        };
        warn_line!("stopping");
        live.abort();
        running.stop(asked).await;
        drop(office);
        shop.stop(std::time::Duration::from_secs(5)).await;
        over.map_or(Ok(()), |why| Err(Failed::Operation(why)))
    }

    fn configuration(&self, ports: &Ports, data: &Path) -> (Config, Source) {
        let mut config = Config::default();
        config.public.listen = Listen::loopback(ports.public);
        config.public.issuer = Some(ports.issuer());
        // For clients that are tried out, and conformance suites.
        config.clients.registration = Registration::Open;
        config.clients.metadata_documents = true;
        config.gateway.listen = Listen::loopback(ports.gateway);
        config.gateway.audience = Some(ports.gateway_url());
        config.issuer.push(ForeignIssuer {
            roles_claim: "roles".to_owned(),
            // So few are ever taken back in a demonstration.
            tokens: 1000,
            ..ForeignIssuer::named(ports.partner_url())
        });
        config.operations.listen = Listen::loopback(ports.operations);
        config.ext_authz.listen = self.ext_authz.then(|| Listen::loopback(ports.ext_authz));
        config.store.data_dir = data.to_owned();
        config.limits.danger_exempt_loopback = self.limits == Limits::Local;
        // The shop's page counts visits of those who agree to it; the other pages have nothing to ask.
        let purpose = ["Counts how often you visit the shop.", "店を訪れた回数を数えます。"];
        let visits = CookieForm::counting("shop_visits", "/shop", Span::secs(30 * 86_400), purpose);
        config.cookies.declared.push(visits);
        config.consent.banner = Some(false);
        // A demonstration rotates keys without waiting long: its verifiers read them often.
        config.keys.jwks_max_age = Span::secs(5);
        // Mail is shown, too: there is no mail server.
        config.observability.level = "warn,tegata::mail=info".to_owned();
        config.users.registration = UserRegistration::Open;
        config.users.registration_roles = vec!["customer".to_owned()];
        config.users.sign_in_by_mail = true;
        (config, Source { file: None, base: PathBuf::new(), data_dir: None })
    }
}

/// `~/.local/state/tegata/demo-PORT`, or wherever the environment says that state belongs.
fn default_data_dir(port: u16) -> Result<PathBuf, Failed> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let base = state.filter(|path| path.is_absolute()).or_else(home).ok_or_else(|| {
        Failed::Usage("there is no HOME: say where the data goes with --data-dir".to_owned())
    })?;
    Ok(base.join("tegata").join(format!("demo-{port}")))
}

/// Binds all listeners, and those of the partner, on both loopback addresses where the machine has both.
fn listen(ports: &Ports, ext_authz: bool) -> Result<(Listeners, Vec<TcpListener>), Failed> {
    let bind = |name: &str, port: u16| -> Result<Vec<TcpListener>, Failed> {
        let taken = |error: &std::io::Error| {
            Failed::Usage(format!(
                "port {port} for {name} cannot be used: {error}; is another demo running? choose \
                 other ports with --port-base"
            ))
        };
        let four = TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let four = four.map_err(|error| taken(&error))?;
        let six = TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port));
        // Somebody else there would be given what browsers send to `localhost`.
        let six = match six {
            Ok(six) => Some(six),
            Err(error) if lacks_address(&error) => None,
            Err(error) => return Err(taken(&error)),
        };
        Ok(std::iter::once(four).chain(six).collect())
    };
    let listeners = Listeners {
        public: bind("the public listener", ports.public)?,
        gateway: bind("the gateway", ports.gateway)?,
        operations: bind("operations", ports.operations)?,
        ext_authz: if ext_authz { bind("Envoy", ports.ext_authz)? } else { Vec::new() },
        ..Listeners::default()
    };
    Ok((listeners, bind("the partner", ports.partner)?))
}

/// Whether the machine has no such address, or none of its family.
fn lacks_address(error: &std::io::Error) -> bool {
    let none = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == std::io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(none)
}

/// Makes a root key where there is neither one nor anything that one could have sealed.
fn make_root_key(data: &Path, config: &Config) -> Result<(), Failed> {
    make_directory(data).map_err(Failed::Usage)?;
    let key = data.join(config.keys.root_key_file());
    if key.exists() || data.join("tegata.db").exists() {
        return Ok(());
    }
    let made = FileCustody::create(&key, &Node::start());
    made.map(|_| ()).map_err(|error| Failed::Usage(error.to_string()))
}

/// Makes a directory for nobody else, where there is none.
fn make_directory(data: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| format!("`{}`: {error}", data.display()))
}

async fn import(composed: &Composed, file: &Path) -> Result<(), Failed> {
    let usage = |error: String| Failed::Usage(format!("`{}`: {error}", file.display()));
    let pem = fs::read(file).map_err(|error| usage(error.to_string()))?;
    let key = SigningKey::from_pem(&pem, None, None).map_err(|error| usage(error.to_string()))?;
    if composed.keys.algorithm_of(key.kid()).is_ok() {
        return Ok(());
    }
    composed.keys.import(&key).await.map_err(|error| usage(error.to_string()))
}

async fn open_shop(
    composed: &Composed,
    ports: &Ports,
    household: &Household,
) -> Result<ShopHandle, Failed> {
    let transport = Transport::default();
    let base = ports.issuer();
    let jwks = format!("{base}/.well-known/jwks.json");
    let jwks = jwks.parse().map_err(|_| Failed::Operation(format!("`{jwks}` is no address")))?;
    let node = composed.node.clone();
    let keys = KeySource::fetched(jwks, transport.clone(), node.clone(), KeyRules::default());
    let secrets: HashMap<_, _> = household
        .clients
        .iter()
        .filter_map(|member| {
            let secret = Secret::new(member.secret.clone()?);
            Some((member.metadata.client_id.clone(), secret))
        })
        .collect();
    let config = ShopConfig {
        base_port: Some(ports.shop),
        issuer: base.clone(),
        keys,
        token_endpoint: format!("{base}/oauth2/token"),
        secrets,
        transport,
        retries: tegata_sdk::client::Retries::default(),
        node,
    };
    Shop::start(config).await.map_err(|error| Failed::Usage(error.to_string()))
}

async fn declare(
    composed: &Composed,
    household: &Household,
    registry: &Registry,
) -> Result<(), Failed> {
    let shop = serde_json::to_value(registry)
        .and_then(serde_json::from_value::<DeclaredShop>)
        .map_err(|error| Failed::Operation(format!("the shop's registry: {error}")))?;
    let declarations = Declarations {
        policies: Some(policies()),
        users: household.users(),
        clients: household.declared_clients(),
        services: shop.service,
        routes: shop.route.into_iter().chain([staff()]).collect(),
        delegations: vec![transactions()],
        bffs: shop.bff,
        dry_run: false,
    };
    // Whoever has a secret here has it from the household.
    operate::declare(composed, &declarations, MadeSecrets::WouldBeLost).await?;
    enrol(composed, household).await
}

/// The policies of the shop, which decide beside what its routes say.
fn policies() -> DeclaredPolicies {
    let mut files = Files::default();
    for (name, text) in tegata_shop::policies::FILES {
        files.add(name.to_owned(), text.to_owned());
    }
    DeclaredPolicies { files, mode: PolicyMode::Enforce, shadow: None }
}

/// Gives those of the household an authenticator app who have one.
async fn enrol(composed: &Composed, household: &Household) -> Result<(), Failed> {
    for person in &household.people {
        let Some(secret) = &person.totp_secret else { continue };
        let failed = |error: &dyn std::fmt::Display| {
            Failed::Operation(format!("the second factor of `{}`: {error}", person.username))
        };
        let secret = TotpSecret::from_base32(secret).ok_or_else(|| failed(&"it is no secret"))?;
        let name = Username::new(&person.username).map_err(|error| failed(&error))?;
        let user = composed.users.by_username(&composed.realm, &name).await;
        let user = user.map_err(|error| failed(&error))?;
        let user = user.ok_or_else(|| failed(&"there is no such user"))?;
        let second = composed.sign_in.second_factors();
        let given = second.provide_totp(&composed.realm, &user.id, &secret, OPERATOR).await;
        given.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// What of the shop's registry is declared as it is. Its clients are in the household, which has
/// their secrets.
#[derive(serde::Deserialize)]
struct DeclaredShop {
    service: Vec<tegata_mesh::DeclaredService>,
    route: Vec<tegata_mesh::DeclaredRoute>,
    bff: Vec<tegata_mesh::DeclaredBff>,
}

/// A way to `echo` for administrators alone, to show what the gateway does with everybody else.
fn staff() -> tegata_mesh::DeclaredRoute {
    tegata_mesh::DeclaredRoute {
        roles: vec!["admin".to_owned()],
        ..tegata_mesh::DeclaredRoute::new("/staff/echo", "echo")
    }
}

/// `orders` may begin transactions, to show what their tokens say.
fn transactions() -> tegata_mesh::DeclaredDelegation {
    tegata_mesh::DeclaredDelegation {
        name: "orders-begins".to_owned(),
        actor: "orders".to_owned(),
        transactions: true,
        ..tegata_mesh::DeclaredDelegation::default()
    }
}

/// Writes a file so that whoever reads it sees all of it or nothing.
fn write_whole(file: &Path, text: &str) -> Result<(), Failed> {
    let failed = |error| Failed::Operation(format!("`{}`: {error}", file.display()));
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    // It holds passwords.
    let mut options = fs::File::options();
    let mut written =
        options.write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(failed)?;
    written.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&part, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_of_the_shop_pass_their_own_tests() {
        let DeclaredPolicies { files, .. } = policies();
        assert!(files.bundle().unwrap().policies().len() > 4);
        // What is built in is what stands there, and nothing is missing.
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/policies");
        assert_eq!(Files::read(&directory).unwrap(), files);
    }
}
