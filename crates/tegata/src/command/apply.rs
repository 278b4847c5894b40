//! `tegata apply`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Failed};
use crate::{
    config::{self, Declared, read_secret},
    operate::{Declarations, DeclaredClient, DeclaredUser, Order},
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
    let (services, routes) = (declared.service, declared.route);
    let delegations = declared.delegation;
    Ok(Declarations { users, clients, services, routes, delegations, dry_run: false })
}
