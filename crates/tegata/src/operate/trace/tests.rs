use super::*;

const AT: u64 = 1_767_225_600;

/// `payments` made it of what `orders` had made of a person's token, and `agent` acted.
fn derived() -> Subject {
    let mut known = TokenUse::default();
    known.origin.note(Origin {
        at: Timestamp::from_secs(AT),
        client: "payments".to_owned(),
        sub: "usr_1".to_owned(),
        of: Some("1.second".to_owned()),
        first: Some("1.first".to_owned()),
        through: vec!["1.second".to_owned(), "1.actor".to_owned()],
        clients: vec!["web".to_owned(), "orders".to_owned(), "agent".to_owned()],
        kid: Some("k3".to_owned()),
        kids: vec!["k1".to_owned(), "k2".to_owned()],
        ..Origin::default()
    });
    Subject { jti: TokenId::new("1.third").unwrap(), family: None, known }
}

fn falls(target: Target) -> bool {
    let at = Timestamp::from_secs(AT + 60);
    let (places, until) = (Vec::new(), at);
    let (reason, actor) = ("stolen".to_owned(), "operator".to_owned());
    derived().falls_with(&Entry { target, places, at, until, reason, actor })
}

#[tokio::test]
async fn whoever_did_not_name_the_issuer_is_told_it_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let composed = crate::compose::for_tests(place.path()).await;
    let at = composed.node.now();
    composed.usage.issued("1.own", Origin { at, ..Origin::default() });
    let told = trace(&composed, "1.own").await.unwrap();
    assert_eq!(told["issued"]["issuer"], json!("http://localhost:8000"));
}

#[test]
fn a_token_falls_with_every_token_and_client_that_it_came_through() {
    for jti in ["1.first", "1.second", "1.third", "1.actor"] {
        assert!(falls(Target::Token(TokenId::new(jti).unwrap())), "{jti}");
    }
    assert!(!falls(Target::Token(TokenId::new("1.other").unwrap())));
    let client = |name: &str, at: u64| {
        let up_to = Timestamp::from_secs(at);
        falls(Target::Client { client: name.parse().unwrap(), up_to })
    };
    let subject = |name: &str, at: u64| {
        let up_to = Timestamp::from_secs(at);
        falls(Target::Subject { sub: name.to_owned(), up_to, tokens_only: false })
    };
    for name in ["web", "orders", "agent", "payments"] {
        assert!(client(name, AT) && !client(name, AT - 1), "{name}");
    }
    for name in ["usr_1", "orders", "agent"] {
        assert!(subject(name, AT) && !subject(name, AT - 1), "{name}");
    }
    assert!(!client("inventory", AT) && !subject("usr_2", AT));
}

#[test]
fn a_token_falls_with_the_key_that_signed_it_and_with_those_of_what_it_was_made_of() {
    for kid in ["k1", "k2", "k3"] {
        assert!(falls(Target::Key(kid.parse().unwrap())), "{kid}");
    }
    for other in ["k", "k4", "K1"] {
        assert!(!falls(Target::Key(other.parse().unwrap())), "{other}");
    }
}

#[tokio::test]
async fn says_how_far_what_is_told_goes() {
    let place = tempfile::tempdir().unwrap();
    let composed = crate::compose::for_tests(place.path()).await;
    let at = composed.node.now();
    composed.usage.issued("1.own", Origin { at, ..Origin::default() });
    let told = trace(&composed, "1.own").await.unwrap();
    assert_eq!(told["known"]["issued_from"], "memory");
    assert_eq!(told["known"]["issued_until"], json!((at + KEPT).to_string()));
    // Of what was merely seen, nobody knows who got it.
    composed.usage.used("1.seen", &"orders".into(), composed.node.now());
    let told = trace(&composed, "1.seen").await.unwrap();
    assert_eq!((&told["issued"], &told["known"]["issued_from"]), (&Value::Null, &json!("nowhere")));
    assert_eq!(told["known"]["issued_until"], Value::Null);
    assert_eq!(told["known"]["used_and_derived_for_seconds"], 3600);
}
