//! What an exchange asks for, as a form: nothing makes the program stop, what is presented is bounded, a
//! transaction is told what it is once, and a context is read as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tegata_oauth::{
    Params,
    grant::exchange::asked::{Asked, Wanted},
};
use tegata_server::form;
use tegata_token::{Transaction, jws, transaction::LONGEST_CONTEXT};

fuzz_target!(|body: &[u8]| {
    let Ok(fields) = form::decode(body) else { return };
    let Ok(params) = Params::new(fields.into_pairs()) else { return };
    for name in ["request_details", "request_context"] {
        let Some(text) = params.get(name) else { continue };
        let Ok(context) = Transaction::context(text) else { continue };
        assert!(text.len() <= LONGEST_CONTEXT);
        let context = Value::Object(context);
        assert!(depth(&context) <= 9);
        assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(&context));
        // Written anew it may be longer: numbers are spelt out.
        let again = context.to_string();
        if again.len() <= LONGEST_CONTEXT {
            assert_eq!(Transaction::context(&again).ok().map(Value::Object), Some(context));
        }
    }
    let Ok(asked) = Asked::read(&params) else { return };
    assert_eq!(params.get("subject_token"), Some(asked.subject));
    assert!(asked.subject.len() <= jws::LONGEST);
    assert!(asked.actor.is_none_or(|actor| actor.len() <= jws::LONGEST && actor != asked.subject));
    assert_eq!(asked.actor.is_some(), params.get("actor_token_type").is_some());
    let said = ["request_details", "request_context"].map(|name| params.get(name).is_some());
    match &asked.wanted {
        Wanted::AccessTokens(_) => assert!(!asked.replaces && said == [false, false]),
        Wanted::Transaction(details, context) => {
            assert_eq!(said, [details.is_some(), context.is_some()]);
            assert!(!asked.replaces || said == [false, false]);
        }
    }
});

fn depth(value: &Value) -> usize {
    let inner =
        |all: &mut dyn Iterator<Item = &Value>| 1 + all.map(depth).max().unwrap_or_default();
    match value {
        Value::Array(all) => inner(&mut all.iter()),
        Value::Object(all) => inner(&mut all.values()),
        _ => 0,
    }
}
