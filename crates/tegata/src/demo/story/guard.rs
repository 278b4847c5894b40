//! The steps that show what the gateway looks at beside tokens: documents, screens, policies, and what it
//! writes down.

use serde_json::{Value, json};

use super::{
    PATIENCE, Stage, Told,
    actor::{Actor, Answer, Ask},
    steps::{text, through},
};

async fn post(stage: &Stage, path: &str, body: Value) -> Result<Answer, String> {
    let bearer = Some(stage.kept.session_token.as_str());
    let mut actor = Actor::new(&stage.gateway);
    let ask = Ask { bearer, json: Some(body), ..Ask::default() };
    actor.ask("POST", &format!("{}{path}", stage.gateway), ask).await
}

/// Questions in GraphQL: what may be asked, what is somebody else's to see, and what costs too much.
pub(super) async fn ask_in_graphql(stage: &mut Stage) -> Told {
    let graphql = stage.description.get("graphql").ok_or("there is no `graphql`")?;
    let path = text(graphql, "path")?;
    let ask = async |query: &str| post(stage, &path, json!({ "query": query })).await;
    let shelf = ask("{ products(first: 3) { id name } }").await?.expect(200)?.json();
    let products = shelf.pointer("/data/products").and_then(Value::as_array).map_or(0, Vec::len);
    if products == 0 {
        return Err(format!("no products: {shelf}"));
    }
    let cost = ask("{ products(first: 3) { costCents } }").await?.expect(403)?;
    let dear =
        "{ categories { products(first: 100) { category { products(first: 100) { id } } } } }";
    let dear = ask(dear).await?.expect(400)?;
    let code = |answer: &Answer| {
        let json = answer.json();
        let code = json.pointer("/errors/0/extensions/code").and_then(Value::as_str);
        code.unwrap_or_default().to_owned()
    };
    Ok(format!(
        "{products} products; a field for the staff is `{}`, and a question too dear `{}`, before the service sees it",
        code(&cost),
        code(&dear)
    ))
}

/// One answer put together from several services.
pub(super) async fn come_home(stage: &mut Stage) -> Told {
    let path = stage.description.pointer("/bff/0/path").and_then(Value::as_str);
    let path = path.ok_or("there is no `bff`")?.to_owned();
    let screen = through(stage, &path, Some(&stage.kept.session_token), &[]).await?.expect(200)?;
    let screen = screen.json();
    let parts = screen.get("data").and_then(Value::as_object).ok_or("the screen has no `data`")?;
    let names: Vec<_> = parts.keys().map(String::as_str).collect();
    Ok(format!("{path} in one request: {}", names.join(", ")))
}

/// What a policy forbids can be asked about afterwards, and the log of it is whole.
pub(super) async fn ask_why(stage: &mut Stage) -> Told {
    let refused =
        post(stage, "/catalogue/products", json!({"name": "a hat"})).await?.expect(403)?;
    let request = refused.text("trace_id")?;
    let began = stage.node.since_boot();
    // What was decided is written down in batches.
    let told = loop {
        match stage.child.command(&["explain", &request]).await {
            Ok(told) => break told,
            Err(_) if stage.node.elapsed(began) < PATIENCE => {}
            Err(error) => return Err(error),
        }
    };
    let said = |place: &str| told.pointer(place).and_then(Value::as_str).map(str::to_owned);
    let policy = said("/records/0/record/policies/0").ok_or_else(|| told.to_string())?;
    let log = stage.child.command(&["audit-log", "verify"]).await?;
    if log.get("sound") != Some(&Value::Bool(true)) {
        return Err(format!("the log is not sound: {log}"));
    }
    Ok(format!("`tegata explain {request}`: policy `{policy}`; the log of all decisions is sound"))
}
