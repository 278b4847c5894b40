//! Delegations in the store, as they were declared, and what the provider reads of them.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, ClientId, CommitRefused, Kind, Lifetime, Realm, StoreError, Stored, Versioned,
    port::{Change, Page},
    repository,
};
use tegata_mesh::DeclaredDelegation;
use tegata_oauth::Delegation;
use tegata_token::Scope;

use super::{Registry, RegistryRefused, TRIES, contended};

/// Where delegations are kept.
pub(crate) static DELEGATIONS: Kind =
    Kind { name: "delegation", indexes: &["actor"], lifetime: Lifetime::Kept, secret: false };

/// How many delegations are read at once.
const PAGE: u32 = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredDelegation {
    pub(super) declared: DeclaredDelegation,
}

impl Stored for StoredDelegation {
    const KIND: &'static Kind = &DELEGATIONS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.declared.name
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("actor", self.declared.actor.clone())]
    }
}

impl Registry {
    /// All delegations, by name.
    pub(crate) async fn delegations(
        &self,
        realm: &Realm,
    ) -> Result<Vec<DeclaredDelegation>, StoreError> {
        let found = self.all::<StoredDelegation>(realm).await?;
        Ok(found.into_iter().map(|stored| stored.declared).collect())
    }

    /// Removes a delegation: the next exchange knows nothing of it.
    pub(crate) async fn remove_delegation(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<(), RegistryRefused> {
        let records = self.records.as_ref();
        for _ in 0..TRIES {
            let found = repository::load::<StoredDelegation>(records, realm, name).await?;
            let found = found.ok_or_else(|| RegistryRefused::NoDelegation(name.to_owned()))?;
            let event = self.event(realm, &format!("delegation `{name}`"), "removed");
            let batch = Batch::new(realm.clone()).with(found.remove()).journal(&event);
            match records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// The changes by which no delegation names a service any more.
    pub(super) async fn undelegated(
        &self,
        realm: &Realm,
        service: &str,
    ) -> Result<Vec<Change>, StoreError> {
        let all = self.versioned::<StoredDelegation>(realm).await?;
        let naming = all
            .into_iter()
            .filter(|found| found.value.declared.targets.iter().any(|target| target == service));
        Ok(naming.map(|found| without(&found, service)).collect())
    }

    /// The changes by which a client that is removed acts by no delegation any more, and the names of the
    /// delegations that end with it. Whoever registers a client of its name acts by none.
    ///
    /// Where others act for it, it stays named: without it, a delegation would be for everybody.
    pub(crate) async fn without_client(
        &self,
        realm: &Realm,
        client: &ClientId,
    ) -> Result<(Vec<Change>, Vec<String>), StoreError> {
        let (mut changes, mut ended) = (Vec::new(), Vec::new());
        for found in self.versioned::<StoredDelegation>(realm).await? {
            let mut declared = found.value.declared.clone();
            if declared.actor == client.as_str() {
                changes.push(found.remove());
                ended.push(declared.name);
                continue;
            }
            declared.through.retain(|through| through != client.as_str());
            if declared != found.value.declared {
                changes.push(found.replace(&StoredDelegation { declared }));
            }
        }
        Ok((changes, ended))
    }

    /// What is declared of an actor.
    pub(super) async fn of_actor(
        &self,
        realm: &Realm,
        actor: &ClientId,
    ) -> Result<Vec<Delegation>, StoreError> {
        let mut all = Vec::new();
        let mut page = Page { after: None, limit: PAGE };
        loop {
            let found = repository::find::<StoredDelegation>(
                self.records.as_ref(),
                realm,
                "actor",
                actor.as_str(),
                page.clone(),
            )
            .await?;
            let Some(last) = found.last() else { return Ok(all) };
            page.after = Some(last.value.key().to_owned());
            all.extend(found.into_iter().map(|found| delegation(found.value.declared)));
        }
    }
}

fn without(found: &Versioned<StoredDelegation>, service: &str) -> Change {
    let mut declared = found.value.declared.clone();
    declared.targets.retain(|target| target != service);
    if declared.targets.is_empty() && !declared.transactions {
        return found.remove();
    }
    found.replace(&StoredDelegation { declared })
}

fn delegation(declared: DeclaredDelegation) -> Delegation {
    Delegation {
        actor: declared.actor,
        through: declared.through,
        targets: declared.targets,
        transactions: declared.transactions,
        roles: declared.roles,
        clients: declared.clients,
        // It was read before; what could not be read any more would allow nothing.
        scope: declared.scope.map(|scope| Scope::new(&scope).unwrap_or_default()),
        most_actors: declared.max_depth,
        impersonate: declared.impersonate,
    }
}
