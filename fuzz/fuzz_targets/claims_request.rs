//! The parameter `claims`: none makes the program stop, and none asks for what the client may not.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_oauth::{Client, ClientMetadata, Params, request::ClaimsParameter};

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let metadata = ClientMetadata {
        client_id: "web".into(),
        redirect_uris: vec!["https://app.example/cb".into()],
        scope: "openid email".into(),
        ..ClientMetadata::default()
    };
    metadata.read(Timestamp::default()).expect("a client")
});

fuzz_target!(|text: &str| {
    let Ok(params) = Params::new([("claims".to_owned(), text.to_owned())]) else { return };
    let Ok(read) = ClaimsParameter::read(&params, &CLIENT) else { return };
    for name in read.asked.userinfo.iter().chain(&read.asked.id_token) {
        assert!(["email", "email_verified"].contains(&name.as_str()), "{name}");
    }
});
