//! Aggregations as people write them: `[[bff]]` of the configuration and of files for `tegata apply`. Each
//! answers one request of a client by several of the gateway's own, put together.

use std::{borrow::Cow, collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    credentials::Credential,
    declared::AuthMode,
    map::{Check, InvalidMap, Rule, ServiceMap, reserved},
    name::{RoleName, ServiceName},
    path::Target,
    span::Span,
};

/// Below which path aggregations are.
pub const PREFIX: &str = "/bff";
/// How many parts one has at most.
pub const MOST_PARTS: usize = 16;
/// How many members are chosen of a part at most, and how deep.
const MOST_CHOSEN: usize = 64;
const DEEPEST: usize = 8;
/// How long one takes at most, where nothing is said, and whatever is said.
const USUAL: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// `[[bff]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredBff {
    /// Its name, unique: it is asked for at `/bff/NAME`.
    pub name: String,
    /// Whether the caller must be known.
    #[serde(default)]
    pub auth: AuthMode,
    /// Who may ask for it: whoever has one of these roles. Empty: whoever `auth` lets pass. What its parts ask
    /// for holds beside that.
    #[serde(default)]
    pub roles: Vec<String>,
    /// How long all of it may take, such as `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// What it is put together of: 1 to 16.
    pub part: Vec<DeclaredPart>,
}

/// `[[bff.part]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredPart {
    /// Under which name it stands in the answer.
    pub name: String,
    /// What is asked for, as a client would ask this gateway: `/users/me`. A segment may be `{sub}` or
    /// `{client_id}`, what is known of the caller, or `{query.NAME}`, what the client says.
    pub path: String,
    /// The members of the service's answer that are told: `name`, or `address.city`.
    pub select: Vec<String>,
    /// Whether there is no answer without it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub required: bool,
    /// How long it may take, where that is less than all of it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// What stands in its place where there is none of it; `null` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// An aggregation, with nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bff {
    /// Its name.
    pub name: ServiceName,
    /// Whether the caller must be known.
    pub auth: AuthMode,
    /// Roles of which the caller must have one. Empty: none is needed.
    pub roles: BTreeSet<RoleName>,
    /// How long all of it may take.
    pub deadline: Duration,
    /// What it is put together of, in the order of the answer.
    pub parts: Vec<Part>,
}

/// A part of an aggregation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Under which name it stands in the answer.
    pub name: Box<str>,
    /// What is asked for.
    pub path: Template,
    /// What of the answer is told.
    pub chosen: Chosen,
    /// Whether there is no answer without it.
    pub required: bool,
    /// How long it may take, where it says so.
    pub deadline: Option<Duration>,
    /// What stands in its place where there is none of it.
    pub default: Value,
}

/// A target with places that are filled in for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
    /// The query, without `?`, as it was written.
    query: Option<Box<str>>,
}

/// A segment of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// As it is, normal.
    Plain(Box<str>),
    /// The caller: the claim `sub`.
    Subject,
    /// The client that the caller came by: the claim `client_id`.
    Client,
    /// What the client says in its query under this name.
    Query(Box<str>),
}

/// Which members of a JSON document are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Each with what of it; all of it, where that names none.
    members: Vec<(Box<str>, Chosen)>,
}

impl Bff {
    /// Where it is asked for.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{PREFIX}/{}", self.name)
    }

    fn read(declared: &DeclaredBff, check: &mut Check<'_>) -> Option<Self> {
        let before = check.faults.len();
        let name = check.name(ServiceName::new(&declared.name));
        let roles = check.names(&declared.roles, RoleName::new);
        if declared.auth != AuthMode::Required && !roles.is_empty() {
            check.fault(Rule::NeedsAuth("roles"));
        }
        let deadline = declared.deadline.map_or(USUAL, Span::duration);
        if deadline > LONGEST {
            word(check, "deadline", "is more than a minute: nobody waits for that long");
        }
        if declared.part.is_empty() || declared.part.len() > MOST_PARTS {
            word(check, "part", "stands 1 to 16 times");
        }
        let parts: Vec<_> =
            declared.part.iter().filter_map(|part| Part::read(part, deadline, check)).collect();
        let names: BTreeSet<_> = declared.part.iter().map(|part| part.name.as_str()).collect();
        if names.len() < declared.part.len() {
            word(check, "part", "has two of one name: rename one");
        }
        let whole = check.faults.len() == before;
        let (auth, name) = (declared.auth, name?);
        whole.then_some(Self { name, auth, roles, deadline, parts })
    }

    /// Where its parts lead: to routes that could answer them.
    fn leads(&self, map: &ServiceMap, check: &mut Check<'_>) {
        let table = map.table();
        for part in &self.parts {
            let lead = part.path.lead();
            let found = Target::parse(lead.as_bytes()).ok();
            let found = found.as_ref().and_then(|lead| table.find(lead.path()));
            let Some(found) = found else {
                word(check, "part.path", "leads to no route: declare one, or mend the path");
                continue;
            };
            let route = found.route;
            if !route.methods.is_empty() && !route.methods.contains("GET") {
                word(check, "part.path", "leads to a route that takes no `GET`");
            }
            if self.auth == AuthMode::None && route.auth == AuthMode::Required {
                let reason = "leads to a route that asks who calls, and nobody is asked here: set \
                              `auth = \"optional\"` or `\"required\"`";
                word(check, "part.path", reason);
            }
            let takes = |kind| route.credentials.have(kind);
            if route.auth == AuthMode::Required
                && !takes(Credential::Token)
                && !takes(Credential::Session)
            {
                let reason = "leads to a route that takes neither access tokens nor sessions";
                word(check, "part.path", reason);
            }
        }
    }
}

impl Part {
    fn read(declared: &DeclaredPart, all: Duration, check: &mut Check<'_>) -> Option<Self> {
        if !is_member(&declared.name) {
            word(check, "part.name", MEMBER);
        }
        let path = Template::parse(&declared.path);
        let path = path.map_err(|reason| word(check, "part.path", reason)).ok();
        let chosen = Chosen::of(&declared.select);
        let chosen = chosen.map_err(|reason| word(check, "part.select", reason)).ok();
        let deadline = declared.deadline.map(Span::duration);
        if deadline.is_some_and(|deadline| deadline > all) {
            word(check, "part.deadline", "is longer than all of it may take");
        }
        if declared.required && declared.default.is_some() {
            word(
                check,
                "part.default",
                "is never told of a part that is `required`: leave out one",
            );
        }
        let (name, required) = (declared.name.as_str().into(), declared.required);
        let default = declared.default.clone().unwrap_or_default();
        Some(Self { name, path: path?, chosen: chosen?, required, deadline, default })
    }
}

impl Template {
    /// Reads a target.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let rest = path.strip_prefix('/').ok_or("begins with `/`")?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            segments.push(Segment::parse(segment)?);
        }
        if !matches!(segments.first(), Some(Segment::Plain(_))) {
            return Err("begins with a segment that is said, not filled in");
        }
        let template = Self { segments, query: query.map(Box::from) };
        // As it is with something harmless everywhere, it is a target in its one form.
        let sample = template.fill(|_| Some(Cow::Borrowed("x"))).ok_or("cannot be filled in")?;
        let parsed = Target::parse(sample.as_bytes());
        let parsed = parsed.map_err(|_| "is no target that the gateway would let pass")?;
        let (path, said) = (parsed.path().as_str(), sample.split('?').next());
        if said != Some(path) || query.is_some_and(|query| query.contains(['{', '}'])) {
            return Err(
                "is not in its normal form: braces stand around whole segments of the path alone",
            );
        }
        if reserved(path).is_some() {
            return Err("leads to what Tegata answers itself");
        }
        Ok(template)
    }

    /// The path up to what is filled in. All that can be filled in is on the route that this is on.
    #[must_use]
    pub fn lead(&self) -> String {
        let plain = self.segments.iter().map_while(|segment| match segment {
            Segment::Plain(text) => Some(&**text),
            Segment::Subject | Segment::Client | Segment::Query(_) => None,
        });
        plain.fold(String::new(), |lead, segment| lead + "/" + segment)
    }

    /// The target, each place filled in with what `find` says, as one segment. `None`: of one, it says nothing.
    pub fn fill<'v>(
        &self,
        mut find: impl FnMut(&Segment) -> Option<Cow<'v, str>>,
    ) -> Option<String> {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            match segment {
                Segment::Plain(plain) => text.push_str(plain),
                place => {
                    let value = find(place).filter(|value| !value.is_empty())?;
                    escape(&mut text, &value);
                }
            }
        }
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        }
        Some(text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(place) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            return Ok(Self::Plain(text.into()));
        };
        match place {
            "sub" => Ok(Self::Subject),
            "client_id" => Ok(Self::Client),
            other => match other.strip_prefix("query.") {
                Some(name) if is_member(name) => Ok(Self::Query(name.into())),
                _ => Err("is filled in with `{sub}`, `{client_id}` or `{query.NAME}`"),
            },
        }
    }
}

impl Chosen {
    /// Those that are named: `name`, or `address.city`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(names: &[String]) -> Result<Self, &'static str> {
        if names.is_empty() || names.len() > MOST_CHOSEN {
            return Err("names 1 to 64 members: what is not named is not told");
        }
        let mut all = Self::default();
        for name in names {
            let steps: Vec<&str> = name.split('.').collect();
            if steps.len() > DEEPEST || !steps.iter().all(|step| is_member(step)) {
                return Err(MEMBER);
            }
            all.add(&steps)?;
        }
        Ok(all)
    }

    fn add(&mut self, steps: &[&str]) -> Result<(), &'static str> {
        let Some((first, rest)) = steps.split_first() else { return Ok(()) };
        match self.members.iter_mut().find(|(name, _)| **name == **first) {
            Some((_, inner)) if !rest.is_empty() && !inner.is_all() => inner.add(rest),
            Some(_) => Err("names a member twice, or what is in it beside all of it"),
            None => {
                let mut inner = Self::default();
                inner.add(rest)?;
                self.members.push(((*first).into(), inner));
                Ok(())
            }
        }
    }

    /// Whether all of it is told.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.members.is_empty()
    }

    /// What of a member is told; `None`: nothing. Of what is told whole, every member is.
    #[must_use]
    pub fn of_member(&self, name: &str) -> Option<&Self> {
        if self.is_all() {
            return Some(self);
        }
        self.members.iter().find(|(own, _)| **own == *name).map(|(_, inner)| inner)
    }
}

impl ServiceMap {
    /// The same with these aggregations. Where a part leads to no route, it is told so when it is asked for: a
    /// service that is taken away takes nothing else with it.
    ///
    /// # Errors
    /// What is wrong with their forms.
    pub fn with_bffs(self, declared: &[DeclaredBff]) -> Result<Self, InvalidMap> {
        let (bffs, faults) = read(declared, None);
        if faults.is_empty() { Ok(self.and(bffs)) } else { Err(InvalidMap { faults }) }
    }
}

/// Checks aggregations together with the routes that their parts lead to.
///
/// # Errors
/// All faults at once.
pub fn check(declared: &[DeclaredBff], map: &ServiceMap) -> Result<(), InvalidMap> {
    let (_, faults) = read(declared, Some(map));
    if faults.is_empty() { Ok(()) } else { Err(InvalidMap { faults }) }
}

/// Whether Tegata answers a path itself, so that no part can lead there.
#[must_use]
pub fn is_reserved(path: &str) -> bool {
    reserved(path).is_some()
}

fn read(declared: &[DeclaredBff], map: Option<&ServiceMap>) -> (Vec<Bff>, Vec<crate::map::Fault>) {
    let (mut bffs, mut faults): (Vec<Bff>, _) = (Vec::new(), Vec::new());
    for declared in declared {
        let entry = format!("[[bff]] `{}`", declared.name);
        let mut check = Check { entry, faults: &mut faults };
        let Some(bff) = Bff::read(declared, &mut check) else { continue };
        if bffs.iter().any(|it| it.name == bff.name) {
            word(&mut check, "name", "is declared twice: keep one");
            continue;
        }
        if let Some(map) = map {
            bff.leads(map, &mut check);
        }
        bffs.push(bff);
    }
    (bffs, faults)
}

fn word(check: &mut Check<'_>, key: &'static str, reason: &'static str) {
    check.fault(Rule::Word { key, reason });
}

const MEMBER: &str = "is made of names of 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`, other than those that every \
                      object of a script has";

/// Whether it can be the name of a member. Whoever merges the answer in a script must not be given one that
/// changes all objects.
fn is_member(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && !matches!(name, "__proto__" | "prototype" | "constructor")
}

/// Writes a value as (a part of) one segment: nothing but unreserved characters stays as it is.
fn escape(text: &mut String, value: &str) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde shows what it asks about")]
const fn is_no(word: &bool) -> bool {
    !*word
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Plain(text) => write!(f, "/{text}")?,
                Segment::Subject => f.write_str("/{sub}")?,
                Segment::Client => f.write_str("/{client_id}")?,
                Segment::Query(name) => write!(f, "/{{query.{name}}}")?,
            }
        }
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

#[cfg(test)]
mod tests;
