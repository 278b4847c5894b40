//! Sectors: the clients to which people have the same names (OpenID Connect Core §8.1).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::Outward;
use url::{Host, Url};

use super::{ClientMetadata, GrantType};
use crate::redirect::RedirectUri;

/// How names end that mean another machine in each network (RFC 6761, 6762, 8375).
const INNER: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// What a client calls people by (OpenID Connect Core §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectType {
    /// By their ids, as all such clients do.
    Public,
    /// By names that count in its sector alone.
    Pairwise,
}

impl SubjectType {
    /// Both of them, in the order in which the metadata lists them.
    pub const ALL: [Self; 2] = [Self::Public, Self::Pairwise];

    /// The name in metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pairwise => "pairwise",
        }
    }
}

/// The host that names a sector, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sector(String);

/// A text names no sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be the name of a host, such as `app.example.com`")]
pub struct InvalidSector;

impl Sector {
    /// The sector of this host.
    ///
    /// # Errors
    /// [`InvalidSector`].
    pub fn new(host: &str) -> Result<Self, InvalidSector> {
        let host = Host::parse(host).map_err(|_| InvalidSector)?.to_string();
        if (1..=253).contains(&host.len()) { Ok(Self(host)) } else { Err(InvalidSector) }
    }

    /// The sector that an address is in: its host.
    ///
    /// # Errors
    /// [`InvalidSector`] where it has none.
    pub fn of_address(address: &str) -> Result<Self, InvalidSector> {
        let url = Url::parse(address).map_err(|_| InvalidSector)?;
        url.host_str().map_or(Err(InvalidSector), Self::new)
    }

    /// The host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The sector that redirect URIs are all in. `None`: they are in several, or somewhere in none. A
    /// scheme of an application has no host, everybody's machine is called `localhost`, and in each network
    /// another is called `192.168.1.1` or `nas.local`: whoever shared that sector would have nothing to
    /// do with each other.
    fn of_redirects(uris: &[RedirectUri]) -> Option<Self> {
        let host = |uri: &RedirectUri| {
            let url = Url::parse(uri.as_str()).ok().filter(|url| url.scheme() == "https")?;
            let is_one = match url.host()? {
                Host::Domain(name) => {
                    let name = name.trim_end_matches('.');
                    name.contains('.') && !INNER.iter().any(|inner| name.ends_with(inner))
                }
                Host::Ipv4(four) => Outward::default().admits(four.into()),
                Host::Ipv6(six) => Outward::default().admits(six.into()),
            };
            if is_one { Self::of_address(uri.as_str()).ok() } else { None }
        };
        let hosts = uris.iter().map(host).collect::<Option<BTreeSet<_>>>()?;
        let mut hosts = hosts.into_iter();
        hosts.next().filter(|_| hosts.next().is_none())
    }
}

impl TryFrom<String> for Sector {
    type Error = InvalidSector;
    fn try_from(host: String) -> Result<Self, InvalidSector> {
        Self::new(&host)
    }
}

impl From<Sector> for String {
    fn from(sector: Sector) -> Self {
        sector.0
    }
}

impl ClientMetadata {
    /// Whether it is to know people by names of its sector.
    #[must_use]
    pub fn is_pairwise(&self) -> bool {
        self.subject_type == Some(SubjectType::Pairwise)
    }

    /// The sector that it is to be in, where it is pairwise: the one that is named, or that of the
    /// document which lists its redirect URIs, or that of these.
    pub(super) fn sector(
        &self,
        grants: &BTreeSet<GrantType>,
        redirect_uris: &[RedirectUri],
    ) -> Result<Option<Sector>, String> {
        if !self.is_pairwise() {
            return match &self.sector {
                Some(_) => {
                    Err("`sector` is for `subject_type = \"pairwise\"`: leave it out, or say \
                                that too"
                        .to_owned())
                }
                None => Ok(None),
            };
        }
        self.check_readers(grants)?;
        if let Some(host) = &self.sector {
            return Sector::new(host).map(Some).map_err(|error| format!("`sector`: {error}"));
        }
        if let Some(address) = &self.sector_identifier_uri {
            let read = Sector::of_address(address);
            return read.map(Some).map_err(|error| format!("`sector_identifier_uri`: {error}"));
        }
        Sector::of_redirects(redirect_uris).map(Some).ok_or_else(|| {
            "`subject_type` is pairwise, and `redirect_uris` are not all `https` addresses of one \
             host that is the same in every network, which would be its sector: name one in `sector`, or where a client registers \
             itself, the address of a list of them in `sector_identifier_uri`"
                .to_owned()
        })
    }

    /// Refuses what would have others read tokens that hide whom they speak of: services know people by
    /// their ids, and take what was taken back for what names these.
    fn check_readers(&self, grants: &BTreeSet<GrantType>) -> Result<(), String> {
        if grants.contains(&GrantType::TokenExchange) {
            return Err(
                "`subject_type = \"pairwise\"` contradicts token exchange, whose tokens are \
                        for services: declare another client for that"
                    .to_owned(),
            );
        }
        if !self.audiences.is_empty() {
            return Err(
                "`subject_type = \"pairwise\"` contradicts `audiences`: its tokens are for \
                        the gateway alone"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;

    use super::*;
    use crate::Client;

    fn pairwise(redirect_uris: &[&str]) -> ClientMetadata {
        ClientMetadata {
            client_id: "web".into(),
            subject_type: Some(SubjectType::Pairwise),
            redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
            ..ClientMetadata::default()
        }
    }

    fn read(metadata: &ClientMetadata) -> Result<Client, String> {
        metadata.read(Timestamp::default()).map_err(|error| error.to_string())
    }

    fn sector(metadata: &ClientMetadata) -> String {
        read(metadata).unwrap().sector.unwrap().into()
    }

    #[test]
    fn the_one_host_of_all_redirect_uris_is_the_sector_however_it_is_written() {
        for uris in [
            &["https://app.example/cb"][..],
            &["https://APP.example:8443/cb?a", "https://app.example/other"],
        ] {
            assert_eq!(sector(&pairwise(uris)), "app.example");
        }
        assert_eq!(sector(&pairwise(&["https://[2606:4700:0::ABC]/cb"])), "[2606:4700::abc]");
        let public = ClientMetadata { subject_type: None, ..pairwise(&["https://a.example/cb"]) };
        assert_eq!(read(&public).unwrap().sector, None);
    }

    #[test]
    fn what_everybody_has_is_no_sector_and_of_several_one_must_be_named() {
        for uris in [
            &["https://a.example/cb", "https://b.example/cb"][..],
            &["https://a.example/cb", "https://a.example./cb"],
            &["https://a.example/cb", "com.example.app:/cb"],
            &["com.example.app:/cb"],
            &["http://127.0.0.1/cb"],
            &["http://localhost/cb"],
            &["https://localhost./cb"],
            &["https://app.localhost/cb"],
            &["https://127.0.0.1/cb"],
            &["https://[::1]/cb"],
            &["https://[::ffff:127.0.0.1]/cb"],
            &["https://0.0.0.0/cb"],
            &["https://192.168.1.1/cb"],
            &["https://[fd00::1]/cb"],
            &["https://intranet/cb"],
            &["https://nas.local/cb"],
            &["https://app.internal/cb"],
        ] {
            let why = read(&pairwise(uris)).unwrap_err();
            assert!(why.contains("`sector`") && why.contains("sector_identifier_uri"), "{why}");
            let named = ClientMetadata { sector: Some("App.Example".into()), ..pairwise(uris) };
            assert_eq!(sector(&named), "app.example");
            let uri = Some("https://app.example/list.json".to_owned());
            let listed = ClientMetadata { sector_identifier_uri: uri, ..pairwise(uris) };
            assert_eq!(sector(&listed), "app.example");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let web = || pairwise(&["https://a.example/cb"]);
        let grants = [GrantType::AuthorizationCode, GrantType::TokenExchange];
        for (metadata, word) in [
            (ClientMetadata { grant_types: Some(grants.into()), ..web() }, "token exchange"),
            (ClientMetadata { audiences: vec!["orders".into()], ..web() }, "audiences"),
            (ClientMetadata { sector: Some("a b".into()), ..web() }, "host"),
            (ClientMetadata { sector: Some(String::new()), ..web() }, "host"),
            (ClientMetadata { sector: Some("https://a.example/".into()), ..web() }, "host"),
            (
                ClientMetadata { subject_type: None, sector: Some("a.example".into()), ..web() },
                "pairwise",
            ),
        ] {
            let why = read(&metadata).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_sector_stays_what_it_is_when_a_client_is_declared_anew_from_what_is_known_of_it() {
        let client = read(&pairwise(&["https://a.example/cb"])).unwrap();
        let again = ClientMetadata::of(&client);
        assert_eq!(read(&again).unwrap(), client);
        let moved = ClientMetadata { redirect_uris: vec!["https://b.example/cb".into()], ..again };
        assert_eq!(sector(&moved), "a.example");
        // As it is stored.
        let stored = serde_json::to_string(&client).unwrap();
        assert_eq!(serde_json::from_str::<Client>(&stored).unwrap(), client);
    }
}
