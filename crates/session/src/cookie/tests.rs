use proptest::prelude::*;

use super::*;

fn production() -> CookieTable {
    CookieTable::new(Environment::Production, None).unwrap()
}

fn shared() -> CookieTable {
    CookieTable::new(Environment::Production, Some("example.com")).unwrap()
}

fn development() -> CookieTable {
    CookieTable::new(Environment::Development, None).unwrap()
}

fn read<'h>(table: &CookieTable, header: &'h str) -> Result<Received<'h>, CookieProblem> {
    table.read([header.as_bytes()])
}

#[test]
fn the_table_of_production_is_host_only_and_secure() {
    let table = production();
    let set = |name| table.cookie(name).set("v").unwrap();
    assert_eq!(
        set(CookieName::Session),
        "__Host-session_id=v; Path=/; SameSite=Lax; Secure; HttpOnly"
    );
    assert_eq!(
        set(CookieName::Refresh),
        "__Secure-refresh_token=v; Path=/api/auth; SameSite=Strict; Secure; HttpOnly"
    );
    assert_eq!(
        set(CookieName::Consent),
        "cookie_consent=v; Max-Age=31536000; Path=/; SameSite=Lax; Secure; HttpOnly"
    );
    assert_eq!(
        set(CookieName::Csrf),
        "__Host-csrf_token=v; Path=/; SameSite=Lax; Secure; HttpOnly"
    );
    assert_eq!(table, CookieTable::new(Environment::Staging, None).unwrap());
}

#[test]
fn a_domain_is_for_what_its_hosts_share() {
    let table = shared();
    let set = |name| table.cookie(name).set("v").unwrap();
    assert_eq!(
        set(CookieName::Session),
        "__Secure-session_id=v; Path=/; Domain=example.com; SameSite=Lax; Secure; HttpOnly"
    );
    assert!(!set(CookieName::Refresh).contains("Domain"));
    assert!(set(CookieName::Csrf).starts_with("__Host-csrf_token="));
}

#[test]
fn development_has_plain_names_and_no_tls() {
    let table = development();
    for name in CookieName::ALL {
        let set = table.cookie(name).set("v").unwrap();
        assert!(!set.contains("Secure") && !set.contains("__"), "{set}");
    }
    assert_eq!(table.cookie(CookieName::Session).name(), "session_id");
}

#[test]
fn a_cookie_is_taken_away_with_the_attributes_it_was_set_with() {
    assert_eq!(
        shared().cookie(CookieName::Session).expire(),
        "__Secure-session_id=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; \
         Domain=example.com; SameSite=Lax; Secure; HttpOnly"
    );
    let consent = production().cookie(CookieName::Consent).expire();
    assert_eq!(consent.matches("Max-Age").count(), 1, "{consent}");
}

#[test]
fn what_was_set_before_there_was_a_domain_can_be_taken_away() {
    let stray = shared().expire_of_host(CookieName::Consent).unwrap();
    assert!(
        stray.starts_with("cookie_consent=; Max-Age=0") && !stray.contains("Domain"),
        "{stray}"
    );
    assert_eq!(production().expire_of_host(CookieName::Consent), None);
}

#[test]
fn contradictions_are_refused() {
    let sound = Attributes {
        secure: true,
        http_only: true,
        same_site: SameSite::Lax,
        path: "/".into(),
        domain: None,
        max_age: None,
    };
    let plain = Attributes { secure: false, ..sound.clone() };
    let deep = Attributes { path: "/api".into(), ..sound.clone() };
    let wide = Attributes { domain: Some("example.com".into()), ..sound.clone() };
    let open = Attributes { same_site: SameSite::None, ..plain.clone() };
    let make = |name: &str, attributes: &Attributes| Cookie::new(name, attributes.clone());
    for attributes in [&plain, &deep, &wide] {
        for name in ["__Host-a", "__host-a", "__HOST-a"] {
            let refused = make(name, attributes).unwrap_err();
            assert_eq!(refused, Contradiction::HostPrefix(name.into()), "{attributes:?}");
        }
    }
    assert!(matches!(make("__Secure-a", &plain), Err(Contradiction::SecurePrefix(_))));
    assert!(matches!(make("__sEcUrE-a", &plain), Err(Contradiction::SecurePrefix(_))));
    assert!(matches!(make("a", &open), Err(Contradiction::NoneWithoutSecure(_))));
    assert!(make("a", &Attributes { secure: true, ..open }).is_ok());
    for name in ["", "a b", "a=b", "a;b", "é", "a\r\nb"] {
        assert!(matches!(make(name, &sound), Err(Contradiction::Name(_))), "{name:?}");
    }
    for path in ["", "api", "/a;b", "/a b", "/\r\n"] {
        let bad = Attributes { path: path.into(), ..sound.clone() };
        assert!(matches!(make("a", &bad), Err(Contradiction::Path(_))), "{path:?}");
    }
    let long = Attributes { max_age: Some(Duration::from_secs(401 * 86_400)), ..sound };
    assert!(matches!(make("a", &long), Err(Contradiction::Lifetime(_))));
}

#[test]
fn domains_that_no_cookie_can_be_set_for_are_refused() {
    for domain in [
        "",
        "com",
        "localhost",
        ".example.com",
        "example.com.",
        "Example.com",
        "192.0.2.1",
        "example.com:443",
        "https://example.com",
        "a..b",
        "-a.example",
        "example.com; Path=/",
    ] {
        let refused = CookieTable::new(Environment::Production, Some(domain)).unwrap_err();
        assert_eq!(refused, Contradiction::Domain(domain.into()));
    }
    let refused = CookieTable::new(Environment::Development, Some("example.com")).unwrap_err();
    assert!(matches!(refused, Contradiction::DomainInDevelopment(_)));
}

#[test]
fn values_cannot_break_out_of_the_header() {
    let table = production();
    let cookie = table.cookie(CookieName::Session);
    for value in ["a;b", "a b", "a\r\nSet-Cookie: x=y", "a,b", "\"a\"", "é", &"x".repeat(4_096)] {
        assert_eq!(cookie.set(value), Err(BadValue), "{value:?}");
    }
}

#[test]
fn reads_ours_and_passes_on_the_rest() {
    let header = "theme=dark; __Host-session_id=1.2.x;_ga=GA1.1;  __Secure-refresh_token=rt; x";
    let table = production();
    let received = read(&table, header).unwrap();
    assert_eq!(received.get(CookieName::Session), Some("1.2.x"));
    assert_eq!(received.get(CookieName::Refresh), Some("rt"));
    assert_eq!(received.get(CookieName::Consent), None);
    assert_eq!(received.others().unwrap(), b"theme=dark; _ga=GA1.1; x");
    assert_eq!(read(&table, "__Host-session_id=x").unwrap().others(), None);
    let split: [&[u8]; 2] = [b"a=1", b"__Host-session_id=2"];
    assert_eq!(table.read(split).unwrap().get(CookieName::Session), Some("2"));
}

#[test]
fn a_cookie_tossed_by_a_neighbour_is_refused() {
    let table = shared();
    let twice = CookieProblem::Twice(CookieName::Session);
    for header in [
        "__Secure-session_id=mine; __Secure-session_id=theirs",
        "__Secure-session_id=same; __Secure-session_id=same",
        "__Secure-session_id=mine; a=b; __Secure-session_id=",
        "__Secure-session_id=; __Secure-session_id=theirs",
        "__Secure-session_id=mine;\t__Secure-session_id =theirs",
    ] {
        assert_eq!(read(&table, header).unwrap_err(), twice, "{header}");
    }
    let split: [&[u8]; 2] = [b"__Secure-session_id=a", b"__Secure-session_id=b"];
    assert_eq!(table.read(split).unwrap_err(), twice);
    // What others call themselves twice is their affair.
    assert!(read(&table, "a=1; a=2; __Secure-session_id=x").is_ok());
}

#[test]
fn a_choice_that_is_tossed_or_cannot_be_read_is_none_and_hinders_nothing() {
    let table = production();
    for header in [
        "cookie_consent=a; cookie_consent=b",
        "cookie_consent=a; cookie_consent=a; cookie_consent=a",
        "cookie_consent=; cookie_consent=a",
        "cookie_consent=a b",
        "cookie_consent=\"a\"; cookie_consent=b",
        "cookie_consent=\u{e9}",
    ] {
        let header = format!("{header}; __Host-session_id=1");
        let received = read(&table, &header).unwrap();
        assert_eq!(received.get(CookieName::Consent), None, "{header}");
        assert_eq!(received.get(CookieName::Session), Some("1"), "{header}");
    }
    let received = read(&table, "cookie_consent=a; _ga =1; x").unwrap();
    assert_eq!(received.get(CookieName::Consent), Some("a"));
    assert_eq!(received.other_names().collect::<Vec<_>>(), ["_ga", "x"]);
}

#[test]
fn names_that_only_look_like_ours_are_not_ours() {
    let table = production();
    for header in [
        "session_id=x",
        "__Secure-session_id=x",
        "__host-session_id=x",
        "__HOST-SESSION_ID=x",
        "\u{a0}__Host-session_id=x",
        "\u{2000}__Host-session_id=x",
        "__Host-session_id",
        "__Host-session_id\u{0}=x",
        "x__Host-session_id=x",
        "\"a=; __Host-session_idx=\"",
    ] {
        let session = read(&table, header).ok().and_then(|it| it.get(CookieName::Session));
        assert_eq!(session, None, "{header:?}");
    }
}

#[test]
fn odd_bytes_are_refused_in_ours_and_borne_in_others() {
    let table = production();
    for value in ["\"x\"", "x y", "x,y", "x\\y", "x\u{e9}"] {
        let header = format!("__Host-session_id={value}");
        assert_eq!(read(&table, &header).unwrap_err(), CookieProblem::Malformed, "{value}");
        let header = format!("other={value}; __Host-session_id=1");
        let received = read(&table, &header).unwrap();
        assert_eq!(received.get(CookieName::Session), Some("1"), "{value}");
    }
    for header in ["a=\0; __Host-session_id=1", "a=b\r\n", "a=\u{7f}", "\u{1b}"] {
        assert_eq!(read(&table, header).unwrap_err(), CookieProblem::Malformed, "{header:?}");
    }
    // RFC 2965 meant something by these; nobody does any more.
    let received = read(&table, "$Version=1; __Host-session_id=1; $Path=/").unwrap();
    assert_eq!(received.get(CookieName::Session), Some("1"));
}

#[test]
fn too_much_is_refused_before_it_is_taken_apart() {
    let table = production();
    let long = format!("a={}", "x".repeat(16_384));
    assert_eq!(read(&table, &long).unwrap_err(), CookieProblem::TooMuch);
    let many = "a=b;".repeat(201);
    assert_eq!(read(&table, &many).unwrap_err(), CookieProblem::TooMuch);
    let half: &[u8] = &long.as_bytes()[..9_000];
    assert_eq!(table.read([half, half]).unwrap_err(), CookieProblem::TooMuch);
    assert!(read(&table, &"a=b;".repeat(200)).is_ok());
    assert!(read(&table, &";".repeat(5_000)).is_ok());
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_read_once(header in prop::collection::vec(any::<u8>(), 0..200)) {
        let table = development();
        if let Ok(received) = table.read([&header[..]]) {
            // What is passed on holds nothing of ours and reads the same again.
            let others = received.others().unwrap_or_default();
            let again = table.read([&others[..]]).unwrap();
            for name in CookieName::ALL {
                prop_assert_eq!(again.get(name), None);
            }
            prop_assert_eq!(again.others().unwrap_or_default(), others);
        }
    }

    #[test]
    fn what_is_set_is_read_back(value in "[!#-+\\--:<-\\[\\]-~]{1,100}", junk in "[a-z=;\" ]{0,40}") {
        let table = production();
        let cookie = table.cookie(CookieName::Session);
        let set = cookie.set(&value).unwrap();
        let pair = set.split(';').next().unwrap();
        let header = format!("{junk}; {pair}; {junk}");
        let received = read(&table, &header).unwrap();
        prop_assert_eq!(received.get(CookieName::Session), Some(value.as_str()));
    }
}
