//! What a client says of itself in its document: read by the rules of a registration, after what cannot
//! be said there was looked for.

use serde_json::{Map, Value, json};
use tegata_identity::is_format;
use url::Url;

use super::{Address, Described, NotDescribed};
use crate::{
    client::{AuthMethod, Client, ClientMetadata, GrantType},
    provider::Provider,
    register::{By, Offered, RegisterRefused},
};

/// How it may prove itself: nothing that both sides know (§4.1).
const METHODS: [AuthMethod; 2] = [AuthMethod::None, AuthMethod::PrivateKeyJwt];

/// What it may ask for tokens with. Devices are none of it: people would be asked by somebody who is not
/// before them, for somebody whom nobody knows.
const GRANTS: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

/// What is secret has no place in a document that everybody can read (§4.1).
const SECRETS: [&str; 2] = ["client_secret", "client_secret_expires_at"];

/// What is passed over, like what nobody here knows: pictures that people would take for somebody
/// else's, what would have this server send something there, what would have a document looked at
/// where nobody waits for it, and by which workloads prove themselves that are registered.
const PASSED_OVER: [&str; 4] =
    ["logo_uri", "backchannel_logout_uri", "userinfo_signed_response_alg", "spiffe_id"];

/// The longest name that people are shown.
const LONGEST_NAME: usize = 100;

/// A document, as it would be said in a registration.
///
/// # Errors
/// [`NotDescribed::Invalid`].
fn said(address: &Address, body: &[u8]) -> Result<Map<String, Value>, NotDescribed> {
    let read = serde_json::from_slice(body);
    let mut said: Map<String, Value> = read.map_err(|_| invalid("it is no JSON object"))?;
    // Character by character: what is said at one address is not true of another.
    if said.get("client_id").and_then(Value::as_str) != Some(address.id().as_str()) {
        return Err(invalid("its `client_id` is not the address that it was had from"));
    }
    if let Some(name) = SECRETS.iter().find(|name| said.contains_key(**name)) {
        return Err(invalid(format!("`{name}` has no place in what everybody can read")));
    }
    // A document can change, and with it what people would be called: it would know two names of one.
    let is_other = |name: &str, usual: Option<&str>| {
        said.get(name).is_some_and(|it| !it.is_null() && (usual.is_none() || it.as_str() != usual))
    };
    if is_other("subject_type", Some("public")) || is_other("sector_identifier_uri", None) {
        return Err(invalid("pairwise clients, and those of a sector, have to register"));
    }
    choose_method(&mut said)?;
    // The same document is for all servers, and says what it does elsewhere, too.
    let grants = GRANTS.map(GrantType::name);
    keep_only(&mut said, "grant_types", &grants);
    keep_only(&mut said, "response_types", &["code"]);
    said.retain(|name, _| !PASSED_OVER.contains(&name.as_str()));
    check_keys_are_near(&said, address)?;
    Ok(said)
}

/// How it proves itself, said where it is not: by its keys if it has some.
fn choose_method(said: &mut Map<String, Value>) -> Result<(), NotDescribed> {
    let is_said = |name: &str| said.get(name).is_some_and(|value| !value.is_null());
    let method = if is_said("token_endpoint_auth_method") {
        let named = said.get("token_endpoint_auth_method").and_then(Value::as_str);
        METHODS.into_iter().find(|method| Some(method.name()) == named)
    } else if is_said("jwks") || is_said("jwks_uri") {
        Some(AuthMethod::PrivateKeyJwt)
    } else {
        Some(AuthMethod::None)
    };
    let method = method.ok_or_else(|| {
        let names = METHODS.map(|method| format!("`{}`", method.name())).join(" or ");
        invalid(format!("`token_endpoint_auth_method` must be {names}"))
    })?;
    said.insert("token_endpoint_auth_method".to_owned(), json!(method.name()));
    Ok(())
}

/// Keeps of a list what is known here.
fn keep_only(said: &mut Map<String, Value>, name: &str, known: &[&str]) {
    if let Some(values) = said.get_mut(name).and_then(Value::as_array_mut) {
        values.retain(|value| value.as_str().is_none_or(|text| known.contains(&text)));
    }
}

/// Its keys are at the host that it is at: whoever writes a document cannot have somebody else asked.
fn check_keys_are_near(said: &Map<String, Value>, address: &Address) -> Result<(), NotDescribed> {
    let Some(uri) = said.get("jwks_uri").and_then(Value::as_str) else { return Ok(()) };
    let url = Url::parse(uri).ok();
    if url.as_ref().and_then(Url::host_str) == Some(address.host()) {
        Ok(())
    } else {
        Err(invalid("`jwks_uri` must be at the host of the `client_id`"))
    }
}

/// Whether a name can be shown to people: it cannot turn the words around it about.
fn can_be_shown(name: &str) -> bool {
    let is_seen = |c: char| !c.is_control() && !is_format(c);
    name.chars().count() <= LONGEST_NAME && name.chars().all(is_seen)
}

/// What a document says of its client, of what is offered to whoever registers.
///
/// # Errors
/// [`NotDescribed::Invalid`].
pub fn read(
    address: &Address,
    body: &[u8],
    offered: &Offered,
) -> Result<ClientMetadata, NotDescribed> {
    let said = said(address, body)?;
    let wanted = offered.read(&said, address.id().as_str(), By::Itself);
    let mut metadata = wanted.map_err(|refused| match refused {
        RegisterRefused::Store(error) => NotDescribed::Store(error),
        RegisterRefused::Invalid { why, .. } => invalid(why),
        RegisterRefused::Off | RegisterRefused::Token => invalid("it cannot be registered"),
    })?;
    if !metadata.grant_types.as_ref().is_some_and(|all| all.contains(&GrantType::AuthorizationCode))
    {
        return Err(invalid("`grant_types` must hold `authorization_code`"));
    }
    metadata.client_name.get_or_insert_with(|| address.host().to_owned());
    if !metadata.client_name.as_deref().is_some_and(can_be_shown) {
        return Err(invalid(format!(
            "`client_name` must be plain text of at most {LONGEST_NAME} characters"
        )));
    }
    metadata.require_pkce = Some(true);
    Ok(metadata)
}

impl Provider {
    /// The client that a document describes.
    ///
    /// # Errors
    /// [`NotDescribed::Invalid`].
    pub(super) fn read_document(
        &self,
        address: &Address,
        body: &[u8],
    ) -> Result<Client, NotDescribed> {
        let metadata = read(address, body, &self.offered())?;
        let client = self.clients().check(&metadata, None);
        let client = client.map_err(|refused| invalid(refused.to_string()))?;
        Ok(Client { described: Some(Described::default()), ..client })
    }
}

fn invalid(why: impl Into<String>) -> NotDescribed {
    NotDescribed::Invalid(why.into())
}
