//! What letters carry, as it comes back: nothing makes the program stop, nobody makes up a link, a link has one
//! spelling, and a code has one form, whatever people type.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use libfuzzer_sys::fuzz_target;
use tegata_core::{Epoch, Realm};
use tegata_identity::letters::{Keys, one_form};

fn keys(seed: u8) -> Keys {
    Keys::new(move |parts| {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]);
        let mut context = hmac::Context::with_key(&root);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        Some(hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()))
    })
}

static OURS: LazyLock<Keys> = LazyLock::new(|| keys(1));
static OTHERS: LazyLock<Keys> = LazyLock::new(|| keys(2));

fuzz_target!(|text: &str| {
    let (realm, epoch) = (Realm::default(), Epoch::FIRST);
    let read = |keys: &Keys, text: &str| keys.read(&realm, epoch, text).expect("there is a root");
    assert_eq!(read(&OURS, text), None);
    let link = OURS.link(&realm, text).expect("there is a root");
    let link = link.expose();
    if let Some(key) = read(&OURS, link) {
        assert!(key == text && Epoch::leading(&key) == Some(epoch));
        assert_eq!(read(&OTHERS, link), None);
        for other in
            [format!("{link}="), format!("{link}A"), format!(".{link}"), link.to_uppercase()]
        {
            assert!(read(&OURS, &other).is_none() || other == *link, "{other}");
        }
        // Mail programs break lines.
        assert_eq!(read(&OURS, &format!(" {link}\r\n")).as_deref(), Some(text));
    }
    let typed = one_form(text);
    let typed = typed.expose();
    assert!(
        !typed.contains(char::is_whitespace) && !typed.contains('-') && typed.len() <= 128 * 18
    );
    if typed.is_ascii() {
        assert_eq!(one_form(typed).expose(), typed);
    }
    let code = OURS.code(&realm, text).expect("there is a root");
    let (one, two) = code.expose().split_at(5);
    assert_eq!(one_form(&format!("{} - {two}", one.to_lowercase())).expose(), code.expose());
});
