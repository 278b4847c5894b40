//! `tegata doctor`.
//!
//! It looks, and makes nothing: that there is no store yet is said, and the store left unmade.

use std::{fmt::Display, path::Path, time::Duration};

use serde_json::{Value, json};
use tegata_core::{Event, Log, Node};
use tegata_gateway::tls::Identity;
use tegata_mesh::{DeclaredService, ServiceMap, bff, delegation};
use tegata_oauth::Client;
use tegata_token::{Authorities, TrustDomains};

use super::{Context, Failed, apply};
use crate::{
    admin, appearance, certificates,
    compose::{self, Composed},
    config::{self, Config, Declared, Source},
    mail,
    operate::{self, Declarations, MadeSecrets, Order},
    policies::Files,
    trust_domains,
};

mod files;

/// How far clocks may be apart: what tokens are given for it, and the time of a command.
const APART: Duration = Duration::from_secs(5);

/// What was looked at, and what was found.
#[derive(Default)]
struct Findings(Vec<Value>);

impl Findings {
    fn note(&mut self, check: &str, outcome: Result<impl Display, impl Display>) {
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail.to_string()),
            Err(detail) => (false, detail.to_string()),
        };
        self.0.push(json!({"check": check, "ok": ok, "detail": detail}));
    }

    fn wrong(&self) -> usize {
        self.0.iter().filter(|finding| finding.get("ok") == Some(&Value::Bool(false))).count()
    }
}

/// Checks everything that can be checked from here, and says what to mend.
pub(crate) async fn run(context: &Context) -> Result<(), Failed> {
    let mut findings = Findings::default();
    match context.load() {
        Ok((config, source)) => look(config, &source, &mut findings).await,
        Err(failed) => findings.note("configuration", Err::<&str, _>(failed.why())),
    }
    let wrong = findings.wrong();
    context.show(&Value::Array(findings.0))?;
    match wrong {
        0 => Ok(()),
        wrong => Err(Failed::Operation(format!("{wrong} to mend"))),
    }
}

async fn look(config: Config, source: &Source, findings: &mut Findings) {
    let file = source.file.as_ref().map_or("defaults".to_owned(), |it| it.display().to_string());
    findings.note("configuration", Ok::<_, &str>(file));
    for told in config::unheeded(std::env::vars()) {
        findings.note("environment", Err::<&str, _>(told));
    }
    check_files(&config, findings);
    files::check(&config, Node::start().now(), findings);
    match mail::check(&config) {
        Ok(from) => from.into_iter().for_each(|from| findings.note("mail", Ok::<_, &str>(from))),
        Err(failed) => findings.note("mail", Err::<&str, _>(failed.why())),
    }
    let declared = apply::declarations(Declared::of(&config), &source.base);
    let declared = match declared {
        Ok(declared) => Some(Declarations { dry_run: true, ..declared }),
        Err(error) => {
            findings.note("declarations", Err::<&str, _>(error));
            None
        }
    };
    let policies = apply::policies(&config.policy, Path::new(""));
    let policies = policies.and_then(|declared| {
        let Some(declared) = declared else { return Ok(None) };
        let sound = |files: &Files| files.bundle().map_err(|unsound| format!("[policy] {unsound}"));
        declared.shadow.as_ref().map(sound).transpose()?;
        sound(&declared.files).map(|bundle| Some(bundle.policies().len()))
    });
    if let Some(found) = policies.transpose() {
        findings
            .note("policies", found.map(|many| format!("{many} policies, and their tests pass")));
    }
    let data = compose::data_dir(&config, source);
    match admin::order(&data, &Order::Ping, None).await {
        Ok(Some(Ok(_))) => {
            let place = admin::socket(&data);
            findings.note("server", Ok::<_, &str>(format!("answers at {}", place.display())));
            of_server(&config, &data, declared, findings).await;
        }
        Ok(Some(Err(error))) => findings.note("server", Err::<&str, _>(error.why)),
        Err(error) => findings.note("server", Err::<&str, _>(error)),
        Ok(None) => {
            findings.note("server", Ok::<_, &str>("does not run"));
            of_store(config, source, declared, findings).await;
        }
    }
}

/// Files that the configuration names.
fn check_files(config: &Config, findings: &mut Findings) {
    let tls = [("[public.tls]", &config.public.tls), ("[gateway.tls]", &config.gateway.tls)];
    for (section, tls) in tls.into_iter().filter_map(|(name, tls)| Some((name, tls.as_ref()?))) {
        let file = tls.certificate_file.display().to_string();
        findings.note(section, Identity::open(tls).map(|_| file));
    }
    if let Some(file) = &config.public.client_ca_file {
        let read = certificates::trust(config, &Authorities::default());
        let read = read.map(|()| file.display().to_string());
        findings.note("[public] client_ca_file", read);
    }
    if let Some(file) = &config.gateway.client_ca_file {
        let read = certificates::trust_at_gateway(config, &Authorities::default());
        let read = read.map(|()| file.display().to_string());
        findings.note("[gateway] client_ca_file", read);
    }
    if config.trust_domains.iter().any(|domain| domain.bundle_file.is_some()) {
        let domains = config.trust_domains.iter().map(|domain| domain.name.clone());
        let read = trust_domains::read_files(config, &TrustDomains::new(domains));
        findings.note("[[trust_domain]] bundle_file", read.map(|()| "can be read"));
    }
    if let Some(file) = &config.public.theme_file {
        let read = appearance::read(&config.public).map(|_| file.display().to_string());
        findings.note("[public] theme_file", read);
    }
    if let Some(file) = &config.gateway.upstream.ca_file {
        let read = tegata_gateway::tls::client(file).map(|_| file.display().to_string());
        findings.note("[gateway.upstream] ca_file", read);
    }
}

/// What a running server says.
async fn of_server(
    config: &Config,
    data: &Path,
    declared: Option<Declarations>,
    findings: &mut Findings,
) {
    let ask = async |order: Order| match admin::order(data, &order, None).await {
        Ok(Some(answer)) => answer.map_err(|refused| refused.why),
        Ok(None) => Err("the server has stopped meanwhile".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match ask(Order::Health).await {
        Ok(Value::Array(told)) => findings.0.extend(told),
        Ok(_) => {}
        Err(error) => findings.note("health", Err::<&str, _>(error)),
    }
    if let Some(declared) = declared {
        let answer = ask(Order::Declare(Box::new(declared))).await;
        findings.note("declarations", answer.map(|told| to_come(&told)));
    }
    let services = ask(Order::ServiceList).await.and_then(|services| {
        serde_json::from_value::<Vec<DeclaredService>>(services).map_err(|error| error.to_string())
    });
    findings.note("services", services.and_then(|services| reachable(config, &services)));
}

/// What can be seen where no server runs.
async fn of_store(
    config: Config,
    source: &Source,
    declared: Option<Declarations>,
    findings: &mut Findings,
) {
    if let Some(missing) = missing_store(&config, source) {
        let there = compose::root_key::check(&config, source).await;
        findings.note("root key", there.map(|()| "is there"));
        findings.note("store", Ok::<_, &str>(missing));
        if let Some(declared) = declared {
            let map = ServiceMap::check(&declared.services, &declared.routes);
            let map = map.and_then(|map| {
                delegation::check(&declared.delegations, &declared.services)?;
                bff::check(&declared.bffs, &map)?;
                tegata_gateway::graphql::check(&map, |_| true).map(|()| map)
            });
            findings
                .note("declarations", map.map(|map| format!("{} services", map.services().len())));
            let services = reachable(&config, &declared.services);
            findings.note("services", services);
        }
        return;
    }
    let composed = match compose::compose(config, source).await {
        Ok(composed) => composed,
        Err(error) => return findings.note("store and root key", Err::<&str, _>(error)),
    };
    findings.note("store and root key", Ok::<_, &str>(compose::store_name(&composed.config)));
    if let Err(error) = compose::names::check(&composed).await {
        findings.note("names", Err::<&str, _>(error));
    }
    if let Some(declared) = declared {
        let answer = operate::declare(&composed, &declared, MadeSecrets::WouldBeLost).await;
        let answer = answer.map(|told| to_come(&told)).map_err(|refused| refused.why);
        findings.note("declarations", answer);
    }
    parts(&composed, findings).await;
}

/// The store's file, where it is a file that is not there. Opening would make it.
fn missing_store(config: &Config, source: &Source) -> Option<String> {
    let file = config.store.url.expose().strip_prefix("sqlite://")?.to_owned();
    let path = compose::data_dir(config, source).join(file);
    (!path.exists())
        .then(|| format!("`{}` is not there; the first `tegata serve` makes it", path.display()))
}

async fn parts(composed: &Composed, findings: &mut Findings) {
    findings.note("issuer epoch", Ok::<_, &str>(composed.epoch));
    findings.note("signing keys", keys(composed).await);
    let map = composed.registry.map(&composed.realm).await;
    let map = map.map(|map| format!("{} routes", map.routes().len()));
    findings.note("services and routes", map);
    let services = composed.registry.services(&composed.realm).await;
    let services = services.map_err(|error| error.to_string());
    findings.note("services", services.and_then(|it| reachable(&composed.config, &it)));
    let revocations = format!("{} entries", composed.view.position());
    findings.note("revocation log", Ok::<_, &str>(revocations));
    findings.note("clock", clock(composed).await);
}

/// Whether there are keys for everything that somebody wants to be signed.
async fn keys(composed: &Composed) -> Result<String, String> {
    let snapshot = composed.keys.now();
    let chosen = composed.config.keys.algorithms.iter().copied();
    let lacking: Vec<_> = chosen.filter(|it| snapshot.signer(*it).is_none()).collect();
    if let Some(lacking) = lacking.first() {
        return Err(format!("no key signs {lacking}"));
    }
    let mut page = tegata_core::port::Page { after: None, limit: 500 };
    loop {
        let clients = composed.clients.list(&composed.realm, page.clone()).await;
        let clients: Vec<Client> = clients.map_err(|error| error.to_string())?;
        let Some(last) = clients.last() else { break };
        page.after = Some(last.id.as_str().to_owned());
        for client in &clients {
            let wanted = [client.access_token_alg, client.id_token_alg];
            if let Some(lacking) = wanted.into_iter().find(|it| snapshot.signer(*it).is_none()) {
                return Err(format!(
                    "client `{}` wants {lacking}, which no key signs; apply it anew, or add \
                     {lacking} to `[keys] algorithms`",
                    client.id
                ));
            }
        }
    }
    Ok(format!("{} published", snapshot.jwks().len()))
}

/// Whether the gateway has what it needs to reach services.
fn reachable(config: &Config, services: &[DeclaredService]) -> Result<String, String> {
    let secure = |service: &&DeclaredService| {
        // Of a service with a file of its own the gateway's log says what is wrong with it.
        service.ca_file.is_none()
            && service.upstreams.iter().any(|upstream| upstream.starts_with("https:"))
    };
    let lacking: Vec<_> = services.iter().filter(secure).map(|it| it.name.as_str()).collect();
    if config.gateway.upstream.ca_file.is_some() || lacking.is_empty() {
        return Ok(format!("{}", services.len()));
    }
    Err(format!(
        "`{}` cannot be reached: `https` needs `upstream.ca_file` in `[gateway]`, the certificates \
         that sign those of services",
        lacking.join("`, `")
    ))
}

/// Whether the clock stands before what the store knows to have happened.
async fn clock(composed: &Composed) -> Result<String, String> {
    let failed = |error: tegata_core::StoreError| error.to_string();
    let tail = composed.records.pull(Log::Journal, u64::MAX, 1).await.map_err(failed)?.tail;
    let newest = composed.records.pull(Log::Journal, tail.saturating_sub(2), 1).await;
    let newest = newest.map_err(failed)?.entries.into_iter().next_back();
    let newest = newest.and_then(|entry| serde_json::from_slice::<Event>(&entry.body).ok());
    let now = composed.node.now();
    match newest {
        // Times in the journal are written so that they sort.
        Some(event) if event.timestamp > (now + APART).to_string() => Err(format!(
            "it is {now} here, and the store knows something of {}: set the clock",
            event.timestamp
        )),
        _ => Ok(now.to_string()),
    }
}

/// What a dry run told.
fn to_come(told: &Value) -> String {
    let changes = told.get("changed").and_then(Value::as_array).map_or(0, Vec::len);
    format!("{changes} to be made at the next start")
}

#[cfg(test)]
mod tests {
    use tegata_core::{Batch, EventType};

    use super::*;

    #[tokio::test]
    async fn finds_a_clock_that_stands_before_what_the_store_knows() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests(place.path()).await;
        assert!(clock(&composed).await.is_ok());
        let mut event = Event::new(&composed.node, &composed.realm, EventType::RegistryChanged, []);
        event.timestamp = (composed.node.now() + Duration::from_secs(60)).to_string();
        let batch = Batch::new(composed.realm.clone()).journal(&event);
        composed.records.commit(batch).await.unwrap();
        assert!(clock(&composed).await.unwrap_err().contains("set the clock"));
    }

    #[tokio::test]
    async fn finds_a_name_that_means_two_things() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests(place.path()).await;
        let told = json!({"name": "shop", "upstreams": ["http://127.0.0.1:1"]});
        let service = serde_json::from_value(told).unwrap();
        composed.registry.add(&composed.realm, service).await.unwrap();
        drop(composed);
        for (domain, wrong) in [("elsewhere", false), ("shop", true)] {
            let mut config = Config::default();
            config.tokens.trust_domain = Some(domain.to_owned());
            let source = Source { file: None, base: place.path().to_owned(), data_dir: None };
            let mut findings = Findings::default();
            of_store(config, &source, None, &mut findings).await;
            let found = findings.0.iter().find(|it| it["check"] == "names");
            assert_eq!(found.is_some(), wrong, "{:?}", findings.0);
            assert!(found.is_none_or(|it| it["detail"].to_string().contains("`shop`")));
        }
    }
}
