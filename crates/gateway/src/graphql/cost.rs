//! What an operation may cost at most: each field what its schema says of it, or 1, as often as the lists
//! above it are long.
//!
//! How long a list is stands in an argument (`first`, `last`, `limit`, or what `@listSize` names), with the
//! variables and defaults of the request; or else the schema says it, or else it is 10. What an argument says
//! at a field that is no list, it says of the lists directly below: `users(first: 50) { edges { … } }`. 0 says
//! nothing: there are services that take it for no bound.
//! `@skip` and `@include` change nothing: who asks with a variable asks.

use std::collections::HashMap;

use apollo_compiler::{
    Name, Node,
    ast::{InputValueDefinition, Type, Value},
    executable::{Field, Selection, SelectionSet},
    response::{JsonMap, JsonValue},
};

use super::{document::Operation, schema::Schema};

/// How long a list is of which nothing is said.
pub(super) const USUAL: u64 = 10;

/// What an operation costs, with these values of its variables.
pub(super) fn of(schema: &Schema, operation: &Operation, variables: &JsonMap) -> u64 {
    let mut counting = Counting { schema, operation, variables, known: HashMap::new() };
    counting.selections(&operation.operation().selection_set, None)
}

struct Counting<'c> {
    schema: &'c Schema,
    operation: &'c Operation,
    variables: &'c JsonMap,
    /// Of fragments, by what was said above of the lists that are directly in them.
    known: HashMap<(&'c Name, Option<u64>), u64>,
}

impl<'c> Counting<'c> {
    fn selections(&mut self, set: &'c SelectionSet, said: Option<u64>) -> u64 {
        let mut sum = 0_u64;
        for selection in &set.selections {
            sum = sum.saturating_add(match selection {
                Selection::Field(field) => self.field(&set.ty, field, said),
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set, said),
                Selection::FragmentSpread(spread) => {
                    let place = (&spread.fragment_name, said);
                    match self.known.get(&place) {
                        Some(known) => *known,
                        None => {
                            let fragments = &self.operation.document.fragments;
                            let fragment = fragments.get(&spread.fragment_name);
                            let cost =
                                fragment.map_or(0, |it| self.selections(&it.selection_set, said));
                            self.known.insert(place, cost);
                            cost
                        }
                    }
                }
            });
        }
        sum
    }

    fn field(&mut self, of: &'c Name, field: &'c Node<Field>, above: Option<u64>) -> u64 {
        let rule = self.schema.of(of).and_then(|of| of.fields.get(&field.name));
        let Some(rule) = rule else {
            // One of the schema's own, which is bounded in its own way.
            return self.selections(&field.selection_set, None).saturating_add(1);
        };
        let sizes = rule.slicing.iter().filter_map(|name| self.size(field, name));
        let said = sizes.max().filter(|size| *size > 0);
        let lists = lists(&field.definition.ty);
        let (times, below) = match lists.checked_sub(1) {
            None => (1, said.or(rule.assumed)),
            Some(more) => {
                let long = said.or(rule.assumed).or(above).unwrap_or(USUAL);
                (long.saturating_mul(USUAL.saturating_pow(more)), None)
            }
        };
        let each = self.selections(&field.selection_set, below);
        rule.weight.saturating_add(each.saturating_mul(times))
    }

    /// How many things an argument asks for. `None`: it says nothing.
    fn size(&self, field: &Field, name: &Name) -> Option<u64> {
        let definition = field.definition.argument_by_name(name)?;
        let given = field.specified_argument_by_name(name);
        match given.map(|it| it.as_ref()) {
            Some(Value::Variable(variable)) => match self.variables.get(variable.as_str()) {
                Some(JsonValue::Null) => None,
                Some(JsonValue::Array(all)) => Some(long(all.len())),
                Some(JsonValue::Number(number)) => Some(number.as_u64().unwrap_or(u64::MAX)),
                Some(_) => Some(u64::MAX),
                None => default(definition),
            },
            Some(value) => literal(value),
            None => default(definition),
        }
    }
}

fn default(definition: &InputValueDefinition) -> Option<u64> {
    literal(definition.default_value.as_deref()?)
}

/// What cannot be counted, and what is less than nothing, is as much as can be: nobody knows what a service
/// makes of it.
fn literal(value: &Value) -> Option<u64> {
    match value {
        Value::Null => None,
        Value::Int(number) => Some(number.as_str().parse().unwrap_or(u64::MAX)),
        Value::List(all) => Some(long(all.len())),
        _ => Some(u64::MAX),
    }
}

fn long(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// How many lists stand in each other.
fn lists(of: &Type) -> u32 {
    match of {
        Type::List(item) | Type::NonNullList(item) => lists(item).saturating_add(1),
        Type::Named(_) | Type::NonNullNamed(_) => 0,
    }
}
