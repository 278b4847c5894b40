//! Envoy, the real one, before the demo's shop: it asks Tegata about each request (`ext_authz`), and answers
//! what Tegata's own gateway would answer; or looks at tokens itself (`jwt_authn`) while keys rotate.

#![cfg(test)]

mod envoy {
    mod alike;
    mod away;
    mod bodies;
    mod cases;
    mod hostile;
    mod rotation;
    mod socket;
    mod world;

    // What other tests from outside know.
    #[path = "../contract/browser.rs"]
    #[expect(dead_code, reason = "it is written for more than is needed here")]
    mod browser;
    #[path = "../contract/demo.rs"]
    #[expect(dead_code, reason = "it is written for more than is needed here")]
    mod demo;
    #[path = "../contract/http.rs"]
    #[expect(dead_code, reason = "it is written for more than is needed here")]
    mod http;
}
