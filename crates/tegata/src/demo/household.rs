//! Who lives in the demo: people and clients, made with random secrets at the first start and kept
//! beside the data, so that the next start knows them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tegata_core::Entropy;
use tegata_identity::TotpSecret;
use tegata_oauth::{ClientMetadata, GrantType, administer};

use crate::operate::{DeclaredClient, DeclaredUser};

/// What it is kept in.
pub(crate) const FILE: &str = "demo.json";

/// Where redirects of the demo's clients go.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9999/callback";

/// The client for administration.
const CONSOLE: &str = "demo-admin";

/// The services of the shop that are clients.
const CALLING: [&str; 4] = ["orders", "shipping", "reviews", "recommendations"];

/// Everybody in the demo. The form of its file.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Household {
    pub(crate) people: Vec<Person>,
    pub(crate) clients: Vec<Member>,
}

/// A person.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) roles: Vec<String>,
    /// What the person's authenticator app knows, in base32.
    #[serde(default)]
    pub(crate) totp_secret: Option<String>,
}

/// A client.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) metadata: ClientMetadata,
    pub(crate) secret: Option<String>,
}

impl Household {
    /// The household of a data directory, made where there is none.
    pub(crate) fn open(data: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        kept(&data.join(FILE), || Ok(Self::make(entropy)))
    }

    fn make(entropy: &dyn Entropy) -> Self {
        let person = |username: &str, role: &str| Person {
            username: username.to_owned(),
            password: random(entropy, "", 12),
            roles: vec![role.to_owned()],
            totp_secret: None,
        };
        let secret = TotpSecret::generate(entropy).to_base32().expose().clone();
        let carol = Person { totp_secret: Some(secret), ..person("carol", "customer") };
        let client = |id: &str, name: &str, grants: &[GrantType], public: bool, scope: &str| {
            let by_browser = grants.contains(&GrantType::AuthorizationCode);
            let metadata = ClientMetadata {
                client_id: id.to_owned(),
                client_name: Some(name.to_owned()),
                public,
                grant_types: Some(grants.iter().copied().collect()),
                redirect_uris: by_browser.then(|| CALLBACK.to_owned()).into_iter().collect(),
                scope: scope.to_owned(),
                may_introspect: id == "demo-service",
                ..ClientMetadata::default()
            };
            let secret = (!public).then(|| random(entropy, "demo_", 24));
            Member { metadata, secret }
        };
        let browser = [GrantType::AuthorizationCode, GrantType::RefreshToken];
        let machine = [GrantType::ClientCredentials];
        let service = [GrantType::ClientCredentials, GrantType::TokenExchange];
        let personal = "openid profile email roles offline_access";
        let mut clients = vec![
            client(
                "demo-service",
                "A service of yours",
                &machine,
                false,
                "orders.read orders.write",
            ),
            client("demo-web", "A web application", &browser, false, personal),
            client("demo-spa", "A page in the browser", &browser, true, personal),
        ];
        clients
            .extend(CALLING.map(|id| client(id, &format!("The shop's {id}"), &service, false, "")));
        let people = vec![person("alice", "customer"), person("admin", "admin"), carol];
        Self { people, clients }
    }

    /// The same with a client that the demo's administrator signs in at, for `administration`. It has no
    /// secret, so nothing of it is kept: where administration is, the next start may know better.
    pub(crate) fn with_console(mut self, administration: String) -> Self {
        let metadata = ClientMetadata {
            client_id: CONSOLE.to_owned(),
            client_name: Some("Administration".to_owned()),
            public: true,
            grant_types: Some([GrantType::AuthorizationCode, GrantType::DeviceCode].into()),
            redirect_uris: vec![CALLBACK.to_owned()],
            scope: format!("{} {}", administer::READ, administer::WRITE),
            audiences: vec![administration],
            ..ClientMetadata::default()
        };
        self.clients.retain(|member| member.metadata.client_id != CONSOLE);
        self.clients.push(Member { metadata, secret: None });
        self
    }

    /// The people, as they are declared.
    pub(crate) fn users(&self) -> Vec<DeclaredUser> {
        let declared = |person: &Person| DeclaredUser {
            username: person.username.clone(),
            email: Some(format!("{}@shop.example", person.username)),
            roles: person.roles.clone(),
            locale: None,
            claims: serde_json::Map::new(),
            disabled: false,
            password: Some(person.password.clone()),
            password_hash: None,
        };
        self.people.iter().map(declared).collect()
    }

    /// The clients, as they are declared.
    pub(crate) fn declared_clients(&self) -> Vec<DeclaredClient> {
        let declared = |member: &Member| DeclaredClient {
            metadata: member.metadata.clone(),
            secret: member.secret.clone(),
        };
        self.clients.iter().map(declared).collect()
    }

    /// The person with this role.
    pub(crate) fn person(&self, role: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.roles.iter().any(|own| own == role))
    }
}

/// What a file holds, which is made where there is none, for nobody else to read.
pub(crate) fn kept<T: Serialize + DeserializeOwned>(
    path: &Path,
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = make()?;
            let mut file: File =
                File::options().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&serde_json::to_vec_pretty(&made)?)?;
            file.sync_all()?;
            Ok(made)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn random(entropy: &dyn Entropy, prefix: &str, bytes: usize) -> String {
    let mut random = vec![0_u8; bytes];
    entropy.fill(&mut random);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))
}
