//! The map of services, made ready for requests: beside each route stand its rule, its service and
//! its limits, so that a request looks up its path and nothing more.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::HeaderValue;
use tegata_core::Clock;
use tegata_mesh::{
    AuthMode, IdentityForm, NormalPath, Route, RouteTable, Scheme, Sees, Service, ServiceMap,
    Upstream, reach,
};
use tegata_policy::{
    Auth, Bundle, DecideBy, Forbid, Held, InvalidRules, Kept, PolicySet, Requirement, RouteRule,
    Rules, Within,
};

use crate::{
    bff::{self, Together},
    config::Config,
    graphql::Endpoint,
    metrics::{Metrics, OfService},
    phase::limit::{Rule, rules as limits},
    policies::{Policies, Tried, digest_text},
    resource::Described,
    tls::Outward,
    upstream::Balanced,
};

/// Routes, rules and services. Replaced as a whole when the map changes.
#[derive(Debug)]
pub(crate) struct Routing {
    table: RouteTable,
    /// In the order of the table's routes.
    beside: Vec<Beside>,
    services: Vec<Destination>,
    policy: Arc<PolicySet>,
    /// Answers that are put together of several.
    together: Vec<Together>,
    /// The policies that are tried beside, where there are some.
    pub(crate) tried: Option<Arc<Tried>>,
    /// The digest of those that decide, as records have it. `None`: there are none.
    pub(crate) policy_digest: Option<Arc<str>>,
    /// How the gateway describes itself, where it does.
    pub(crate) described: Option<Described>,
    /// What nobody holds.
    pub(crate) nothing: Held,
    /// Which replacement this is. What was made with another is made anew.
    pub(crate) generation: u64,
}

/// What stands beside a route.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) rule: Arc<RouteRule>,
    /// The same with the policies that are tried.
    pub(crate) tried: Option<Arc<RouteRule>>,
    /// Its place in [`Routing::service`].
    pub(crate) service: usize,
    /// The prefix.
    pub(crate) prefix: Arc<str>,
    /// The field `Allow`.
    pub(crate) allow: HeaderValue,
    /// The largest body, in bytes.
    pub(crate) body: u64,
    /// How long a request and its answer may take in all.
    pub(crate) timeout: Option<Duration>,
    /// How many requests pass.
    pub(crate) limits: Vec<Rule>,
    /// How many bytes of one each second at least.
    pub(crate) body_rate: u64,
    /// What looks at bodies, where they are GraphQL.
    pub(crate) graphql: Option<Arc<Endpoint>>,
    /// Paths of its service to which it does not lead: where bodies are looked at, by another route.
    pub(crate) hidden: Vec<Box<str>>,
}

/// A service, as requests reach it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: Arc<str>,
    pub(crate) to: Arc<Balanced>,
    pub(crate) metrics: Arc<OfService>,
    /// How it is told who calls.
    pub(crate) identity: IdentityForm,
    /// What of the caller's rights it is told.
    pub(crate) sees: Sees,
    /// The services that may call it in their own names.
    callers: Vec<Box<str>>,
    /// The SPIFFE ID that its certificates have.
    spiffe_id: Option<Box<str>>,
}

/// What a map is compiled on.
pub(crate) struct Ground<'g> {
    pub(crate) config: &'g Config,
    pub(crate) metrics: &'g Metrics,
    pub(crate) clock: &'g Arc<dyn Clock>,
    /// TLS toward services that name nothing of their own.
    pub(crate) outward: Option<&'g Arc<Outward>>,
    /// What was there before, of which is kept what was learnt.
    pub(crate) before: Option<&'g Routing>,
}

impl Ground<'_> {
    /// What looked at the bodies of a route before.
    fn endpoint(&self, path: &str) -> Option<&Arc<Endpoint>> {
        let mut all = self.before?.beside.iter();
        all.find(|beside| *beside.prefix == *path)?.graphql.as_ref()
    }

    fn balanced(&self, service: &Service) -> Arc<Balanced> {
        let name = service.name.as_str();
        let before = self.before.and_then(|it| it.services.iter().find(|it| *it.name == *name));
        let before = before.map(|it| &it.to);
        let outward = self.outward_of(service, before);
        let how = (self.config.upstream.avoid, self.clock);
        Balanced::new(name, &service.upstreams, &service.reach, outward.as_ref(), how, before)
    }

    fn outward_of(
        &self,
        service: &Service,
        before: Option<&Arc<Balanced>>,
    ) -> Option<Arc<Outward>> {
        if service.upstreams.iter().all(|upstream| upstream.scheme() != Scheme::Https) {
            return None;
        }
        let said = &service.reach.outward;
        // INVARIANT: whoever names files of their own is reached with those, and never with others.
        if *said == reach::Outward::default() {
            return self.outward.map(Arc::clone);
        }
        let authorities = self.config.upstream.ca_file.as_ref();
        let kept = before.and_then(|it| it.addresses().first()?.outward_shared());
        if let Some(kept) = kept.filter(|it| it.is_of(said, authorities)) {
            return Some(kept);
        }
        let outward = Arc::new(Outward::new(said, authorities));
        if let Err(error) = outward.renew() {
            tracing::warn!(service = service.name.as_str(), %error,
                "it is not reached until its files can be used; its requests are answered 502");
        }
        Some(outward)
    }
}

/// The route of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'t, 'p> {
    pub(crate) route: &'t Route,
    pub(crate) beside: &'t Beside,
    /// The path that was asked for, by which policies decide.
    pub(crate) path: &'p str,
    /// The path that the service is asked for.
    pub(crate) forwarded: &'p str,
}

impl Routing {
    /// Compiles a map and what is forbidden.
    pub(crate) fn compile(
        map: &ServiceMap,
        (forbids, policies): (Vec<Forbid>, &Policies),
        ground: &Ground<'_>,
        generation: u64,
    ) -> Result<Self, InvalidRules> {
        let Ground { config, metrics, .. } = *ground;
        let tried = policies.tried.as_ref();
        let set_tried = tried
            .map(|tried| PolicySet::compile(rules(map, forbids.clone(), Some(tried.bundle()))));
        let set_tried = set_tried.transpose()?;
        let policy = PolicySet::compile(rules(map, forbids, policies.bundle.as_ref()))?;
        let services: Vec<_> = map
            .services()
            .map(|service| Destination {
                name: service.name.as_str().into(),
                to: ground.balanced(service),
                metrics: metrics.service(service.name.as_str()),
                identity: service.identity,
                sees: service.sees.clone(),
                callers: service.callers.iter().map(|name| name.as_str().into()).collect(),
                spiffe_id: service.reach.outward.spiffe_id.as_deref().map(Box::from),
            })
            .collect();
        let table = map.table();
        let beside = |route: &Route| {
            let rule = policy.route(route.service.as_str(), &route.path)?;
            let name = route.service.as_str();
            Some(Beside {
                rule: Arc::clone(rule),
                tried: set_tried
                    .as_ref()
                    .and_then(|set| set.route(name, &route.path))
                    .map(Arc::clone),
                service: services.iter().position(|service| service.name.as_ref() == name)?,
                prefix: route.path.as_str().into(),
                allow: allow(route),
                body: config.limits.body_of.get(&route.path).copied().unwrap_or(config.limits.body),
                timeout: route.timeout,
                limits: limits(route, map.service(name)?),
                body_rate: {
                    let own = config.limits.body_rate_of.get(&route.path);
                    own.copied().unwrap_or(config.limits.body_rate)
                },
                graphql: Endpoint::of(route, ground.endpoint(&route.path)),
                hidden: hidden(map, route),
            })
        };
        // INVARIANT: every route has a rule and a service, because both were made from the map.
        let beside = table.routes().iter().filter_map(beside).collect();
        let together = bff::compile(map, &table, &policy, services.len(), metrics);
        let nothing = policy.recognise([], []);
        let described = config.resource.as_ref().map(|resource| Described::new(resource, map));
        metrics.graphql.keep(|path| map.routes().any(|it| it.path == path && it.graphql.is_some()));
        metrics.upstreams.show(services.iter().map(|service| Arc::clone(&service.to)).collect());
        Ok(Self {
            table,
            beside,
            services,
            policy: Arc::new(policy),
            together,
            tried: tried.map(Arc::clone),
            policy_digest: policies.bundle.as_ref().map(|bundle| digest_text(bundle).into()),
            described,
            nothing,
            generation,
        })
    }

    /// The route of `path`.
    pub(crate) fn find<'t, 'p>(&'t self, path: &'p NormalPath<'_>) -> Option<Found<'t, 'p>> {
        let hit = self.table.find(path)?;
        let beside = self.beside.get(hit.index)?;
        (*beside.prefix == *hit.route.path).then_some(())?;
        // INVARIANT: no way leads around those who look at bodies.
        if beside.hidden.iter().any(|hidden| is_at(hit.forwarded, hidden)) {
            return None;
        }
        Some(Found { route: hit.route, beside, path: path.as_str(), forwarded: hit.forwarded })
    }

    /// The answer of this name that is put together of several.
    pub(crate) fn together(&self, name: &str) -> Option<&Together> {
        self.together.iter().find(|it| it.bff.name.as_str() == name)
    }

    /// A service, by its place.
    pub(crate) fn service(&self, index: usize) -> Option<&Destination> {
        self.services.get(index)
    }

    /// The services that have a SPIFFE ID: one, where nobody made a mistake.
    pub(crate) fn of_spiffe_id(&self, id: &str) -> Vec<&str> {
        let named = self.services.iter().filter(|it| it.spiffe_id.as_deref() == Some(id));
        named.map(|service| &*service.name).collect()
    }

    /// Whether a service names another among its callers.
    pub(crate) fn takes_calls_of(&self, service: &str, caller: &str) -> bool {
        let called = self.services.iter().find(|it| *it.name == *service);
        called.is_some_and(|called| called.callers.iter().any(|name| **name == *caller))
    }

    /// All services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Balanced>> {
        self.services.iter().map(|service| &service.to)
    }

    /// What decides, for whoever asks without a request.
    pub(crate) const fn policy(&self) -> &Arc<PolicySet> {
        &self.policy
    }

    /// Looks up what a caller holds.
    pub(crate) fn recognise<'n>(
        &self,
        roles: impl IntoIterator<Item = &'n str>,
        scopes: impl IntoIterator<Item = &'n str>,
    ) -> Held {
        self.policy.recognise(roles, scopes)
    }
}

/// Where a service answers in GraphQL to which a route leads that looks at no bodies: under the same name, or at
/// the same address.
fn hidden(map: &ServiceMap, route: &Route) -> Vec<Box<str>> {
    if route.graphql.is_some() {
        return Vec::new();
    }
    let Some(own) = map.service(route.service.as_str()) else { return Vec::new() };
    let is_there = |other: &Route| {
        let other = map.service(other.service.as_str());
        other.is_some_and(|other| {
            let is_same =
                |it: &Upstream| own.upstreams.iter().any(|own| own.authority() == it.authority());
            other.name == own.name || other.upstreams.iter().any(is_same)
        })
    };
    let looked = map.routes().filter_map(|other| Some((other, other.graphql.as_ref()?)));
    let looked = looked.filter(|(other, _)| is_there(other));
    looked.map(|(_, graphql)| graphql.upstream_path.trim_end_matches('/').into()).collect()
}

/// Whether a path is another, or below it, also for who takes letters for each other.
fn is_at(path: &str, other: &str) -> bool {
    // All of the service is below `/`.
    if other.is_empty() {
        return true;
    }
    let start = path.get(..other.len()).is_some_and(|start| start.eq_ignore_ascii_case(other));
    start && matches!(path.as_bytes().get(other.len()), None | Some(b'/' | b';'))
}

/// The rules that a map states.
fn rules(map: &ServiceMap, forbids: Vec<Forbid>, bundle: Option<&Arc<Bundle>>) -> Rules {
    let mut rules = Rules::default();
    if let Some(bundle) = bundle {
        rules.bundle(Arc::clone(bundle));
    }
    for route in map.routes() {
        let requirement = Requirement {
            auth: match route.auth {
                AuthMode::Required => Auth::Required,
                AuthMode::Optional => Auth::Optional,
                AuthMode::None => Auth::None,
            },
            roles: route.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            scopes: route.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            methods: methods(route),
            step_up: route.step_up.clone(),
            within: within(&route.within),
            decide_by: match route.decide_by {
                tegata_mesh::DecideBy::Table => DecideBy::Table,
                tegata_mesh::DecideBy::Policies => DecideBy::Policies,
                tegata_mesh::DecideBy::Both => DecideBy::Both,
            },
        };
        rules.permit(route.service.as_str(), &route.path, requirement);
    }
    bff::permit(&mut rules, map);
    for forbid in forbids {
        rules.forbid(forbid);
    }
    rules
}

/// From where and when callers have all of their rights.
fn within(declared: &tegata_mesh::Within) -> Within {
    let kept = declared.kept.as_ref().map(|kept| Kept {
        methods: with_head(&kept.methods),
        roles: kept.roles.as_ref().map(|all| all.iter().map(|it| it.as_str().to_owned()).collect()),
        scopes: kept
            .scopes
            .as_ref()
            .map(|all| all.iter().map(|it| it.as_str().to_owned()).collect()),
    });
    Within { networks: declared.networks.clone(), hours: declared.hours.clone(), kept }
}

/// The methods that pass. Whoever answers `GET` answers `HEAD` (RFC 9110 §9.1).
fn methods(route: &Route) -> Vec<String> {
    with_head(&route.methods)
}

fn with_head(declared: &BTreeSet<String>) -> Vec<String> {
    let mut methods: Vec<String> = declared.iter().cloned().collect();
    if declared.contains("GET") && !declared.contains("HEAD") {
        methods.push("HEAD".to_owned());
    }
    methods
}

fn allow(route: &Route) -> HeaderValue {
    let methods = methods(route);
    let text = match methods.as_slice() {
        [] => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned(),
        some => some.join(", "),
    };
    // Methods of a checked map are letters and hyphens.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
