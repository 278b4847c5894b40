//! Where fields come together under one name (GraphQL §5.3.2): how many such places there are, and whether
//! lists are the same there.
//!
//! Whoever checks documents visits each place: for each name, and each type of object that may stand there,
//! what is asked of it. Types in types make more places than there are selections, two to the power of how
//! deep they stand. So they are counted first, and a document with too many is not checked at all. And of
//! lists no more is compared there than the shorter one has: the rest is compared here.

use std::collections::{BTreeMap, HashSet, VecDeque};

use apollo_compiler::{
    ExecutableDocument, Name, Schema,
    ast::Value,
    executable::{Field, Selection, SelectionSet},
    schema::ExtendedType,
};

use super::wrong::{Wrong, line};

/// How many selections are visited in all places together.
const VISITS: u32 = 20_000;

/// Bounds what checking a document costs. Its fragments lead nowhere back to themselves, and it is not deep.
pub(super) fn check(schema: &Schema, document: &ExecutableDocument) -> Result<(), Wrong> {
    let mut merging = Merging { schema, document, left: VISITS };
    document.operations.iter().try_for_each(|it| merging.place(&[&it.selection_set]))
}

struct Merging<'d> {
    schema: &'d Schema,
    document: &'d ExecutableDocument,
    left: u32,
}

/// What is asked under one name: of interfaces and unions, and of objects.
#[derive(Default)]
struct OfName<'d> {
    of_any: Vec<&'d Field>,
    of_objects: BTreeMap<&'d Name, Vec<&'d Field>>,
}

impl<'d> Merging<'d> {
    /// Visits one place.
    fn place(&mut self, sets: &[&'d SelectionSet]) -> Result<(), Wrong> {
        let mut names: BTreeMap<&Name, OfName<'d>> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut waiting: VecDeque<&'d SelectionSet> = sets.iter().copied().collect();
        while let Some(set) = waiting.pop_front() {
            let is_object = matches!(self.schema.types.get(&set.ty), Some(ExtendedType::Object(_)));
            for selection in &set.selections {
                self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
                match selection {
                    Selection::Field(field) => {
                        let of = names.entry(field.response_key()).or_default();
                        if is_object {
                            of.of_objects.entry(&set.ty).or_default().push(field);
                        } else {
                            of.of_any.push(field);
                        }
                    }
                    Selection::InlineFragment(inline) => waiting.push_back(&inline.selection_set),
                    Selection::FragmentSpread(spread) => {
                        if seen.insert(&spread.fragment_name)
                            && let Some(it) = self.document.fragments.get(&spread.fragment_name)
                        {
                            waiting.push_back(&it.selection_set);
                        }
                    }
                }
            }
        }
        for OfName { of_any, of_objects } in names.into_values() {
            if of_objects.is_empty() {
                self.together(&of_any)?;
                continue;
            }
            for mut all in of_objects.into_values() {
                self.left = self.left.checked_sub(count(of_any.len())).ok_or_else(too_many)?;
                all.extend(&of_any);
                self.together(&all)?;
            }
        }
        Ok(())
    }

    /// Visits what is below fields that come together.
    fn together(&mut self, all: &[&'d Field]) -> Result<(), Wrong> {
        let Some((first, rest)) = all.split_first() else { return Ok(()) };
        if let Some(other) = rest.iter().find(|other| !same_lists(first, other)) {
            let detail = format!("`{}` is asked for twice, with other lists", other.name);
            return Err(Wrong::bad("graphql_invalid", line(&detail)));
        }
        let below: Vec<&SelectionSet> =
            all.iter().map(|field| &field.selection_set).filter(|set| !set.is_empty()).collect();
        if below.is_empty() { Ok(()) } else { self.place(&below) }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn too_many() -> Wrong {
    Wrong::bad("graphql_size", "there are too many places where fields come together")
}

/// Whether lists in arguments are as long in both. All else is compared where documents are checked.
fn same_lists(one: &Field, other: &Field) -> bool {
    one.arguments.iter().all(|argument| {
        let there = other.specified_argument_by_name(&argument.name);
        there.is_none_or(|there| is_as_long(&argument.value, there))
    })
}

fn is_as_long(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_as_long(one, other))
        }
        (Value::Object(one), Value::Object(other)) => one.iter().all(|(name, value)| {
            let there = other.iter().find(|(other, _)| other == name);
            there.is_none_or(|(_, there)| is_as_long(value, there))
        }),
        _ => true,
    }
}
