//! Decisions about arbitrary things, as the AuthZEN Authorization API 1.0 asks for them: a subject, an
//! action, a resource and a context, each with properties.
//!
//! What a request says becomes values and never text of a policy. Properties that the schema does not
//! declare are not looked at; one that it declares otherwise is refused.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use cedar_policy::{Context, Entity, EntityTypeName, EntityUid, RestrictedExpression};
use serde_json::{Map, Value};
use tegata_core::Timestamp;

use crate::{
    ask::{self, Question, Verdict},
    bundle::{
        Bundle, Policy,
        schema::{Act, Attributes, Own, Type, Words},
    },
    decision::{ReasonId, RuleId},
    method::{METHODS, place},
    request::{Action, Principal},
    set::PolicySet,
    within::Place,
};

/// A question about arbitrary things.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// Who.
    pub subject: Thing<'a>,
    /// The name of an action of the schema: `GET`, `can_read`.
    pub action: &'a str,
    /// What is said of the action. It counts as if it were said in the context.
    pub action_properties: &'a Map<String, Value>,
    /// With what.
    pub resource: Thing<'a>,
    /// What is known besides.
    pub context: &'a Map<String, Value>,
    /// The moment, for rules and policies of routes: what time it is, is not for whoever asks to say.
    pub now: Option<Timestamp>,
}

/// A subject or a resource.
#[derive(Debug, Clone, Copy)]
pub struct Thing<'a> {
    /// Its type: a full name, such as `Tegata::User`, or the last part of one in any case, such as `user`:
    /// that of the one type that an installation declares itself and that has it, or else that of
    /// [`crate::Bundle::WORDS`].
    pub kind: &'a str,
    /// Its id: any text.
    pub id: &'a str,
    /// What is said of it. `parents`, a list of objects with `type` and `id`, says to what it belongs; of
    /// callers of [`crate::Bundle::WORDS`], `roles` says which roles they have.
    pub properties: &'a Map<String, Value>,
}

/// The answer to an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'r> {
    /// Why not. `None`: it is allowed.
    pub reason: Option<ReasonId>,
    /// The rule of the route, where it is about one.
    pub rule: Option<&'r RuleId>,
    /// The policies that determined it.
    pub policies: Vec<&'r Policy>,
    /// Which value or type the reason is about, where it is about one: `resource.properties.owner`.
    pub about: Option<String>,
}

impl Answer<'_> {
    /// Whether it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.reason.is_none()
    }
}

impl PolicySet {
    /// Decides about arbitrary things. About a route of this set and a method it answers what
    /// [`PolicySet::decide`] would, out of the same words: `roles` of the subject; `scopes`, `acr`,
    /// `auth_age`, `ip` and `path` of the context. A route that this set does not have is refused.
    #[must_use]
    pub fn evaluate(&self, evaluation: &Evaluation<'_>) -> Answer<'_> {
        match self.answer(evaluation) {
            Ok(answer) => answer,
            Err(Refused { reason, about }) => Answer {
                reason: Some(reason),
                rule: None,
                policies: Vec::new(),
                about: Some(about),
            },
        }
    }

    fn answer(&self, asked: &Evaluation<'_>) -> Result<Answer<'_>, Refused> {
        let Some(bundle) = self.bundle().or_else(|| WORDS.as_ref()) else {
            return Err(Refused::of(ReasonId::PolicyError, "policies"));
        };
        let words = &bundle.words;
        let unknown = |about| move || Refused::of(ReasonId::UnknownType, about);
        let subject = words.entity_type(asked.subject.kind).ok_or_else(unknown("subject.type"))?;
        let resource =
            words.entity_type(asked.resource.kind).ok_or_else(unknown("resource.type"))?;
        let act = words
            .action(asked.action, subject, resource)
            .ok_or_else(|| Refused::of(ReasonId::UnknownAction, "action.name"))?;
        if *resource == words.own.route && *act.uid.type_name() == words.own.action {
            return self.answer_about_route(asked, subject, &words.own);
        }
        let question = Reader { words, left: VALUES }.question(asked, (subject, resource), act)?;
        // Words alone have no policies, and whoever asks them is answered by their absence.
        let Some(bundle) = self.bundle() else {
            let reason = Some(ReasonId::NoPolicy);
            return Ok(Answer { reason, rule: None, policies: Vec::new(), about: None });
        };
        let verdict = Verdict::of_all(bundle, question);
        let (reason, policies) = match verdict.refusal() {
            Some((reason, by)) => (Some(reason), by),
            None if verdict.permits.is_empty() => (Some(ReasonId::NoPolicy), Vec::new()),
            None => (None, verdict.permits),
        };
        Ok(Answer { reason, rule: None, policies, about: None })
    }

    fn answer_about_route(
        &self,
        asked: &Evaluation<'_>,
        subject: &EntityTypeName,
        own: &Own,
    ) -> Result<Answer<'_>, Refused> {
        let kind = own.kind(subject);
        let kind = kind.ok_or_else(|| Refused::of(ReasonId::UnknownAction, "action.name"))?;
        let said = |name: &'static str| {
            let of = |from: &'_ Map<String, Value>| from.get(name).is_some_and(|it| !it.is_null());
            let (context, action) = (asked.context, asked.action_properties);
            let invalid = move |about: &str| Refused::invalid(format!("{about}.{name}"));
            if of(context) && of(action) && context.get(name) != action.get(name) {
                return Err(invalid("action.properties"));
            }
            let (from, about) =
                if of(action) { (action, "action.properties") } else { (context, "context") };
            let found = from.get(name).filter(|value| !value.is_null());
            Ok((found.map(|value| (value, about)), invalid))
        };
        let text = |name: &'static str| {
            let (found, invalid) = said(name)?;
            found.map(|(value, at)| value.as_str().ok_or_else(|| invalid(at))).transpose()
        };
        let (scopes, invalid) = said("scopes")?;
        let scopes =
            scopes.map(|(value, at)| texts(value).ok_or_else(|| invalid(at))).transpose()?;
        let (age, invalid) = said("auth_age")?;
        let age = age.map(|(value, at)| value.as_u64().ok_or_else(|| invalid(at))).transpose()?;
        let (address, invalid) = said("ip")?;
        let address = address.map(|(value, at)| {
            value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(at))
        });
        let address: Option<IpAddr> = address.transpose()?;
        let roles = asked.subject.properties.get("roles").filter(|value| !value.is_null());
        let invalid = || Refused::invalid("subject.properties.roles".to_owned());
        let roles = roles.map(|value| texts(value).ok_or_else(invalid)).transpose()?;
        let held = self.recognise(roles.unwrap_or_default(), scopes.unwrap_or_default());
        let principal = Principal {
            kind,
            id: asked.subject.id,
            held: &held,
            acr: text("acr")?,
            auth_age: age,
            place: address.zip(asked.now).map(|(address, now)| Place { address, now }),
        };
        let method = match asked.action {
            // The action of methods that have no name of their own.
            "other" => match text("method")? {
                Some(method) if METHODS.get(place(method)) != Some(&"other") => {
                    return Err(Refused::invalid("context.method".to_owned()));
                }
                method => method.unwrap_or("other"),
            },
            method => method,
        };
        let action = Action { method, path: text("path")?.unwrap_or_default() };
        let Some(rule) = self.rule(asked.resource.id) else {
            let (reason, about) = (Some(ReasonId::NoRule), Some("resource.id".to_owned()));
            return Ok(Answer { reason, rule: None, policies: Vec::new(), about });
        };
        let decision = rule.decide(&principal, action);
        let policies = decision.policies().to_vec();
        Ok(Answer { reason: decision.reason(), rule: decision.rule(), policies, about: None })
    }
}

/// The words that are there without any bundle.
static WORDS: LazyLock<Option<Arc<Bundle>>> =
    LazyLock::new(|| Bundle::read([], []).ok().map(Arc::new));

/// How many values one evaluation may have.
const VALUES: usize = 10_000;

/// Why nobody is asked.
struct Refused {
    reason: ReasonId,
    about: String,
}

impl Refused {
    fn of(reason: ReasonId, about: &str) -> Self {
        Self { reason, about: about.to_owned() }
    }

    const fn invalid(about: String) -> Self {
        Self { reason: ReasonId::InvalidValue, about }
    }
}

/// Makes values of what is said, as the schema declares it.
struct Reader<'w> {
    words: &'w Words,
    /// How many more values there may be.
    left: usize,
}

type Values = Vec<(String, RestrictedExpression)>;

impl<'w> Reader<'w> {
    fn question(
        mut self,
        asked: &Evaluation<'_>,
        (subject, resource): (&EntityTypeName, &EntityTypeName),
        act: &'w Act,
    ) -> Result<Question<'w>, Refused> {
        let subject_uid = self.uid(subject, asked.subject.id, "subject.id")?;
        let resource_uid = self.uid(resource, asked.resource.id, "resource.id")?;
        let mut principal = Known::default();
        self.know(&mut principal, subject, asked.subject.properties, "subject.properties")?;
        let entity = |uid: &EntityUid, known: Known<'_>, about: &str| {
            let Known { attributes, parents, .. } = known;
            Entity::new_with_tags(uid.clone(), attributes, parents, [])
                .map_err(|_| Refused::invalid(about.to_owned()))
        };
        let resource_entity = if subject_uid == resource_uid {
            // Somebody who acts on themselves: what is said in either place is said of one thing.
            principal.said = Some(asked.subject.properties);
            self.know(&mut principal, resource, asked.resource.properties, "resource.properties")?;
            None
        } else {
            let mut known = Known::default();
            self.know(&mut known, resource, asked.resource.properties, "resource.properties")?;
            if known.parents.contains(&subject_uid) && principal.parents.contains(&resource_uid) {
                return Err(Refused::invalid("resource.properties.parents".to_owned()));
            }
            Some(entity(&resource_uid, known, "resource.properties")?)
        };
        if principal.parents.contains(&subject_uid) {
            return Err(Refused::invalid("subject.properties.parents".to_owned()));
        }
        let principal_entity = entity(&subject_uid, principal, "subject.properties")?;

        let mut context = self.values(&act.context, asked.context, "context")?;
        for (name, of) in &act.context {
            let Some(said) = asked.action_properties.get(&**name).filter(|it| !it.is_null()) else {
                continue;
            };
            let about = || format!("action.properties.{name}");
            match asked.context.get(&**name).filter(|it| !it.is_null()) {
                None => context.push((name.to_string(), self.value(of, said, &about)?)),
                Some(other) if other == said => {}
                Some(_) => return Err(Refused::invalid(about())),
            }
        }
        Ok(Question {
            principal: (subject_uid, principal_entity),
            act,
            resource: (resource_uid, resource_entity),
            context,
        })
    }

    fn uid(&self, of: &EntityTypeName, id: &str, about: &str) -> Result<EntityUid, Refused> {
        let ids = self.words.shape(of).and_then(|shape| shape.ids.as_ref());
        if ids.is_some_and(|ids| !ids.contains(id)) {
            return Err(Refused::invalid(about.to_owned()));
        }
        Ok(ask::uid(of, id))
    }

    /// Adds what properties say of a thing.
    fn know(
        &mut self,
        known: &mut Known<'_>,
        of: &EntityTypeName,
        said: &Map<String, Value>,
        about: &str,
    ) -> Result<(), Refused> {
        let Some(shape) = self.words.shape(of) else { return Ok(()) };
        let parents = said.get("parents").filter(|it| !it.is_null());
        if let Some(parents) = parents.filter(|_| !shape.attributes.contains_key("parents")) {
            let at = || format!("{about}.parents");
            for parent in parents.as_array().ok_or_else(|| Refused::invalid(at()))? {
                self.take(&at)?;
                let uid = self.named(parent, None, &at)?;
                if !shape.within.contains(uid.type_name()) {
                    return Err(Refused::invalid(at()));
                }
                known.parents.push(uid);
            }
        }
        let roles = said.get("roles").filter(|it| !it.is_null());
        if let Some(roles) = roles.filter(|_| self.words.own.kind(of).is_some()) {
            let at = || format!("{about}.roles");
            for role in texts(roles).ok_or_else(|| Refused::invalid(at()))? {
                self.take(&at)?;
                // Nobody has no roles, whatever is said.
                if shape.within.contains(&self.words.own.role) {
                    known.parents.push(ask::uid(&self.words.own.role, role));
                }
            }
        }
        for (name, of) in &shape.attributes {
            let Some(value) = said.get(&**name).filter(|it| !it.is_null()) else { continue };
            let at = || format!("{about}.{name}");
            let before = known.said.and_then(|said| said.get(&**name)).filter(|it| !it.is_null());
            match before {
                Some(other) if other != value => return Err(Refused::invalid(at())),
                Some(_) => continue,
                None => known.attributes.push((name.to_string(), self.value(of, value, &at)?)),
            }
        }
        Ok(())
    }

    fn values(
        &mut self,
        declared: &Attributes,
        said: &Map<String, Value>,
        about: &str,
    ) -> Result<Values, Refused> {
        let mut values = Vec::new();
        for (name, of) in declared {
            let Some(value) = said.get(&**name).filter(|it| !it.is_null()) else { continue };
            let made = self.value(of, value, &|| format!("{about}.{name}"))?;
            values.push((name.to_string(), made));
        }
        Ok(values)
    }

    fn value(
        &mut self,
        of: &Type,
        said: &Value,
        about: &dyn Fn() -> String,
    ) -> Result<RestrictedExpression, Refused> {
        self.take(about)?;
        let invalid = || Refused::invalid(about());
        let text = || said.as_str().ok_or_else(invalid);
        Ok(match of {
            Type::Bool => RestrictedExpression::new_bool(said.as_bool().ok_or_else(invalid)?),
            Type::Long => RestrictedExpression::new_long(said.as_i64().ok_or_else(invalid)?),
            Type::Text => RestrictedExpression::new_string(text()?.to_owned()),
            Type::Ip => extension(RestrictedExpression::new_ip(text()?)).ok_or_else(invalid)?,
            Type::Decimal => {
                extension(RestrictedExpression::new_decimal(text()?)).ok_or_else(invalid)?
            }
            Type::Datetime => {
                extension(RestrictedExpression::new_datetime(text()?)).ok_or_else(invalid)?
            }
            Type::Duration => {
                extension(RestrictedExpression::new_duration(text()?)).ok_or_else(invalid)?
            }
            Type::Entity(name) => {
                RestrictedExpression::new_entity_uid(self.named(said, Some(name), about)?)
            }
            Type::Set(element) => {
                let mut values = Vec::new();
                for said in said.as_array().ok_or_else(invalid)? {
                    values.push(self.value(element, said, about)?);
                }
                RestrictedExpression::new_set(values)
            }
            Type::Record(attributes) => {
                let said = said.as_object().ok_or_else(invalid)?;
                let mut values = Vec::new();
                for (name, of) in attributes {
                    let Some(value) = said.get(&**name).filter(|it| !it.is_null()) else {
                        continue;
                    };
                    let made = self.value(of, value, &|| format!("{}.{name}", about()))?;
                    values.push((name.to_string(), made));
                }
                RestrictedExpression::new_record(values).map_err(|_| invalid())?
            }
        })
    }

    /// A thing that is named by its type and id, or by its id alone where only one type can be meant.
    fn named(
        &self,
        said: &Value,
        of: Option<&EntityTypeName>,
        about: &dyn Fn() -> String,
    ) -> Result<EntityUid, Refused> {
        let invalid = || Refused::invalid(about());
        if let Some((id, of)) = said.as_str().zip(of) {
            return self.uid(of, id, &about());
        }
        let member = |name: &str| said.get(name).and_then(Value::as_str);
        let (kind, id) = member("type").zip(member("id")).ok_or_else(invalid)?;
        let named = self.words.entity_type(kind).ok_or_else(invalid)?;
        if of.is_some_and(|of| of != named) {
            return Err(invalid());
        }
        self.uid(named, id, &about())
    }

    fn take(&mut self, about: &dyn Fn() -> String) -> Result<(), Refused> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Refused::invalid(about()))?;
        Ok(())
    }
}

/// What is said of one thing.
#[derive(Default)]
struct Known<'s> {
    attributes: Values,
    parents: Vec<EntityUid>,
    /// What was said of it in another place, and is known already.
    said: Option<&'s Map<String, Value>>,
}

/// A value that Cedar reads out of a text: an address, a number, a moment. `None`: it is none.
fn extension(value: RestrictedExpression) -> Option<RestrictedExpression> {
    Context::from_pairs([("value".to_owned(), value.clone())]).is_ok().then_some(value)
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

#[cfg(test)]
mod tests;
