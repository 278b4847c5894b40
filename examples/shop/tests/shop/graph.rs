//! The catalogue in GraphQL, as the gateway asks it.

use serde_json::{Value, json};

use crate::stage::{ALICE, Stage, Who};

async fn ask(stage: &Stage, who: Who<'_>, query: &str, variables: Value) -> Value {
    let body = json!({"query": query, "variables": variables});
    let (status, answer) = stage.call(who, "POST", "catalogue", "/graphql", body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn answers_what_the_schema_says() {
    let stage = Stage::open().await;
    let answer = ask(
        &stage,
        ALICE,
        "query Shelf($n: Int = 2, $with: Boolean!) { categories { name } maps: products(first: $n, category: \"maps\") { ...P \
         category { name } category { products(first: 1) { id } } } none: product(id: \"x\") { id } \
         search(words: \"tea\") { __typename ... on Named { name } ... on Product { priceCents @include(if: $with) } } } \
         fragment P on Product { id ... @skip(if: $with) { name } }",
        json!({"with": true}),
    )
    .await;
    let data = &answer["data"];
    assert!(answer.get("errors").is_none(), "{answer}");
    assert_eq!(data["categories"].as_array().unwrap().len(), 6);
    let first = json!({"id": "map-harbours", "category": {"name": "maps", "products": [{"id": "map-harbours"}]}});
    assert_eq!((&data["maps"][0], data["maps"].as_array().unwrap().len()), (&first, 2));
    assert_eq!(data["none"], Value::Null);
    let tea =
        json!({"__typename": "Product", "name": "Pressed tea, five bricks", "priceCents": 1700});
    assert!(data["search"].as_array().unwrap().contains(&tea), "{data}");
    let two =
        json!([{"query": "{ product(id: \"hat-sedge\") { name } }"}, {"query": "{ __typename }"}]);
    let (_, answer) = stage.call(ALICE, "POST", "catalogue", "/graphql", two).await;
    assert_eq!(
        answer,
        json!([{"data": {"product": {"name": "Sedge hat"}}}, {"data": {"__typename": "Query"}}])
    );
}

#[tokio::test]
async fn asks_for_an_admin_itself() {
    let stage = Stage::open().await;
    let describe = "mutation($n: String!) { describe(id: \"new\", name: $n, category: \"books\", priceCents: 900) { id costCents } }";
    let refused = ask(&stage, ALICE, describe, json!({"n": "New"})).await;
    assert_eq!(refused["errors"][0]["path"], json!(["describe"]), "{refused}");
    let cost =
        ask(&stage, ALICE, "{ product(id: \"hat-sedge\") { costCents name } }", json!({})).await;
    assert_eq!(cost["data"]["product"], json!({"costCents": null, "name": "Sedge hat"}));
    let done = ask(&stage, Who::Admin, describe, json!({"n": "New"})).await;
    assert_eq!(done, json!({"data": {"describe": {"id": "new", "costCents": 540}}}));
    let bad = ask(&stage, Who::Admin, describe, json!({"n": ""})).await;
    assert!(bad["errors"].is_array(), "{bad}");
    let (status, _) = stage
        .call(Who::Nobody, "POST", "catalogue", "/graphql", json!({"query": "{ __typename }"}))
        .await;
    assert_eq!(status, 401);
    // Whoever comes without the gateway finds an end, too.
    let cycle = "{ product(id: \"hat-sedge\") { ...A } } fragment A on Product { category { products(first: 1) { ...A } } }";
    let answer = ask(&stage, ALICE, cycle, json!({})).await;
    assert!(answer["data"]["product"].is_object());
}
