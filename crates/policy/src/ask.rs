//! Policies, asked about one request. Whatever a request says becomes a value: nothing of it is ever
//! read as Cedar.

use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    Request as CedarRequest, RestrictedExpression,
};
use tegata_core::Timestamp;

use crate::{
    bundle::{
        Bundle, Effect, Policy,
        index::{Bucket, Index, Leaf},
        named::Named,
        schema::{Act, Own},
        uses::Uses,
    },
    decision::ReasonId,
    method,
    request::{Action, Principal, PrincipalKind},
    rule::DecideBy,
    within::Kept,
};

/// What policies say of a request.
#[derive(Debug, Default)]
pub(crate) struct Verdict<'r> {
    /// Those that permit it.
    pub(crate) permits: Vec<&'r Policy>,
    /// Those that forbid it.
    pub(crate) forbids: Vec<&'r Policy>,
    /// Those that forbid, and in which there was an error. Cedar leaves such a policy out; here it
    /// counts, because nobody knows whether it forbids this.
    pub(crate) erring: Vec<&'r Policy>,
    /// There was no way to ask at all.
    failed: bool,
}

/// The policies that can match requests to one route.
#[derive(Debug)]
pub(crate) struct OfRoute {
    bundle: Arc<Bundle>,
    decide_by: DecideBy,
    buckets: Vec<Arc<Bucket>>,
    uid: EntityUid,
    entity: Entity,
    /// The service of the route.
    service: EntityUid,
    /// Whether there are policies about resources in roles. A service may have roles, and then its routes
    /// are in them, too, while it asks for one itself.
    in_roles: bool,
    uses: Uses,
}

/// What is asked about, as Cedar has it.
pub(crate) struct Question<'q> {
    pub(crate) principal: (EntityUid, Entity),
    pub(crate) act: &'q Act,
    /// Without an entity where it is the principal.
    pub(crate) resource: (EntityUid, Option<Entity>),
    pub(crate) context: Vec<(String, RestrictedExpression)>,
}

impl<'r> Verdict<'r> {
    /// Why it is refused whatever permits it, and by which policies.
    pub(crate) fn refusal(&self) -> Option<(ReasonId, Vec<&'r Policy>)> {
        if !self.forbids.is_empty() {
            return Some((ReasonId::PolicyForbids, self.forbids.clone()));
        }
        let erred = self.failed || !self.erring.is_empty();
        erred.then(|| (ReasonId::PolicyError, self.erring.clone()))
    }

    const fn failure() -> Self {
        Self { permits: Vec::new(), forbids: Vec::new(), erring: Vec::new(), failed: true }
    }

    /// Asks about everything that can match.
    pub(crate) fn of_all(bundle: &'r Bundle, question: Question<'_>) -> Self {
        let Some(ready) = question.ready() else { return Self::failure() };
        let Ready { principal, actions, resource, entities, .. } = &ready;
        // What one of them is in may be the other, which is in more.
        let principals = with_all(entities, principal);
        let resources = with_all(entities, resource);
        let mut leaves = Vec::new();
        for index in [&bundle.forbids, &bundle.permits] {
            for bucket in index.buckets(resource.type_name(), resources.iter().copied()) {
                bucket.leaves(principal.type_name(), (&principals, actions), &mut leaves);
            }
        }
        Self::of(bundle, &leaves, &ready)
    }

    /// Asks Cedar about every policy of these leaves.
    fn of(bundle: &'r Bundle, leaves: &[&Leaf], ready: &Ready<'_>) -> Self {
        let Ready { request, entities, .. } = ready;
        let mut verdict = Self::default();
        let authorizer = Authorizer::new();
        for leaf in leaves {
            let response = authorizer.is_authorized(request, &leaf.set, entities);
            let diagnostics = response.diagnostics();
            let named = |id: &cedar_policy::PolicyId| bundle.policy(<_ as AsRef<str>>::as_ref(id));
            // INVARIANT: what determined something is never passed over, be it without a name here.
            for policy in diagnostics.reason().map(named) {
                match policy {
                    Some(policy) if policy.effect == Effect::Permit => verdict.permits.push(policy),
                    Some(policy) => verdict.forbids.push(policy),
                    None => verdict.failed = true,
                }
            }
            for error in diagnostics.errors() {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                match named(error.policy_id()) {
                    Some(policy) if policy.effect == Effect::Permit => {}
                    Some(policy) => verdict.erring.push(policy),
                    None => verdict.failed = true,
                }
            }
        }
        for found in [&mut verdict.permits, &mut verdict.forbids, &mut verdict.erring] {
            found.sort_by(|one, other| {
                (&one.file, one.line, &one.id).cmp(&(&other.file, other.line, &other.id))
            });
            found.dedup_by(|one, other| one.id == other.id);
        }
        verdict
    }
}

/// A thing, and everything of which it is a member.
fn with_all<'e>(entities: &'e Entities, uid: &'e EntityUid) -> Vec<&'e EntityUid> {
    std::iter::once(uid).chain(entities.ancestors(uid).into_iter().flatten()).collect()
}

/// A question in the form in which Cedar takes it.
struct Ready<'q> {
    principal: EntityUid,
    /// The action, and the groups in which it is.
    actions: Vec<&'q EntityUid>,
    resource: EntityUid,
    entities: Entities,
    request: CedarRequest,
}

impl<'q> Question<'q> {
    fn ready(self) -> Option<Ready<'q>> {
        let Self { principal: (principal, entity), act, resource: (resource, other), context } =
            self;
        let things = [entity, act.entity.clone()].into_iter().chain(other);
        let entities = Entities::from_entities(things, None).ok()?;
        let context = Context::from_pairs(context).ok()?;
        let (uid, of) = (act.uid.clone(), resource.clone());
        let request = CedarRequest::new(principal.clone(), uid, of, context, None).ok()?;
        let actions = std::iter::once(&act.uid).chain(&act.groups).collect();
        Some(Ready { principal, actions, resource, entities, request })
    }
}

impl OfRoute {
    /// `None`: no policy can match a request to this route. Where policies are not asked for a permit,
    /// those that permit say nothing, and are not asked.
    pub(crate) fn of(
        bundle: &Arc<Bundle>,
        decide_by: DecideBy,
        (service, route): (&str, &str),
    ) -> Option<Self> {
        let own = &bundle.words.own;
        let uid = uid(&own.route, route);
        let service = self::uid(&own.service, service);
        let buckets = indices(bundle, decide_by)
            .flat_map(|index| index.buckets(&own.route, [&uid, &service]).map(Arc::clone));
        let buckets: Vec<_> = buckets.filter(|bucket| !bucket.touched.is_empty()).collect();
        let in_roles = indices(bundle, decide_by).any(|index| index.has_within(&own.role));
        let least = if in_roles { Uses::ALL } else { Uses::default() };
        let uses = buckets.iter().fold(least, |all, bucket| all | bucket.uses);
        let entity = Entity::new_no_attrs(uid.clone(), [service.clone()].into());
        let bundle = Arc::clone(bundle);
        (in_roles || !buckets.is_empty()).then_some(Self {
            bundle,
            decide_by,
            buckets,
            uid,
            entity,
            service,
            in_roles,
            uses,
        })
    }

    /// What the policies name that can match requests to this route.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Named> {
        let policies = self.buckets.iter().flat_map(|bucket| bucket.policies());
        policies.filter_map(|policy| self.bundle.named_by(<_ as AsRef<str>>::as_ref(policy.id())))
    }

    /// What policies of the route use of a request.
    pub(crate) const fn uses(&self) -> Uses {
        self.uses
    }

    /// Asks. With `kept`, as if the caller had no more than that. Where no policy can match, nothing is
    /// made and nothing is allocated.
    pub(crate) fn ask(
        &self,
        principal: &Principal<'_>,
        action: Action<'_>,
        kept: Option<&Kept>,
    ) -> Verdict<'_> {
        let own = &self.bundle.words.own;
        let (of, id) = caller(own, principal);
        let place = method::place(action.method);
        let known = principal.kind != PrincipalKind::Anonymous;
        let counts = |role: &str| known && kept.is_none_or(|kept| kept.has_role(role));
        let touched = self.buckets.iter().any(|bucket| {
            let roles = principal.held.roles().filter(|role| counts(role));
            bucket.touched.has((principal.kind, id), roles, 1 << place)
        });
        let is_itself = || {
            principal.kind == PrincipalKind::Service
                && principal.id == self.service.id().unescaped()
        };
        let asks_itself = self.in_roles && is_itself();
        if !touched && !asks_itself {
            return Verdict::default();
        }
        let Some(act) = self.bundle.words.method(place) else { return Verdict::failure() };
        let uid = uid(of, id);
        let roles = principal.held.role_uids(&own.role).iter();
        let roles: Vec<&EntityUid> = roles.filter(|role| counts(role.id().unescaped())).collect();
        let principals: Vec<&EntityUid> =
            std::iter::once(&uid).chain(roles.iter().copied()).collect();
        let actions: Vec<&EntityUid> = std::iter::once(&act.uid).chain(&act.groups).collect();
        let mut leaves = Vec::new();
        let within = roles.iter().filter(|_| asks_itself);
        let within = within.flat_map(|role| {
            let indices = indices(&self.bundle, self.decide_by);
            indices.filter_map(|index| index.within(role))
        });
        for bucket in self.buckets.iter().chain(within) {
            bucket.leaves(of, (&principals, &actions), &mut leaves);
        }
        if leaves.is_empty() {
            return Verdict::default();
        }
        let uses = leaves.iter().fold(Uses::default(), |all, leaf| all | leaf.uses);
        let entity = Entity::new_no_attrs(uid.clone(), roles.into_iter().cloned().collect());
        let question = Question {
            principal: (uid, entity),
            act,
            resource: (self.uid.clone(), Some(self.entity.clone())),
            context: context(principal, action, kept, uses),
        };
        question.ready().map_or_else(Verdict::failure, |it| Verdict::of(&self.bundle, &leaves, &it))
    }
}

/// What is asked on a route: about forbids always, about permits where one is needed.
fn indices(bundle: &Bundle, decide_by: DecideBy) -> impl Iterator<Item = &Index> {
    let permits = (decide_by != DecideBy::Table).then_some(&bundle.permits);
    std::iter::once(&bundle.forbids).chain(permits)
}

/// An id is a value: whatever is in it, it names one thing and nothing else.
pub(crate) fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

fn caller<'a>(own: &'a Own, principal: &Principal<'a>) -> (&'a EntityTypeName, &'a str) {
    match principal.kind {
        PrincipalKind::Anonymous => (&own.anonymous, "anonymous"),
        PrincipalKind::User => (&own.user, principal.id),
        PrincipalKind::Client => (&own.client, principal.id),
        PrincipalKind::Service => (&own.service, principal.id),
    }
}

/// What is known of a request, as far as it is used.
fn context(
    principal: &Principal<'_>,
    action: Action<'_>,
    kept: Option<&Kept>,
    uses: Uses,
) -> Vec<(String, RestrictedExpression)> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let long =
        |number: u64| RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX));
    let known = principal.kind != PrincipalKind::Anonymous;
    let counts = |scope: &&str| known && kept.is_none_or(|kept| kept.has_scope(scope));
    let scopes = || RestrictedExpression::new_set(principal.held.scopes().filter(counts).map(text));
    let place = principal.place.filter(|_| uses.any_of(Uses::PLACE));
    let moment = place.map(|place| place.now);
    [
        ("method", Uses::METHOD, Some(text(action.method))),
        ("path", Uses::PATH, Some(text(action.path))),
        ("scopes", Uses::SCOPES, uses.any_of(Uses::SCOPES).then(scopes)),
        ("acr", Uses::ACR, principal.acr.map(text)),
        ("auth_age", Uses::AUTH_AGE, principal.auth_age.map(long)),
        (
            "ip",
            Uses::IP,
            place.map(|place| {
                RestrictedExpression::new_ip(place.address.to_canonical().to_string())
            }),
        ),
        ("now", Uses::NOW, moment.map(|now| RestrictedExpression::new_datetime(datetime(now)))),
        ("hour", Uses::HOUR, moment.map(|now| long(hour(now)))),
        ("weekday", Uses::WEEKDAY, moment.map(|now| long(weekday(now)))),
    ]
    .into_iter()
    .filter(|(_, used, _)| uses.any_of(*used))
    .filter_map(|(name, _, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The hour of a day in UTC, 0 to 23.
pub(crate) const fn hour(at: Timestamp) -> u64 {
    at.secs() / 3600 % 24
}

/// The day of the week in UTC: 1, Monday, to 7.
pub(crate) fn weekday(at: Timestamp) -> u64 {
    // 1970-01-01 was a Thursday.
    (u64::from(at.day()) + 3) % 7 + 1
}

/// A moment as Cedar writes it: `2026-11-23T12:00:00.000Z`.
pub(crate) fn datetime(at: Timestamp) -> String {
    // Days to years, months and days, counted from the first of March of year 0, so that the day which
    // not every year has is the last one. 400 years have 146,097 days.
    let days = u64::from(at.day()) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let millis = at.millis() % 86_400_000;
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, milli) = (millis / 1_000 % 60, millis % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests;
