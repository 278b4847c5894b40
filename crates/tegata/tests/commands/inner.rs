//! The way from the gateway to the public listener, which everybody on the machine can connect to.

use crate::{Place, get, sign_in};

#[test]
fn the_way_behind_the_gateway_believes_nobody_else() {
    let place = Place::new();
    place.add_user("alice");
    let server = place.serve();
    let ports = server.ports();
    // Somebody on this machine who makes himself forty clients, to guess forty times as often.
    for number in 0..40 {
        for fields in [
            format!("\r\nX-Forwarded-For: 203.0.113.{number}"),
            format!("\r\nX-Forwarded-For: 203.0.113.{number}\r\nX-Internal-Gateway: {number}"),
            format!("\r\nX-Forwarded-For: 203.0.113.{number}\r\nX-Internal-Gateway:"),
        ] {
            let (status, answer) = sign_in(ports.inner, "wrong", &fields);
            assert_eq!(status, 403, "{answer}");
            assert!(!answer.to_lowercase().contains("x-internal-gateway"), "{answer}");
        }
    }
    for target in ["/", "/login", "/.well-known/jwks.json", "/nothing", "/oauth2/userinfo"] {
        assert_eq!(get(ports.inner, target).0, 403, "{target}");
    }
    // The gateway gets through, whatever its client says of itself, and counts that client.
    let good = "correct horse battery staple";
    let forged = "\r\nX-Internal-Gateway: x\r\nConnection: x-internal-gateway";
    assert_eq!(sign_in(ports.gateway, good, forged).0, 200);
    let statuses: Vec<_> = (0..20)
        .map(|number| {
            let fields = format!("\r\nX-Forwarded-For: 203.0.113.{number}");
            sign_in(ports.gateway, "wrong", &fields).0
        })
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    server.stop();
}
