//! Forms and queries: none makes the program stop; what is read is read so by others, too, and as the same when
//! it is written anew; and what stands twice has no value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_server::form;

fuzz_target!(|bytes: &[u8]| {
    let Ok(fields) = form::decode(bytes) else { return };
    let names: Vec<_> = {
        let pairs = form::decode(bytes).ok().map(form::Fields::into_pairs).unwrap_or_default();
        pairs.into_iter().map(|(name, _)| name).collect()
    };
    for name in &names {
        let times = names.iter().filter(|other| *other == name).count();
        assert_eq!(fields.one(name).is_some(), times == 1);
    }
    let pairs = fields.into_pairs();
    assert!(pairs.len() <= 200 && pairs.len() <= bytes.len());
    let others: Vec<_> = form_urlencoded::parse(bytes).into_owned().collect();
    assert_eq!(pairs, others);
    let again = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    assert_eq!(form::decode(again.as_bytes()).ok().map(form::Fields::into_pairs), Some(pairs));
});
