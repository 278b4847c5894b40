//! The others, each with one thread and as its documentation sets it up for speed: connections that
//! are kept, no log of requests.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use tegata_engines::{
    envoy,
    process::{Process, Yard, connect, free_port, program},
    tools,
};
use tegata_token::SigningKey;

use crate::put::Protocol;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whose tokens count, and for what.
const ISSUER: &str = "http://localhost:8000";
const AUDIENCE: &str = "http://localhost:8080";

/// What the others are set up from: the key of the tokens, and a certificate of the machine.
pub(crate) struct Material {
    yard: Yard,
    jwks: String,
    jwk: String,
}

impl Material {
    /// From the keys of RS256 and of ES256.
    pub(crate) fn of(key: &SigningKey, es256: &SigningKey) -> Self {
        let yard = Yard::new("peers");
        let write = |name: &str, bytes: &[u8]| fs::write(yard.path().join(name), bytes).unwrap();
        for (key, file) in [(key, "public.pem"), (es256, "es256.pem")] {
            write("private.der", key.to_pkcs8().unwrap().expose());
            let mut openssl = Command::new("openssl");
            let asked = ["pkey", "-inform", "DER", "-in", "private.der", "-pubout", "-out", file];
            let done = openssl.args(asked).current_dir(yard.path()).status();
            assert!(done.is_ok_and(|done| done.success()), "this needs `openssl`");
        }
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, private) = (made.cert.pem(), made.signing_key.serialize_pem());
        write("certificate.pem", certificate.as_bytes());
        write("private.pem", private.as_bytes());
        write("both.pem", format!("{certificate}{private}").as_bytes());
        let jwk = serde_json::to_value(key.jwk()).unwrap();
        let jwks = json!({ "keys": [&jwk] });
        Self { yard, jwks: jwks.to_string(), jwk: jwk.to_string() }
    }

    /// What lets Tegata speak TLS, as it stands in its environment.
    pub(crate) fn for_tegata(&self) -> Vec<(String, String)> {
        let place = |name: &str| self.place(name);
        [("CERTIFICATE", place("certificate.pem")), ("KEY", place("private.pem"))]
            .map(|(key, file)| (format!("TEGATA_GATEWAY__TLS__{key}_FILE"), file))
            .into()
    }

    fn place(&self, name: &str) -> String {
        self.yard.path().join(name).display().to_string()
    }
}

/// A server that runs, and where it listens: once for each protocol, for each of its ways.
pub(crate) struct Peer {
    process: Process,
    _yard: Yard,
    ports: Vec<(&'static str, Protocol, u16)>,
}

impl Peer {
    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Where it does something over a protocol, if it does.
    pub(crate) fn port(&self, way: &str, protocol: Protocol) -> Option<u16> {
        let found = |it: &&(&str, Protocol, u16)| it.0 == way && it.1 == protocol;
        self.ports.iter().find(found).map(|it| it.2)
    }

    fn start(
        yard: Yard,
        name: &str,
        program: &Path,
        arguments: Vec<String>,
        ports: Vec<(&'static str, Protocol, u16)>,
    ) -> Self {
        let process = Process::new(&yard, name, program, arguments);
        let ready = || ports.iter().all(|(.., port)| connect(*port).is_ok());
        assert!(process.start(&yard, PATIENCE, ready), "{name} does not start: {}", process.said());
        Self { process, _yard: yard, ports }
    }
}

/// A port for each way over each protocol.
fn ports(ways: &[&'static str]) -> Vec<(&'static str, Protocol, u16)> {
    let of = |way: &&'static str| Protocol::ALL.map(|protocol| (*way, protocol, free_port()));
    ways.iter().flat_map(of).collect()
}

/// What HAProxy looks at in a token, as its own guide does it.
const HAPROXY_CHECK: &str = r#"
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
    http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
    http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 unless { var(txn.alg) -m str @ALG@ }
    http-request deny deny_status 401 unless { var(txn.iss) -m str @ISSUER@ }
    http-request deny deny_status 401 unless { var(txn.aud) -m str @AUDIENCE@ }
    http-request deny deny_status 401 unless { var(txn.exp),sub(txn.now) -m int gt 0 }
    http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"@PUBLIC@") -m int 1 }
"#;

/// HAProxy: by itself, looking at tokens, and doing so with a list of a million that do not count.
pub(crate) fn haproxy(material: &Material, origin: u16, denied: usize) -> Peer {
    let yard = Yard::new("haproxy");
    let ways = ["plain", "checked", "listed", "es256"];
    let (ports, list) = (ports(&ways), yard.path().join("denied"));
    let ids = (0..denied).map(|number| format!("1.{number:022}\n")).collect::<String>();
    fs::write(&list, ids).unwrap();
    let check_of = |algorithm: &str, file: &str| {
        HAPROXY_CHECK
            .replace("@ALG@", algorithm)
            .replace("@ISSUER@", ISSUER)
            .replace("@AUDIENCE@", AUDIENCE)
            .replace("@PUBLIC@", &material.place(file))
    };
    let check = check_of("RS256", "public.pem");
    let listed = format!(
        "    http-request set-var(txn.jti) var(txn.bearer),jwt_payload_query('$.jti')\n    \
         http-request deny deny_status 401 if {{ var(txn.jti) -m str -f {} }}\n",
        list.display()
    );
    let mut text = format!(
        "global\n    nbthread 1\n    maxconn 4096\n    log stdout format raw local0 emerg\n\
         defaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    \
         timeout connect 2s\n    option http-keep-alive\n    http-reuse always\n\
         backend origin\n    server o 127.0.0.1:{origin}\n"
    );
    for way in ways {
        text += &format!("frontend {way}\n");
        for (_, protocol, port) in ports.iter().filter(|it| it.0 == way) {
            let crt = material.place("both.pem");
            let speaks = match protocol {
                Protocol::Http1 => String::new(),
                Protocol::Http1Tls => format!(" ssl crt {crt} alpn http/1.1"),
                Protocol::Http2 => " proto h2".to_owned(),
                Protocol::Http2Tls => format!(" ssl crt {crt} alpn h2"),
            };
            text += &format!("    bind 127.0.0.1:{port}{speaks}\n");
        }
        text += match way {
            "plain" => String::new(),
            "checked" => check.clone(),
            "es256" => check_of("ES256", "es256.pem"),
            _ => format!("{check}{listed}"),
        }
        .as_str();
        text += "    default_backend origin\n";
    }
    let file = yard.path().join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let arguments = ["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
    Peer::start(yard, "haproxy", &program("haproxy", "haproxy"), arguments.into(), ports)
}

/// nginx: by itself, asking somebody who says yes to everything at once (`auth_request`), and asking somebody who
/// looks at tokens.
pub(crate) fn nginx(material: &Material, origin: u16, asked: u16, jose: u16) -> Peer {
    let yard = Yard::new("nginx");
    let ways = ["plain", "checked", "jose"];
    let (ports, place) = (ports(&ways), yard.path().display().to_string());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {place}/{name};\n"))
        .concat();
    let kept = "keepalive 256; keepalive_requests 100000000;";
    let mut text = format!(
        "daemon off; master_process off; pid {place}/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\n\
         keepalive_requests 100000000; keepalive_timeout 120s;\n{temporary}\
         ssl_certificate {}; ssl_certificate_key {};\n\
         upstream origin {{ server 127.0.0.1:{origin}; {kept} }}\n\
         upstream asked {{ server 127.0.0.1:{asked}; {kept} }}\n\
         upstream jose {{ server 127.0.0.1:{jose}; {kept} }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n",
        material.place("certificate.pem"),
        material.place("private.pem")
    );
    for (way, protocol, port) in &ports {
        let speaks = match protocol {
            Protocol::Http1 => "",
            Protocol::Http1Tls => " ssl",
            Protocol::Http2 => " http2",
            Protocol::Http2Tls => " ssl http2",
        };
        let (ask, place) = match *way {
            "plain" => ("", String::new()),
            way => (
                "auth_request /asked; ",
                format!(
                    "location = /asked {{ internal; proxy_pass http://{}/; \
                     proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }}",
                    if way == "jose" { "jose" } else { "asked" }
                ),
            ),
        };
        text += &format!(
            "server {{ listen 127.0.0.1:{port}{speaks} backlog=4096; location / {{ \
             {ask}proxy_pass http://origin; }} {place} }}\n"
        );
    }
    text.push_str("}\n");
    let file = yard.path().join("nginx.conf");
    fs::write(&file, text).unwrap();
    let arguments =
        ["-p", &place, "-c", &file.display().to_string(), "-e", "stderr"].map(str::to_owned);
    Peer::start(yard, "nginx", &program("nginx", "nginx"), arguments.into(), ports)
}

/// Says whether a token counts, as a few lines of Node with `jose` do.
const JOSE: &str = r#"
import { createServer } from "node:http";
const { importJWK, jwtVerify } = await import(process.argv[2]);
const key = await importJWK(JSON.parse(process.argv[3]), "RS256");
const [issuer, audience, port] = process.argv.slice(4);
createServer(async (request, response) => {
  const token = (request.headers.authorization ?? "").replace(/^Bearer /i, "");
  try {
    await jwtVerify(token, key, { issuer, audience, algorithms: ["RS256"] });
    response.writeHead(204).end();
  } catch { response.writeHead(401).end(); }
}).listen(Number(port), "127.0.0.1");
"#;

/// Node with `jose`, whom nginx asks. Answers where it listens, too.
pub(crate) fn jose(material: &Material) -> (Process, Yard, u16) {
    let (yard, port) = (Yard::new("jose"), free_port());
    let script = yard.path().join("jose.mjs");
    fs::write(&script, JOSE).unwrap();
    let module = tools::present("oidc-provider").join("node_modules/jose");
    let entry: Value =
        serde_json::from_str(&fs::read_to_string(module.join("package.json")).unwrap()).unwrap();
    let entry = ["import", "default"]
        .iter()
        .find_map(|kind| entry["exports"]["."][kind].as_str())
        .expect("`jose` says where it begins");
    let arguments = [
        script.display().to_string(),
        module.join(entry).display().to_string(),
        material.jwk.clone(),
        ISSUER.to_owned(),
        AUDIENCE.to_owned(),
        port.to_string(),
    ];
    let process = Process::new(&yard, "jose", program("node", "nodejs"), arguments.into());
    let ready = || connect(port).is_ok();
    assert!(process.start(&yard, PATIENCE, ready), "jose does not start: {}", process.said());
    (process, yard, port)
}

/// Envoy: by itself, and looking at tokens (`jwt_authn`).
pub(crate) fn envoy(material: &Material, origin: u16) -> Peer {
    let yard = Yard::new("envoy");
    let ports = ports(&["plain", "checked"]);
    let listeners: Vec<_> = ports.iter().map(|it| listener(material, it)).collect();
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": origin}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    let cluster = json!({
        "name": "origin", "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "origin", "endpoints": endpoints},
    });
    let text = json!({
        "static_resources": {"listeners": listeners, "clusters": [cluster]},
    });
    let file = yard.path().join("envoy.json");
    fs::write(&file, text.to_string()).unwrap();
    let arguments = [
        "-c",
        &file.display().to_string(),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--disable-hot-restart",
    ]
    .map(str::to_owned);
    Peer::start(yard, "envoy", &envoy::program(), arguments.into(), ports)
}

fn listener(material: &Material, (way, protocol, port): &(&str, Protocol, u16)) -> Value {
    const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";
    let mut filters = Vec::new();
    if *way == "checked" {
        filters.push(json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": format!("{EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication"),
                "providers": {"us": {
                    "issuer": ISSUER, "audiences": [AUDIENCE], "forward": true,
                    "local_jwks": {"inline_string": material.jwks},
                }},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "us"}}],
            },
        }));
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{EXTENSIONS}.filters.http.router.v3.Router")},
    }));
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "origin"}});
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!(
                "{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
            ),
            "stat_prefix": "in", "codec_type": "AUTO", "http_filters": filters,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [route],
            }]},
        },
    });
    let mut chain = json!({"filters": [manager]});
    if protocol.is_secure() {
        let file = |name: &str| json!({"filename": material.place(name)});
        let alpn = if protocol.is_framed() { "h2" } else { "http/1.1" };
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": [alpn],
                    "tls_certificates": [{
                        "certificate_chain": file("certificate.pem"),
                        "private_key": file("private.pem"),
                    }],
                },
            },
        });
    }
    json!({
        "name": format!("{way}-{port}"),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    })
}
