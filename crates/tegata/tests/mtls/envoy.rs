//! Certificates that Envoy, the real one, saw in a handshake with a client.

use std::fs;

use tegata_engines::{EnvoyServer, process::free_port};

use super::{
    certificates::{Shown, named},
    world::{Server, credentials, get, machine},
};

/// Envoy with TLS, which takes certificates of our authority, asks Tegata about each request and tells of them.
fn envoy(server: &Server, ext_authz: u16) -> EnvoyServer {
    let declared = fs::read_to_string(server.path().join("tegata.toml")).unwrap();
    let (_, upstream) = declared.split_once("upstreams = [\"http://127.0.0.1:").unwrap();
    let upstream = upstream.split_once('"').unwrap().0;
    let file = |name: &str| server.path().join(name).display().to_string();
    let (certificate, key, ca) = (file("own.pem"), file("own.key"), file("ca.pem"));
    EnvoyServer::start(|port| {
        format!(
            r#"
static_resources:
  listeners:
    - name: clients
      address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_certificates: [{{certificate_chain: {{filename: "{certificate}"}}, private_key: {{filename: "{key}"}}}}]
                validation_context: {{trusted_ca: {{filename: "{ca}"}}}}
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: clients
                use_remote_address: true
                # What a client says of its certificate is no word of Envoy's.
                forward_client_cert_details: SANITIZE
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service: {{envoy_grpc: {{cluster_name: tegata}}, timeout: 30s}}
                      failure_mode_allow: false
                      encode_raw_headers: true
                      include_peer_certificate: true
                  - name: envoy.filters.http.router
                    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
                route_config:
                  virtual_hosts:
                    - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: orders}}}}]}}
  clusters:
    - name: tegata
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{http2_protocol_options: {{}}}}
      load_assignment: {{cluster_name: tegata, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ext_authz}}}}}}}}}]}}]}}
    - name: orders
      type: STATIC
      load_assignment: {{cluster_name: orders, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
"#
        )
    })
}

#[test]
fn a_certificate_that_envoy_saw_is_the_clients_own_and_what_clients_write_is_not() {
    let ext_authz = free_port();
    let declared = machine("machine", "tls_client_auth_san_dns = \"machine.example\"")
        + &format!("[ext_authz]\nlisten = \"127.0.0.1:{ext_authz}\"\n");
    let server = Server::with_tls(&declared);
    let envoy = envoy(&server, ext_authz);
    let own = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let token = server.access_token(Some(&own), &credentials("machine"));
    let ask = |shown: Option<&Shown>, lines: &str| {
        server.ask(envoy.port(), shown, &get("/orders/1", &token, lines))
    };
    let answer = ask(Some(&own), "");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", envoy.said());
    // The service is told who calls, and nothing of the certificate.
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.contains("x-internal-token: ") && !seen.contains("client-cert"), "{seen}");
    assert!(!seen.contains("authorization: "), "{seen}");
    // Another certificate of the same client, of another name, or none.
    let renewed = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let other = Shown::signed(&named("other", "other.example"), &server.ours);
    for thief in [Some(&renewed), Some(&other), None] {
        ask(thief, "").refuses_token();
    }
    // Whoever writes of the holder's certificate shows none.
    let pem = format!("-----BEGIN%20CERTIFICATE-----%0A{}", own.x5t());
    for name in ["Client-Cert", "X-Client-Cert", "X-SSL-Client-Cert"] {
        ask(Some(&other), &format!("{name}: {pem}\r\n")).refuses_token();
    }
    let forwarded = format!("X-Forwarded-Client-Cert: Hash=00;Cert=\"{pem}\"\r\n");
    for thief in [Some(&other), None] {
        ask(thief, &forwarded).refuses_token();
    }
}
