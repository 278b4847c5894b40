//! The consent to cookies, from a browser's choice to what a service sees.

use serde_json::{Value, json};

use super::{
    browser::Browser,
    demo::demo,
    http::{Answer, Ask, Place},
};

/// The cookies that a service sees of these.
fn seen(cookies: &[&str]) -> Vec<String> {
    let ask = demo().gateway.get("/public/echo");
    let ask = cookies.iter().fold(ask, |ask, line| ask.field("Cookie", line));
    let echo = ask.send().expect(200).json();
    let fields = echo["headers"].as_array().unwrap().iter();
    let lines = fields.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case("cookie"));
    let pairs = lines.flat_map(|pair| pair[1].as_str().unwrap().split("; "));
    pairs.map(str::to_owned).collect()
}

fn choose(place: Place, categories: &[&str]) -> Ask {
    let settings: serde_json::Map<_, _> =
        categories.iter().map(|name| ((*name).to_owned(), Value::Bool(true))).collect();
    place.ask("PUT", "/api/consent").json(&json!({"version": 1, "settings": settings}))
}

/// `name=value` of the choice that an answer sets.
fn chosen(answer: &Answer) -> String {
    let set = answer.all("set-cookie");
    let line = set.iter().find(|line| line.starts_with("cookie_consent=")).unwrap();
    line.split(';').next().unwrap().to_owned()
}

#[test]
fn a_choice_made_anywhere_decides_what_services_see() {
    let demo = demo();
    let crumbs = ["_ga=1; theme=dark", "_fbp=2; language=ja", "UTM_source=3"];
    assert_eq!(seen(&crumbs), ["theme=dark", "language=ja"]);
    for place in [demo.public, demo.gateway] {
        let answer =
            choose(place, &["analytics"]).field("Origin", &place.origin()).send().expect(200);
        assert_eq!(answer.json()["recorded"], true);
        let choice = chosen(&answer);
        let all = [crumbs[0], crumbs[1], crumbs[2], choice.as_str()];
        // The choice itself is for nobody but us.
        assert_eq!(seen(&all), ["_ga=1", "theme=dark", "language=ja", "UTM_source=3"]);
        // Forged, it is no choice.
        let forged = choice.replace(".a.", ".am.");
        assert!(!seen(&["_ga=1; _fbp=2", &forged]).iter().any(|pair| pair.starts_with('_')));
        let told = place.get("/api/consent").field("Cookie", &choice).send().expect(200).json();
        assert_eq!(
            (&told["decided"], &told["settings"]["marketing"]),
            (&true.into(), &false.into())
        );
        let gone = place.ask("DELETE", "/api/consent").field("Cookie", &choice).send().expect(200);
        // An empty one is left, beside which no other counts.
        assert_eq!(chosen(&gone), "cookie_consent=");
        let two = format!("cookie_consent=; {choice}");
        assert!(!seen(&["_ga=1", &two]).iter().any(|pair| pair.starts_with('_')));
    }
}

#[test]
fn pages_of_other_origins_choose_for_nobody() {
    for place in [demo().public, demo().gateway] {
        for origin in ["https://evil.example", "null"] {
            let answer = choose(place, &["marketing"]).field("Origin", origin).send().expect(403);
            assert!(answer.all("set-cookie").is_empty());
        }
        let sibling = choose(place, &["marketing"]).field("Sec-Fetch-Site", "same-site");
        sibling.send().expect(403);
    }
}

#[test]
fn whoever_is_signed_in_chooses_by_the_token_of_their_session() {
    for place in [demo().public, demo().gateway] {
        let (mut browser, _) = Browser::signed_in(place, &demo().person("customer"));
        let asks =
            || [choose(place, &["analytics"]), place.ask("DELETE", "/api/consent")].into_iter();
        for ask in asks() {
            let refused = browser.send(ask).expect(403);
            assert_eq!(refused.problem()["error"], "csrf");
            assert!(!refused.all("set-cookie").iter().any(|it| it.starts_with("cookie_consent=")));
        }
        for ask in asks() {
            assert_eq!(browser.change(ask).expect(200).json()["recorded"], true);
        }
    }
}

#[test]
fn the_banner_is_where_pages_expect_it() {
    for place in [demo().public, demo().gateway] {
        for name in ["banner.js", "banner.css"] {
            place.get(&format!("/api/consent/{name}")).send().expect(200);
        }
    }
}

#[test]
fn the_matrix_is_that_of_the_running_configuration() {
    let rows = demo().command(&["cookies", "matrix"]);
    let names: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["cookie"].as_str().unwrap()).collect();
    assert!(names.contains(&"session_id") && names.contains(&"utm_*"), "{names:?}");
}
