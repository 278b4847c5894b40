//! Client certificates by themselves.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use serde_json::json;
use tegata_core::{ClientCertificates, ClientId, Timestamp};
use tegata_gateway::{Certificates, CertifiedClient, CertifiedClients};
use tegata_mesh::DeclaredService;
use tegata_token::{
    Authorities, ClientCertificate, Scope, SubjectName, Target, certificate::thumbprint,
};

use crate::{
    echo,
    identity::told,
    world::{Answer, Client, Plan, World, get},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

const BILLING: &str = "spiffe://example.org/ns/shop/sa/billing";
const OTHER: &str = "spiffe://example.org/ns/shop/sa/other";

/// The registered clients: `reporting`, by a host name, and `twin`, by the SPIFFE ID of a service.
struct Clients;

impl CertifiedClients for Clients {
    fn version(&self) -> u64 {
        0
    }

    fn named_by(&self, shown: &ClientCertificate) -> Vec<CertifiedClient> {
        let client = |id: &str| CertifiedClient {
            id: id.to_owned(),
            scope: Scope::new("orders.read").unwrap(),
        };
        let named = [("reporting", "reporting.example"), ("twin", "twin.example")];
        let of = |name: &str| shown.is_of(&SubjectName::Dns(name.to_owned()));
        named.into_iter().filter(|(_, name)| of(name)).map(|(id, _)| client(id)).collect()
    }

    fn refused_up_to(&self, name: &str) -> Option<Timestamp> {
        // 2024-01-01.
        (name == "reporting").then(|| Timestamp::from_secs(1_704_067_200))
    }
}

fn authority(until: i32) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "clients");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a certificate says.
#[derive(Clone)]
struct Says {
    uris: Vec<&'static str>,
    host: Option<&'static str>,
    purpose: Option<ExtendedKeyUsagePurpose>,
    years: (i32, i32),
}

impl Says {
    fn uri(uri: &'static str) -> Self {
        let purpose = Some(ExtendedKeyUsagePurpose::ClientAuth);
        Self { uris: vec![uri], host: None, purpose, years: (2025, 2030) }
    }

    fn host(host: &'static str) -> Self {
        Self { uris: vec![], host: Some(host), ..Self::uri("") }
    }

    fn signed(&self, by: &Authority) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let uris = self.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        let hosts = self.host.iter().map(|host| SanType::DnsName((*host).try_into().unwrap()));
        params.subject_alt_names = uris.chain(hosts).collect();
        params.extended_key_usages = self.purpose.iter().cloned().collect();
        let (from, until) = self.years;
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().to_vec()
    }
}

fn header(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// A gateway behind a proxy on `127.0.0.1` that ends TLS for it.
fn world(authorities: &[&Authority], change: impl FnOnce(&mut Plan)) -> World {
    let mut plan = Plan::with(echo::start());
    plan.config.client_certificates = ClientCertificates::Header;
    plan.config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let address = plan.services.remove(0).1[0];
    plan.declared = vec![
        DeclaredService {
            name: "echo".into(),
            upstreams: vec![format!("http://{address}")],
            callers: vec!["billing".into()],
            ..DeclaredService::default()
        },
        DeclaredService {
            name: "billing".into(),
            upstreams: vec!["https://127.0.0.1:1".into()],
            spiffe_id: Some(BILLING.into()),
            ..DeclaredService::default()
        },
        DeclaredService {
            name: "other".into(),
            upstreams: vec!["https://127.0.0.1:1".into()],
            spiffe_id: Some(OTHER.into()),
            ..DeclaredService::default()
        },
    ];
    let mut routes = plan.routes.as_array().unwrap().clone();
    let of =
        |path: &str, kinds: &[&str]| json!({"path": path, "service": "echo", "credentials": kinds});
    routes.push(of("/machines", &["certificate"]));
    routes.push(of("/all", &["token", "session", "certificate"]));
    let mut scoped = of("/scoped", &["certificate"]);
    scoped["scope"] = json!("orders.read");
    routes.push(scoped);
    let mut maybe = of("/perhaps", &["certificate"]);
    maybe["auth"] = json!("optional");
    routes.push(maybe);
    plan.routes = routes.into();
    let pem: String = authorities.iter().map(|it| it.pem()).collect();
    let trusted = Authorities::default();
    trusted.trust(pem.as_bytes()).unwrap();
    plan.certificates =
        Some(Certificates { authorities: Arc::new(trusted), clients: Arc::new(Clients) });
    change(&mut plan);
    plan.start()
}

fn show(world: &World, path: &str, der: &[u8], more: &[(&str, &str)]) -> Answer {
    let value = header(der);
    let mut fields = vec![("Client-Cert", value.as_str())];
    fields.extend(more);
    world.ask(&get(path, &fields))
}

#[test]
fn a_certificate_is_an_identity_where_the_route_says_so() {
    let ours = authority(2030);
    let world = world(&[&ours], |_| {});
    let billing = Says::uri(BILLING).signed(&ours);
    let answer = show(&world, "/machines/x", &billing, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.seen("x-user-id").as_deref(), Some(BILLING));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some(""));
    assert_eq!(answer.seen("client-cert"), None, "no service sees how it was shown");
    let internal = told(&world, &answer.seen("x-internal-token").unwrap());
    assert_eq!((internal.sub.as_str(), internal.scope.is_empty()), (BILLING, true));
    // It falls with the service at whoever is told of it, too.
    assert_eq!(internal.lineage.unwrap().client, ["billing"]);
    assert_eq!(internal.exp, world.node.now().secs() + 300);
    let context = internal.context.unwrap();
    assert_eq!(context.device_id.as_deref(), Some(&*thumbprint(&billing)));
    // A registered client has the scope that it is registered with.
    let reporting = Says::host("reporting.example").signed(&ours);
    let answer = show(&world, "/scoped/x", &reporting, &[]);
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("reporting"), "{answer:?}");
    assert_eq!(show(&world, "/scoped/x", &billing, &[]).problem(), "missing_scope");
    // Where the route does not say so, a certificate is nobody.
    assert_eq!(show(&world, "/echo/x", &billing, &[]).problem(), "not_authenticated");
    assert_eq!(world.ask(&get("/machines/x", &[])).problem(), "not_authenticated");
    assert_eq!(world.get("/machines/x", &world.token()).problem(), "credential_elsewhere");
    assert_eq!(world.ask(&get("/perhaps/x", &[])).seen("x-user-id"), None);
    // A service may call what names it, and a client what the route lets it.
    let other = Says::uri(OTHER).signed(&ours);
    let refused = show(&world, "/machines/x", &other, &[]);
    assert_eq!((refused.status, refused.problem().as_str()), (403, "not_a_caller"));
}

#[test]
fn a_certificate_that_nobody_answers_for_or_that_names_nobody_is_refused() {
    let (ours, theirs, ended) = (authority(2030), authority(2030), authority(2025));
    let world = world(&[&ours, &ended], |_| {});
    let billing = Says::uri(BILLING);
    let purpose = |purpose| Says { purpose, ..billing.clone() };
    for (why, der) in [
        ("another authority of the same name", billing.signed(&theirs)),
        ("an authority that has expired", billing.signed(&ended)),
        ("expired", Says { years: (2020, 2025), ..billing.clone() }.signed(&ours)),
        ("not yet", Says { years: (2027, 2030), ..billing.clone() }.signed(&ours)),
        ("for nothing that it says", purpose(None).signed(&ours)),
        ("for servers", purpose(Some(ExtendedKeyUsagePurpose::ServerAuth)).signed(&ours)),
        ("for anything", purpose(Some(ExtendedKeyUsagePurpose::Any)).signed(&ours)),
        ("two names", Says { uris: vec![BILLING, OTHER], ..billing.clone() }.signed(&ours)),
        ("twice the name", Says { uris: vec![BILLING, BILLING], ..billing.clone() }.signed(&ours)),
        ("a stranger", Says::uri("spiffe://example.org/ns/shop/sa/nobody").signed(&ours)),
        ("nearly", Says::uri("spiffe://EXAMPLE.org/ns/shop/sa/billing").signed(&ours)),
        ("two holders", Says { host: Some("twin.example"), ..billing.clone() }.signed(&ours)),
        (
            "from before it was taken back",
            Says { years: (2023, 2030), ..Says::host("reporting.example") }.signed(&ours),
        ),
    ] {
        for path in ["/machines/x", "/all/x", "/perhaps/x"] {
            let answer = show(&world, path, &der, &[]);
            assert_eq!(answer.status, 401, "{why}: {answer:?}");
            assert_eq!(answer.problem(), "certificate_unknown", "{why}");
            assert!(answer.field("www-authenticate").is_some());
        }
        // Beside a token it is no second credential.
        let bearer = format!("Bearer {}", world.token());
        let answer = show(&world, "/all/x", &der, &[("Authorization", &bearer)]);
        assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"), "{why}");
    }
    let garbage = world.ask(&get("/machines/x", &[("Client-Cert", ":AAAA:")]));
    assert_eq!((garbage.status, garbage.problem().as_str()), (400, "client_cert"));
}

#[test]
fn only_a_trusted_proxy_tells_of_a_certificate() {
    let ours = authority(2030);
    let world = world(&[&ours], |_| {});
    let value = header(&Says::uri(BILLING).signed(&ours));
    let mut stranger = Client::from_ip([127, 0, 0, 2], world.address);
    for fields in [
        vec![("Client-Cert", &*value)],
        vec![("Client-Cert", &*value), ("X-Forwarded-For", "127.0.0.1")],
        vec![("Client_Cert", &*value)],
    ] {
        let answer = stranger.ask(&get("/machines/x", &fields));
        assert_eq!((answer.status, answer.problem().as_str()), (401, "not_authenticated"));
    }
    // Where certificates are looked for on connections, no header tells of one.
    let tls = self::world(&[&ours], |plan| {
        plan.config.client_certificates = ClientCertificates::Tls;
    });
    let answer = tls.ask(&get("/machines/x", &[("Client-Cert", &value)]));
    assert_eq!(answer.problem(), "not_authenticated");
}

#[test]
fn two_credentials_are_nobody() {
    let ours = authority(2030);
    let world = world(&[&ours], |_| {});
    let billing = Says::uri(BILLING).signed(&ours);
    let beside = |claims: &serde_json::Value| {
        let bearer = format!("Bearer {}", world.sign(claims));
        show(&world, "/all/x", &billing, &[("Authorization", &bearer)])
    };
    let refused = beside(&world.claims());
    assert_eq!((refused.status, refused.problem().as_str()), (400, "several_credentials"));
    // On a route that looks at no certificates, it is none.
    let bearer = format!("Bearer {}", world.token());
    let answer = show(&world, "/echo/x", &billing, &[("Authorization", &bearer)]);
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    // What was issued to the service itself, or is bound to the certificate, is its own.
    let mut own = world.claims();
    (own["sub"], own["client_id"]) = (json!("billing"), json!("billing"));
    assert_eq!(beside(&own).seen("x-user-id").as_deref(), Some("billing"));
    let mut bound = world.claims();
    bound["cnf"] = json!({"x5t#S256": thumbprint(&billing)});
    assert_eq!(beside(&bound).seen("x-user-id").as_deref(), Some("usr_alice"));
    // A token that does not count is not saved by a certificate that does.
    let mut ended = world.claims();
    ended["exp"] = json!(world.node.now().secs() - 100);
    assert_eq!(beside(&ended).problem(), "token_expired");
}

#[test]
fn what_takes_back_a_client_takes_back_its_certificates() {
    let ours = authority(2030);
    for target in ["client", "subject"] {
        let world = world(&[&ours], |_| {});
        let billing = Says::uri(BILLING).signed(&ours);
        let reporting = Says::host("reporting.example").signed(&ours);
        assert_eq!(show(&world, "/machines/x", &billing, &[]).status, 200);
        let up_to = world.now();
        world.revoke(match target {
            "client" => Target::Client { client: ClientId::new("billing").unwrap(), up_to },
            _ => Target::Subject { sub: "billing".into(), up_to, tokens_only: false },
        });
        assert_eq!(show(&world, "/machines/x", &billing, &[]).problem(), "token_revoked");
        assert_eq!(show(&world, "/machines/x", &reporting, &[]).status, 200);
        // One that began to count later is another.
        world.clock.advance(Duration::from_secs(366 * 86_400));
        world.refresh_revocations();
        let newer = Says { years: (2027, 2030), ..Says::uri(BILLING) }.signed(&ours);
        assert_eq!(show(&world, "/machines/x", &newer, &[]).status, 200);
    }
}

#[test]
fn while_revocations_cannot_be_learnt_a_certificate_follows_the_mode_of_its_route() {
    let ours = authority(2030);
    let world = world(&[&ours], |_| {});
    let billing = Says::uri(BILLING).signed(&ours);
    assert_eq!(show(&world, "/machines/x", &billing, &[]).status, 200);
    world.clock.advance(Duration::from_secs(10));
    let answer = show(&world, "/machines/x", &billing, &[]);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "revocations_stale"));
}
