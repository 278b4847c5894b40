//! For whom passkeys are made.

use tegata_core::Secret;
use tegata_identity::{NotAParty, RelyingParty};

use super::Config;

impl Config {
    /// For whom passkeys are made. `Ok(None)`: the issuer's host is an address, which has none. The
    /// gateway's pages use them where they are in the same domain. Challenges are made under `secret`.
    pub(crate) fn relying_party(
        &self,
        secret: &Secret<[u8; 32]>,
    ) -> Result<Option<RelyingParty>, NotAParty> {
        let (issuer, gateway) = (self.issuer(), self.audience());
        let id = self.public.rp_id.as_deref().unwrap_or_else(|| RelyingParty::host(&issuer));
        let both = [Some(issuer.as_str()), Some(gateway.as_str()).filter(|it| *it != issuer)];
        let reaches = |origin: &&str| *origin == issuer || RelyingParty::reaches(id, origin);
        let origins: Vec<_> = both.into_iter().flatten().filter(reaches).collect();
        match RelyingParty::new(id, &origins, secret) {
            Err(NotAParty::Name(_)) if self.public.rp_id.is_none() => Ok(None),
            made => made.map(Some),
        }
    }
}
