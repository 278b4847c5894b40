//! Client data (WebAuthn §5.8.1): what a browser says of a request that it passed on.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The longest that is read.
const LONGEST: usize = 4096;

/// What the browser was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ceremony {
    /// To make a passkey.
    Create,
    /// To use one.
    Get,
}

/// What a browser says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientData {
    /// What it was asked for, in its own words.
    kind: String,
    /// The challenge that it was given.
    pub(super) challenge: Vec<u8>,
    /// The page that asked.
    pub(super) origin: String,
    /// Whether that page was within another.
    pub(super) within_another: bool,
    /// The digest of all of it.
    pub(super) digest: [u8; 32],
}

/// The same, as it is written. What else stands there is for others: browsers add members of their
/// own, so that nobody relies on there being no more.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<serde_json::Value>,
}

impl ClientData {
    /// Reads it. `None`: it is no such data.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        // A reader of JSON would take a list of the values for the object, too.
        if bytes.len() > LONGEST || bytes.first() != Some(&b'{') {
            return None;
        }
        let written: Written = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            kind: written.kind,
            challenge: URL_SAFE_NO_PAD.decode(&written.challenge).ok()?,
            origin: written.origin,
            within_another: written.cross_origin == Some(true) || written.top_origin.is_some(),
            digest: digest::digest(&digest::SHA256, bytes).as_ref().try_into().ok()?,
        })
    }

    /// Whether the browser was asked for this.
    pub(super) fn is_of(&self, ceremony: Ceremony) -> bool {
        self.kind
            == match ceremony {
                Ceremony::Create => "webauthn.create",
                Ceremony::Get => "webauthn.get",
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<ClientData> {
        ClientData::read(text.as_bytes())
    }

    #[test]
    fn reads_what_browsers_write_and_passes_over_what_they_add() {
        let plain = r#"{"type":"webauthn.get","challenge":"AQID","origin":"https://a.example""#;
        let data = read(&format!("{plain}}}")).unwrap();
        assert!(data.is_of(Ceremony::Get) && !data.is_of(Ceremony::Create));
        assert_eq!((data.challenge.as_slice(), data.within_another), (&[1, 2, 3][..], false));
        for more in [
            r#""crossOrigin":false,"other_keys_can_be_added_here":"do not compare""#,
            r#""tokenBinding":{"status":"present","id":"x"}"#,
        ] {
            assert!(!read(&format!("{plain},{more}}}")).unwrap().within_another, "{more}");
        }
        for more in [r#""crossOrigin":true"#, r#""topOrigin":"https://b.example""#] {
            assert!(read(&format!("{plain},{more}}}")).unwrap().within_another, "{more}");
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let long = format!(
            r#"{{"type":"webauthn.get","challenge":"AQID","origin":"{}"}}"#,
            "a".repeat(LONGEST)
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"["webauthn.get","AQID","https://a",false,null]"#,
            r#"{"type":"webauthn.get","challenge":"AQID"}"#,
            r#"{"type":"webauthn.get","challenge":"AQID","challenge":"AQIE","origin":"https://a"}"#,
            r#"{"type":"webauthn.get","challenge":"AQID=","origin":"https://a"}"#,
            r#"{"type":"webauthn.get","challenge":"AQI/","origin":"https://a"}"#,
            r#"{"type":"webauthn.get","challenge":"AR","origin":"https://a"}"#,
            r#"{"type":"webauthn.get","challenge":"AQID","origin":"https://a","crossOrigin":"no"}"#,
            "\u{feff}{\"type\":\"webauthn.get\",\"challenge\":\"AQID\",\"origin\":\"https://a\"}",
            r#"{"type":"webauthn.get","challenge":"AQID","origin":"https://a"} x"#,
            &long,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
