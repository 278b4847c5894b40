//! The checked map: every service and every route, or a list of everything that is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use tegata_core::{Acr, InvalidId, InvalidName, RateLimit, StepUp};

use crate::{
    bff::Bff,
    credentials::Credentials,
    declared::{AuthMode, DecideBy, DeclaredRoute, DeclaredService, IdentityForm, RevocationMode},
    graphql::{self, Graphql},
    limit::{self, DeclaredLimit, Place},
    name::{RoleName, Scope, ServiceName},
    path::Target,
    reach::Reach,
    sees::Sees,
    span::Span,
    table::RouteTable,
    upstream::{InvalidUpstream, Protocol, Upstream},
    within::Within,
};

/// Paths that the gateway answers itself or sends to Tegata's own pages. A route below one of them
/// would take sign-in away from the users, so there can be none.
pub const RESERVED: [&str; 11] = [
    "/.well-known",
    "/access/v1",
    "/api/auth",
    "/api/consent",
    "/assets/tegata",
    "/bff",
    "/graphql",
    "/health",
    "/login",
    "/oauth2",
    "/realms",
];

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Where it lives; at least one.
    pub upstreams: Vec<Upstream>,
    /// Who may get a token for it: services, or other clients with such a name.
    pub callers: BTreeSet<ServiceName>,
    /// Who may call it through the gateway, where a route does not say otherwise.
    pub roles: BTreeSet<RoleName>,
    /// How it is reached.
    pub reach: Reach,
    /// How it is told who calls.
    pub identity: IdentityForm,
    /// What of the caller's rights it is told.
    pub sees: Sees,
    /// How many requests pass to it in all.
    pub rate_limit: Option<RateLimit>,
    /// How many of each of those who are counted.
    pub rate_limits: Vec<DeclaredLimit>,
    /// From where and when callers have all of their rights, on routes that say nothing of their own.
    pub within: Within,
}

/// A route, with nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix: `/`, or segments of unreserved characters without a trailing slash.
    pub path: String,
    /// The service that it leads to.
    pub service: ServiceName,
    /// Whether the caller must be known.
    pub auth: AuthMode,
    /// Whether the service sees the path without the prefix.
    pub strip_prefix: bool,
    /// Methods that pass. Empty: all but `CONNECT` and `TRACE`.
    pub methods: BTreeSet<String>,
    /// Scopes that the caller's token must all have.
    pub scopes: BTreeSet<Scope>,
    /// Roles of which the caller must have one: the route's own, or else its service's. Empty: none
    /// is needed.
    pub roles: BTreeSet<RoleName>,
    /// What holds while revocations cannot be learnt.
    pub revocation: RevocationMode,
    /// How many requests of one caller pass.
    pub rate_limit: Option<RateLimit>,
    /// How strongly and how recently the caller must have been authenticated.
    pub step_up: StepUp,
    /// How long a request and its answer may take in all.
    pub timeout: Option<Duration>,
    /// Whether clients may open WebSockets here.
    pub websocket: bool,
    /// How long a body or a WebSocket may be quiet, where that is not what holds for all.
    pub idle_timeout: Option<Span>,
    /// Whether answers are compressed, where that is not what holds for all.
    pub compress: Option<bool>,
    /// How many requests pass of each of those who are counted.
    pub rate_limits: Vec<DeclaredLimit>,
    /// With what a caller may say who it is.
    pub credentials: Credentials,
    /// From where and when the caller has all of its rights: the route's own words, or else its service's.
    pub within: Within,
    /// What is looked at where its bodies are GraphQL.
    pub graphql: Option<Graphql>,
    /// Who is asked for a permit.
    pub decide_by: DecideBy,
}

/// All services and routes. Every route leads to a service, and every prefix leads to one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceMap {
    services: BTreeMap<ServiceName, Service>,
    routes: BTreeMap<String, Route>,
    bffs: BTreeMap<ServiceName, Bff>,
}

/// Something wrong with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which entry, as its author knows it: `[[route]]` and the path, `[[service]]` and the name.
    pub entry: String,
    /// Which rule it breaks.
    pub rule: Rule,
}

/// Everything that is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidMap {
    /// At least one, in the order of the declaration.
    pub faults: Vec<Fault>,
}

/// A rule of the map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Names of services, roles and scopes are well-formed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Services have different names.
    #[error("this service is declared twice: keep one")]
    DuplicateService,
    /// Routes have different prefixes.
    #[error("this prefix is declared twice: keep one")]
    DuplicatePrefix,
    /// A service lives somewhere.
    #[error("`upstreams` is empty: name at least one `http://host:port`")]
    NoUpstream,
    /// An address is well-formed.
    #[error("`upstreams` holds `{url}`: {reason}")]
    Upstream {
        /// Which.
        url: String,
        /// What is wrong with it.
        reason: InvalidUpstream,
    },
    /// Addresses of a service differ.
    #[error("`upstreams` holds `{0}` twice: keep one")]
    DuplicateUpstream(Upstream),
    /// Addresses are reached in the way that the protocol needs.
    #[error(
        "`protocol = \"{}\"` needs addresses with `{}://`: `{upstream}` is none",
        .protocol.name(), .protocol.needs().map_or("", |scheme| scheme.name())
    )]
    Protocol {
        /// The protocol.
        protocol: Protocol,
        /// The address.
        upstream: Upstream,
    },
    /// A WebSocket begins with a `GET`.
    #[error("`websocket` needs `GET` among `methods`: add it, or leave out one of the two")]
    SocketWithoutGet,
    /// A route leads to a declared service.
    #[error("there is no service `{0}`: declare it with `[[service]]`, or mend the name")]
    UnknownService(String),
    /// A prefix can be matched.
    #[error(
        "`path` must be `/`, or begin with `/`, not end with it, and consist of segments of \
         `A-Z`, `a-z`, `0-9`, `-`, `.`, `_` and `~`"
    )]
    Prefix,
    /// A prefix is not Tegata's own.
    #[error("`{0}` and what is below it is answered by Tegata itself: choose another prefix")]
    Reserved(&'static str),
    /// GraphQL has a place of its own.
    #[error("`graphql` needs a path `/graphql/NAME`, with one segment behind `/graphql`")]
    GraphqlElsewhere,
    /// A schema can be read.
    #[error("`graphql.schema`, line {line}, column {column}: {reason}")]
    Schema {
        /// In which line, from 1 on.
        line: usize,
        /// At which character of it, from 1 on.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A method can be forwarded.
    #[error("`methods` holds `{0}`: a method is upper case, and not `CONNECT` or `TRACE`")]
    Method(String),
    /// A level of authentication can be reached.
    #[error("`acr` holds `{0}`: a sign-in reaches `aal1` and `aal2`")]
    Acr(String),
    /// What is said about reaching a service can be done.
    #[error("`{key}` {reason}")]
    Word {
        /// Which word.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        reason: &'static str,
    },
    /// Delegations have different names.
    #[error("this delegation is declared twice: keep one")]
    DuplicateDelegation,
    /// Whoever acts or is acted for is a client.
    #[error(transparent)]
    Client(#[from] InvalidId),
    /// A delegation allows something.
    #[error("it allows nothing: name `targets`, or set `transactions = true`")]
    NothingDelegated,
    /// Whoever acts at a service may call it.
    #[error("`{service}` does not name `{actor}` among its `callers`: add it there")]
    NoCaller {
        /// The service.
        service: String,
        /// Who would act there.
        actor: String,
    },
    /// A chain has an actor.
    #[error("`max_depth` is 0, so there could be no actor: leave it out, or say 1")]
    NoDepth,
    /// Who is impersonated is said.
    #[error("`impersonate` needs `roles`: say whom the actor may pass for")]
    ImpersonatesAnybody,
    /// Who impersonates asks in its own name, and for people.
    #[error("`impersonate` goes with neither `through` nor `clients`: leave them out")]
    ImpersonatesOthers,
    /// What asks for something about the caller asks for a caller.
    #[error("`{0}` needs a caller that is known: set `auth = \"required\"`, or leave it out")]
    NeedsAuth(&'static str),
    /// What is named is asked for.
    #[error(
        "nobody asks for `{0}` where policies alone decide: set `decide_by = \"both\"`, or leave it out"
    )]
    Unasked(&'static str),
}

impl ServiceMap {
    /// Checks what was declared. A service without a route gets `/{name}`, stripped, for signed-in
    /// callers.
    ///
    /// # Errors
    /// All faults at once, so that a file is mended in one go.
    pub fn check(
        services: &[DeclaredService],
        routes: &[DeclaredRoute],
    ) -> Result<Self, InvalidMap> {
        let mut map = Self::default();
        let mut faults = Vec::new();
        for declared in services {
            map.add_service(declared, &mut faults);
        }
        // Routes to a service that is itself faulty are not reported as routes to nowhere.
        let known: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
        for declared in routes {
            let entry = format!("[[route]] `{}`", declared.path);
            map.add_route(entry, declared, &known, &mut faults);
        }
        let routed: BTreeSet<&str> = routes.iter().map(|route| route.service.as_str()).collect();
        let unrouted = services.iter().filter(|service| !routed.contains(service.name.as_str()));
        for service in unrouted {
            let entry = format!("[[service]] `{}`, which has no `[[route]]`", service.name);
            map.add_route(
                entry,
                &DeclaredRoute::new(&format!("/{}", service.name), &service.name),
                &known,
                &mut faults,
            );
        }
        if faults.is_empty() { Ok(map) } else { Err(InvalidMap { faults }) }
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// All services, in the order of their names.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Service> {
        self.services.values()
    }

    /// All routes, in the order of their prefixes.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.routes.values()
    }

    /// All aggregations, in the order of their names.
    pub fn bffs(&self) -> impl ExactSizeIterator<Item = &Bff> {
        self.bffs.values()
    }

    /// The aggregation of this name.
    #[must_use]
    pub fn bff(&self, name: &str) -> Option<&Bff> {
        self.bffs.get(name)
    }

    /// The same, with these aggregations beside what there is.
    pub(crate) fn and(mut self, bffs: Vec<Bff>) -> Self {
        self.bffs.extend(bffs.into_iter().map(|bff| (bff.name.clone(), bff)));
        self
    }

    /// The table that finds the route of a path.
    #[must_use]
    pub fn table(&self) -> RouteTable {
        RouteTable::new(self.routes.values().cloned())
    }

    fn add_service(&mut self, declared: &DeclaredService, faults: &mut Vec<Fault>) {
        let mut check = Check { entry: format!("[[service]] `{}`", declared.name), faults };
        let name = check.name(ServiceName::new(&declared.name));
        let (protocol, mut upstreams) = (declared.protocol, Vec::new());
        for url in &declared.upstreams {
            match url.parse::<Upstream>() {
                Ok(upstream) if upstreams.contains(&upstream.clone().speaking(protocol)) => {
                    check.fault(Rule::DuplicateUpstream(upstream));
                }
                Ok(upstream) if protocol.needs().is_some_and(|it| it != upstream.scheme()) => {
                    check.fault(Rule::Protocol { protocol, upstream });
                }
                Ok(upstream) => upstreams.push(upstream.speaking(protocol)),
                Err(InvalidUpstream::Credentials) => {
                    let reason = InvalidUpstream::Credentials;
                    check.fault(Rule::Upstream { url: "…@…".to_owned(), reason });
                }
                Err(reason) => check.fault(Rule::Upstream { url: echo(url), reason }),
            }
        }
        if declared.upstreams.is_empty() {
            check.fault(Rule::NoUpstream);
        }
        let callers = check.names(&declared.callers, ServiceName::new);
        let roles = check.names(&declared.roles, RoleName::new);
        let reach = Reach::check(declared, &upstreams, &mut check);
        limit::check(&declared.rate_limits, Place::Service, &mut check);
        let asked = (declared.networks.as_slice(), declared.hours.as_slice());
        let within = Within::check(asked, declared.outside.as_ref(), &mut check);
        let sees = Sees::check(declared.sees.as_ref(), &mut check);
        let Some(name) = name else { return };
        if self.services.contains_key(&name) {
            check.fault(Rule::DuplicateService);
            return;
        }
        let (rate_limit, rate_limits) = (declared.rate_limit, declared.rate_limits.clone());
        let identity = declared.identity;
        let of_it = Service {
            name,
            upstreams,
            callers,
            roles,
            reach,
            identity,
            sees,
            rate_limit,
            rate_limits,
            within,
        };
        self.services.insert(of_it.name.clone(), of_it);
    }

    fn add_route(
        &mut self,
        entry: String,
        declared: &DeclaredRoute,
        known: &BTreeSet<&str>,
        faults: &mut Vec<Fault>,
    ) {
        let mut check = Check { entry, faults };
        if !is_prefix(&declared.path) {
            check.fault(Rule::Prefix);
        } else if declared.graphql.is_some() {
            if !graphql::is_below(&declared.path) {
                check.fault(Rule::GraphqlElsewhere);
            }
        } else if let Some(reserved) = reserved(&declared.path) {
            check.fault(Rule::Reserved(reserved));
        }
        if !known.contains(declared.service.as_str()) {
            check.fault(Rule::UnknownService(echo(&declared.service)));
        }
        for method in declared.methods.iter().filter(|method| !is_method(method)) {
            check.fault(Rule::Method(echo(method)));
        }
        if declared.websocket
            && !declared.methods.is_empty()
            && !declared.methods.iter().any(|method| method == "GET")
        {
            check.fault(Rule::SocketWithoutGet);
        }
        let scopes: Vec<String> = declared.scope.split_whitespace().map(str::to_owned).collect();
        let scopes = check.names(&scopes, Scope::new);
        let step_up = StepUp { acr: check.levels(&declared.acr), max_age: declared.max_age };
        let mut roles = check.names(&declared.roles, RoleName::new);
        let asked = (declared.networks.as_slice(), declared.hours.as_slice());
        let within = Within::check(asked, declared.outside.as_ref(), &mut check);
        if declared.auth != AuthMode::Required {
            let asked = [
                ("scope", !scopes.is_empty()),
                ("roles", !roles.is_empty()),
                ("acr", !declared.acr.is_empty()),
                ("max_age", declared.max_age.is_some()),
                (
                    "credentials",
                    declared.auth == AuthMode::None && !declared.credentials.is_empty(),
                ),
                ("outside.roles", within.kept.as_ref().is_some_and(|it| it.roles.is_some())),
                ("outside.scope", within.kept.as_ref().is_some_and(|it| it.scopes.is_some())),
            ];
            for (key, asked) in asked {
                if asked {
                    check.fault(Rule::NeedsAuth(key));
                }
            }
        }
        let graphql = Graphql::check(declared, &mut check);
        let by_policies = declared.decide_by == DecideBy::Policies;
        for (key, asked) in [("scope", !scopes.is_empty()), ("roles", !roles.is_empty())] {
            // A list that nobody asks for protects nothing, and whoever wrote it believes that it does.
            if by_policies && asked {
                check.fault(Rule::Unasked(key));
            }
        }
        let knows_callers = declared.auth != AuthMode::None;
        limit::check(&declared.rate_limits, Place::Route { knows_callers }, &mut check);
        if self.routes.contains_key(&declared.path) {
            check.fault(Rule::DuplicatePrefix);
        }
        let Some(service) = self.service(&declared.service) else { return };
        if roles.is_empty() && declared.auth == AuthMode::Required && !by_policies {
            roles.clone_from(&service.roles);
        }
        let route = Route {
            path: declared.path.clone(),
            service: service.name.clone(),
            auth: declared.auth,
            strip_prefix: declared.strip_prefix,
            methods: match graphql {
                Some(_) if declared.methods.is_empty() => ["GET", "POST"].map(str::to_owned).into(),
                _ => declared.methods.iter().cloned().collect(),
            },
            scopes,
            roles,
            revocation: declared.revocation,
            rate_limit: declared.rate_limit,
            step_up,
            timeout: declared.timeout.map(Span::duration),
            websocket: declared.websocket,
            idle_timeout: declared.idle_timeout,
            compress: declared.compress,
            rate_limits: declared.rate_limits.clone(),
            credentials: Credentials::of(&declared.credentials),
            within: if within.is_anywhere() { service.within.on(declared.auth) } else { within },
            graphql,
            decide_by: declared.decide_by,
        };
        self.routes.entry(declared.path.clone()).or_insert(route);
    }
}

/// Whether a prefix is in normal form and made of unreserved characters alone. Those have one
/// spelling; `/a:b` could be asked for as `/a%3Ab` and would then match another route.
fn is_prefix(path: &str) -> bool {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    path.bytes().all(unreserved)
        && (path == "/" || !path.ends_with('/'))
        && Target::parse(path.as_bytes()).is_ok()
}

pub(crate) fn reserved(path: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|reserved| {
        path.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

pub(crate) fn is_method(method: &str) -> bool {
    (1..=32).contains(&method.len())
        && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        && !matches!(method, "CONNECT" | "TRACE")
}

/// What was written, short enough and harmless to show.
fn echo(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

/// Collects the faults of one entry.
pub(crate) struct Check<'f> {
    pub(crate) entry: String,
    pub(crate) faults: &'f mut Vec<Fault>,
}

impl Check<'_> {
    pub(crate) fn fault(&mut self, rule: Rule) {
        self.faults.push(Fault { entry: echo(&self.entry), rule });
    }

    pub(crate) fn name<T>(&mut self, name: Result<T, InvalidName>) -> Option<T> {
        name.map_err(|invalid| self.fault(invalid.into())).ok()
    }

    pub(crate) fn names<T: Ord>(
        &mut self,
        texts: &[String],
        read: fn(&str) -> Result<T, InvalidName>,
    ) -> BTreeSet<T> {
        texts.iter().filter_map(|text| self.name(read(text))).collect()
    }

    /// Levels of authentication, each once. One that no sign-in reaches would ask people to sign in
    /// for ever.
    fn levels(&mut self, texts: &[String]) -> Vec<Acr> {
        let mut levels = Vec::new();
        for text in texts {
            match Acr::named(text).filter(|level| Acr::REACHED.contains(level)) {
                Some(level) if levels.contains(&level) => {}
                Some(level) => levels.push(level),
                None => self.fault(Rule::Acr(echo(text))),
            }
        }
        levels
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.entry, self.rule)
    }
}

#[cfg(test)]
mod tests;
