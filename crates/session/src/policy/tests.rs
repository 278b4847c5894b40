use super::*;
use crate::cookie::{LONGEST_LIFE, SameSite};

const DAY: Duration = Duration::from_secs(86_400);

fn policy(rules: &PolicyRules) -> Result<CookiePolicy, PolicyRefused> {
    let table = CookieTable::new(rules.environment, rules.domain.as_deref()).unwrap();
    CookiePolicy::new(&table, rules)
}

fn production() -> PolicyRules {
    PolicyRules::of(Environment::Production)
}

fn declared(name: &str, category: Category) -> Declared {
    Declared {
        name: name.to_owned(),
        category,
        purpose: ("Does something.".to_owned(), None),
        set_by: Setter::Service,
        life: None,
        http_only: true,
        same_site: SameSite::Lax,
        secure: None,
        path: "/".to_owned(),
        domain: None,
        environments: vec![Environment::Development, Environment::Staging, Environment::Production],
    }
}

fn refused(edit: impl FnOnce(&mut Declared)) -> String {
    refused_in(Environment::Production, edit)
}

fn refused_in(environment: Environment, edit: impl FnOnce(&mut Declared)) -> String {
    let mut one = declared("one", Category::Functional);
    edit(&mut one);
    policy(&PolicyRules { declared: vec![one], ..PolicyRules::of(environment) })
        .unwrap_err()
        .to_string()
}

#[test]
fn the_built_in_table_is_that_of_the_specification() {
    let policy = policy(&production()).unwrap();
    let names = |category| -> Vec<_> { policy.of(category).map(|row| row.name.as_str()).collect() };
    assert_eq!(
        names(Category::Essential),
        [
            "__Host-session_id",
            "__Secure-refresh_token",
            "cookie_consent",
            "__Host-csrf_token",
            "cart_id"
        ]
    );
    assert_eq!(names(Category::Functional), ["user_prefs", "language", "currency"]);
    assert_eq!(names(Category::Analytics), ["_ga", "_gid", "utm_*"]);
    assert_eq!(names(Category::Marketing), ["_fbp", "ads_*"]);
    let row = |name: &str| policy.row(name.as_bytes()).unwrap();
    assert_eq!(row("cart_id").life, Some(7 * DAY));
    assert!(row("cart_id").attributes.http_only && !row("user_prefs").attributes.http_only);
    let ga = row("_ga");
    assert_eq!((ga.life, ga.attributes.max_age), (Some(730 * DAY), Some(LONGEST_LIFE)));
    assert!(ga.attributes.same_site == SameSite::None && ga.attributes.secure);
    assert!(policy.asks() && !policy.declares());
}

#[test]
fn every_row_can_be_set_in_every_environment() {
    for (environment, domain) in [
        (Environment::Development, None),
        (Environment::Staging, Some("example.com")),
        (Environment::Production, None),
    ] {
        let domain = domain.map(str::to_owned);
        let policy = policy(&PolicyRules { domain, ..PolicyRules::of(environment) }).unwrap();
        for row in policy.rows() {
            assert!(Cookie::new(row.name.as_str(), row.attributes.clone()).is_ok(), "{row:?}");
            let is_secure = environment != Environment::Development;
            assert_eq!(row.attributes.secure, is_secure, "{row:?}");
        }
        let shared = policy.row(b"cart_id").unwrap().attributes.domain.is_some();
        assert_eq!(shared, environment == Environment::Staging);
    }
}

#[test]
fn a_category_passes_where_it_needs_no_consent_or_has_it() {
    let all = Category::CHOSEN.into_iter().fold(Agreed::NOTHING, Agreed::with);
    let plain = policy(&production()).unwrap();
    let strict = PolicyRules { require_functional: true, ..production() };
    let strict = policy(&strict).unwrap();
    for (name, without, with_functional_required) in [
        ("__Host-session_id", true, true),
        ("cart_id", true, true),
        ("language", true, false),
        ("_ga", false, false),
        ("utm_source", false, false),
        ("ads_id", false, false),
        ("theme", true, true),
    ] {
        let name = name.as_bytes();
        assert_eq!(plain.passes(name, Agreed::NOTHING), without);
        assert_eq!(strict.passes(name, Agreed::NOTHING), with_functional_required);
        assert!(plain.passes(name, all) && strict.passes(name, all));
    }
    let analytics = Agreed::NOTHING.with(Category::Analytics);
    assert!(plain.passes(b"_ga", analytics) && !plain.passes(b"_fbp", analytics));
    // What nobody was asked, nobody has agreed to.
    assert_eq!(plain.counted(all).to_string(), "am");
    assert_eq!(strict.counted(all), all);
}

#[test]
fn what_the_table_does_not_know_passes_or_not() {
    let strip = PolicyRules { unknown: Unknown::Strip, ..production() };
    let (pass, strip) = (policy(&production()).unwrap(), policy(&strip).unwrap());
    for name in ["theme", "", "GA", "__Host-theme"] {
        assert!(pass.passes(name.as_bytes(), Agreed::NOTHING), "{name}");
        assert!(!strip.passes(name.as_bytes(), Agreed::NOTHING), "{name}");
    }
    assert!(strip.passes(b"cart_id", Agreed::NOTHING));
}

#[test]
fn a_name_counts_before_a_beginning_and_a_longer_beginning_before_a_shorter_one() {
    let rules = PolicyRules {
        declared: vec![
            declared("ads_consent", Category::Essential),
            declared("ads_shop_*", Category::Functional),
        ],
        ..production()
    };
    let policy = policy(&rules).unwrap();
    let category = |name: &str| policy.row(name.as_bytes()).unwrap().category;
    assert_eq!(category("ads_consent"), Category::Essential);
    assert_eq!(category("ads_shop_theme"), Category::Functional);
    assert_eq!(category("ads_shop"), Category::Marketing);
    assert_eq!(category("ADS_other"), Category::Marketing);
}

#[test]
fn what_is_declared_is_asked_for() {
    let rule = |category| PolicyRules { declared: vec![declared("x", category)], ..production() };
    assert!(policy(&rule(Category::Analytics)).unwrap().declares());
    assert!(!policy(&rule(Category::Functional)).unwrap().declares());
    let functional = PolicyRules { require_functional: true, ..rule(Category::Functional) };
    assert!(policy(&functional).unwrap().declares());
    // It is of another environment.
    let mut elsewhere = rule(Category::Analytics);
    elsewhere.declared[0].environments = vec![Environment::Staging];
    let elsewhere = policy(&elsewhere).unwrap();
    assert!(!elsewhere.declares() && elsewhere.row(b"x").is_none());
}

#[test]
fn built_in_cookies_can_be_left_out_and_declared_anew() {
    let all = ["_ga", "_gid", "utm_*", "_fbp", "ads_*"].map(str::to_owned).to_vec();
    let none = policy(&PolicyRules { without: all, ..production() }).unwrap();
    assert!(!none.asks() && none.row(b"_ga").is_none());
    let anew = PolicyRules {
        without: vec!["language".to_owned()],
        declared: vec![declared("language", Category::Essential)],
        ..production()
    };
    assert_eq!(policy(&anew).unwrap().row(b"language").unwrap().category, Category::Essential);
    let wrong = PolicyRules { without: vec!["session_id".to_owned()], ..production() };
    let wrong = policy(&wrong).unwrap_err().to_string();
    assert!(wrong.contains("`session_id`") && wrong.contains("`cart_id`"), "{wrong}");
}

#[test]
fn contradictions_are_refused_with_how_to_mend_them() {
    let none = |it: &mut Declared| {
        (it.same_site, it.secure) = (SameSite::None, Some(false));
    };
    for environment in [Environment::Development, Environment::Production] {
        assert!(refused_in(environment, none).contains("say `secure = true`"));
    }
    let host = |it: &mut Declared| {
        it.name = "__Host-x".to_owned();
        it.domain = Some("example.com".to_owned());
    };
    assert!(refused(host).contains("can have no domain"));
    assert!(refused_in(Environment::Development, host).contains("can have no domain"));
    let deep = refused(|it| {
        it.name = "__Host-x".to_owned();
        it.path = "/api".to_owned();
    });
    assert!(deep.contains("`Path=/`"), "{deep}");
    let open = refused(|it| {
        it.name = "__Secure-x".to_owned();
        it.secure = Some(false);
    });
    assert!(open.contains("`__Secure-x`"), "{open}");
    assert!(refused(|it| it.life = Some(401 * DAY)).contains("`400d`"));
    assert!(refused(|it| it.path = "api".to_owned()).contains("path"));
    assert!(refused(|it| it.domain = Some("com".to_owned())).contains("`com`"));
    assert!(refused(|it| it.name = "a*b".to_owned()).contains("`utm_*`"));
    assert!(refused(|it| it.purpose.0 = " ".to_owned()).contains("purpose"));
    assert!(refused(|it| it.environments.clear()).contains("environment"));
    let notice = |notice: &str| PolicyRules { notice: Some(notice.to_owned()), ..production() };
    for good in ["/privacy", "https://shop.example/privacy?x#y"] {
        assert!(policy(&notice(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "privacy",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "http://a.example",
        "https://",
        "https:///x",
        "/a b",
        "/\"x",
    ] {
        assert!(policy(&notice(bad)).is_err(), "{bad}");
    }
    assert!(policy(&PolicyRules { version: 0, ..production() }).is_err());
}

#[test]
fn one_name_stands_in_the_table_once_however_it_is_spelled() {
    for name in ["_ga", "_GA", "__Secure-_ga", ".ga", "language", "cart_id", "UTM_*", "%5Fga"] {
        let error = refused(|it| it.name = name.to_owned());
        assert!(error.contains("at once") && error.contains("without"), "{name}: {error}");
    }
    for name in ["session_id", "__Host-session_id", "Cookie_Consent", "refresh_token", "csrf.token"]
    {
        let error = refused(|it| it.name = name.to_owned());
        assert!(error.contains("Tegata's own"), "{name}: {error}");
    }
    let twice = vec![declared("x", Category::Functional), declared("X", Category::Functional)];
    assert!(policy(&PolicyRules { declared: twice, ..production() }).is_err());
}

#[test]
fn in_development_what_is_not_said_follows_from_plain_http() {
    let mut one = declared("x", Category::Functional);
    one.same_site = SameSite::None;
    one.domain = Some("example.com".to_owned());
    let host = declared("__Host-y", Category::Functional);
    let rules =
        PolicyRules { declared: vec![one, host], ..PolicyRules::of(Environment::Development) };
    let policy = policy(&rules).unwrap();
    let attributes = |name: &str| policy.row(name.as_bytes()).unwrap().attributes.clone();
    let x = attributes("x");
    assert_eq!((x.secure, x.same_site, x.domain), (false, SameSite::Lax, None));
    assert!(attributes("__Host-y").secure);
}

#[test]
fn what_is_not_agreed_to_is_taken_away_by_name() {
    let domain = Some("example.com".to_owned());
    let policy = policy(&PolicyRules { domain, ..production() }).unwrap();
    let sent = ["utm_source", "UTM_x", "theme", "_ga", "bad;name", "cart_id"];
    let lines = policy.taken_away(Agreed::NOTHING.with(Category::Marketing), sent.into_iter());
    let names: Vec<_> = lines.iter().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(
        names,
        ["_ga", "_ga", "_gid", "_gid", "utm_source", "utm_source", "UTM_x", "UTM_x"],
        "with the domain and without: nobody knows which the browser has"
    );
    assert!(lines.iter().all(|line| line.contains("Max-Age=0")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("Domain=example.com")).count(), 4);
    let many: Vec<_> = (0..500).map(|at| format!("ads_{at}")).collect();
    let lines = policy.taken_away(Agreed::NOTHING, many.iter().map(String::as_str));
    assert_eq!(lines.len(), 50);
    // What the table names is not crowded out.
    for name in ["_ga=", "_gid=", "_fbp="] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(name)).count(), 2, "{name}");
    }
    let all = Category::CHOSEN.into_iter().fold(Agreed::NOTHING, Agreed::with);
    assert!(policy.taken_away(all, sent.into_iter()).is_empty());
}
