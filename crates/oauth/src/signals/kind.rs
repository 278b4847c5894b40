//! The kinds of signal.

/// A kind of signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// Sessions were ended (CAEP §3.1).
    SessionRevoked,
    /// A session began (CAEP §3.6).
    SessionEstablished,
    /// A session was seen (CAEP §3.7).
    SessionPresented,
    /// What tokens say of somebody is no longer so (CAEP §3.2).
    TokenClaimsChange,
    /// Somebody's credential changed (CAEP §3.3).
    CredentialChange,
    /// Somebody was authenticated otherwise than before (CAEP §3.4).
    AssuranceLevelChange,
    /// A device keeps the rules, or no longer (CAEP §3.5).
    DeviceComplianceChange,
    /// The risk of somebody or something is rated otherwise (CAEP §3.8).
    RiskLevelChange,
    /// Somebody may not sign in any more (RISC §2.3).
    AccountDisabled,
    /// Somebody may sign in again (RISC §2.4).
    AccountEnabled,
    /// Somebody is gone for ever (RISC §2.2).
    AccountPurged,
    /// Somebody must change a credential (RISC §2.1).
    CredentialChangeRequired,
    /// Somebody else has a credential (RISC §2.7).
    CredentialCompromise,
    /// All sessions of somebody were ended (RISC §2.11, which CAEP replaces).
    SessionsRevoked,
    /// Says that a stream works (SSF §8.1.4.1).
    Verification,
    /// Says that a stream goes on or stops (SSF §8.1.5).
    StreamUpdated,
}

impl SignalKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::SessionRevoked,
        Self::SessionEstablished,
        Self::SessionPresented,
        Self::TokenClaimsChange,
        Self::CredentialChange,
        Self::AssuranceLevelChange,
        Self::DeviceComplianceChange,
        Self::RiskLevelChange,
        Self::AccountDisabled,
        Self::AccountEnabled,
        Self::AccountPurged,
        Self::CredentialChangeRequired,
        Self::CredentialCompromise,
        Self::SessionsRevoked,
        Self::Verification,
        Self::StreamUpdated,
    ];

    /// Those that receivers can order from us.
    pub const TOLD: [Self; 6] = [
        Self::SessionRevoked,
        Self::SessionEstablished,
        Self::TokenClaimsChange,
        Self::CredentialChange,
        Self::AccountDisabled,
        Self::AccountEnabled,
    ];

    /// The kind with this URI.
    #[must_use]
    pub fn of_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }

    /// Its URI.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::SessionRevoked => {
                "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
            }
            Self::SessionEstablished => {
                "https://schemas.openid.net/secevent/caep/event-type/session-established"
            }
            Self::SessionPresented => {
                "https://schemas.openid.net/secevent/caep/event-type/session-presented"
            }
            Self::TokenClaimsChange => {
                "https://schemas.openid.net/secevent/caep/event-type/token-claims-change"
            }
            Self::CredentialChange => {
                "https://schemas.openid.net/secevent/caep/event-type/credential-change"
            }
            Self::AssuranceLevelChange => {
                "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change"
            }
            Self::DeviceComplianceChange => {
                "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change"
            }
            Self::RiskLevelChange => {
                "https://schemas.openid.net/secevent/caep/event-type/risk-level-change"
            }
            Self::AccountDisabled => {
                "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
            }
            Self::AccountEnabled => {
                "https://schemas.openid.net/secevent/risc/event-type/account-enabled"
            }
            Self::AccountPurged => {
                "https://schemas.openid.net/secevent/risc/event-type/account-purged"
            }
            Self::CredentialChangeRequired => {
                "https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required"
            }
            Self::CredentialCompromise => {
                "https://schemas.openid.net/secevent/risc/event-type/credential-compromise"
            }
            Self::SessionsRevoked => {
                "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked"
            }
            Self::Verification => "https://schemas.openid.net/secevent/ssf/event-type/verification",
            Self::StreamUpdated => {
                "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"
            }
        }
    }

    /// The last part of its URI, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.uri().rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_uri_of_its_own() {
        for kind in SignalKind::ALL {
            assert_eq!(SignalKind::of_uri(kind.uri()), Some(kind));
        }
        assert_eq!(SignalKind::of_uri("urn:other"), None);
    }
}
