//! The catalogue in GraphQL, as it stands behind the gateway at `/graphql/shop`.
//!
//! The gateway has checked a document against [`SCHEMA`], bounded it, and refused what the caller may not see. What
//! `@allow` says there is asked here once more: a service trusts tokens, and not where they come through.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tegata_sdk::Caller;

use crate::catalogue::{Described, Product};

mod document;

use document::{Document, Field, Selection, Variables};

/// The schema, which the gateway is told of.
pub const SCHEMA: &str = include_str!("shop.graphql");

/// How many things a list holds at most.
const MOST: usize = 100;

/// How deep things stand in each other.
const DEEPEST: usize = 60;

/// One operation, as the gateway sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    query: String,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
}

/// One, or several together.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Came {
    One(Asked),
    Batch(Vec<Asked>),
}

/// What is on the shelf, by id.
pub(crate) type Products = BTreeMap<String, Product>;

/// Answers what was asked.
pub(crate) fn answer(came: Came, caller: &Caller, products: &mut Products) -> Value {
    match came {
        Came::One(asked) => asked.answer(caller, products),
        Came::Batch(all) => {
            all.into_iter().take(MOST).map(|asked| asked.answer(caller, products)).collect()
        }
    }
}

impl Asked {
    fn answer(self, caller: &Caller, products: &mut Products) -> Value {
        let document = match Document::read(&self.query) {
            Ok(document) => document,
            Err(why) => return json!({"errors": [{"message": why}]}),
        };
        let variables = document.variables(self.variables.unwrap_or_default());
        let mut executing = Executing {
            document: &document,
            variables,
            caller,
            products,
            errors: Vec::new(),
            depth: 0,
        };
        let root = if document.is_mutation { Thing::Mutation } else { Thing::Query };
        let data = executing.object(&root, &document.selections);
        let errors = executing.errors;
        if errors.is_empty() {
            json!({"data": data})
        } else {
            json!({"data": data, "errors": errors})
        }
    }
}

/// What fields are asked of.
#[derive(Debug, Clone)]
enum Thing {
    Query,
    Mutation,
    Product(Product),
    Category(String),
}

impl Thing {
    const fn name(&self) -> &'static str {
        match self {
            Self::Query => "Query",
            Self::Mutation => "Mutation",
            Self::Product(_) => "Product",
            Self::Category(_) => "Category",
        }
    }

    /// Whether it is of this type, or has this interface, or stands in this union.
    fn is(&self, name: &str) -> bool {
        let is_thing = matches!(self, Self::Product(_) | Self::Category(_));
        self.name() == name || (is_thing && matches!(name, "Named" | "Found"))
    }
}

/// What a field comes to.
enum Found {
    Nothing,
    Value(Value),
    One(Thing),
    Many(Vec<Thing>),
}

struct Executing<'e> {
    document: &'e Document,
    variables: Variables,
    caller: &'e Caller,
    products: &'e mut Products,
    errors: Vec<Value>,
    depth: usize,
}

impl<'e> Executing<'e> {
    fn object(&mut self, thing: &Thing, selections: &'e [Selection]) -> Value {
        let mut members = Map::new();
        self.fill(thing, selections, &mut members);
        Value::Object(members)
    }

    fn fill(
        &mut self,
        thing: &Thing,
        selections: &'e [Selection],
        members: &mut Map<String, Value>,
    ) {
        // The gateway lets no cycle pass; whoever comes in another way finds an end here.
        if self.depth >= DEEPEST {
            return;
        }
        self.depth += 1;
        for selection in selections {
            match selection {
                Selection::Field(field) => {
                    if self.variables.hold(&field.conditions) {
                        let value = self.field(thing, field);
                        merge(members, &field.key, value);
                    }
                }
                Selection::Inline(part, conditions) => {
                    let fits = part.on.as_deref().is_none_or(|on| thing.is(on));
                    if fits && self.variables.hold(conditions) {
                        self.fill(thing, &part.selections, members);
                    }
                }
                Selection::Spread(name, conditions) => {
                    let fragment = self.document.fragments.get(name);
                    let fits = |on: &Option<String>| on.as_deref().is_none_or(|on| thing.is(on));
                    if let Some(part) = fragment.filter(|part| fits(&part.on))
                        && self.variables.hold(conditions)
                    {
                        self.fill(thing, &part.selections, members);
                    }
                }
            }
        }
        self.depth -= 1;
    }

    fn field(&mut self, thing: &Thing, field: &'e Field) -> Value {
        match self.find(thing, field) {
            Ok(Found::Nothing) => Value::Null,
            Ok(Found::Value(value)) => value,
            Ok(Found::One(thing)) => self.object(&thing, &field.selections),
            Ok(Found::Many(all)) => {
                all.iter().map(|thing| self.object(thing, &field.selections)).collect()
            }
            Err(why) => {
                self.errors.push(json!({"message": why, "path": [field.key]}));
                Value::Null
            }
        }
    }

    fn find(&mut self, thing: &Thing, field: &Field) -> Result<Found, String> {
        let text = |name: &str| match self.variables.argument(field, name) {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let many = |usual: usize| {
            let asked = self.variables.argument(field, "first").as_u64();
            asked.map_or(usual, |asked| usize::try_from(asked).unwrap_or(MOST)).min(MOST)
        };
        Ok(match (thing, field.name.as_str()) {
            (thing, "__typename") => Found::Value(json!(thing.name())),
            (Thing::Query, "product") => {
                let product = self.products.get(&text("id")).cloned();
                product.map_or(Found::Nothing, |product| Found::One(Thing::Product(product)))
            }
            (Thing::Query, "products") => Found::Many(self.of(&text("category"), many(20))),
            (Thing::Query, "categories") => {
                Found::Many(self.categories().into_iter().map(Thing::Category).collect())
            }
            (Thing::Query, "search") => {
                let words = text("words").to_lowercase();
                let has = |name: &str| name.to_lowercase().contains(&words);
                let products = self.products.values().filter(|product| has(&product.name));
                let categories = self.categories().into_iter().filter(|name| has(name));
                let all = categories.map(Thing::Category);
                let all = all.chain(products.cloned().map(Thing::Product));
                Found::Many(all.take(many(10)).collect())
            }
            (Thing::Mutation, "describe") => {
                self.require_admin()?;
                let price_cents = self.variables.argument(field, "priceCents").as_u64();
                let described = Described {
                    name: text("name"),
                    category: text("category"),
                    price_cents: price_cents.unwrap_or_default(),
                };
                let product = described.into_product(text("id")).map_err(|it| it.detail)?;
                self.products.insert(product.id.clone(), product.clone());
                Found::One(Thing::Product(product))
            }
            (Thing::Product(product), "id") => Found::Value(json!(product.id)),
            (Thing::Product(product), "name") => Found::Value(json!(product.name)),
            (Thing::Product(product), "priceCents") => Found::Value(json!(product.price_cents)),
            (Thing::Product(product), "category") => {
                Found::One(Thing::Category(product.category.clone()))
            }
            (Thing::Product(product), "costCents") => {
                self.require_admin()?;
                Found::Value(json!(product.price_cents / 5 * 3))
            }
            (Thing::Category(name), "name") => Found::Value(json!(name)),
            (Thing::Category(name), "products") => Found::Many(self.of(name, many(20))),
            (thing, name) => return Err(format!("`{}` has no field `{name}`", thing.name())),
        })
    }

    fn of(&self, category: &str, many: usize) -> Vec<Thing> {
        let all = self.products.values();
        let all = all.filter(|product| category.is_empty() || product.category == category);
        all.take(many).cloned().map(Thing::Product).collect()
    }

    fn categories(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.products.values().map(|product| product.category.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn require_admin(&self) -> Result<(), String> {
        self.caller.require_role("admin").map_err(|_| "this is not for you".to_owned())
    }
}

/// Puts what a field comes to beside what the same field came to elsewhere.
fn merge(members: &mut Map<String, Value>, key: &str, value: Value) {
    match (members.get_mut(key), value) {
        (Some(Value::Object(there)), Value::Object(more)) => {
            for (key, value) in more {
                merge(there, &key, value);
            }
        }
        (Some(Value::Array(there)), Value::Array(more)) => {
            for (there, more) in there.iter_mut().zip(more) {
                if let (Value::Object(there), Value::Object(more)) = (there, more) {
                    for (key, value) in more {
                        merge(there, &key, value);
                    }
                }
            }
        }
        (Some(_), _) => {}
        (None, value) => {
            members.insert(key.to_owned(), value);
        }
    }
}
