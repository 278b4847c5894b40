//! A status list as a signed token (Token Status List §5).

use std::{io::Write as _, sync::OnceLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tegata_core::{StoreError, Timestamp};
use tegata_oauth::unsigned;
use tegata_token::{
    Algorithm, KeyRefused, ListId, SigningKey,
    cose::{self, Cbor},
    jws,
};

use crate::app::App;

/// How lists are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As a JWT.
    Jwt,
    /// As a CWT.
    Cwt,
}

impl Form {
    /// All of them. Whoever does not say which gets the first.
    pub(super) const ALL: [Self; 2] = [Self::Jwt, Self::Cwt];

    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Jwt => "application/statuslist+jwt",
            Self::Cwt => "application/statuslist+cwt",
        }
    }

    pub(super) fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.media_type() == media_type)
    }
}

/// A token that has been made.
#[derive(Debug)]
pub(super) struct Made {
    plain: Bytes,
    /// The same compressed, for whoever asks for it. Of what is in base64url a quarter goes; a CWT holds
    /// what is compressed as it is, and there is nothing to gain (§8.2).
    gzip: Option<OnceLock<Option<Bytes>>>,
}

impl Made {
    pub(super) fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    pub(super) fn compressed(&self) -> Option<Bytes> {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&self.plain).and_then(|()| encoder.finish()).map(Bytes::from).ok()
        };
        self.gzip.as_ref()?.get_or_init(compress).clone()
    }
}

/// Labels of claims: RFC 8392 §4, and Token Status List §5.2.
const ISS: i64 = 1;
const SUB: i64 = 2;
const EXP: i64 = 4;
const IAT: i64 = 6;
const STATUS_LIST: i64 = 65_533;
const TTL: i64 = 65_534;

/// The Status List Token of compressed bits, as they are or were at a moment.
pub(super) async fn signed(
    app: &App,
    form: Form,
    id: ListId,
    bits: &[u8],
    at: Timestamp,
) -> Result<Made, StoreError> {
    let misused = |detail: String| StoreError::Misused { detail };
    let signer = app.provider().keys().now().signer(Algorithm::Es256);
    let key = signer.ok_or_else(|| misused("there is no ES256 key for status lists".to_owned()))?;
    let ttl = app.config().status_ttl.as_secs();
    let said = Said {
        iss: app.provider().issuer(),
        sub: format!("{}/status-lists/{id}", app.provider().issuer()),
        iat: at.secs(),
        exp: at.secs() + ttl * 5,
        ttl,
        bits,
    };
    let made = match form {
        Form::Jwt => said.jwt(&key).await,
        Form::Cwt => said.cwt(&key).await,
    };
    made.map_err(|error| unsigned(&error))
}

/// What a list says.
struct Said<'a> {
    iss: &'a str,
    sub: String,
    iat: u64,
    exp: u64,
    ttl: u64,
    bits: &'a [u8],
}

impl Said<'_> {
    async fn jwt(&self, key: &SigningKey) -> Result<Made, KeyRefused> {
        let claims = json!({
            "iss": self.iss,
            "sub": self.sub,
            "iat": self.iat,
            "exp": self.exp,
            "ttl": self.ttl,
            "status_list": {"bits": 1, "lst": URL_SAFE_NO_PAD.encode(self.bits)},
        });
        let token = jws::signed(key, "statuslist+jwt", claims.to_string().as_bytes()).await?;
        Ok(Made { plain: token.into(), gzip: Some(OnceLock::new()) })
    }

    async fn cwt(&self, key: &SigningKey) -> Result<Made, KeyRefused> {
        let text = |text: &str| Cbor::Text(text.to_owned());
        let number = |number: u64| Cbor::Int(number.cast_signed());
        let list = Cbor::Map(vec![
            (text("bits"), Cbor::Int(1)),
            (text("lst"), Cbor::Bytes(self.bits.to_vec())),
        ]);
        let claims = [
            (ISS, text(self.iss)),
            (SUB, text(&self.sub)),
            (EXP, number(self.exp)),
            (IAT, number(self.iat)),
            (STATUS_LIST, list),
            (TTL, number(self.ttl)),
        ];
        let claims = claims.map(|(label, value)| (Cbor::Int(label), value)).to_vec();
        let token = cose::sign1(key, Form::Cwt.media_type(), &Cbor::Map(claims)).await?;
        Ok(Made { plain: token.into(), gzip: None })
    }
}
