//! What would make policies pass: tried, and not guessed. Proposed is only what they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tegata_core::{Acr, MaxAge};

use super::{Change, Clause};
use crate::{
    ask::OfRoute,
    bundle::{Bundle, PolicyId, uses::Uses},
    names::Held,
    request::{Action, Principal, PrincipalKind},
    rule::DecideBy,
    set::RouteRule,
};

/// How many names of each kind are tried at most.
const TRIED: usize = 16;

/// One thing that a caller might have besides.
#[derive(Debug, Clone)]
enum More {
    Known,
    Role(Box<str>),
    Scope(Box<str>),
    Acr(Acr),
    Age(MaxAge),
}

impl RouteRule {
    /// Adds to what the rule itself asks for what policies ask for.
    pub(super) fn change_for_policies(
        &self,
        mut change: Change,
        principal: &Principal<'_>,
        action: Action<'_>,
    ) -> Change {
        let Some(policies) = &self.policies else {
            change.permit = self.requirement.decide_by != DecideBy::Table;
            return change;
        };
        let base = change.clone();
        let then = Then::of(&base, principal, action);
        let passes = |more: &[&More]| {
            then.asks(self, more, |principal, action| {
                let verdict = policies.ask(principal, action, None);
                let permitted = self.is_permitted(&verdict);
                verdict.refusal().is_none() && permitted
            })
        };
        let all = proposals(policies, &then);
        let one = all.iter().map(|more| vec![more]);
        let pairs = all.iter().enumerate().flat_map(|(place, first)| {
            all.iter().skip(place + 1).map(move |second| vec![first, second])
        });
        let found = std::iter::once(Vec::new()).chain(one).chain(pairs).find(|more| passes(more));
        match &found {
            Some(more) => more.iter().for_each(|more| change.add(more)),
            None => then.asks(self, &[], |principal, action| {
                let verdict = policies.ask(principal, action, None);
                let lift: BTreeSet<&PolicyId> = verdict
                    .forbids
                    .iter()
                    .chain(&verdict.erring)
                    .map(|policy| &policy.id)
                    .collect();
                change.lift_policies = lift.into_iter().cloned().collect();
                change.permit = !self.is_permitted(&verdict);
            }),
        }
        // Where the request comes from may leave too little of what the caller has then.
        change.within |= self.outside(principal).is_some()
            && then.asks(self, &found.unwrap_or_default(), |principal, action| {
                let kept = self.requirement.within.kept.as_ref();
                let left = policies.ask(principal, action, kept);
                left.refusal().is_some() || !self.is_permitted(&left)
            });
        change
    }
}

/// A caller after a change.
struct Then<'a> {
    principal: Principal<'a>,
    action: Action<'a>,
    kind: PrincipalKind,
    roles: Vec<&'a str>,
    scopes: Vec<&'a str>,
    acr: Option<&'a str>,
    auth_age: Option<u64>,
}

impl<'a> Then<'a> {
    fn of(change: &'a Change, principal: &Principal<'a>, action: Action<'a>) -> Self {
        let added = change.role.iter().map(String::as_str);
        let method = change.method.as_deref().unwrap_or(action.method);
        Self {
            principal: *principal,
            action: Action { method, ..action },
            kind: if change.authenticate { PrincipalKind::User } else { principal.kind },
            roles: principal.held.roles().chain(added).collect(),
            scopes: principal
                .held
                .scopes()
                .chain(change.scopes.iter().map(String::as_str))
                .collect(),
            acr: change.acr.map(Acr::as_str).or(principal.acr),
            auth_age: change.max_age.map(MaxAge::secs).or(principal.auth_age),
        }
    }

    /// Asks about this caller, who has something more.
    fn asks<T>(
        &self,
        rule: &RouteRule,
        more: &[&More],
        ask: impl FnOnce(&Principal<'_>, Action<'_>) -> T,
    ) -> T {
        let (mut roles, mut scopes) = (self.roles.clone(), self.scopes.clone());
        let (mut kind, mut acr, mut auth_age) = (self.kind, self.acr, self.auth_age);
        for more in more {
            match more {
                More::Known => kind = PrincipalKind::User,
                More::Role(role) => roles.push(role),
                More::Scope(scope) => scopes.push(scope),
                More::Acr(level) => acr = Some(level.as_str()),
                More::Age(age) => auth_age = Some(age.secs()),
            }
        }
        let held = Held::recognise(&rule.vocabulary, roles, scopes);
        ask(&Principal { kind, held: &held, acr, auth_age, ..self.principal }, self.action)
    }
}

/// What policies name and the caller does not have.
fn proposals(policies: &OfRoute, then: &Then<'_>) -> Vec<More> {
    let (mut roles, mut texts, mut numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for named in policies.named() {
        roles.extend(&named.roles);
        texts.extend(&named.texts);
        numbers.extend(&named.numbers);
    }
    let roles = roles.into_iter().filter(|role| !then.roles.contains(&&***role));
    let levels = texts.iter().filter_map(|text| Acr::named(text));
    let levels = levels.filter(|level| then.acr != Some(level.as_str()));
    let scopes = texts.iter().filter(|text| Acr::named(text).is_none());
    let scopes = scopes.filter(|text| !then.scopes.contains(&&****text));
    // The longest first: whoever may have signed in an hour ago is asked for no more.
    let ages =
        numbers.into_iter().rev().flat_map(|number: &u64| [*number, number.saturating_sub(1)]);
    let ages = ages.filter(|age| *age > 0).map(|age| MaxAge::of(Duration::from_secs(age)));
    let known = (then.kind == PrincipalKind::Anonymous).then_some(More::Known);
    known
        .into_iter()
        .chain(roles.take(TRIED).map(|role| More::Role(role.clone())))
        .chain(scopes.take(TRIED).map(|scope| More::Scope((*scope).clone())))
        .chain(levels.take(TRIED).map(More::Acr))
        .chain(ages.take(TRIED).map(More::Age))
        .collect()
}

impl Change {
    fn add(&mut self, more: &More) {
        match more {
            More::Known => self.authenticate = true,
            More::Role(role) => self.more_roles.push(role.to_string()),
            More::Scope(scope) => {
                self.scopes.push(scope.to_string());
                self.scopes.sort_unstable();
            }
            More::Acr(level) => self.acr = Some(*level),
            More::Age(age) => self.max_age = Some(*age),
        }
    }
}

impl Clause {
    /// A policy, and what of a request it has looked at.
    pub(super) fn of(
        bundle: &Bundle,
        id: &PolicyId,
        principal: &Principal<'_>,
        action: Action<'_>,
    ) -> Option<Self> {
        let policy = bundle.policy(id.as_str())?.clone();
        let uses = bundle.uses_of(id).unwrap_or_default();
        let list = |names: Vec<&str>| names.join(" ");
        let kind = format!("{:?}", principal.kind);
        let mut values = BTreeMap::from([
            ("principal", format!("Tegata::{kind}::{:?}", principal.id)),
            ("action", action.method.to_owned()),
        ]);
        let roles: Vec<&str> = principal.held.roles().collect();
        if !roles.is_empty() {
            values.insert("roles", list(roles));
        }
        let missing = || "(not known)".to_owned();
        let said = [
            (Uses::METHOD, "context.method", Some(action.method.to_owned())),
            (Uses::PATH, "context.path", Some(action.path.to_owned())),
            (Uses::SCOPES, "context.scopes", Some(list(principal.held.scopes().collect()))),
            (Uses::ACR, "context.acr", principal.acr.map(str::to_owned)),
            (Uses::AUTH_AGE, "context.auth_age", principal.auth_age.map(|age| age.to_string())),
            (Uses::IP, "context.ip", principal.place.map(|place| place.address.to_string())),
            (Uses::NOW, "context.now", principal.place.map(|it| crate::ask::datetime(it.now))),
            (
                Uses::HOUR,
                "context.hour",
                principal.place.map(|it| crate::ask::hour(it.now).to_string()),
            ),
            (
                Uses::WEEKDAY,
                "context.weekday",
                principal.place.map(|it| crate::ask::weekday(it.now).to_string()),
            ),
        ];
        let used = said.into_iter().filter(|(used, ..)| uses.any_of(*used));
        values.extend(used.map(|(_, name, value)| (name, value.unwrap_or_else(missing))));
        let text = policy.text.to_string();
        Some(Self { policy, text, values })
    }
}
