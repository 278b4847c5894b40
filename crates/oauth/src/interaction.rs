//! From an authorization request to its answer, with a person in between.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    Acr, SessionId, StoreError, Timestamp, UserId,
    port::{Put, Space},
    repository,
};

use crate::{
    client::Client,
    described::NotDescribed,
    error::{Code, OAuthError},
    provider::Provider,
    request::AuthorizationRequest,
};

/// Where requests wait for a person.
pub static REQUESTS: Space = Space { name: "authorization_request", indexed: false };

const FORM: u8 = 1;

/// Who is signed in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// In which session.
    pub session: SessionId,
    /// When the session ends, used or not.
    pub session_ends: Timestamp,
    /// When they were authenticated.
    pub auth_time: Timestamp,
    /// How strongly.
    pub acr: String,
    /// By which means.
    pub amr: Vec<String>,
    /// By which second factors, as whoever keeps those calls them.
    pub factors: Vec<String>,
}

/// What has to happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The person signs in, or does so again.
    SignIn,
    /// The person, who is signed in, shows a second factor besides.
    StepUp,
    /// The person is asked whether the client may have what it asks for.
    AskConsent,
    /// The answer can be given.
    Answer,
    /// The client is told that it cannot be.
    Refuse(OAuthError),
}

/// What a person has already said within this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// They agreed.
    pub consented: bool,
}

impl Provider {
    /// What has to happen next for a request.
    ///
    /// # Errors
    /// What the store says.
    pub async fn next(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        who: Option<&SignedIn>,
        said: Said,
    ) -> Result<Next, StoreError> {
        let prompt = request.prompt;
        // Whoever signed in for this request and is somebody else would be asked for ever.
        let other =
            |who: &&SignedIn| who.auth_time >= request.at && !self.is_meant(request, client, who);
        if who.as_ref().is_some_and(other) {
            let description = "somebody other than id_token_hint names has signed in";
            return Ok(Next::Refuse(OAuthError::new(Code::LoginRequired, description)));
        }
        let refuse = |code, description| Ok(Next::Refuse(OAuthError::new(code, description)));
        let recent = who.filter(|who| self.counts(request, client, who));
        let Some(who) = recent.filter(|who| is_strong(request, &who.acr)) else {
            // Whoever asks for more than there is would be asked for ever.
            let [.., strongest] = Acr::REACHED;
            if !is_strong(request, strongest.as_str()) {
                return refuse(
                    Code::UnmetAuthenticationRequirements,
                    "the authentication that acr_values or claims asks for is not offered",
                );
            }
            return if prompt.none {
                refuse(
                    Code::LoginRequired,
                    "nobody is signed in, or not recently or strongly enough",
                )
            } else if recent.is_some() {
                Ok(Next::StepUp)
            } else {
                Ok(Next::SignIn)
            };
        };
        // Authorization details are of this request alone: nobody has agreed to them before.
        let must_ask = prompt.consent
            || client.could_be_anybody(request)
            || (client.asks_consent && !request.details.is_empty())
            || (client.asks_consent
                && !self.has_consent(&who.user, client, &request.asked_of_person()).await?);
        if said.consented || !must_ask {
            Ok(Next::Answer)
        } else if prompt.none {
            refuse(Code::ConsentRequired, "the person has not agreed yet")
        } else {
            Ok(Next::AskConsent)
        }
    }

    /// Whether a sign-in is recent enough for a request, and of whom it is about.
    fn counts(&self, request: &AuthorizationRequest, client: &Client, who: &SignedIn) -> bool {
        // Asked to sign in again: only a sign-in after the request arrived counts.
        let again = request.prompt.login && who.auth_time < request.at;
        // In whole seconds, as tokens say it and those count who ask for it: else a token would be too old
        // for them that is given without a new sign-in.
        let age = self.node().now().secs().saturating_sub(who.auth_time.secs());
        let old =
            request.max_age.is_some_and(|max_age| age > max_age && who.auth_time < request.at);
        !again && !old && self.is_meant(request, client, who)
    }

    /// Whether a request may be answered about this person. It names people in the words of its client
    /// alone: whoever could name them otherwise would learn by the answer whether two names are of one.
    fn is_meant(&self, request: &AuthorizationRequest, client: &Client, who: &SignedIn) -> bool {
        let meant = request.subject.as_ref();
        meant.is_none_or(|meant| *meant == self.subject_for(client, who.user.as_str()))
    }

    /// Keeps a request while a person signs in. Answers the handle that the page carries.
    ///
    /// # Errors
    /// What the store says.
    pub async fn hold(&self, request: &AuthorizationRequest) -> Result<String, StoreError> {
        let mut bytes = [0_u8; 16];
        self.node().entropy().fill(&mut bytes);
        let handle = URL_SAFE_NO_PAD.encode(bytes);
        let put = Put {
            key: handle.clone(),
            value: repository::encode(FORM, request),
            lifetime: self.config().request_lifetime,
            index: None,
        };
        self.ephemeral().put(self.realm(), &REQUESTS, put).await?;
        Ok(handle)
    }

    /// The request that is held under a handle, and its client. `None`: there is none, it has waited
    /// too long, or its client may not ask for it any more. The handle alone counts, whichever browser shows
    /// it: a link of a mail may be opened in another than the one that pushed requests are bound to.
    ///
    /// # Errors
    /// What the store says.
    pub async fn held(
        &self,
        handle: &str,
    ) -> Result<Option<(AuthorizationRequest, Client)>, StoreError> {
        let shaped = (1..=64).contains(&handle.len())
            && handle.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !shaped {
            return Ok(None);
        }
        let held = self.ephemeral().get(self.realm(), &REQUESTS, handle).await?;
        let request: Option<AuthorizationRequest> =
            held.and_then(|held| repository::decode_bytes(FORM, &held.value).ok());
        let Some(request) = request else { return Ok(None) };
        let client = match self.client(&request.client).await {
            Ok(Some(client)) => client,
            Ok(None) => return Ok(None),
            Err(NotDescribed::Store(error)) => return Err(error),
            // Whoever comes anew is told why.
            Err(_) => return Ok(None),
        };
        let stands = self.still_stands(&request, &client).await?;
        Ok(stands.then_some((request, client)))
    }

    /// Lets go of a request that has been answered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn release(&self, handle: &str) -> Result<(), StoreError> {
        self.ephemeral().take(self.realm(), &REQUESTS, handle).await.map(|_| ())
    }
}

/// Whether a level is enough for a request. Of our own levels, only one that was reached counts;
/// other words are wishes (RFC 9470 §4), unless they are essential (OpenID Connect Core §5.5.1.1).
fn is_strong(request: &AuthorizationRequest, acr: &str) -> bool {
    let offered = |level: &String| Acr::named(level).filter(|level| Acr::REACHED.contains(level));
    let reached =
        |level: &String| offered(level).is_some_and(|asked| Acr::named(acr) >= Some(asked));
    let mut asked = request.acr_values.iter().filter(|it| it.starts_with("aal")).peekable();
    let essential = &request.essential_acr;
    (asked.peek().is_none() || asked.any(reached))
        && (essential.is_empty() || essential.iter().any(reached))
}
