//! Certificates of clients, over real handshakes and through real proxies' headers: who proves
//! themselves by which, and what is bound to it (RFC 8705, RFC 9440).

#![cfg(test)]

mod mtls {
    mod alone;
    mod audience;
    mod authentication;
    mod bound;
    mod certificates;
    mod envoy;
    mod fapi;
    mod proxy;
    mod spiffe;
    mod world;
}
