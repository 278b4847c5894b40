//! Clients that register themselves (RFC 7591, OpenID Connect Dynamic Client Registration 1.0), and
//! manage their registration (RFC 7592).
//!
//! Whoever registers itself is nobody: it gets what it may ask people for, and nothing in its own
//! name. Whoever shows a token with the scope [`REGISTER`] is trusted with more.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use tegata_core::{ClientId, CommitRefused, Entropy, Secret, StoreError, Versioned};
use tegata_token::{Holder, Order, Tally, Withdrawable as _};

use crate::{
    Credential,
    client::{Client, GrantType, NotRegistered, until_settled},
    provider::Provider,
};

mod asked;
mod sector;
mod shown;

pub use asked::Offered;
pub use sector::check_list;

/// The scope of a token that registers clients.
pub const REGISTER: &str = "clients.register";

/// Who may register clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody: operators declare them.
    #[default]
    Off,
    /// Whoever shows an access token with the scope [`REGISTER`].
    Token,
    /// Everybody.
    Open,
}

/// Why a registration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterRefused {
    /// The metadata cannot be (RFC 7591 §3.2.2): a code and words.
    Invalid {
        /// `invalid_client_metadata` or `invalid_redirect_uri`.
        code: &'static str,
        /// What is wrong, for the developer of the client.
        why: String,
    },
    /// Clients do not register themselves here.
    Off,
    /// What was shown is no token for this.
    Token,
    /// The store did not answer.
    Store(StoreError),
}

impl RegisterRefused {
    fn metadata(why: impl Into<String>) -> Self {
        Self::Invalid { code: "invalid_client_metadata", why: why.into() }
    }
}

impl From<StoreError> for RegisterRefused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CommitRefused> for RegisterRefused {
    fn from(refused: CommitRefused) -> Self {
        match crate::Refused::from(refused) {
            crate::Refused::Store(error) => Self::Store(error),
            crate::Refused::OAuth(error) => Self::metadata(error.description),
        }
    }
}

impl From<NotRegistered> for RegisterRefused {
    fn from(refused: NotRegistered) -> Self {
        match refused {
            NotRegistered::Store(error) => Self::Store(error),
            other => Self::metadata(other.to_string()),
        }
    }
}

/// Who registers a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Anybody.
    Itself,
    /// Whoever showed a token for it.
    Trusted,
}

impl Provider {
    /// Registers a client. `shown` is the access token that came with the request.
    ///
    /// # Errors
    /// [`RegisterRefused`].
    pub async fn register(
        &self,
        said: &Map<String, Value>,
        shown: Option<&Credential<'_>>,
    ) -> Result<Value, RegisterRefused> {
        let by = self.registrar(shown).await?;
        let id = format!("dyn_{}", random(self.node().entropy(), 16));
        let mut metadata = self.offered().read(said, &id, by)?;
        self.check_sector(&metadata).await?;
        metadata.client_name.get_or_insert_with(|| id.clone());
        let token = Secret::new(format!("rat_{}", random(self.node().entropy(), 32)));
        let made = self.clients().register(self.realm(), &metadata, &token).await?;
        Ok(self.shown(&made.client, made.secret.as_ref(), Some(&token)))
    }

    /// The registration of the client that shows this token.
    ///
    /// # Errors
    /// [`RegisterRefused::Token`], the same for a client that there is not.
    pub async fn registration(&self, id: &str, token: &str) -> Result<Value, RegisterRefused> {
        let client = self.managed(id, token).await?.value;
        Ok(self.shown(&client, None, Some(&Secret::new(token.to_owned()))))
    }

    /// Replaces the registration of the client that shows this token.
    ///
    /// # Errors
    /// [`RegisterRefused`].
    pub async fn register_anew(
        &self,
        id: &str,
        token: &str,
        said: &Map<String, Value>,
    ) -> Result<Value, RegisterRefused> {
        let before = self.managed(id, token).await?;
        // RFC 7592 §2.2: it says who it is, and repeats no secret that is not its own.
        if said.get("client_id").and_then(Value::as_str) != Some(id) {
            return Err(RegisterRefused::metadata("`client_id` must be the client's own"));
        }
        if let Some(secret) = said.get("client_secret") {
            let own = secret.as_str();
            let own =
                own.is_some_and(|it| self.clients().knows_secret(self.realm(), &before.value, it));
            if !own {
                return Err(RegisterRefused::metadata("`client_secret` is not the client's own"));
            }
        }
        let for_ours =
            ["registration_access_token", "registration_client_uri", "client_id_issued_at"];
        if for_ours.iter().chain(&["client_secret_expires_at"]).any(|name| said.contains_key(*name))
        {
            let why =
                "what the server says of a registration must not be sent back (RFC 7592 §2.2)";
            return Err(RegisterRefused::metadata(why));
        }
        // What it was trusted with when it was registered, it keeps.
        let trusted = before.value.grant_types.iter().any(|grant| !of_people(*grant));
        let by = if trusted { By::Trusted } else { By::Itself };
        let mut metadata = self.offered().read(said, id, by)?;
        sector::check_stays(&before, &self.clients().check(&metadata, None)?)?;
        self.check_sector(&metadata).await?;
        metadata.client_name.get_or_insert_with(|| id.to_owned());
        let changed = self.clients().register_anew(self.realm(), &before, &metadata).await?;
        let token = Secret::new(token.to_owned());
        Ok(self.shown(&changed.client, changed.secret.as_ref(), Some(&token)))
    }

    /// The client that shows this token for its own registration: the caller may remove it.
    ///
    /// # Errors
    /// [`RegisterRefused::Token`].
    pub async fn managed(
        &self,
        id: &str,
        token: &str,
    ) -> Result<Versioned<Client>, RegisterRefused> {
        let found = match ClientId::new(id) {
            Ok(id) => self.clients().load(self.realm(), &id).await?,
            Err(_) => None,
        };
        let found = found.filter(|found| !found.value.disabled).ok_or(RegisterRefused::Token)?;
        if self.clients().knows_registration(self.realm(), &found.value, token) {
            Ok(found)
        } else {
            Err(RegisterRefused::Token)
        }
    }

    /// Removes the registration of a client that has shown its token, and takes back what it has.
    ///
    /// # Errors
    /// What the store says: doing it again needs an operator, for its token is gone.
    pub async fn unregister(&self, client: &Client) -> Result<(), RegisterRefused> {
        let order = Order { reason: "client_removed".to_owned(), actor: client.id.to_string() };
        until_settled(|| self.remove_client(&client.id, Vec::new(), &order)).await?;
        // What it was given while it was being removed.
        self.take_back_client(&client.id, &order).await?;
        let holder = Holder::Client(client.id.clone());
        let families = self.families();
        families.withdraw(self.realm(), &holder, &order, &Tally::default()).await?;
        Ok(())
    }

    async fn registrar(&self, shown: Option<&Credential<'_>>) -> Result<By, RegisterRefused> {
        match (self.config().registration, shown) {
            (Registration::Off, _) => Err(RegisterRefused::Off),
            (Registration::Open, None) => Ok(By::Itself),
            (Registration::Token, None) => Err(RegisterRefused::Token),
            // Whoever shows something is told that it does not count, also where nothing is needed.
            (_, Some(shown)) => match self.acting_client(shown, &[REGISTER]).await {
                Ok(Some(_)) => Ok(By::Trusted),
                Ok(None) => Err(RegisterRefused::Token),
                Err(crate::signals::access::NoAccess::Store(error)) => Err(error.into()),
                Err(_) => Err(RegisterRefused::Token),
            },
        }
    }
}

/// Whether a grant type gives only what a person allows.
const fn of_people(grant: GrantType) -> bool {
    use GrantType as G;
    matches!(grant, G::AuthorizationCode | G::RefreshToken | G::DeviceCode)
}

fn random(entropy: &dyn Entropy, bytes: usize) -> String {
    let mut random = vec![0_u8; bytes];
    entropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}
