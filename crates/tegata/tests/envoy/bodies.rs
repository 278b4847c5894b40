//! What is decided by bodies, or by several services, behind Envoy.

use serde_json::json;
use tegata_engines::EnvoyServer;

use super::{
    demo::Demo,
    http::{Answer, Place},
    world::{configuration, of_a_machine, reason},
};

const ASKED: &str = r#"{"query": "{ products { id name } }"}"#;

fn ask(place: Place, path: &str, body: &str, token: &str) -> Answer {
    place.post(path).bearer(token).body("application/json", body.as_bytes()).send()
}

#[test]
fn graphql_and_aggregations_are_judged_by_the_gateway_in_every_spelling() {
    let demo = Demo::start(&["--ext-authz"]);
    let base = demo.public.port;
    let token = of_a_machine(&demo);
    // As it is, and where Envoy shows bodies: whole, cut, as text and as bytes.
    let shown = [
        "",
        "with_request_body: {max_request_bytes: 65536, pack_as_bytes: true}",
        "with_request_body: {max_request_bytes: 8, allow_partial_message: true}",
    ];
    for shown in shown {
        let envoy = EnvoyServer::start(|port| {
            let mark = "failure_mode_allow: false";
            let text = configuration("shop.yaml", base, port);
            assert_eq!(text.matches(mark).count(), 1);
            text.replace(mark, &format!("{mark}\n                      {shown}"))
        });
        let place = Place { port: envoy.port() };
        let direct = Place { port: base + 1 };
        // Through Envoy it is the gateway that answers, and answers the same.
        for (path, body) in [
            ("/graphql/shop", ASKED),
            ("/graphql/shop", r#"{"query": "{ __schema { types { name } } }"}"#),
            ("/graphql/shop", "no json"),
        ] {
            let (through, straight) =
                (ask(place, path, body, &token), ask(direct, path, body, &token));
            assert_eq!(through.status, straight.status, "{shown}: {body}");
            assert_eq!(reason(&through), reason(&straight), "{shown}: {body}");
        }
        assert_eq!(ask(place, "/graphql/shop", ASKED, &token).status, 200, "{shown}");
        let home = |place: Place| place.get("/bff/home").bearer(&token).send().status;
        assert_eq!(home(place), home(direct), "{shown}");
        // In another spelling Envoy asks about the head, and nothing passes.
        for path in ["/%67raphql/shop", "/graphql%2Fshop", "//graphql/shop", "/x/../graphql/shop"] {
            let answer = ask(place, path, ASKED, &token);
            assert!([400, 403, 404].contains(&answer.status), "{shown}: {path}: {}", answer.status);
        }
        let answer = ask(place, "/%67raphql/shop", ASKED, &token);
        assert_eq!(reason(&answer).as_deref(), Some("graphql_unseen"), "{shown}");
        assert_eq!(place.get("/%62ff/home").bearer(&token).send().status, 404, "{shown}");
        // A body is nothing to other decisions.
        let echo: serde_json::Value =
            ask(place, "/public/echo/x", ASKED, &token).expect(200).json();
        assert_eq!(echo["body"], json!(ASKED), "{shown}");
    }
}
