//! Revocations have a second home in DynamoDB.

use std::path::Path;

use tegata_engines::{
    DynamoKind, DynamoServer, Mode, Proxy, TegataNode,
    process::until,
    tegata::{Own, Shared, root_key},
};

use crate::{CONFIGURATION, PATIENCE, Place, said};

const TABLE: &str = "revocations";

/// A node on SQLite whose second home is at a port of this machine.
fn node(server: &DynamoServer, port: u16) -> TegataNode {
    let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let key = |name: &str| (name.to_owned(), "of-tests".to_owned());
    let own = Own {
        store: "sqlite://tegata.db".to_owned(),
        // Canaries are recorded, too, and would be counted.
        more: format!(
            "[revocation]\ndurable = \"{}\"\ncanary = \"0s\"\n",
            server.url_at(TABLE, port)
        ),
        environment: vec![key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY")],
        ..Own::default()
    };
    TegataNode::start("elsewhere", &shared, &own)
}

/// Takes a token back, and answers its key in the table.
fn revoked(node: &TegataNode, number: u32) -> String {
    let id = format!("1.99999.token-{number}");
    node.command(&["revoke", "--jti", &id, "--reason", "test"]);
    format!("default/t/{id}")
}

fn has(server: &DynamoServer, key: &str) -> bool {
    let ask = format!(r#"{{"TableName":"{TABLE}","Key":{{"key":{{"S":"{key}"}}}}}}"#);
    let (status, said) = server.ask("GetItem", &ask);
    assert_eq!(status, 200, "{said}");
    said.contains("\"mark\"")
}

#[test]
fn what_is_taken_back_while_dynamodb_is_away_is_there_afterwards() {
    let server = DynamoServer::start(DynamoKind::Dynalite);
    let way = Proxy::before(server.port());
    let node = node(&server, way.port());
    let first = revoked(&node, 1);
    assert!(until(PATIENCE, || has(&server, &first)), "{}", node.process().said());
    way.set(Mode::Refuse);
    let second = revoked(&node, 2);
    // The node goes on, and says that it is worse off.
    let told = || node.readiness().unwrap_or_default();
    assert!(until(PATIENCE, || told().contains("durable_unreachable")), "{}", told());
    assert!(node.is_ready(), "{}", told());
    let third = revoked(&node, 3);
    // Whoever dies meanwhile goes on where it was.
    node.kill();
    node.launch();
    let fourth = revoked(&node, 4);
    assert!(!has(&server, &second));
    way.set(Mode::Sound);
    for key in [&second, &third, &fourth] {
        assert!(until(PATIENCE, || has(&server, key)), "{key}: {}", node.process().said());
    }
    // Once each: what was tried in vain reached nobody. And once a minute, how far the log has come.
    let calls = server.calls("UpdateItem");
    assert!((4..=5).contains(&calls), "{calls}");
    assert!(until(PATIENCE, || told().contains("\"health\":\"healthy\"")), "{}", told());
}

#[test]
fn a_home_that_cannot_be_is_refused_with_what_mends_it() {
    let place = Place::new();
    let server = DynamoServer::start(DynamoKind::Dynalite);
    let refused = |durable: &str, keys: bool| {
        place.write(
            "tegata.toml",
            &format!("{CONFIGURATION}[revocation]\ndurable = \"{durable}\"\n"),
        );
        let mut command = place.command(&["serve"]);
        // Where this machine is one of Amazon's, it has a role.
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", place.path());
        if keys {
            command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", "secret");
        }
        let output = command.output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{durable}: {said}");
        said.lines().last().unwrap().to_owned()
    };
    let said = refused(&server.url(TABLE), false);
    assert!(said.contains("`AWS_ACCESS_KEY_ID`") && said.contains("[revocation]"), "{said}");
    let said = refused("dynamodb://abc?region=r&endpoint=http://db.example", true);
    assert!(said.contains("`danger_plaintext=true`"), "{said}");
    let said = refused("redis://:secret@example", true);
    assert!(said.contains("write `store` or `dynamodb://") && !said.contains("secret"), "{said}");
    let (status, made) = server.ask(
        "CreateTable",
        &format!(
            r#"{{"TableName":"{TABLE}","BillingMode":"PAY_PER_REQUEST",
                "AttributeDefinitions":[{{"AttributeName":"id","AttributeType":"S"}}],
                "KeySchema":[{{"AttributeName":"id","KeyType":"HASH"}}]}}"#
        ),
    );
    assert_eq!(status, 200, "{made}");
    let said = refused(&server.url(TABLE), true);
    assert!(said.contains("by `id`") && said.contains("aws dynamodb create-table"), "{said}");
}
