//! Services, routes, delegations and aggregations in the store, as they were declared.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, ClientId, CommitRefused, Event, EventType, Expect, Kind, Lifetime, Node,
    Realm, Records, StoreError, Stored, Versioned, port::Page, repository,
};
use tegata_mesh::{
    DeclaredBff, DeclaredDelegation, DeclaredRoute, DeclaredService, DelegationMode, InvalidMap,
    ServiceMap, bff, delegation,
};
use tegata_oauth::{Access, Delegation, Sees, Targets};
use tegata_token::Scope;

use self::{bffs::StoredBff, delegations::StoredDelegation};

mod bffs;
mod delegations;

pub(crate) use bffs::BFFS;
pub(crate) use delegations::DELEGATIONS;

/// Where services are kept.
pub(crate) static SERVICES: Kind =
    Kind { name: "service", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// Where routes are kept.
pub(crate) static ROUTES: Kind =
    Kind { name: "route", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredService {
    declared: DeclaredService,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredRoute {
    declared: DeclaredRoute,
}

impl Stored for StoredService {
    const KIND: &'static Kind = &SERVICES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.declared.name
    }
}

impl Stored for StoredRoute {
    const KIND: &'static Kind = &ROUTES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.declared.path
    }
}

/// Why the registry was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryRefused {
    /// The services and routes would not fit together.
    #[error(transparent)]
    Invalid(#[from] InvalidMap),
    /// A service has a name that means something else.
    #[error(
        "service `{0}` has the name of the trust domain (`tokens.trust_domain`): choose another, so that \
         an audience means one thing"
    )]
    Taken(String),
    /// There is such a service already.
    #[error("there already is a service `{0}`; change it with `tegata apply`")]
    Present(String),
    /// It was changed since it was read.
    #[error("service `{0}` was changed since it was read: read it again")]
    Overtaken(String),
    /// There is no such service.
    #[error("there is no service `{0}`; `tegata service list` names them")]
    Unknown(String),
    /// There is no such delegation.
    #[error("there is no delegation `{0}`; `tegata delegation list` names them")]
    NoDelegation(String),
    /// There is no such aggregation.
    #[error("there is no aggregation `{0}`; `tegata bff list` names them")]
    NoBff(String),
    /// It was changed since it was read.
    #[error("aggregation `{0}` was changed since it was read: read it again")]
    BffOvertaken(String),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be declared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) services: &'a [DeclaredService],
    pub(crate) routes: &'a [DeclaredRoute],
    pub(crate) delegations: &'a [DeclaredDelegation],
    pub(crate) bffs: &'a [DeclaredBff],
}

/// The services, routes, delegations and aggregations of an installation.
#[derive(Clone)]
pub(crate) struct Registry {
    node: Node,
    records: Arc<dyn Records>,
    actor: Option<Arc<str>>,
    /// The name of the domain in which transaction tokens count, which no service has.
    trust_domain: Arc<str>,
}

impl Registry {
    pub(crate) fn new(node: Node, records: Arc<dyn Records>, trust_domain: &str) -> Self {
        Self { node, records, actor: None, trust_domain: trust_domain.into() }
    }

    /// The same, at the wish of `actor`, for the journal.
    pub(crate) fn at_wish_of(&self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self.clone() }
    }

    /// A piece of the services, by name.
    pub(crate) async fn page(
        &self,
        realm: &Realm,
        page: Page,
    ) -> Result<Vec<DeclaredService>, StoreError> {
        let found = repository::scan::<StoredService>(self.records.as_ref(), realm, page).await?;
        Ok(found.into_iter().map(|found| found.value.declared).collect())
    }

    /// A service and its version.
    pub(crate) async fn service(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<Option<(DeclaredService, u64)>, StoreError> {
        if !can_be_key(name) {
            return Ok(None);
        }
        let found = repository::load::<StoredService>(self.records.as_ref(), realm, name).await?;
        Ok(found.map(|found| (found.value.declared, found.version)))
    }

    /// All services, by name.
    pub(crate) async fn services(&self, realm: &Realm) -> Result<Vec<DeclaredService>, StoreError> {
        let found = self.all::<StoredService>(realm).await?;
        Ok(found.into_iter().map(|stored| stored.declared).collect())
    }

    /// All routes, by path.
    pub(crate) async fn routes(&self, realm: &Realm) -> Result<Vec<DeclaredRoute>, StoreError> {
        let found = self.all::<StoredRoute>(realm).await?;
        Ok(found.into_iter().map(|stored| stored.declared).collect())
    }

    /// The map that they make.
    pub(crate) async fn map(&self, realm: &Realm) -> Result<ServiceMap, RegistryRefused> {
        let (services, routes) = (self.services(realm).await?, self.routes(realm).await?);
        let bffs = self.bffs(realm).await?;
        Ok(ServiceMap::check(&services, &routes)?.with_bffs(&bffs)?)
    }

    /// Makes services, routes, delegations and aggregations be as they are declared, beside those that are there
    /// already. Tells what changed, in words, as it goes.
    pub(crate) async fn declare(
        &self,
        realm: &Realm,
        wanted: Wanted<'_>,
        dry_run: bool,
        mut tell: impl FnMut(String),
    ) -> Result<(), RegistryRefused> {
        self.check_with(realm, wanted).await?;
        // First what narrows: a service is not called without what its delegations say.
        for declared in wanted.delegations {
            let stored = StoredDelegation { declared: declared.clone() };
            let name = format!("delegation `{}`", declared.name);
            self.write(realm, &stored, &name, dry_run).await?.map(&mut tell);
        }
        for declared in wanted.services {
            let stored = StoredService { declared: declared.clone() };
            let name = format!("service `{}`", declared.name);
            self.write(realm, &stored, &name, dry_run).await?.map(&mut tell);
        }
        for declared in wanted.routes {
            let stored = StoredRoute { declared: declared.clone() };
            let name = format!("route `{}`", declared.path);
            self.write(realm, &stored, &name, dry_run).await?.map(&mut tell);
        }
        for declared in wanted.bffs {
            let stored = StoredBff { declared: declared.clone() };
            let name = format!("bff `{}`", declared.name);
            self.write(realm, &stored, &name, dry_run).await?.map(&mut tell);
        }
        Ok(())
    }

    /// Registers a service that is not there yet. One that is there is left alone: whoever named the
    /// same by mistake would take its roles and callers from it.
    pub(crate) async fn add(
        &self,
        realm: &Realm,
        declared: DeclaredService,
    ) -> Result<(), RegistryRefused> {
        let name = declared.name.clone();
        self.check_with(realm, Wanted::of_service(&declared)).await?;
        let event = self.event(realm, &format!("service `{name}`"), "registered");
        let put = StoredService { declared }.put(Expect::Absent);
        match self.records.commit(Batch::new(realm.clone()).with(put).journal(&event)).await {
            Ok(()) => Ok(()),
            Err(CommitRefused::Conflict { .. }) => Err(RegistryRefused::Present(name)),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Changes a service, where its version is one of these. A change that changes nothing leaves no
    /// trace.
    pub(crate) async fn amend(
        &self,
        realm: &Realm,
        name: &str,
        versions: Option<&[u64]>,
        edit: impl Fn(&mut DeclaredService),
    ) -> Result<(), RegistryRefused> {
        for _ in 0..TRIES {
            let found = self.versioned_service(realm, name).await?;
            if versions.is_some_and(|wanted| !wanted.contains(&found.version)) {
                return Err(RegistryRefused::Overtaken(name.to_owned()));
            }
            let mut declared = found.value.declared.clone();
            edit(&mut declared);
            if declared == found.value.declared {
                return Ok(());
            }
            self.check_with(realm, Wanted::of_service(&declared)).await?;
            let event = self.event(realm, &format!("service `{name}`"), "changed");
            // What was read, or nothing: of two at once, neither may undo the other.
            let put = StoredService { declared }.put(Expect::Version(found.version));
            let batch = Batch::new(realm.clone()).with(put).journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    async fn versioned_service(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<Versioned<StoredService>, RegistryRefused> {
        let unknown = || RegistryRefused::Unknown(name.to_owned());
        if !can_be_key(name) {
            return Err(unknown());
        }
        let found = repository::load::<StoredService>(self.records.as_ref(), realm, name).await?;
        found.ok_or_else(unknown)
    }

    /// Removes a service, its routes, and it from the delegations that name it.
    pub(crate) async fn remove(&self, realm: &Realm, name: &str) -> Result<(), RegistryRefused> {
        for _ in 0..TRIES {
            let found = self.versioned_service(realm, name).await?;
            let event = self.event(realm, &format!("service:{name}"), "removed");
            let mut batch = Batch::new(realm.clone()).with(found.remove()).journal(&event);
            for route in self.versioned::<StoredRoute>(realm).await? {
                if route.value.declared.service == name {
                    batch = batch.with(route.remove());
                }
            }
            let undelegated = self.undelegated(realm, name).await?;
            batch = undelegated.into_iter().fold(batch, Batch::with);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// Checks what there would be if these were declared.
    pub(crate) async fn check_with(
        &self,
        realm: &Realm,
        wanted: Wanted<'_>,
    ) -> Result<(), RegistryRefused> {
        let Wanted { services, routes, delegations, bffs } = wanted;
        if let Some(taken) = services.iter().find(|it| *it.name == *self.trust_domain) {
            return Err(RegistryRefused::Taken(taken.name.clone()));
        }
        let mut all_services = services.to_vec();
        let named = |name: &str| services.iter().any(|declared| declared.name == name);
        all_services.extend(self.services(realm).await?.into_iter().filter(|it| !named(&it.name)));
        let mut all_routes = routes.to_vec();
        let at = |path: &str| routes.iter().any(|declared| declared.path == path);
        all_routes.extend(self.routes(realm).await?.into_iter().filter(|it| !at(&it.path)));
        let map = ServiceMap::check(&all_services, &all_routes)?;
        // What was declared before and leads nowhere any more says so when it is asked for.
        bff::check(bffs, &map)?;
        // Of those that are declared alone: what is there already keeps nobody from declaring others.
        tegata_gateway::graphql::check(&map, |path| at(path))?;
        let mut all_delegations = delegations.to_vec();
        let named = |name: &str| delegations.iter().any(|declared| declared.name == name);
        // What somebody else declares at the moment, whose services come after it, is theirs to check.
        let is_there = |name: &String| all_services.iter().any(|it| it.name == *name);
        let others = self.delegations(realm).await?.into_iter();
        let others = others.filter(|it| !named(&it.name) && it.targets.iter().all(is_there));
        all_delegations.extend(others);
        delegation::check(&all_delegations, &all_services)?;
        Ok(())
    }

    async fn write<T: Stored + PartialEq>(
        &self,
        realm: &Realm,
        stored: &T,
        name: &str,
        dry_run: bool,
    ) -> Result<Option<String>, StoreError> {
        for _ in 0..TRIES {
            let found = repository::load::<T>(self.records.as_ref(), realm, stored.key()).await?;
            let (change, expect) = match &found {
                Some(found) if found.value == *stored => return Ok(None),
                Some(found) => ("changed", Expect::Version(found.version)),
                None => ("registered", Expect::Absent),
            };
            let told = Some(format!("{name} {change}"));
            if dry_run {
                return Ok(told);
            }
            let event = self.event(realm, name, change);
            let batch = Batch::new(realm.clone()).with(stored.put(expect)).journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(told),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    fn event(&self, realm: &Realm, subject: &str, change: &str) -> Event {
        let data = [("subject", json!(subject)), ("change", json!(change))];
        let mut event = Event::new(&self.node, realm, EventType::RegistryChanged, data);
        if let Some(actor) = &self.actor {
            event.data.insert("actor".to_owned(), json!(&**actor));
        }
        event
    }

    async fn all<T: Stored>(&self, realm: &Realm) -> Result<Vec<T>, StoreError> {
        Ok(self.versioned(realm).await?.into_iter().map(|found| found.value).collect())
    }

    async fn versioned<T: Stored>(&self, realm: &Realm) -> Result<Vec<Versioned<T>>, StoreError> {
        let mut all = Vec::new();
        let mut page = Page { after: None, limit: 500 };
        loop {
            let found = repository::scan::<T>(self.records.as_ref(), realm, page.clone()).await?;
            let Some(last) = found.last() else { return Ok(all) };
            page.after = Some(last.value.key().to_owned());
            all.extend(found);
        }
    }
}

impl Targets for Registry {
    fn access<'a>(
        &'a self,
        realm: &'a Realm,
        caller: &'a ClientId,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Access, StoreError>> {
        Box::pin(async move {
            if !can_be_key(target) {
                return Ok(Access::Unknown);
            }
            let found =
                repository::load::<StoredService>(self.records.as_ref(), realm, target).await?;
            Ok(match found {
                None => Access::Unknown,
                Some(found) if !found.value.names(caller) => Access::Forbidden,
                Some(found) => match found.value.declared.delegation {
                    DelegationMode::Callers => Access::Allowed,
                    DelegationMode::Declared => Access::InOwnName,
                },
            })
        })
    }

    fn sees<'a>(
        &'a self,
        realm: &'a Realm,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Sees, StoreError>> {
        Box::pin(async move {
            if !can_be_key(target) {
                return Ok(Sees::nothing());
            }
            let found =
                repository::load::<StoredService>(self.records.as_ref(), realm, target).await?;
            Ok(found.map_or_else(Sees::nothing, |found| found.value.sees()))
        })
    }

    fn delegations<'a>(
        &'a self,
        realm: &'a Realm,
        actor: &'a ClientId,
    ) -> BoxFuture<'a, Result<Vec<Delegation>, StoreError>> {
        Box::pin(self.of_actor(realm, actor))
    }
}

impl StoredService {
    fn names(&self, caller: &ClientId) -> bool {
        self.declared.callers.iter().any(|known| known == caller.as_str())
    }

    /// What of somebody's rights it is told. Of words that are none, nothing follows but silence.
    fn sees(&self) -> Sees {
        let Some(declared) = &self.declared.sees else { return Sees::default() };
        Sees {
            roles: declared.roles.as_ref().map(|roles| roles.iter().cloned().collect()),
            scope: declared.scope.as_ref().map(|scope| {
                let values: Vec<_> = scope.split_whitespace().collect();
                Scope::new(&values.join(" ")).unwrap_or_default()
            }),
        }
    }
}

impl<'a> Wanted<'a> {
    fn of_service(declared: &'a DeclaredService) -> Self {
        Self { services: std::slice::from_ref(declared), ..Self::default() }
    }
}

/// A name that cannot be a key names no service.
fn can_be_key(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.contains('\0')
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "the registry changed faster than it could be written".to_owned(),
    }
}
