use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use tegata_core::{Realm, Secret};
use tegata_session::{
    Category, ConsentSeal, CookieConsent, CookieName, CookiePolicy, CookieTable, Environment, Keys,
    PolicyRules, Unknown,
};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_236_115);

fn seal() -> ConsentSeal {
    ConsentSeal::new(Keys::of_root(Secret::new([1; 32])))
}

fn filter_of(rules: &PolicyRules) -> CookieFilter {
    let table = CookieTable::new(rules.environment, None).unwrap();
    let policy = Arc::new(CookiePolicy::new(&table, rules).unwrap());
    CookieFilter::new(policy, seal(), Realm::default(), table.cookie(CookieName::Consent))
}

fn filter() -> CookieFilter {
    filter_of(&PolicyRules::of(Environment::Production))
}

fn consent(agreed: Agreed) -> String {
    let consent = CookieConsent { version: 1, at: NOW, agreed };
    format!("cookie_consent={}", seal().seal(&Realm::default(), &consent).unwrap())
}

/// These lines, each character a byte.
fn cookies_of(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let bytes: Vec<u8> = line.chars().map(|char| u8::try_from(char).unwrap()).collect();
        headers.append("cookie", HeaderValue::from_bytes(&bytes).unwrap());
    }
    headers
}

fn read(line: &HeaderValue) -> String {
    line.as_bytes().iter().copied().map(char::from).collect()
}

/// What reaches the service of these cookies, where a service sees them.
fn sent(filter: &CookieFilter, lines: &[&str]) -> Option<String> {
    let headers = cookies_of(lines);
    let agreed = agreed(&headers, Some(filter), NOW);
    let private = ["session_id".to_owned()];
    match Passing::new(&private, Some(filter), agreed).of_request(&headers) {
        None => headers.get("cookie").map(read),
        Some(rest) => rest.as_ref().map(read),
    }
}

fn analytics() -> Agreed {
    Agreed::NOTHING.with(Category::Analytics)
}

#[test]
fn without_consent_a_cookie_that_needs_it_goes_no_further() {
    let filter = filter();
    for line in [
        "_ga=1",
        "_GA=1",
        " _ga =1",
        "\"_ga\"=1",
        "_ga=\"a\"",
        "_ga",
        "=_ga=1",
        "= _ga",
        "%5fga=1",
        "__Host-_ga=1",
        "__secure-_gid=1",
        "utm_source=x; UTM_Medium=y",
        "_fbp=1;ads_x=2;;",
        ".ga=1",
        "_ga[a]=1",
        "_ga=1; _ga=2",
        "_ga=\u{e9}",
        "\u{a0}_ga\u{85}=1",
        "=\u{a0}=_ga=1",
        "_g\u{ff}a=1",
        "\u{c2}\u{a0}_ga=1; \u{e2}\u{80}\u{8b}utm_x=1",
    ] {
        assert_eq!(sent(&filter, &[line]), None, "{line}");
    }
    assert_eq!(sent(&filter, &["a=1; _ga=2; b=3; odd"]).unwrap(), "a=1; b=3; odd");
    assert_eq!(sent(&filter, &["a=1", "_ga=2", "b=3"]).unwrap(), "a=1; b=3");
    assert_eq!(
        sent(&filter, &["language=ja; cart_id=7; x=\"_ga=1\""]).unwrap(),
        "language=ja; cart_id=7; x=\"_ga=1\""
    );
    // What is no text passes, and hides nothing.
    assert_eq!(sent(&filter, &["a=\u{e9}; _ga=1; \u{ff}; b=2"]).unwrap(), "a=\u{e9}; \u{ff}; b=2");
    // Our own goes no further in any spelling, either.
    assert_eq!(sent(&filter, &["session_id =x; a=1; =session_id=y"]).unwrap(), "a=1");
}

#[test]
fn consent_lets_its_categories_pass_and_no_others() {
    let filter = filter();
    let consent = consent(analytics());
    let line = format!("_ga=1; _fbp=2; {consent}; a=3");
    // The choice itself goes to no service.
    assert_eq!(sent(&filter, &[&line]).unwrap(), "_ga=1; a=3");
    // It may stand in a line of its own, as HTTP/2 has it, and beside what is no text.
    assert_eq!(sent(&filter, &["_ga=1", &consent]).unwrap(), "_ga=1");
    let beside = format!("x=\u{e9}; {consent}");
    assert_eq!(sent(&filter, &["_ga=1", &beside]).unwrap(), "_ga=1; x=\u{e9}");
    for spelled in
        ["Cookie_Consent", "\"cookie_consent\"", "__Host-cookie_consent", "cookie.consent"]
    {
        let line = consent.replace("cookie_consent", spelled);
        assert_eq!(sent(&filter, &[&line]), None, "{line}");
    }
}

#[test]
fn whatever_is_wrong_with_a_consent_it_is_none() {
    let filter = filter();
    let good = consent(analytics());
    for bad in [
        format!("{good}; {good}"),
        format!("{good}; cookie_consent="),
        format!("cookie_consent=; {good}"),
        good.replace(".a.", ".am."),
        good.replace("1.1.", "1.2."),
        good.replace("cookie_consent", "Cookie_Consent"),
        good.replace("cookie_consent=", "cookie_consent=\""),
        good[..good.len() - 1].to_owned(),
        format!("{good}{}", "A".repeat(5000)),
        "cookie_consent=1.1.1795236115.a.".to_owned(),
        format!("{good}\u{e9}"),
        "cookie_consent".to_owned(),
    ] {
        assert_eq!(sent(&filter, &["_ga=1; a=2", &bad]).unwrap(), "a=2", "{bad}");
    }
    let headers = cookies_of(&[&good]);
    assert_eq!(agreed(&headers, Some(&filter), NOW), analytics());
    let later = NOW + Duration::from_secs(366 * 86_400);
    assert_eq!(agreed(&headers, Some(&filter), later), Agreed::NOTHING);
    // To a version of the policy that is no longer the one.
    let newer = filter_of(&PolicyRules { version: 2, ..PolicyRules::of(Environment::Production) });
    assert_eq!(agreed(&headers, Some(&newer), NOW), Agreed::NOTHING);
}

#[test]
fn unknown_cookies_pass_or_not_as_it_was_set() {
    let rules = PolicyRules { unknown: Unknown::Strip, ..PolicyRules::of(Environment::Production) };
    let filter = filter_of(&rules);
    assert_eq!(sent(&filter, &["theme=1; cart_id=2; x"]).unwrap(), "cart_id=2");
}

/// What is left of these `Set-Cookie` lines.
fn set(agreed: Agreed, lines: &[&str]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("set-cookie", HeaderValue::from_str(line).unwrap());
    }
    Passing::new(&[], Some(&filter()), agreed).of_answer(&mut headers);
    headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_service_sets_no_cookie_that_nobody_agreed_to() {
    let lines = [
        "_ga=1; Path=/",
        "\t_GA =1",
        "cart_id=1",
        "__Secure-_ga=1; Secure",
        "utm_x=1",
        "_fbp",
        "theme=\"_ga=1\"",
        // That would be one person's choice for another.
        "cookie_consent=1.1.1795236115.am.xxx",
        "Cookie_Consent=x",
        "__Host-cookie_consent=x",
        "ads_1=1",
    ];
    assert_eq!(set(Agreed::NOTHING, &lines), ["cart_id=1", "theme=\"_ga=1\""]);
    let some = set(analytics(), &lines);
    assert_eq!(some.len(), 6, "{some:?}");
    assert!(some.iter().all(|it| !it.contains("_fbp") && !it.to_lowercase().contains("consent")));
}

#[test]
fn a_service_takes_away_what_nobody_agreed_to_and_sets_nothing_by_that() {
    for deletes in [
        "_ga=; Max-Age=0",
        "_ga =  ;max-age=0; Path=/",
        "_ga=; Max-Age=100; MAX-AGE = -1",
        "_fbp=; Expires=Thu, 01 Jan 2099 00:00:00 GMT; Max-Age=0; Domain=example.com",
    ] {
        assert_eq!(set(Agreed::NOTHING, &[deletes]), [deletes]);
    }
    let zeros = format!("_ga=; Max-Age={}", "0".repeat(2_000));
    for sets in [
        "_ga=1; Max-Age=0",
        "_ga=; Max-Age=0; Max-Age=100",
        "_ga=; Max-Age=0; Max-Age=x",
        "_ga=; Max-Age=0; Max-Age=+0",
        "_ga=; Max-Age=0; Max-Age=",
        "_ga=",
        "_ga=; Max-Age",
        "_ga=\"\"; Max-Age=0",
        "_ga; Max-Age=0",
        "_ga; x=; Max-Age=0",
        "=_ga; Max-Age=0",
        "_ga=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "cookie_consent=; Max-Age=0",
        "__Host-Cookie_Consent=; Max-Age=0",
        &zeros,
    ] {
        assert!(set(Agreed::NOTHING, &[sets]).is_empty(), "{sets}");
    }
    let mut ours = HeaderMap::new();
    ours.append("set-cookie", HeaderValue::from_static("session_id=; Max-Age=0"));
    Passing::new(&["session_id".to_owned()], Some(&filter()), Agreed::NOTHING).of_answer(&mut ours);
    assert!(ours.is_empty());
}

/// A refused name in a spelling that some server reads as it.
fn refused_names() -> impl Strategy<Value = String> {
    let base = prop_oneof![
        Just("_ga".to_owned()),
        Just("_gid".to_owned()),
        Just("_fbp".to_owned()),
        "utm_[a-z]{0,5}",
        "ads_[a-z0-9]{0,5}",
    ];
    let prefix = prop_oneof![Just(""), Just("__Host-"), Just("__SECURE-"), Just("__host-http-")];
    let around = prop_oneof![
        Just(""),
        Just(" "),
        Just("\t"),
        Just("\""),
        Just("%20"),
        Just("\u{a0}"),
        Just("\u{85}")
    ];
    (base, prefix, around, 0..5_usize).prop_map(|(base, prefix, around, how)| {
        let name = match how {
            0 => base.to_uppercase(),
            1 => base.replacen('_', "%5F", 1),
            2 => base.replacen('_', ".", 1),
            3 => format!("{base}[0]"),
            _ => base,
        };
        format!("{around}{prefix}{name}{around}")
    })
}

/// A name that the table does not know, or that needs no consent.
fn other_names() -> impl Strategy<Value = String> {
    prop_oneof![Just("cart_id".to_owned()), Just("language".to_owned()), "x[a-zA-Z0-9_.-]{0,8}"]
}

/// What lines are made of that come near to refused names.
fn pieces() -> impl Strategy<Value = String> {
    let near = [
        "_ga",
        "_gid",
        "_fbp",
        "utm_",
        "ads_",
        "session_id",
        "cookie_consent",
        "_",
        "ga",
        "GA",
        "%5F",
        "%5f",
        "%67",
        "%00",
        ".",
        "[",
        "]",
        "=",
        ";",
        " ",
        "\t",
        "\"",
        "'",
        "+",
        "%20",
        "__Host-",
        "__secure-",
        "\u{a0}",
        "\u{85}",
        "\u{ff}",
        "x",
    ];
    prop_oneof![
        4 => proptest::sample::select(near.to_vec()).prop_map(str::to_owned),
        1 => "[ -~\t\u{80}-\u{ff}]",
    ]
}

/// The names that servers find in a pair: each by its own rules.
fn read_by_servers(pair: &str) -> Vec<String> {
    let is_blank = |char: char| matches!(char, ' ' | '\t' | '\u{85}' | '\u{a0}');
    // Those that split at the first `=`, and those that pass over a missing name.
    let name = |pair: &str| pair.split('=').next().unwrap().trim_matches(is_blank).to_owned();
    let plain = [name(pair), name(pair.trim_start_matches(|char| char == '=' || is_blank(char)))];
    let mut names = Vec::new();
    for name in plain {
        // Python: quotes around it are no part of it.
        let unquoted = name.trim_matches(['"', '\'']).trim_matches(is_blank).to_owned();
        let decoded = decoded(&name).trim_matches(is_blank).to_owned();
        // PHP: an entry of an array is the array's, and blanks and dots are no part of a name.
        let php = decoded.split(['[', '\0']).next().unwrap().replace(['.', ' '], "_");
        let ascii = name.replace(|char: char| !char.is_ascii(), "");
        names.extend([name, unquoted, decoded, php, ascii]);
    }
    names
}

fn decoded(name: &str) -> String {
    let mut parts = name.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |decoded, part| {
        let digits: String = part.chars().take(2).filter(char::is_ascii_hexdigit).collect();
        match u8::from_str_radix(&digits, 16) {
            Ok(byte) if digits.len() == 2 => format!("{decoded}{}{}", char::from(byte), &part[2..]),
            _ => format!("{decoded}%{part}"),
        }
    })
}

/// Whether it is a name that nobody agreed to, or that of the choice, written out by hand.
fn is_refused(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let bare = ["__host-", "__secure-"].iter().find_map(|it| lower.strip_prefix(it));
    let bare = bare.unwrap_or(&lower);
    ["_ga", "_gid", "_fbp", "cookie_consent"].contains(&bare)
        || bare.starts_with("utm_")
        || bare.starts_with("ads_")
}

proptest! {
    #[test]
    fn no_spelling_of_a_refused_cookie_survives_and_no_other_is_changed(
        cookies in proptest::collection::vec(
            (
                prop_oneof![
                    refused_names().prop_map(|name| (true, name)),
                    other_names().prop_map(|name| (false, name)),
                ],
                "[!#-+\\--:<-~\"= \u{80}-\u{ff}]{0,12}",
                prop_oneof![Just(";"), Just("; "), Just(" ;\t"), Just(";;")],
            ),
            0..12,
        ),
        cut in 0..12_usize,
    ) {
        // Two lines, as clients of HTTP/2 send them.
        let line = |part: &[((bool, String), String, &str)]| -> String {
            part.iter().map(|((_, name), value, end)| format!("{name}={value}{end}")).collect()
        };
        let (one, two) = cookies.split_at(cut.min(cookies.len()));
        let lines = [line(one), line(two)];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rest = sent(&filter(), &lines).unwrap_or_default();
        let expected: Vec<String> = cookies
            .iter()
            .filter(|((refused, _), ..)| !refused)
            .map(|((_, name), value, _)| format!("{name}={value}").trim_matches([' ', '\t']).to_owned())
            .collect();
        let left: Vec<&str> =
            rest.split(';').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()).collect();
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn whatever_is_sent_what_is_left_holds_nothing_refused(
        line in proptest::collection::vec(pieces(), 0..16).prop_map(|pieces| pieces.concat()),
    ) {
        let filter = filter();
        if let Some(rest) = sent(&filter, &[&line]) {
            for pair in rest.split(';') {
                let name = pair.trim_start_matches(['=', ' ', '\t', '\u{85}', '\u{a0}']);
                prop_assert!(!name.starts_with("session_id="), "{:?}", rest);
            }
            for name in rest.split(';').flat_map(read_by_servers) {
                prop_assert!(!is_refused(&name), "{:?} of {:?}", name, rest);
            }
            prop_assert_eq!(sent(&filter, &[&rest]).unwrap_or_default(), rest);
        }
    }
}
