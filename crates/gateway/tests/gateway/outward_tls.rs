//! TLS toward services: they see our certificate, and we see whose theirs is.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, crypto::aws_lc_rs, server::WebPkiClientVerifier,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::world::{Answer, Plan, World, get};

type Authority = CertifiedIssuer<'static, KeyPair>;

const ID: &str = "spiffe://example.org/ns/shop/sa/orders";

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn leaf(of: &Authority, names: &[&str], uris: &[&str], ended: bool) -> Leaf {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
    }
    if ended {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, of).unwrap();
    Leaf { certificate, key }
}

/// A service that shows `leaf`, asks for a certificate of `clients`, and answers with the bytes of what
/// it was shown.
fn service(leaf: &Leaf, clients: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(leaf.key.serialize_pem().as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![leaf.certificate.der().clone()], key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            thread::spawn(move || serve(stream.unwrap(), config));
        }
    });
    address
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let mut server = ServerConnection::new(config).unwrap();
    let mut tls = rustls::Stream::new(&mut server, &mut stream);
    loop {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(tls.read(&mut byte), Ok(1)) {
                return;
            }
            seen.push(byte[0]);
        }
        let shown = tls.conn.peer_certificates().and_then(|chain| chain.first());
        let body = shown.map_or_else(Vec::new, |certificate| certificate.to_vec());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if tls.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn write(at: &Path, text: &str) -> PathBuf {
    fs::write(at, text).unwrap();
    at.to_owned()
}

fn plan(services: &[(&str, SocketAddr, Value)]) -> Plan {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    let mut routes = Vec::new();
    for (name, address, words) in services {
        let mut declared = json!({"name": name, "upstreams": [format!("https://{address}")]});
        declared.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
        plan.declared.push(serde_json::from_value(declared).unwrap());
        routes.push(json!({"path": format!("/{name}"), "service": name, "auth": "none"}));
    }
    plan.routes = Value::from(routes);
    plan
}

fn ask(world: &World, name: &str) -> Answer {
    world.ask(&get(&format!("/{name}/x"), &[]))
}

#[test]
fn services_see_our_certificate_and_we_check_theirs() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (ours, theirs, strangers) =
        (authority("ours"), authority("theirs"), authority("strangers"));
    let (first, second) = (leaf(&ours, &[], &[], false), leaf(&ours, &[], &[], false));
    let ca = write(&at("ca.pem"), &theirs.pem());
    let shown = write(&at("client.pem"), &first.certificate.pem());
    let key = write(&at("client.key"), &first.key.serialize_pem());
    let words = json!({"ca_file": ca, "client_certificate_file": shown, "client_key_file": key});
    let with = |more: Value| {
        let mut words = words.clone();
        words.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        words
    };
    let by_name = with(json!({"server_name": "orders.internal"}));
    let by_id = with(json!({"spiffe_id": ID}));
    let here = ["orders.internal"];
    let serving = |of: &Authority, names: &[&str], uris: &[&str], ended: bool| {
        service(&leaf(of, names, uris, ended), Some(&ours))
    };
    let good = serving(&theirs, &here, &[], false);
    let cases = [
        ("named", good, by_name.clone(), 200),
        // The certificate has another name than the address, and nobody said which.
        ("address", good, words.clone(), 502),
        ("other-name", serving(&theirs, &["billing.internal"], &[], false), by_name.clone(), 502),
        ("other-authority", serving(&strangers, &here, &[], false), by_name.clone(), 502),
        ("ended", serving(&theirs, &here, &[], true), by_name.clone(), 502),
        // What names it as a workload, and nothing else does.
        ("workload", serving(&theirs, &[], &[ID], false), by_id.clone(), 200),
        (
            "other-workload",
            serving(&theirs, &here, &["spiffe://example.org/ns/shop/sa/a"], false),
            by_id.clone(),
            502,
        ),
        ("longer", serving(&theirs, &[], &[&format!("{ID}/x")], false), by_id.clone(), 502),
        ("both", serving(&theirs, &[], &[ID, "spiffe://example.org/x"], false), by_id.clone(), 502),
        ("no-workload", good, by_id.clone(), 502),
        ("strange-workload", serving(&strangers, &[], &[ID], false), by_id.clone(), 502),
        ("ended-workload", serving(&theirs, &[], &[ID], true), by_id, 502),
        // Nothing is shown where nothing is named, so that nobody else learns of it.
        ("unshown", good, json!({"ca_file": ca, "server_name": "orders.internal"}), 502),
        ("unasked", service(&leaf(&theirs, &here, &[], false), None), by_name, 200),
        ("missing", good, with(json!({"ca_file": at("none.pem")})), 502),
    ];
    let services: Vec<_> =
        cases.iter().map(|(name, address, words, _)| (*name, *address, words.clone())).collect();
    // What the configuration trusts counts for nobody who names files of their own.
    let mut plan = plan(&services);
    plan.config.upstream.ca_file = Some(write(&at("all.pem"), &(theirs.pem() + &strangers.pem())));
    let world = plan.start();
    for (name, _, _, status) in &cases {
        let answer = ask(&world, name);
        assert_eq!(answer.status, *status, "{name}: {answer:?}");
        let shown = if *name == "unasked" { &[][..] } else { first.certificate.der() };
        assert!(*status != 200 || answer.body == shown, "{name}");
    }
    // Another certificate is there, and its key not yet: the one from before goes on.
    let mut client = world.connect();
    let mut body = |path: &str| client.ask(&get(path, &[])).body;
    assert_eq!(body("/named/x"), first.certificate.der().to_vec());
    fs::write(&shown, second.certificate.pem()).unwrap();
    assert!(world.gateway.renew_outward().unwrap_err().contains("`named`"));
    assert_eq!(body("/named/x"), first.certificate.der().to_vec());
    fs::write(&key, second.key.serialize_pem()).unwrap();
    fs::write(at("none.pem"), theirs.pem()).unwrap();
    assert!(world.gateway.renew_outward().unwrap().contains(&"named".to_owned()));
    // Though the client's connection and the one behind it were open all the time.
    assert_eq!(body("/named/x"), second.certificate.der().to_vec());
    assert_eq!(world.gateway.renew_outward().unwrap(), Vec::<String>::new());
    // Whose authority is no longer trusted is not reached, on no connection that is left.
    fs::write(&ca, strangers.pem()).unwrap();
    world.gateway.renew_outward().unwrap();
    assert_eq!(ask(&world, "named").status, 502);
}
