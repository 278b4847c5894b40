//! Questions of Envoy: no bytes make the program stop, and what is read as the head of a request is one head, which
//! the watch over HTTP/1 would let pass, but for how it frames a body or how large it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_gateway::{
    ext_authz::head_of,
    guard::{Fault, Guard},
};

fuzz_target!(|message: &[u8]| {
    let Some(head) = head_of(message) else { return };
    let mut guard = Guard::new();
    match guard.feed(&head) {
        Ok(_) => assert_eq!(guard.heads(), 1),
        Err(refused) => assert!(matches!(
            refused.fault,
            Fault::FieldsTooLarge
                | Fault::TooManyFields
                | Fault::Length
                | Fault::Coding
                | Fault::BothFramings
        )),
    }
});
