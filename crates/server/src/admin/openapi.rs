//! The document: `OpenAPI` 3.1, rendered from the table.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tegata_oauth::administer::{PATH, READ, WRITE};

use super::{
    forms, query,
    shape::{Form, Member, Shape},
    table::{Row, TABLE, Verb},
};

const SAYS: &str = "\
    People, clients, services, sessions, tokens, keys and consents, as the commands of `tegata` know \
    them. Whoever asks shows an access token that is for the address of this interface alone, with \
    the scope that an operation names; people need the role `admin` besides.";

/// The document, as it is served.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(pretty);
    &TEXT
}

/// The same, as it is committed.
#[must_use]
pub fn pretty() -> String {
    // Strings, numbers and maps with string keys always have a JSON form.
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut forms = Map::new();
    let mut paths = Map::new();
    for row in TABLE {
        let path = format!("{PATH}{}", row.path);
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(operations) = operations.as_object_mut() {
            operations.insert(row.verb.name().to_lowercase(), operation(row, &mut forms));
        }
    }
    let problem = Shape::Object(&forms::PROBLEM).schema(&mut forms);
    forms.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Tegata administration", "version": "1", "description": SAYS},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": forms,
            "responses": {"Problem": {
                "description": "Why it was not done.",
                "content": {"application/problem+json": {"schema": problem}},
            }},
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": format!(
                    "An access token for `{{issuer}}{PATH}` alone, with the scope `{READ}` or \
                     `{WRITE}`. One that is bound to a key is shown with the scheme `DPoP`."
                ),
            }},
        },
    })
}

fn operation(row: &Row, forms: &mut Map<String, Value>) -> Value {
    let mut parameters: Vec<_> = names(row.path).map(in_path).collect();
    if row.lists {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": query::MOST, "default": query::USUAL});
        parameters.push(in_query("limit", "How many at most.", &limit));
        let cursor = json!({"type": "string"});
        parameters.push(in_query("cursor", "The `next` of the piece before.", &cursor));
    }
    for Member { name, shape, says, .. } in row.filters {
        parameters.push(in_query(name, says, &shape.schema(forms)));
    }
    if row.confirms {
        let says = "Answers when every node refuses it, and says which do.";
        parameters.push(in_query("wait", says, &json!({"type": "string", "enum": ["confirmed"]})));
    }
    if row.is_conditional {
        let says = "The `ETag` that was read: if it was changed since, nothing is done.";
        let schema = json!({"type": "string"});
        parameters.push(json!({
            "name": "If-Match", "in": "header", "description": says, "schema": schema,
        }));
    }
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| _ = told.insert(name.to_owned(), value);
    tell("operationId", row.id.into());
    tell("description", row.says.into());
    tell("security", json!([{"token": [row.need.scope()]}]));
    if !parameters.is_empty() {
        tell("parameters", parameters.into());
    }
    if let Some(form) = row.body {
        let schema = json!({"schema": Shape::Object(form).schema(forms)});
        let mut content = json!({"application/json": schema});
        if let (Verb::Patch, Some(types)) = (row.verb, content.as_object_mut()) {
            types.insert("application/merge-patch+json".to_owned(), schema);
        }
        tell("requestBody", json!({"required": true, "content": content}));
    }
    tell("responses", responses(row, forms));
    told.into()
}

fn responses(row: &Row, forms: &mut Map<String, Value>) -> Value {
    let mut good = json!({"description": "Done."});
    let schema = row.answer.map(|form| match row.lists {
        true => piece(form, forms),
        false => Shape::Object(form).schema(forms),
    });
    if let (Some(members), Some(schema)) = (good.as_object_mut(), schema) {
        members.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
        if row.is_versioned {
            let says = "The version, to be named in `If-Match`.";
            let tag = json!({"ETag": {"description": says, "schema": {"type": "string"}}});
            members.insert("headers".to_owned(), tag);
        }
    }
    let mut all = Map::new();
    all.insert(row.status.to_string(), good);
    let mut statuses = vec!["401", "403"];
    statuses.extend((row.body.is_some() || row.lists).then_some("400"));
    statuses.extend(names(row.path).next().map(|_| "404"));
    statuses.extend(row.is_conditional.then_some("412"));
    statuses.push("default");
    for status in statuses {
        all.insert(status.to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    }
    all.into()
}

/// A piece of a list.
fn piece(item: &'static Form, forms: &mut Map<String, Value>) -> Value {
    let items = Shape::Object(item).schema(forms);
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"type": "array", "maxItems": query::MOST, "items": items},
            "next": {
                "type": "string",
                "description": "The `cursor` of the next piece. Without it, there is none.",
            },
        },
    })
}

/// The names in the places of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

fn in_query(name: &str, says: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "description": says, "schema": schema})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let committed = include_str!("../../../../docs/admin-api.json");
        assert!(committed == text(), "`cargo xtask generate` writes docs/admin-api.json anew");
    }

    #[test]
    fn every_operation_stands_in_the_document_with_what_it_takes() {
        let document = document();
        let mut count = 0;
        for row in TABLE {
            let place = &document["paths"][format!("{PATH}{}", row.path)];
            let told = &place[row.verb.name().to_lowercase()];
            assert_eq!(told["operationId"], row.id);
            assert_eq!(told["requestBody"].is_null(), row.body.is_none(), "{}", row.id);
            count += 1;
        }
        let all: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|operations| operations.as_object().unwrap().len())
            .sum();
        assert_eq!(count, all);
        let unresolved: Vec<_> = text()
            .split("\"#/components/schemas/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .filter(|name| !document["components"]["schemas"][*name].is_object())
            .collect();
        assert!(unresolved.is_empty(), "{unresolved:?}");
    }
}
