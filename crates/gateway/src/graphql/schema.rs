//! A schema, read once: what there is, who may see what of it, and how long lists are.
//!
//! What is asked for a field is asked in every way that leads to it: on an object for what the interfaces
//! ask that declare the field, and on an interface for what each object asks that may stand there.

use std::collections::{BTreeSet, HashMap};

use apollo_compiler::{
    Name, Node, Schema as Read,
    ast::{Definition, Directive, FieldDefinition, Value},
    diagnostic::{Diagnostic, ToCliReport as _},
    parser::{Parser, SourceMap, SourceSpan},
    schema::{DirectiveList, ExtendedType},
    validation::{DiagnosticData, DiagnosticList, Valid},
};
use tegata_mesh::{RoleName, Scope};

use super::{
    Rights,
    cost::USUAL,
    wrong::{self, line},
};

/// What a schema may say to the gateway. A schema that declares the same is taken at these words.
const OURS: &str = "
directive @allow(roles: [String!], scopes: [String!]) repeatable on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
directive @cost(weight: Int!) on FIELD_DEFINITION
directive @listSize(assumedSize: Int, slicingArguments: [String!]) on FIELD_DEFINITION
";

/// Arguments that say how long a list is, where nothing else is said.
const SLICING: [&str; 3] = ["first", "last", "limit"];

/// How many tokens a schema has, and how deep it is.
const TOKENS: usize = 200_000;
const DEEPEST: usize = 100;

/// How many mistakes are told.
const TOLD: usize = 20;

/// Something that is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaFault {
    /// In which line, from 1 on.
    pub(crate) line: usize,
    /// At which character, from 1 on.
    pub(crate) column: usize,
    /// What it is.
    pub(crate) reason: String,
}

/// A schema.
pub(crate) struct Schema {
    pub(super) valid: Valid<Read>,
    requirements: Vec<Requirement>,
    types: HashMap<Name, OfType>,
}

/// What is asked for a field, or for a type.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
struct Requirement {
    /// For what.
    what: String,
    /// One of these roles, where there are some.
    roles: BTreeSet<String>,
    /// All of these scopes.
    scopes: BTreeSet<String>,
}

/// What is known of a type that has fields, or of a union.
#[derive(Debug, Default)]
pub(super) struct OfType {
    /// What is asked for whatever is selected on it.
    pub(super) asked: BTreeSet<usize>,
    pub(super) fields: HashMap<Name, OfField>,
}

/// What is known of a field.
#[derive(Debug, Default, Clone)]
pub(super) struct OfField {
    pub(super) asked: BTreeSet<usize>,
    /// What it costs by itself.
    pub(super) weight: u64,
    /// How long its list is, where nothing that is asked says so.
    pub(super) assumed: Option<u64>,
    /// Which arguments say so.
    pub(super) slicing: Vec<Name>,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// Everything that is wrong with it, and at least one thing.
    pub(crate) fn compile(text: &str) -> Result<Self, Vec<SchemaFault>> {
        let mut parser = Parser::new().token_limit(TOKENS).recursion_limit(DEEPEST);
        let mut read =
            parser.parse_ast(text, "schema").map_err(|refused| faults(&refused.errors))?;
        let named = ["allow", "cost", "listSize"];
        read.definitions.retain(|definition| match definition {
            Definition::DirectiveDefinition(it) => !named.contains(&it.name.as_str()),
            _ => true,
        });
        let built = Read::builder().parse(OURS, "tegata").add_ast(&read).build();
        let built = built.map_err(|refused| faults(&refused.errors))?;
        let valid = built.validate().map_err(|refused| faults(&refused.errors))?;
        Rules::of(valid)
    }

    /// What is known of a type.
    pub(super) fn of(&self, name: &Name) -> Option<&OfType> {
        self.types.get(name)
    }

    /// What somebody lacks of what is asked.
    pub(super) fn lacking<'s>(
        &'s self,
        asked: &'s BTreeSet<usize>,
        rights: Rights<'s>,
    ) -> impl Iterator<Item = &'s str> {
        let all = asked.iter().filter_map(|index| self.requirements.get(*index));
        let lacks = move |it: &&Requirement| !it.is_met(rights);
        all.filter(lacks).map(|requirement| requirement.what.as_str())
    }
}

impl Requirement {
    fn is_met(&self, rights: Rights<'_>) -> bool {
        rights.known
            && (self.roles.is_empty()
                || self.roles.iter().any(|role| rights.roles.contains(&role.as_str())))
            && self.scopes.iter().all(|scope| rights.scopes.contains(&scope.as_str()))
    }
}

/// Collects what a schema asks.
struct Rules {
    sources: SourceMap,
    requirements: Vec<Requirement>,
    faults: Vec<SchemaFault>,
}

/// What is asked of types and of their fields by themselves.
#[derive(Debug, Default)]
struct Own {
    asked: BTreeSet<usize>,
    fields: HashMap<Name, OfField>,
}

impl Rules {
    fn of(valid: Valid<Read>) -> Result<Schema, Vec<SchemaFault>> {
        let sources = valid.sources.clone();
        let mut rules = Self { sources, requirements: Vec::new(), faults: Vec::new() };
        let own: HashMap<Name, Own> = valid
            .types
            .iter()
            .filter(|(_, it)| !it.is_built_in())
            .map(|(name, it)| (name.clone(), rules.own(name, it)))
            .collect();
        if !rules.faults.is_empty() {
            return Err(rules.faults);
        }
        // Objects first: what interfaces ask depends on them.
        let mut types: HashMap<Name, OfType> = HashMap::new();
        for (name, it) in &valid.types {
            if let (ExtendedType::Object(object), Some(of)) = (it, own.get(name)) {
                let above = object.implements_interfaces.iter().filter_map(|it| own.get(&it.name));
                types.insert(name.clone(), with_those_above(of, above));
            }
        }
        let implementers = valid.implementers_map();
        for (name, it) in &valid.types {
            let Some(of) = own.get(name) else { continue };
            match it {
                ExtendedType::Interface(interface) => {
                    let above = interface.implements_interfaces.iter();
                    let mut rule = with_those_above(of, above.filter_map(|it| own.get(&it.name)));
                    let objects = implementers.get(name).into_iter().flat_map(|it| &it.objects);
                    for object in objects.filter_map(|object| types.get(object)) {
                        for (field, rule) in &mut rule.fields {
                            // Whatever stands there may be this object.
                            rule.asked.extend(&object.asked);
                            if let Some(there) = object.fields.get(field) {
                                rule.asked.extend(&there.asked);
                                rule.weight = rule.weight.max(there.weight);
                                // Of whom nothing is said, the usual is.
                                if rule.assumed != there.assumed {
                                    let long = |said: Option<u64>| said.unwrap_or(USUAL);
                                    let longest = long(rule.assumed).max(long(there.assumed));
                                    rule.assumed = Some(longest);
                                }
                            }
                        }
                    }
                    types.insert(name.clone(), rule);
                }
                ExtendedType::Union(_) => {
                    let rule = OfType { asked: of.asked.clone(), fields: HashMap::new() };
                    types.insert(name.clone(), rule);
                }
                _ => {}
            }
        }
        let requirements = rules.requirements;
        Ok(Schema { valid, requirements, types })
    }

    fn own(&mut self, name: &Name, of: &ExtendedType) -> Own {
        let (directives, fields): (&DirectiveList, _) = match of {
            ExtendedType::Object(it) => (&it.directives, Some(&it.fields)),
            ExtendedType::Interface(it) => (&it.directives, Some(&it.fields)),
            ExtendedType::Union(it) => (&it.directives, None),
            _ => return Own::default(),
        };
        let asked = directives.iter().filter(|it| it.name == "allow");
        let asked = asked.map(|it| self.requirement(name.to_string(), &it.node)).collect();
        let fields = fields.into_iter().flatten();
        let fields = fields.map(|(field, it)| (field.clone(), self.field(name, &it.node)));
        Own { asked, fields: fields.collect() }
    }

    fn field(&mut self, of: &Name, field: &Node<FieldDefinition>) -> OfField {
        let what = format!("{of}.{}", field.name);
        let mut rule = OfField { weight: 1, ..OfField::default() };
        for directive in field.directives.iter() {
            match directive.name.as_str() {
                "allow" => {
                    rule.asked.insert(self.requirement(what.clone(), directive));
                }
                "cost" => rule.weight = self.number(directive, "weight").unwrap_or(1),
                "listSize" => {
                    rule.assumed = self.number(directive, "assumedSize");
                    let named = texts(directive, "slicingArguments").unwrap_or_default();
                    for name in named {
                        match field.arguments.iter().find(|it| it.name.as_str() == name) {
                            Some(argument) => rule.slicing.push(argument.name.clone()),
                            None => self.fault(
                                directive.location(),
                                format!("`{what}` has no argument `{name}`"),
                            ),
                        }
                    }
                }
                _ => {}
            }
        }
        if rule.slicing.is_empty() {
            let usual = field.arguments.iter().filter(|it| SLICING.contains(&it.name.as_str()));
            rule.slicing.extend(usual.map(|it| it.name.clone()));
        }
        rule
    }

    fn requirement(&mut self, what: String, directive: &Node<Directive>) -> usize {
        let roles = texts(directive, "roles");
        if roles.as_ref().is_some_and(Vec::is_empty) {
            let detail =
                format!("`@allow` at `{what}` names no role: leave `roles` out, or name one");
            self.fault(directive.location(), detail);
        }
        let (roles, scopes) =
            (roles.unwrap_or_default(), texts(directive, "scopes").unwrap_or_default());
        // A mistake here would keep everybody out, or would be taken for a role by nobody.
        for role in roles.iter().filter(|role| RoleName::new(role).is_err()) {
            self.fault(directive.location(), format!("`{}` is no name of a role", line(role)));
        }
        for scope in scopes.iter().filter(|scope| Scope::new(scope).is_err()) {
            self.fault(directive.location(), format!("`{}` is no scope", line(scope)));
        }
        let requirement = Requirement {
            what,
            roles: roles.into_iter().collect(),
            scopes: scopes.into_iter().collect(),
        };
        self.requirements.push(requirement);
        self.requirements.len() - 1
    }

    /// A number that is not negative.
    fn number(&mut self, directive: &Node<Directive>, name: &str) -> Option<u64> {
        let value = directive.specified_argument_by_name(name)?;
        let number = value.to_i32().and_then(|number| u64::try_from(number).ok());
        if number.is_none() && !value.is_null() {
            self.fault(directive.location(), format!("`{name}` is less than 0"));
        }
        number
    }

    fn fault(&mut self, at: Option<SourceSpan>, reason: String) {
        if self.faults.len() < TOLD {
            let (line, column) = place(at, &self.sources);
            self.faults.push(SchemaFault { line, column, reason });
        }
    }
}

/// What is asked by a type, and by the interfaces that it implements.
fn with_those_above<'o>(own: &Own, above: impl Iterator<Item = &'o Own>) -> OfType {
    let mut of = OfType { asked: own.asked.clone(), fields: own.fields.clone() };
    for interface in above {
        of.asked.extend(&interface.asked);
        for (field, rule) in &mut of.fields {
            if let Some(above) = interface.fields.get(field) {
                rule.asked.extend(&above.asked);
            }
        }
    }
    of
}

/// The texts that an argument holds; one alone is a list of one (GraphQL §3.11).
fn texts(directive: &Node<Directive>, name: &str) -> Option<Vec<String>> {
    match directive.specified_argument_by_name(name)?.as_ref() {
        Value::List(all) => {
            Some(all.iter().filter_map(|it| it.as_str()).map(str::to_owned).collect())
        }
        Value::String(one) => Some(vec![one.clone()]),
        _ => None,
    }
}

fn faults(errors: &DiagnosticList) -> Vec<SchemaFault> {
    let fault = |it: Diagnostic<'_, DiagnosticData>| {
        let (line, column) = place(it.error.location(), it.sources);
        SchemaFault { line, column, reason: wrong::line(&it.error.to_string()) }
    };
    errors.iter().take(TOLD).map(fault).collect()
}

fn place(at: Option<SourceSpan>, sources: &SourceMap) -> (usize, usize) {
    let at = at.and_then(|at| at.line_column(sources));
    at.map_or((1, 1), |at| (at.line, at.column))
}
