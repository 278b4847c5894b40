//! The sector of a client that registers itself: it must be its own (OpenID Connect Core §8.1, Dynamic
//! Client Registration 1.0 §5).
//!
//! Whoever could be in the sector of others would learn by what names they know people. What keeps them
//! out: answers go to addresses of the sector's host, or to those that its host lists; nothing but these
//! answers gives such a client anything; and what was given in one sector is never named in another.

use tegata_core::Versioned;

use super::RegisterRefused;
use crate::{
    client::{Client, ClientMetadata, GrantType},
    provider::Provider,
    remote,
};

/// Refuses whatever would give a pairwise client something by another way than through its redirect URIs,
/// which alone show whose it is: a device is told what it gets by nobody's address, and a token in the
/// client's own name orders signals about everybody.
pub(super) fn check_grants(metadata: &ClientMetadata) -> Result<(), RegisterRefused> {
    let through = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let grants = metadata.grant_types.iter().flatten();
    match grants.into_iter().find(|grant| metadata.is_pairwise() && !through.contains(grant)) {
        Some(other) => Err(RegisterRefused::metadata(format!(
            "`subject_type` is pairwise, which contradicts `{}`: the redirect URIs show whose a client \
             is, so it gets nothing but what is answered there. Operators can declare such a client",
            other.name()
        ))),
        None => Ok(()),
    }
}

/// Refuses to take what a client has from one sector to another, and from ids of people to names or
/// back: it would know both of everybody who signed in before.
pub(super) fn check_stays(
    before: &Versioned<Client>,
    wanted: &Client,
) -> Result<(), RegisterRefused> {
    if before.value.sector == wanted.sector {
        return Ok(());
    }
    let known = match &before.value.sector {
        Some(sector) => format!("`pairwise`, in the sector `{}`", sector.as_str()),
        None => "`public`".to_owned(),
    };
    Err(RegisterRefused::metadata(format!(
        "the `subject_type` of the client is {known}, and stays so, or it would know two names of one \
         person: repeat it, with redirect URIs of the same host or the same `sector_identifier_uri`, or \
         register another client"
    )))
}

impl Provider {
    /// Looks whether a sector identifier knows the redirect URIs (OpenID Connect Registration §5).
    pub(super) async fn check_sector(
        &self,
        metadata: &ClientMetadata,
    ) -> Result<(), RegisterRefused> {
        let Some(address) = &metadata.sector_identifier_uri else { return Ok(()) };
        let invalid = |why: &str| RegisterRefused::metadata(why);
        let address = remote::address("sector_identifier_uri", address);
        let address = address.map_err(|rule| invalid(&rule))?;
        let document = self.published().document(&address).await;
        let document = document.map_err(|error| {
            tracing::info!(%error, "a sector identifier cannot be had");
            invalid("the document at `sector_identifier_uri` cannot be had")
        })?;
        check_list(&document, &metadata.redirect_uris).map_err(invalid)
    }
}

/// Looks whether the document of a sector lists all of these addresses, character by character.
///
/// # Errors
/// What is wrong with it.
pub fn check_list(document: &[u8], redirect_uris: &[String]) -> Result<(), &'static str> {
    let known: Option<Vec<String>> = serde_json::from_slice(document).ok();
    let known = known.ok_or("the document at `sector_identifier_uri` is no list of texts")?;
    if redirect_uris.iter().all(|uri| known.contains(uri)) {
        Ok(())
    } else {
        Err("a redirect URI is not in the document at `sector_identifier_uri`")
    }
}
