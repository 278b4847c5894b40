//! The words of a schema, as far as decisions need them: which types there are, what they have, and
//! which actions ask about which of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Entity, EntityTypeName, EntityUid, Schema};
use serde_json::Value;

use crate::{method::METHODS, request::PrincipalKind};

/// How many types a schema may have, those within types counted, once every name in it is replaced by what
/// it stands for. Names of names of names would otherwise double with every line.
const SIZE: usize = 100_000;

/// How deep types may stand within types.
const DEPTH: usize = 64;

/// What policies are read against.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) schema: Schema,
    pub(crate) own: Own,
    shapes: HashMap<EntityTypeName, Shape>,
    actions: HashMap<EntityUid, Act>,
    /// By id: one id may be in several namespaces.
    ids: HashMap<Box<str>, Vec<EntityUid>>,
    /// The actions of methods, in the order of [`METHODS`].
    methods: Vec<EntityUid>,
    /// By full name, and by last part in lower case. `None`: several types have it.
    names: HashMap<Box<str>, Option<EntityTypeName>>,
}

/// The types that are always there.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) user: EntityTypeName,
    pub(crate) client: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) anonymous: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) route: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

/// What a thing of some type has.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub(crate) attributes: Attributes,
    /// The types of which it may be a member, by however many steps.
    pub(crate) within: HashSet<EntityTypeName>,
    /// The ids that there are. `None`: any.
    pub(crate) ids: Option<HashSet<Box<str>>>,
}

pub(crate) type Attributes = BTreeMap<Box<str>, Type>;

/// An action.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) uid: EntityUid,
    /// As Cedar is told of it, with the groups of which it is a member.
    pub(crate) entity: Entity,
    /// Those groups, by however many steps.
    pub(crate) groups: Vec<EntityUid>,
    pub(crate) principals: HashSet<EntityTypeName>,
    pub(crate) resources: HashSet<EntityTypeName>,
    pub(crate) context: Attributes,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Long,
    Text,
    Set(Box<Type>),
    Record(Attributes),
    Entity(EntityTypeName),
    Ip,
    Decimal,
    Datetime,
    Duration,
}

/// What values have, read before Cedar replaces names by what they stand for.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    entities: HashMap<String, Shape>,
    /// By namespace and id.
    contexts: HashMap<(String, String), Attributes>,
}

impl Shapes {
    /// Reads the form of a schema in JSON, in which every name is whole.
    pub(super) fn of(resolved: &Value) -> Result<Self, String> {
        let mut commons = HashMap::new();
        for (namespace, defined) in members(Some(resolved)) {
            for (name, defined) in members(defined.get("commonTypes")) {
                commons.insert(qualified(namespace, name), defined);
            }
        }
        let mut reader = Reader { commons, left: SIZE };
        let mut shapes = Self::default();
        for (namespace, defined) in members(Some(resolved)) {
            for (name, defined) in members(defined.get("entityTypes")) {
                shapes.entities.insert(qualified(namespace, name), reader.shape(name, defined)?);
            }
            for (id, defined) in members(defined.get("actions")) {
                let context = defined.get("appliesTo").and_then(|it| it.get("context"));
                let context = context.map(|it| reader.record(it)).transpose()?;
                let key = (namespace.clone(), id.clone());
                shapes.contexts.insert(key, context.unwrap_or_default());
            }
        }
        Ok(shapes)
    }
}

struct Reader<'s> {
    commons: HashMap<String, &'s Value>,
    /// How many more types there may be.
    left: usize,
}

impl Reader<'_> {
    fn shape(&mut self, name: &str, defined: &Value) -> Result<Shape, String> {
        if defined.get("tags").is_some() {
            return Err(format!("`{name}` has tags, which nothing here could set: use attributes"));
        }
        let attributes = defined.get("shape").map(|it| self.record(it)).transpose()?;
        let ids = defined.get("enum").and_then(Value::as_array);
        let ids = ids.map(|all| all.iter().filter_map(Value::as_str).map(Box::from).collect());
        Ok(Shape { attributes: attributes.unwrap_or_default(), within: HashSet::new(), ids })
    }

    fn record(&mut self, defined: &Value) -> Result<Attributes, String> {
        match self.read(defined, 0)? {
            Type::Record(attributes) => Ok(attributes),
            _ => Err("only a record can be what a thing has, and what an action knows".to_owned()),
        }
    }

    fn read(&mut self, defined: &Value, depth: usize) -> Result<Type, String> {
        let too_large = || {
            format!(
                "the schema describes more than {SIZE} types, or types within types deeper than {DEPTH}"
            )
        };
        self.left = self.left.checked_sub(1).filter(|_| depth < DEPTH).ok_or_else(too_large)?;
        let text = |member: &str| defined.get(member).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type");
        if let Some(common) = self.commons.get(kind) {
            return self.read(common, depth + 1);
        }
        let simple = match kind {
            "Extension" => text("name"),
            kind => kind,
        };
        Ok(match simple.strip_prefix("__cedar::").unwrap_or(simple) {
            "Bool" | "Boolean" => Type::Bool,
            "Long" => Type::Long,
            "String" => Type::Text,
            "ipaddr" => Type::Ip,
            "decimal" => Type::Decimal,
            "datetime" => Type::Datetime,
            "duration" => Type::Duration,
            "Entity" => Type::Entity(type_name(text("name"))?),
            "Set" => {
                let element = defined.get("element").unwrap_or(&Value::Null);
                Type::Set(Box::new(self.read(element, depth + 1)?))
            }
            "Record" => {
                let mut attributes = BTreeMap::new();
                for (name, defined) in members(defined.get("attributes")) {
                    attributes.insert(name.as_str().into(), self.read(defined, depth + 1)?);
                }
                Type::Record(attributes)
            }
            other => return Err(format!("the type `{other}` has no form that values could have")),
        })
    }
}

impl Words {
    /// Puts together what Cedar has read and what values have.
    pub(super) fn of(schema: Schema, mut shapes: Shapes) -> Result<Self, String> {
        let mut entities = HashMap::new();
        for name in schema.entity_types() {
            let mut shape = shapes.entities.remove(&name.to_string()).unwrap_or_default();
            shape.within = schema.ancestors(name).into_iter().flatten().cloned().collect();
            entities.insert(name.clone(), shape);
        }
        let parents = schema.action_entities().map_err(|error| error.to_string())?;
        let mut actions = HashMap::new();
        let mut ids: HashMap<Box<str>, Vec<EntityUid>> = HashMap::new();
        for uid in schema.actions() {
            let id = uid.id().unescaped();
            let key = (uid.type_name().namespace(), id.to_owned());
            let groups: Vec<_> = parents.ancestors(uid).into_iter().flatten().cloned().collect();
            let all = |names: Option<HashSet<EntityTypeName>>| names.unwrap_or_default();
            let act = Act {
                uid: uid.clone(),
                entity: Entity::new_no_attrs(uid.clone(), groups.iter().cloned().collect()),
                groups,
                principals: all(schema.principals_for_action(uid).map(|it| it.cloned().collect())),
                resources: all(schema.resources_for_action(uid).map(|it| it.cloned().collect())),
                context: shapes.contexts.remove(&key).unwrap_or_default(),
            };
            ids.entry(id.into()).or_default().push(uid.clone());
            actions.insert(uid.clone(), act);
        }
        let (names, own) = (named(entities.keys()), Own::new()?);
        let method = |id: &&str| {
            EntityUid::from_type_name_and_id(own.action.clone(), cedar_policy::EntityId::new(id))
        };
        let methods = METHODS.iter().map(method).collect();
        Ok(Self { schema, own, shapes: entities, actions, ids, methods, names })
    }

    /// A type by its full name, or by its last part in any case where one type alone has it.
    pub(crate) fn entity_type(&self, name: &str) -> Option<&EntityTypeName> {
        let found = self.names.get(name);
        let found = found.or_else(|| self.names.get(name.to_ascii_lowercase().as_str()));
        found?.as_ref()
    }

    pub(crate) fn shape(&self, name: &EntityTypeName) -> Option<&Shape> {
        self.shapes.get(name)
    }

    /// The action of this name that asks about these types.
    pub(crate) fn action(
        &self,
        id: &str,
        principal: &EntityTypeName,
        resource: &EntityTypeName,
    ) -> Option<&Act> {
        let fits =
            |act: &&Act| act.principals.contains(principal) && act.resources.contains(resource);
        let mut fitting =
            self.ids.get(id)?.iter().filter_map(|uid| self.actions.get(uid)).filter(fits);
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }

    /// The action of a method, by its place in [`METHODS`].
    pub(crate) fn method(&self, place: usize) -> Option<&Act> {
        self.actions.get(self.methods.get(place)?)
    }
}

impl Own {
    fn new() -> Result<Self, String> {
        Ok(Self {
            user: type_name("Tegata::User")?,
            client: type_name("Tegata::Client")?,
            service: type_name("Tegata::Service")?,
            anonymous: type_name("Tegata::Anonymous")?,
            role: type_name("Tegata::Role")?,
            route: type_name("Tegata::Route")?,
            action: type_name("Tegata::Action")?,
        })
    }
}

impl Own {
    /// The kind of callers that a type stands for.
    pub(crate) fn kind(&self, of: &EntityTypeName) -> Option<PrincipalKind> {
        [
            (&self.user, PrincipalKind::User),
            (&self.client, PrincipalKind::Client),
            (&self.service, PrincipalKind::Service),
            (&self.anonymous, PrincipalKind::Anonymous),
        ]
        .into_iter()
        .find_map(|(name, kind)| (name == of).then_some(kind))
    }
}

fn named<'n>(
    types: impl Iterator<Item = &'n EntityTypeName>,
) -> HashMap<Box<str>, Option<EntityTypeName>> {
    let (ours, declared): (Vec<_>, Vec<_>) = types.partition(|name| name.namespace() == "Tegata");
    let last = |name: &EntityTypeName| -> Box<str> { name.basename().to_ascii_lowercase().into() };
    let mut names: HashMap<Box<str>, Option<EntityTypeName>> = HashMap::new();
    for name in &declared {
        let known = names.entry(last(name)).and_modify(|it| *it = None);
        known.or_insert_with(|| Some((*name).clone()));
    }
    // What an installation declares itself comes first, and a whole name before a part of one.
    for name in &ours {
        names.entry(last(name)).or_insert_with(|| Some((*name).clone()));
    }
    let whole = declared.into_iter().chain(ours);
    names.extend(whole.map(|name| (name.to_string().into(), Some(name.clone()))));
    names
}

/// The words of a schema come from its file, and never from a request.
fn type_name(text: &str) -> Result<EntityTypeName, String> {
    text.parse().map_err(|_| format!("`{text}` is no name of a type"))
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}
