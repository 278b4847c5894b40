//! Envoy looks at tokens by itself (`jwt_authn`), with the keys that are published, while keys rotate.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use tegata_engines::EnvoyServer;

use super::{
    demo::{Demo, until},
    http::Place,
    world::{configuration, of_a_machine},
};

/// How often keys rotate in the test.
const ROTATIONS: usize = 4;

#[test]
fn jwt_authn_of_envoy_survives_a_rotation() {
    let demo = Demo::start(&[]);
    let base = demo.public.port;
    let envoy = EnvoyServer::start(|port| configuration("jwt_authn.yaml", base, port));
    let place = Place { port: envoy.port() };
    let first = of_a_machine(&demo);
    place.get("/x").bearer(&first).send().expect(200);
    place.get("/x").send().expect(401);
    place.get("/x").bearer(&first[..first.len() - 3]).send().expect(401);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let refused = thread::scope(|scope| {
        let loads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = Vec::new();
                    while !over.load(Ordering::Acquire) {
                        // Each token is as young as can be: signed with the key that signs now.
                        let token = of_a_machine(&demo);
                        for _ in 0..20 {
                            for token in [&token, &first] {
                                let answer = place.get("/x").bearer(token).send();
                                asked.fetch_add(1, Ordering::Relaxed);
                                if answer.status != 200 {
                                    refused.push(format!("{}: {}", answer.status, answer.text()));
                                }
                            }
                        }
                    }
                    refused
                })
            })
            .collect();
        for _ in 0..ROTATIONS {
            // It refuses for as long as verifiers may not have seen the next key.
            until("the key rotates", || demo.run(&["key", "rotate"]).status.success());
            let before = asked.load(Ordering::Relaxed);
            until("tokens of the new key are used", || {
                asked.load(Ordering::Relaxed) > before + 200
            });
        }
        over.store(true, Ordering::Release);
        loads.into_iter().flat_map(|load| load.join().unwrap()).collect::<Vec<_>>()
    });
    let asked = asked.into_inner();
    println!("{asked} requests, {ROTATIONS} rotations, {} refused", refused.len());
    assert!(refused.is_empty(), "{} of {asked}: {:?}", refused.len(), refused.first());
    let keys = demo.public.get("/.well-known/jwks.json").send().expect(200).json();
    assert!(keys["keys"].as_array().unwrap().len() > 2, "{keys}");
    // It is not told what was taken back: that is the price, until the token ends.
    let token = of_a_machine(&demo);
    let client = demo.client("demo-service");
    let ask = demo.public.post("/oauth2/revoke");
    super::browser::as_client(ask, &client, &[("token", &token)]).send().expect(200);
    demo.gateway.get("/echo/x").bearer(&token).send().expect(401);
    place.get("/x").bearer(&token).send().expect(200);
}
