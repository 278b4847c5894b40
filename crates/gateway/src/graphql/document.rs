//! A document: read, bounded, checked against the schema, and written anew for a service.
//!
//! It is bounded before it is checked: checking looks at how fields of one name come together, in each place
//! where they do, and how many places there are grows with what fragments come to when they are put in. How
//! many that would be is counted without doing it, each fragment once; then it is counted in how many places
//! fields come together ([`merge`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{self, Definition, OperationType},
    diagnostic::{Diagnostic, ToCliReport as _},
    executable::{self, OperationMap, Selection, SelectionSet},
    parser::Parser,
    validation::{DiagnosticData, DiagnosticList, Valid},
};

use super::{
    merge,
    schema::Schema,
    wrong::{Wrong, line},
};

/// How many tokens the documents of a request have, spaces among them.
pub(super) const TOKENS: usize = 10_000;
/// How deep values and fields stand in each other, as whoever reads them counts.
const DEEPEST: usize = 100;
/// How deep selections stand in each other with all fragments put in: what is behind works on a stack.
const HIGHEST: u32 = 64;
/// How many selections there are with all fragments put in.
pub(super) const LARGEST: u32 = 3000;

/// One operation, checked.
pub(super) struct Operation {
    /// The operation, and the fragments that it uses.
    pub(super) document: Valid<ExecutableDocument>,
    /// The same, as it is sent.
    pub(super) text: String,
    /// How long it was, and how many tokens it had.
    pub(super) length: usize,
    pub(super) tokens: usize,
    pub(super) shape: Shape,
    /// What is asked of who may see it.
    pub(super) asks: BTreeSet<usize>,
    /// Whether it asks for the schema.
    pub(super) introspects: bool,
    operation: Node<executable::Operation>,
}

/// How large something is, with all fragments put in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// How deep fields stand in fields. The schema's own are as deep as they are.
    pub(super) depth: u32,
    /// How many fields have another name.
    pub(super) aliases: u32,
    /// How many selections there are in all of the document.
    pub(super) size: u32,
    height: u32,
}

impl Operation {
    /// Reads the operation of this name, or the only one.
    pub(super) fn read(schema: &Schema, text: &str, name: Option<&str>) -> Result<Self, Wrong> {
        let mut parser = Parser::new().token_limit(TOKENS).recursion_limit(DEEPEST);
        let read = parser.parse_ast(text, "query").map_err(|refused| {
            // Both are known before it is: what was reached is one more than what may be.
            if parser_reached(&refused.errors, "token limit") {
                return Wrong::bad("graphql_size", "there are more than 10000 tokens");
            }
            if parser_reached(&refused.errors, "recursion limit") {
                return Wrong::bad("graphql_depth", "the document stands in itself too deep");
            }
            Wrong::at("graphql_syntax", told(&refused.errors))
        })?;
        let tokens = parser.tokens_reached();
        let shape = Shapes::of(&read, name)?;
        let invalid = |errors: &DiagnosticList| Wrong::at("graphql_invalid", told(errors));
        let built = read.to_executable(&schema.valid);
        let built = built.map_err(|refused| invalid(&refused.errors))?;
        merge::check(&schema.valid, &built)?;
        let checked = built.validate(&schema.valid);
        let checked = checked.map_err(|refused| invalid(&refused.errors))?;
        let operation = checked.operations.get(name);
        let operation = operation.map_err(|_| unknown())?.clone();
        let mut walk = Walk::new(schema, &checked, &operation.variables);
        walk.selections(&operation.selection_set)?;
        let Walk { asks, introspects, used, .. } = walk;
        let used: HashSet<Name> = used.into_iter().cloned().collect();
        let mut document = checked.into_inner();
        document.fragments.retain(|name, _| used.contains(name));
        document.operations = OperationMap::from_one(operation.clone());
        let text = document.serialize().no_indent().to_string();
        Ok(Self {
            // A part of what is valid, with all that the part uses.
            document: Valid::assume_valid(document),
            length: text.len(),
            tokens,
            text,
            shape,
            asks,
            introspects,
            operation,
        })
    }

    pub(super) fn operation(&self) -> &executable::Operation {
        &self.operation
    }

    pub(super) fn kind(&self) -> OperationType {
        self.operation.operation_type
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.operation.name.as_ref().map(Name::as_str)
    }
}

fn unknown() -> Wrong {
    Wrong::bad(
        "graphql_operation",
        "it is not clear which operation is meant: name one that is there, once, in `operationName`",
    )
}

fn parser_reached(errors: &DiagnosticList, what: &str) -> bool {
    errors.iter().any(|it| it.error.to_string().contains(what))
}

fn told(errors: &DiagnosticList) -> impl Iterator<Item = (String, Option<(usize, usize)>)> {
    errors.iter().map(|it: Diagnostic<'_, DiagnosticData>| {
        let at = it.error.location().and_then(|at| at.line_column(it.sources));
        (line(&it.error.to_string()), at.map(|at| (at.line, at.column)))
    })
}

/// Counts what fragments come to.
struct Shapes<'d> {
    fragments: HashMap<&'d Name, &'d ast::FragmentDefinition>,
    /// What is known of fragments. `None`: it is being found out.
    known: HashMap<&'d Name, Option<Shape>>,
}

impl<'d> Shapes<'d> {
    /// The shape of the operation of this name, or of the only one, where all of the document is bounded.
    fn of(document: &'d ast::Document, name: Option<&str>) -> Result<Shape, Wrong> {
        let mut shapes = Self { fragments: HashMap::new(), known: HashMap::new() };
        let mut operations = Vec::new();
        for definition in &document.definitions {
            match definition {
                Definition::OperationDefinition(operation) => {
                    let variables = operation.variables.iter();
                    for variable in variables.clone() {
                        once_in_directives(&variable.directives)?;
                    }
                    variables.flat_map(|it| &it.default_value).try_for_each(|it| once(it))?;
                    once_in_directives(&operation.directives)?;
                    operations.push(operation);
                }
                Definition::FragmentDefinition(fragment) => {
                    once_in_directives(&fragment.directives)?;
                    if shapes.fragments.insert(&fragment.name, fragment).is_some() {
                        let detail = format!("the fragment `{}` stands twice", fragment.name);
                        return Err(Wrong::bad("graphql_invalid", detail));
                    }
                }
                _ => {
                    return Err(Wrong::bad("graphql_invalid", "a document defines no types"));
                }
            }
        }
        let mut size = 0_u32;
        let mut chosen = None;
        let only = operations.len() == 1;
        for operation in operations {
            let shape = shapes.selections(&operation.selection_set, 0)?;
            size = size.saturating_add(shape.size);
            let is_it = match name {
                None => only,
                Some(name) => operation.name.as_ref().is_some_and(|it| it == name),
            };
            if is_it && chosen.replace(shape).is_some() {
                return Err(unknown());
            }
        }
        let names: Vec<&Name> = shapes.fragments.keys().copied().collect();
        for fragment in names {
            size = size.saturating_add(shapes.fragment(fragment, 0)?.size);
        }
        if size > LARGEST {
            return Err(too_large());
        }
        chosen.map(|chosen| Shape { size, ..chosen }).ok_or_else(unknown)
    }

    fn fragment(&mut self, name: &'d Name, level: u32) -> Result<Shape, Wrong> {
        let shape = match self.known.get(name) {
            Some(Some(shape)) => *shape,
            Some(None) => {
                let detail = format!("the fragment `{name}` leads back to itself");
                return Err(Wrong::bad("graphql_cycle", detail));
            }
            None => {
                // One that is not there is found when it is checked.
                let Some(fragment) = self.fragments.get(name).copied() else {
                    return Ok(Shape::default());
                };
                self.known.insert(name, None);
                let shape = self.selections(&fragment.selection_set, level)?;
                self.known.insert(name, Some(shape));
                shape
            }
        };
        if level.saturating_add(shape.height) > HIGHEST {
            return Err(too_high());
        }
        Ok(shape)
    }

    fn selections(&mut self, all: &'d [ast::Selection], level: u32) -> Result<Shape, Wrong> {
        if level > HIGHEST {
            return Err(too_high());
        }
        let mut whole = Shape { height: 1, ..Shape::default() };
        for selection in all {
            let one = match selection {
                ast::Selection::Field(field) => {
                    once_in(&field.arguments)?;
                    once_in_directives(&field.directives)?;
                    let below = match field.selection_set.as_slice() {
                        [] => Shape::default(),
                        all => self.selections(all, level + 1)?,
                    };
                    // What is asked of the schema is bounded in its own way.
                    let below_it = if field.name.starts_with("__") { 0 } else { below.depth };
                    Shape {
                        depth: below_it.saturating_add(1),
                        aliases: below.aliases.saturating_add(u32::from(field.alias.is_some())),
                        ..below
                    }
                }
                ast::Selection::InlineFragment(inline) => {
                    once_in_directives(&inline.directives)?;
                    self.selections(&inline.selection_set, level + 1)?
                }
                ast::Selection::FragmentSpread(spread) => {
                    once_in_directives(&spread.directives)?;
                    self.fragment(&spread.fragment_name, level + 1)?
                }
            };
            whole.depth = whole.depth.max(one.depth);
            whole.aliases = whole.aliases.saturating_add(one.aliases);
            whole.size = whole.size.saturating_add(one.size).saturating_add(1);
            whole.height = whole.height.max(one.height.saturating_add(1));
        }
        Ok(whole)
    }
}

/// What stands in an object twice means one thing to the one and another to the other (GraphQL §5.6.3). Nobody
/// else looks at it.
fn once(value: &ast::Value) -> Result<(), Wrong> {
    match value {
        ast::Value::List(all) => all.iter().try_for_each(|value| once(value)),
        ast::Value::Object(members) => {
            let mut names = HashSet::with_capacity(members.len());
            members.iter().try_for_each(|(name, value)| {
                if !names.insert(name) {
                    let detail = format!("the input field `{name}` stands twice");
                    return Err(Wrong::bad("graphql_invalid", line(&detail)));
                }
                once(value)
            })
        }
        _ => Ok(()),
    }
}

fn once_in(arguments: &[Node<ast::Argument>]) -> Result<(), Wrong> {
    arguments.iter().try_for_each(|argument| once(&argument.value))
}

fn once_in_directives(all: &ast::DirectiveList) -> Result<(), Wrong> {
    all.iter().try_for_each(|directive| once_in(&directive.arguments))
}

fn too_high() -> Wrong {
    Wrong::bad("graphql_depth", "selections stand in selections more than 64 times")
}

pub(super) fn too_large() -> Wrong {
    Wrong::bad("graphql_size", "with all fragments put in, there are more than 3000 selections")
}

/// Collects what an operation asks for, each fragment once.
struct Walk<'d> {
    schema: &'d Schema,
    document: &'d ExecutableDocument,
    asks: BTreeSet<usize>,
    introspects: bool,
    used: HashSet<&'d Name>,
    variables: HashMap<&'d Name, &'d ast::VariableDefinition>,
}

impl<'d> Walk<'d> {
    fn new(
        schema: &'d Schema,
        document: &'d ExecutableDocument,
        variables: &'d [Node<ast::VariableDefinition>],
    ) -> Self {
        let variables = variables.iter().map(|it| (&it.name, &**it)).collect();
        let (asks, used) = (BTreeSet::new(), HashSet::new());
        Self { schema, document, asks, introspects: false, used, variables }
    }

    fn selections(&mut self, set: &'d SelectionSet) -> Result<(), Wrong> {
        let of = self.schema.of(&set.ty);
        self.asks.extend(of.iter().flat_map(|of| &of.asked));
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    let name = field.name.as_str();
                    self.introspects |= matches!(name, "__schema" | "__type");
                    let rule = of.and_then(|of| of.fields.get(&field.name));
                    self.asks.extend(rule.iter().flat_map(|rule| &rule.asked));
                    for argument in &field.arguments {
                        if let Some(of) = field.definition.argument_by_name(&argument.name) {
                            self.fits(&of.ty, of.default_value.is_some(), &argument.value)?;
                        }
                    }
                    if !field.selection_set.is_empty() {
                        self.selections(&field.selection_set)?;
                    }
                }
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set)?,
                Selection::FragmentSpread(spread) => {
                    if self.used.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.selections(&fragment.selection_set)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether variables may stand where they do (GraphQL §5.8.5), also in lists and objects. Nobody else looks
    /// there.
    fn fits(&self, of: &ast::Type, has_default: bool, value: &ast::Value) -> Result<(), Wrong> {
        match value {
            ast::Value::Variable(name) => {
                let Some(variable) = self.variables.get(name) else { return Ok(()) };
                let default = variable.default_value.as_ref().is_some_and(|it| !it.is_null());
                let is_filled =
                    !variable.ty.is_non_null() && of.is_non_null() && (default || has_default);
                let wanted = if is_filled { of.clone().nullable() } else { of.clone() };
                if variable.ty.is_assignable_to(&wanted) {
                    return Ok(());
                }
                let detail = format!(
                    "`${name}` is of the type `{}`, and stands where `{of}` does",
                    variable.ty
                );
                Err(Wrong::bad("graphql_invalid", line(&detail)))
            }
            ast::Value::List(all) => {
                // One alone is a list of one: then this is the item already.
                let item = of.item_type();
                all.iter().try_for_each(|value| self.fits(item, false, value))
            }
            ast::Value::Object(members) => {
                let input = self.schema.valid.get_input_object(of.inner_named_type());
                let Some(input) = input else { return Ok(()) };
                members.iter().try_for_each(|(name, value)| match input.fields.get(name) {
                    Some(of) => self.fits(&of.ty, of.default_value.is_some(), value),
                    None => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }
}
