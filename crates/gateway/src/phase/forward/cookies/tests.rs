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

fn cookies_of(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("cookie", HeaderValue::from_str(line).unwrap());
    }
    headers
}

/// What reaches the service of these cookies, where a service sees them.
fn sent(filter: &CookieFilter, lines: &[&str]) -> Option<String> {
    let headers = cookies_of(lines);
    let agreed = agreed(&headers, Some(filter), NOW);
    let private = ["session_id".to_owned()];
    match Passing::new(&private, Some(filter), agreed).of_request(&headers) {
        None => headers.get("cookie").map(|line| line.to_str().unwrap().to_owned()),
        Some(rest) => rest.map(|rest| rest.to_str().unwrap().to_owned()),
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
    ] {
        assert_eq!(sent(&filter, &[line]), None, "{line}");
    }
    assert_eq!(sent(&filter, &["a=1; _ga=2; b=3; odd"]).unwrap(), "a=1; b=3; odd");
    assert_eq!(sent(&filter, &["a=1", "_ga=2", "b=3"]).unwrap(), "a=1; b=3");
    assert_eq!(
        sent(&filter, &["language=ja; cart_id=7; x=\"_ga=1\""]).unwrap(),
        "language=ja; cart_id=7; x=\"_ga=1\""
    );
    // Our own goes no further in any spelling, either.
    assert_eq!(sent(&filter, &["session_id =x; a=1; =session_id=y"]).unwrap(), "a=1");
}

#[test]
fn consent_lets_its_categories_pass_and_no_others() {
    let filter = filter();
    let consent = consent(analytics());
    let line = format!("_ga=1; _fbp=2; {consent}; a=3");
    assert_eq!(sent(&filter, &[&line]).unwrap(), format!("_ga=1; {consent}; a=3"));
    // It may stand in a line of its own, as HTTP/2 has it.
    assert_eq!(sent(&filter, &["_ga=1", &consent]).unwrap(), format!("_ga=1; {consent}"));
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
        "cookie_consent".to_owned(),
    ] {
        let rest = sent(&filter, &["_ga=1; a=2", &bad]).unwrap();
        assert!(rest.starts_with("a=2"), "{bad}: {rest}");
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
    let around = prop_oneof![Just(""), Just(" "), Just("\t"), Just("\""), Just("%20")];
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

proptest! {
    #[test]
    fn no_spelling_of_a_refused_cookie_survives_and_no_other_is_changed(
        cookies in proptest::collection::vec(
            (
                prop_oneof![
                    refused_names().prop_map(|name| (true, name)),
                    other_names().prop_map(|name| (false, name)),
                ],
                "[!#-+\\--:<-~\"= ]{0,12}",
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
    fn whatever_is_sent_what_is_left_holds_nothing_refused(line in "[ -~\t]{0,80}") {
        let filter = filter();
        if let Some(rest) = sent(&filter, &[&line]) {
            for pair in rest.split(';') {
                let name = pair.trim_start_matches(['=', ' ', '\t']).split('=').next().unwrap();
                prop_assert!(filter.may_be_sent(name.as_bytes(), Agreed::NOTHING), "{}", rest);
            }
            prop_assert_eq!(sent(&filter, &[&rest]).unwrap_or_default(), rest);
        }
    }
}
