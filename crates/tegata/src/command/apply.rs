//! `tegata apply`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use tegata_mesh::{DeclaredRoute, graphql::LARGEST_SCHEMA};

use super::{Context, Failed};
use crate::{
    config::{self, Declared, Policy, read_secret},
    operate::{Declarations, DeclaredClient, DeclaredUser, Order},
    policies::{DeclaredPolicies, Files},
};

#[derive(Args)]
pub(crate) struct Apply {
    /// Files of declarations, TOML or JSON.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Says what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut all = Declarations { dry_run: self.dry_run, ..Declarations::default() };
        for file in &self.files {
            let declared = config::read_declared(file)?;
            let base = file.parent().unwrap_or(Path::new("."));
            let read = declarations(declared, base)
                .map_err(|error| Failed::Usage(format!("`{}`: {error}", file.display())))?;
            all.users.extend(read.users);
            all.clients.extend(read.clients);
            all.services.extend(read.services);
            all.routes.extend(read.routes);
            all.delegations.extend(read.delegations);
            all.bffs.extend(read.bffs);
            if read.policies.is_some() && all.policies.is_some() {
                let file = file.display();
                return Err(Failed::Usage(format!(
                    "`{file}`: [policy] stands in two files; keep one"
                )));
            }
            all.policies = all.policies.or(read.policies);
        }
        context.order_and_show(Order::Declare(Box::new(all))).await
    }
}

/// Declarations with their secrets read from the files they are in.
pub(crate) fn declarations(declared: Declared, base: &Path) -> Result<Declarations, String> {
    let mut users = Vec::with_capacity(declared.user.len());
    for form in declared.user {
        let in_file = form.password_file.as_deref().map(|file| read_secret(base, file));
        let in_file = in_file.transpose()?.map(|secret| secret.expose().clone());
        let password = match (form.password, in_file) {
            (Some(_), Some(_)) => {
                let name = form.username;
                return Err(format!(
                    "user `{name}`: `password` and `password_file` are both given; keep one"
                ));
            }
            (password, in_file) => password.map(|hidden| hidden.expose().to_owned()).or(in_file),
        };
        users.push(DeclaredUser {
            username: form.username,
            email: form.email,
            roles: form.roles,
            locale: form.locale,
            claims: form.claims,
            disabled: form.disabled,
            password,
            password_hash: form.password_hash.map(|hidden| hidden.expose().to_owned()),
        });
    }
    let mut clients = Vec::with_capacity(declared.client.len());
    for form in declared.client {
        let secret = form.secret.read(base);
        let secret =
            secret.map_err(|error| format!("client `{}`: {error}", form.metadata.client_id))?;
        let secret = secret.map(|secret| secret.expose().clone());
        clients.push(DeclaredClient { metadata: form.metadata, secret });
    }
    let (services, mut routes) = (declared.service, declared.route);
    for route in &mut routes {
        read_schema(route, base)?;
    }
    let (delegations, bffs) = (declared.delegation, declared.bff);
    let policies = policies(&declared.policy, base)?;
    let dry_run = false;
    Ok(Declarations { users, clients, services, routes, delegations, bffs, policies, dry_run })
}

/// Puts a schema in the place of the name of its file: nodes have no such file.
fn read_schema(route: &mut DeclaredRoute, base: &Path) -> Result<(), String> {
    let Some(graphql) = &mut route.graphql else { return Ok(()) };
    // Where both are given, the map says so.
    let Some(file) = graphql.schema_file.take_if(|_| graphql.schema.is_none()) else {
        return Ok(());
    };
    let path = base.join(file);
    let wrong = |why: &dyn std::fmt::Display| {
        format!("route `{}`: the schema `{}` {why}", route.path, path.display())
    };
    let unread = |error: std::io::Error| wrong(&format_args!("cannot be read: {error}"));
    let mut text = Vec::new();
    let most = u64::try_from(LARGEST_SCHEMA).unwrap_or(u64::MAX).saturating_add(1);
    let opened = File::open(&path).map_err(unread)?;
    opened.take(most).read_to_end(&mut text).map_err(unread)?;
    if text.len() > LARGEST_SCHEMA {
        return Err(wrong(&"is larger than 256 KiB"));
    }
    graphql.schema = Some(String::from_utf8(text).map_err(|_| wrong(&"is not UTF-8"))?);
    Ok(())
}

/// The policies that `[policy]` names, read. `None`: it names none. Blocks.
pub(crate) fn policies(declared: &Policy, base: &Path) -> Result<Option<DeclaredPolicies>, String> {
    let mut contradictions = Vec::new();
    declared.contradictions(&mut contradictions);
    if let Some(contradiction) = contradictions.into_iter().next() {
        return Err(contradiction);
    }
    let read = |directory: &PathBuf| {
        Files::read(&base.join(directory)).map_err(|error| format!("[policy] {error}"))
    };
    let Some(directory) = &declared.directory else { return Ok(None) };
    let shadow = declared.shadow.as_ref().map(read).transpose()?;
    Ok(Some(DeclaredPolicies { files: read(directory)?, mode: declared.mode, shadow }))
}
