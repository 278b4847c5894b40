use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::declared::{DeclaredRoute, DeclaredService};

fn map() -> ServiceMap {
    let service = |name: &str| DeclaredService {
        name: name.into(),
        upstreams: vec!["http://127.0.0.1:1".into()],
        ..DeclaredService::default()
    };
    let routes = vec![
        DeclaredRoute::new("/users", "users"),
        DeclaredRoute { methods: vec!["POST".into()], ..DeclaredRoute::new("/post", "users") },
        DeclaredRoute {
            credentials: vec![Credential::Key],
            ..DeclaredRoute::new("/machines", "users")
        },
        DeclaredRoute { auth: AuthMode::None, ..DeclaredRoute::new("/open", "users") },
    ];
    ServiceMap::check(&[service("users")], &routes).unwrap()
}

fn part(name: &str, path: &str) -> DeclaredPart {
    let select = vec!["id".to_owned()];
    DeclaredPart { name: name.into(), path: path.into(), select, ..DeclaredPart::default() }
}

fn bff(parts: &[DeclaredPart]) -> DeclaredBff {
    DeclaredBff { name: "home".into(), part: parts.to_vec(), ..DeclaredBff::default() }
}

fn wrong(declared: &DeclaredBff) -> String {
    check(std::slice::from_ref(declared), &map()).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_is_safe_and_is_not_written() {
    let text =
        json!({"name": "home", "part": [{"name": "user", "path": "/users/me", "select": ["id"]}]});
    let declared: DeclaredBff = serde_json::from_value(text).unwrap();
    assert_eq!(declared.auth, AuthMode::Required);
    let written = serde_json::to_string(&declared).unwrap();
    for word in ["deadline", "required", "default"] {
        assert!(!written.contains(&format!("\"{word}\":")), "{written}");
    }
    let map = map().with_bffs(&[declared]).unwrap();
    let bff = map.bff("home").unwrap();
    assert_eq!((bff.path().as_str(), bff.deadline), ("/bff/home", USUAL));
    assert!(!bff.parts[0].required && bff.parts[0].default.is_null());
    for bad in [
        json!({"name": "home"}),
        json!({"name": "home", "part": [], "parts": []}),
        json!({"name": "home", "part": [{"name": "user", "path": "/users/me"}]}),
        json!({"name": "home", "part": [{"name": "a", "path": "/users", "select": ["id"], "service": "x"}]}),
    ] {
        assert!(serde_json::from_value::<DeclaredBff>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn refuses_what_could_never_be_answered_or_would_lead_elsewhere() {
    let of = |path: &str| bff(&[part("a", path)]);
    let select = |names: &[&str]| {
        let select = names.iter().map(|name| (*name).to_owned()).collect();
        bff(&[DeclaredPart { select, ..part("a", "/users") }])
    };
    let cases = [
        (of("/nowhere"), "no route"),
        (of("/post"), "no `GET`"),
        (of("/machines"), "neither access tokens nor sessions"),
        (DeclaredBff { auth: AuthMode::None, ..of("/users") }, "nobody is asked"),
        (of("/bff/home"), "answers itself"),
        (of("/graphql/shop"), "answers itself"),
        (of("/oauth2/token"), "answers itself"),
        (of("/api/auth/session"), "answers itself"),
        (of("/.well-known/jwks.json"), "answers itself"),
        (of("users"), "begins with `/`"),
        (of("/{sub}/x"), "is said, not filled in"),
        (of("/users/{roles}"), "is filled in with"),
        (of("/users/{query.}"), "is filled in with"),
        (of("/users/{query.__proto__}"), "is filled in with"),
        (of("/users/a{sub}"), "normal form"),
        (of("/users?id={sub}"), "normal form"),
        (of("/users/../admin"), "let pass"),
        (of("/users/%2e%2e/x"), "let pass"),
        (of("/users/%61"), "normal form"),
        (of("/users//x"), "let pass"),
        (of("/users/a b"), "let pass"),
        (select(&[]), "1 to 64"),
        (select(&["a b"]), "names of 1 to 64"),
        (select(&["__proto__"]), "names of 1 to 64"),
        (select(&["a..b"]), "names of 1 to 64"),
        (select(&["a.constructor"]), "names of 1 to 64"),
        (select(&["a.b.c.d.e.f.g.h.i"]), "names of 1 to 64"),
        (select(&["a", "a"]), "twice"),
        (select(&["a.b", "a"]), "twice"),
        (select(&["a", "a.b"]), "twice"),
        (DeclaredBff { name: "A".into(), ..of("/users") }, "a service name"),
        (DeclaredBff { roles: vec!["A".into()], ..of("/users") }, "a role name"),
        (
            DeclaredBff { roles: vec!["a".into()], auth: AuthMode::Optional, ..of("/users") },
            "`roles`",
        ),
        (DeclaredBff { deadline: "2m".parse().ok(), ..of("/users") }, "a minute"),
        (bff(&[]), "1 to 16"),
        (bff(&std::iter::repeat_n(part("a", "/users"), 17).collect::<Vec<_>>()), "1 to 16"),
        (bff(&[part("a", "/users"), part("a", "/users")]), "of one name"),
        (bff(&[part("a b", "/users")]), "names of 1 to 64"),
        (
            bff(&[DeclaredPart { deadline: "3s".parse().ok(), ..part("a", "/users") }]),
            "longer than",
        ),
        (
            bff(&[DeclaredPart { required: true, default: Some(json!(1)), ..part("a", "/users") }]),
            "never told",
        ),
    ];
    for (declared, said) in cases {
        let told = wrong(&declared);
        assert!(told.contains(said) && told.contains("[[bff]]"), "{declared:?}: {told}");
    }
    let told = check(&[of("/users"), of("/users")], &map()).unwrap_err().to_string();
    assert!(told.contains("twice"), "{told}");
    for path in
        ["/users", "/users/", "/users/me", "/users/{sub}/x", "/users/{query.id}?all=true&x=1"]
    {
        assert_eq!(check(&[of(path)], &map()), Ok(()), "{path}");
        assert_eq!(Template::parse(path).unwrap().to_string(), path);
    }
    let open = DeclaredBff { auth: AuthMode::None, ..of("/open/x") };
    assert_eq!(check(&[open], &map()), Ok(()));
}

#[test]
fn a_service_that_is_gone_takes_no_other_aggregation_with_it() {
    let declared = [bff(&[part("a", "/nowhere"), part("b", "/users")])];
    assert!(check(&declared, &map()).is_err());
    assert_eq!(map().with_bffs(&declared).unwrap().bffs().len(), 1);
    // A form that is none is no matter of services.
    assert!(map().with_bffs(&[bff(&[])]).is_err());
}

#[test]
fn what_is_chosen_is_found_by_its_steps() {
    let names = ["id", "address.city", "address.country"].map(str::to_owned);
    let chosen = Chosen::of(&names).unwrap();
    assert!(!chosen.is_all() && chosen.of_member("id").unwrap().is_all());
    let address = chosen.of_member("address").unwrap();
    assert!(address.of_member("city").unwrap().is_all());
    assert_eq!((address.of_member("street"), chosen.of_member("name")), (None, None));
    assert!(chosen.of_member("id").unwrap().of_member("anything").unwrap().is_all());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_value_never_leaves_its_segment(value in ".{0,40}") {
        let template = Template::parse("/users/{query.id}/orders?all=true").unwrap();
        assert_eq!(template.lead(), "/users");
        let filled = template.fill(|_| Some(Cow::Borrowed(value.as_str())));
        prop_assert_eq!(filled.is_none(), value.is_empty());
        let Some(filled) = filled else { return Ok(()) };
        // Either it is refused, or it is one segment, on the same route, with the same query.
        if let Ok(target) = Target::parse(filled.as_bytes()) {
            let segments: Vec<_> = target.path().segments().collect();
            prop_assert_eq!(segments.len(), 3);
            prop_assert_eq!((segments[0], segments[2]), ("users", "orders"));
            prop_assert_eq!(target.query(), Some("all=true"));
        }
    }
}

#[test]
fn what_climbs_or_cuts_is_refused() {
    let template = Template::parse("/users/{query.id}").unwrap();
    let fill = |value: &'static str| template.fill(|_| Some(Cow::Borrowed(value))).unwrap();
    for bad in
        ["..", ".", "../admin", "a/b", "a\\b", "a;b", "%2f", "%2e%2e", "a\0", "a\nb", "...", ". ."]
    {
        assert!(Target::parse(fill(bad).as_bytes()).is_err(), "{bad:?}");
    }
    assert_eq!(fill("a?x=1#y&z"), "/users/a%3Fx%3D1%23y%26z");
    assert_eq!(fill("é"), "/users/%C3%A9");
}
