//! `tegata client`.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use tegata_oauth::{
    AuthMethod, ClientMetadata, GrantType,
    client::{KeySetForm, SubjectType},
};
use tegata_token::ClientCertificate;

use super::{Context, Failed, read_secret};
use crate::operate::Order;

#[derive(Subcommand)]
pub(crate) enum Client {
    /// Registers a client, and prints its secret once.
    Add(Box<Add>),
    /// Lists clients.
    List,
    /// Gives a client a new secret; the one before works until the next rotation.
    RotateSecret { client_id: String },
    /// Removes a client and takes back what it has.
    Remove { client_id: String },
    /// Refuses a client that describes itself at its address, and takes back what it has. Removing it
    /// takes the refusal back.
    Refuse {
        client_id: String,
        /// In a word, for the journal.
        #[arg(long)]
        reason: String,
    },
    /// Says which clients were told that sessions have ended, and which could not be.
    Logouts {
        /// Of this client alone.
        client_id: Option<String>,
        /// `due`, `delivered` or `failed`: in this state alone.
        #[arg(long, value_parser = ["due", "delivered", "failed"])]
        state: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    client_id: String,
    #[arg(long)]
    name: Option<String>,
    /// A public client: nothing to prove itself with.
    #[arg(long)]
    public: bool,
    /// `authorization_code`, `refresh_token`, `client_credentials`,
    /// `urn:ietf:params:oauth:grant-type:device_code` or
    /// `urn:ietf:params:oauth:grant-type:token-exchange`; several, or a list with commas.
    #[arg(long = "grant-type", value_delimiter = ',', value_parser = grant_type)]
    grant_types: Vec<GrantType>,
    #[arg(long = "redirect-uri")]
    redirect_uris: Vec<String>,
    /// Values separated by spaces.
    #[arg(long, default_value = "")]
    scope: String,
    #[arg(long = "audience", value_delimiter = ',')]
    audiences: Vec<String>,
    /// Knows people by names that count in its sector alone: the host of its redirect URIs.
    #[arg(long)]
    pairwise: bool,
    /// Its sector, where that is another host, or its redirect URIs have several.
    #[arg(long, value_name = "HOST", requires = "pairwise")]
    sector: Option<String>,
    /// May ask about tokens of others, and take them back.
    #[arg(long)]
    may_introspect: bool,
    #[command(flatten)]
    certificate: Certificate,
    /// The file that its secret is in; without one, a secret is made.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// By which certificate it proves itself, or is to.
#[derive(Args)]
struct Certificate {
    /// It shows a certificate of an authority with this distinguished name, as RFC 4514 writes it.
    #[arg(long, value_name = "NAME")]
    tls_client_auth_subject_dn: Option<String>,
    /// In place of that: with this host name.
    #[arg(long, value_name = "NAME")]
    tls_client_auth_san_dns: Option<String>,
    /// In place of that: with this URI.
    #[arg(long, value_name = "URI")]
    tls_client_auth_san_uri: Option<String>,
    /// In place of that: with this IP address.
    #[arg(long, value_name = "ADDRESS")]
    tls_client_auth_san_ip: Option<String>,
    /// In place of that: with this mail address.
    #[arg(long, value_name = "ADDRESS")]
    tls_client_auth_san_email: Option<String>,
    /// It shows the certificate in this PEM file, which it has signed itself.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// It shows the JWT-SVID of the workload with this SPIFFE ID, or of any beneath (`/*` at its end).
    #[arg(long, value_name = "ID", conflicts_with_all = ["certificate", "spiffe_x509"])]
    spiffe_jwt: Option<String>,
    /// In place of that: the X.509-SVID, as the certificate of its connection.
    #[arg(long, value_name = "ID", conflicts_with = "certificate")]
    spiffe_x509: Option<String>,
    /// Its tokens are bound to the certificate that it shows, however it proves itself.
    #[arg(long)]
    certificate_bound: bool,
}

impl Certificate {
    /// How it proves itself, where that is said.
    fn method(&self) -> Option<AuthMethod> {
        let said = [
            (self.certificate.is_some(), AuthMethod::SelfSignedTlsClientAuth),
            (self.spiffe_jwt.is_some(), AuthMethod::SpiffeJwt),
            (self.spiffe_x509.is_some(), AuthMethod::SpiffeX509),
        ];
        said.into_iter().find_map(|(is_said, method)| is_said.then_some(method))
    }

    /// The keys of the certificate in the file.
    fn jwks(&self) -> Result<Option<KeySetForm>, Failed> {
        let Some(file) = &self.certificate else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failed::Usage(format!("certificate `{}`: {why}", file.display()))
        };
        let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
        let shown = ClientCertificate::from_pem(&pem).map_err(|error| wrong(&error))?;
        let key = shown.jwk().ok_or_else(|| wrong(&"its key is none of RSA, P-256 and Ed25519"))?;
        Ok(Some(KeySetForm { keys: vec![key] }))
    }
}

fn grant_type(name: &str) -> Result<GrantType, String> {
    let found = GrantType::ALL.into_iter().find(|grant| grant.name() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = GrantType::ALL.iter().map(|grant| grant.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

impl Client {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Add(add) => add.order()?,
            Self::List => Order::ClientList,
            Self::RotateSecret { client_id } => Order::ClientRotateSecret { client: client_id },
            Self::Remove { client_id } => Order::ClientRemove { client: client_id },
            Self::Refuse { client_id, reason } => Order::ClientRefuse { client: client_id, reason },
            Self::Logouts { client_id, state } => Order::ClientLogouts { client: client_id, state },
        };
        context.order_and_show(order).await
    }
}

impl Add {
    fn order(self) -> Result<Order, Failed> {
        let secret = match &self.secret_file {
            Some(_) => Some(read_secret(self.secret_file.as_ref(), "the client secret")?),
            None => None,
        };
        let grant_types: BTreeSet<_> = self.grant_types.into_iter().collect();
        let jwks = self.certificate.jwks()?;
        let metadata = ClientMetadata {
            token_endpoint_auth_method: self.certificate.method(),
            spiffe_id: self.certificate.spiffe_jwt.or(self.certificate.spiffe_x509),
            jwks,
            tls_client_auth_subject_dn: self.certificate.tls_client_auth_subject_dn,
            tls_client_auth_san_dns: self.certificate.tls_client_auth_san_dns,
            tls_client_auth_san_uri: self.certificate.tls_client_auth_san_uri,
            tls_client_auth_san_ip: self.certificate.tls_client_auth_san_ip,
            tls_client_auth_san_email: self.certificate.tls_client_auth_san_email,
            tls_client_certificate_bound_access_tokens: self.certificate.certificate_bound,
            client_id: self.client_id,
            client_name: self.name,
            public: self.public,
            grant_types: (!grant_types.is_empty()).then_some(grant_types),
            redirect_uris: self.redirect_uris,
            subject_type: self.pairwise.then_some(SubjectType::Pairwise),
            sector: self.sector,
            scope: self.scope,
            audiences: self.audiences,
            may_introspect: self.may_introspect,
            ..ClientMetadata::default()
        };
        Ok(Order::ClientAdd { metadata: Box::new(metadata), secret })
    }
}
