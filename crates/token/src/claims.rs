//! What an access token says (RFC 9068 §2.2), and the same for the narrower tokens made from one.

use std::fmt;

use serde::{
    Deserialize, Serialize, Serializer,
    de::{Deserializer, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    context::Context,
    details::Details,
    lineage::Lineage,
    strict::{self, Name, Seen, Skim},
    transaction::Transaction,
};

/// The claims of an access token, an internal token or a service token.
///
/// Reading is strict: a claim of the wrong type is an error and never "absent", a claim that stands
/// twice is an error, and `iss`, `sub`, `aud`, `exp`, `iat` and `jti` must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it speaks of: a user id, or a client id where no person is involved.
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// From when it is dead: seconds since 1970.
    pub exp: u64,
    /// When it was issued: seconds since 1970.
    pub iat: u64,
    /// Before when it does not count: seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Its own name.
    pub jti: String,
    /// The client that it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What it may be used for. Written also where that is nothing: nobody has to guess what a
    /// missing one means.
    pub scope: Scope,
    /// The roles of its subject. Written also where it has none.
    pub roles: Vec<String>,
    /// The session it belongs to: the public handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Whether it outlives that session, which then says where it began and no more (`offline_access`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outlives_session: bool,
    /// The family it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fid: Option<String>,
    /// How strongly its subject was authenticated (RFC 9470).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// By which means its subject was authenticated (RFC 8176).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When its subject was authenticated: seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// Fine-grained permissions, where the issuer states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    /// What it may be used for in detail (RFC 9396 §9.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Details>,
    /// Where its revocation is looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Which key its user must hold (RFC 7800).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Who acts on behalf of the subject (RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
    /// Who alone may act on behalf of the subject (RFC 8693 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub may_act: Option<MayAct>,
    /// The token that this one was made from first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_jti: Option<String>,
    /// What else it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// From where and on which device the request came that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<Context>>,
    /// Whom it speaks of in truth, hidden from the client that it was issued to, where `sub` and `sid`
    /// are what that client knows ([`crate::pairwise`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub veil: Option<String>,
    /// What a transaction token says of its transaction.
    #[serde(flatten)]
    pub transaction: Option<Box<Transaction>>,
}

/// One or several audiences. One is written as a string (RFC 7519 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience(pub Vec<String>);

impl Audience {
    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|audience| audience == name)
    }
}

impl From<&str> for Audience {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrSeveral {
            One(String),
            Several(Vec<String>),
        }
        Ok(Self(match OneOrSeveral::deserialize(deserializer)? {
            OneOrSeveral::One(name) => vec![name],
            OneOrSeveral::Several(names) => names,
        }))
    }
}

/// Scope values, in the order in which they were asked for, each once (RFC 6749 §3.3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Scope(String);

impl Scope {
    /// Reads a space-separated list. Values that stand twice count once.
    ///
    /// # Errors
    /// [`InvalidScope`] if a value has a character that RFC 6749 §3.3 does not allow.
    pub fn new(text: &str) -> Result<Self, InvalidScope> {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.len() > LONGEST_SCOPE {
            return Err(InvalidScope);
        }
        let mut values: Vec<&str> = Vec::new();
        for value in text.split(' ').filter(|value| !value.is_empty()) {
            if !value.bytes().all(allowed) {
                return Err(InvalidScope);
            }
            if !values.contains(&value) {
                values.push(value);
            }
        }
        Ok(Self(values.join(" ")))
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|value| !value.is_empty())
    }

    /// Whether `value` is among them.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.values().any(|own| own == value)
    }

    /// Whether all values of `other` are among them.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.values().all(|value| self.contains(value))
    }

    /// The values that are also in `other`, in this order.
    #[must_use]
    pub fn narrowed_to(&self, other: &Self) -> Self {
        let kept: Vec<_> = self.values().filter(|value| other.contains(value)).collect();
        Self(kept.join(" "))
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The space-separated list.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest scope: what is longer would only be slow to compare.
const LONGEST_SCOPE: usize = 2048;

/// The scope is too long, or a value has a character that RFC 6749 §3.3 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the scope is longer than 2048 characters, or a value has a character other than visible ASCII \
     without `\"` and `\\`"
)]
pub struct InvalidScope;

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The claim `status` (IETF Token Status List §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The place in a status list.
    pub status_list: StatusEntry,
}

/// A place in a status list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEntry {
    /// Which bit.
    pub idx: u32,
    /// Of which list.
    pub uri: String,
}

/// The claim `cnf`: the token is of use only to the holder of this key (RFC 7800 §3.1). A way of
/// showing a key that is not known here cannot be checked, so a token that names one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Thumbprint of a DPoP key (RFC 9449 §6.1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jkt: Option<String>,
    /// Thumbprint of a client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none", default)]
    pub x5t: Option<String>,
}

impl Confirmation {
    /// That of a DPoP key with this thumbprint.
    #[must_use]
    pub fn of_key(jkt: &str) -> Self {
        Self { jkt: Some(jkt.to_owned()), x5t: None }
    }

    /// That of a client certificate with this thumbprint.
    #[must_use]
    pub fn of_certificate(x5t: &str) -> Self {
        Self { jkt: None, x5t: Some(x5t.to_owned()) }
    }

    /// The thumbprint of the DPoP key, where that is all that is to be shown.
    #[must_use]
    pub fn key_alone(&self) -> Option<&str> {
        self.jkt.as_deref().filter(|_| self.x5t.is_none())
    }

    /// The thumbprint of the client certificate, where that is all that is to be shown.
    #[must_use]
    pub fn certificate_alone(&self) -> Option<&str> {
        self.x5t.as_deref().filter(|_| self.jkt.is_none())
    }

    /// Whether it names one thing to be shown, of a kind that can be checked.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.jkt.is_some() != self.x5t.is_some()
    }
}

/// The claim `act`: who acts, and on whose behalf that one was already acting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Who.
    pub sub: String,
    /// The actor before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Box<Actor>>,
}

/// The claim `may_act`. Who it is must be said by `sub` alone: what else it said could not be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// Who: the id of a client.
    pub sub: String,
}

impl Claims {
    /// Reads claims.
    ///
    /// # Errors
    /// Which rule the JSON breaks; nothing of its content.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        Self::read(json, ClaimsVisitor { needs_iat: true, needs_jti: true, ours: true })
    }

    /// Reads the claims of another issuer's access token. What has a meaning among our own tokens
    /// alone, and may be of any shape elsewhere, is passed over.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn parse_foreign(json: &[u8]) -> Result<Self, &'static str> {
        Self::read(json, ClaimsVisitor { needs_iat: true, needs_jti: true, ours: false })
    }

    /// Reads the claims of a client assertion, in which `iat` is optional (RFC 7523 §3); where it
    /// is missing, it is 0.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn parse_assertion(json: &[u8]) -> Result<Self, &'static str> {
        Self::read(json, ClaimsVisitor { needs_iat: false, needs_jti: true, ours: true })
    }

    /// Reads the claims of an ID token, which has no `jti`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn parse_id(json: &[u8]) -> Result<Self, &'static str> {
        Self::read(json, ClaimsVisitor { needs_iat: true, needs_jti: false, ours: true })
    }

    fn read(json: &[u8], visitor: ClaimsVisitor) -> Result<Self, &'static str> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer
            .deserialize_map(visitor)
            .and_then(|claims| deserializer.end().map(|()| claims))
            .map_err(|error| {
                let text = error.to_string();
                MISSING
                    .into_iter()
                    .find(|missing| text.starts_with(missing))
                    .unwrap_or_else(|| strict::reason(&error))
            })
    }

    /// When the token was issued that this one was made from first, or this one itself: what was taken
    /// back up to a moment since then is taken back.
    #[must_use]
    pub fn first_issued(&self) -> u64 {
        let first = self.lineage.as_ref().and_then(|lineage| lineage.iat);
        first.map_or(self.iat, |first| first.min(self.iat))
    }

    /// Since when its subject has had what it was made from first: a token, or a session. What takes back all
    /// that a subject had up to a moment since then takes this back.
    #[must_use]
    pub fn had_since(&self) -> u64 {
        let began = self.lineage.as_ref().and_then(|lineage| lineage.began);
        let first = self.first_issued();
        began.map_or(first, |began| began.min(first))
    }

    /// The session that it ends with.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.sid.as_deref().filter(|_| !self.outlives_session)
    }

    /// The claims as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and lists always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

const MISSING: [&str; 6] = [
    "there is no `iss`",
    "there is no `sub`",
    "there is no `aud`",
    "there is no `exp`",
    "there is no `iat`",
    "there is no `jti`",
];

struct ClaimsVisitor {
    needs_iat: bool,
    needs_jti: bool,
    ours: bool,
}

/// Claims that mean something in our own tokens alone.
const OURS: [&str; 19] = [
    "context",
    "lineage",
    "veil",
    "may_act",
    "rctx",
    "req_wl",
    "tctx",
    "txn",
    "scope",
    "roles",
    "outlives_session",
    "fid",
    "acr",
    "amr",
    "auth_time",
    "permissions",
    "authorization_details",
    "original_jti",
    "status",
];

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims::default();
        let (mut exp, mut iat) = (None, None);
        let mut seen = Seen::default();
        let mut present = [false; 4];
        let [iss, sub, aud, jti] = &mut present;
        let mut transaction = Transaction::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                theirs if !self.ours && OURS.contains(&theirs) => {
                    map.next_value_seed(Skim(strict::DEEPEST))?;
                }
                "iss" => (claims.iss, *iss) = (map.next_value()?, true),
                "sub" => (claims.sub, *sub) = (map.next_value()?, true),
                "aud" => (claims.aud, *aud) = (map.next_value()?, true),
                "jti" => (claims.jti, *jti) = (map.next_value()?, true),
                "exp" => exp = Some(date(&mut map)?),
                "iat" => iat = Some(date(&mut map)?),
                "nbf" => claims.nbf = Some(date(&mut map)?),
                "auth_time" => claims.auth_time = Some(date(&mut map)?),
                "client_id" => claims.client_id = Some(map.next_value()?),
                "scope" => claims.scope = map.next_value()?,
                "roles" => claims.roles = map.next_value()?,
                "sid" => claims.sid = Some(map.next_value()?),
                "outlives_session" => claims.outlives_session = map.next_value()?,
                "fid" => claims.fid = Some(map.next_value()?),
                "acr" => claims.acr = Some(map.next_value()?),
                "amr" => claims.amr = map.next_value()?,
                "permissions" => claims.permissions = Some(map.next_value()?),
                "authorization_details" => {
                    let details = Details::parse(map.next_value::<&RawValue>()?.get());
                    let details = details.map_err(|error| A::Error::custom(error.0))?;
                    claims.authorization_details = Some(details);
                }
                "original_jti" => claims.original_jti = Some(map.next_value()?),
                "status" => claims.status = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "cnf" => claims.cnf = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "act" => claims.act = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "may_act" => claims.may_act = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "lineage" => claims.lineage = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "context" => claims.context = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "veil" => claims.veil = Some(map.next_value()?),
                "txn" => transaction.txn = map.next_value()?,
                "req_wl" => transaction.req_wl = map.next_value()?,
                "tctx" => transaction.tctx = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                "rctx" => transaction.rctx = Some(strict::nested(map.next_value::<&RawValue>()?)?),
                _ => map.next_value_seed(Skim(strict::DEEPEST))?,
            }
            seen.note(name)?;
        }
        claims.transaction = transaction.is_well_formed().then(|| Box::new(transaction));
        let there = [
            *iss,
            *sub,
            *aud,
            exp.is_some(),
            iat.is_some() || !self.needs_iat,
            *jti || !self.needs_jti,
        ];
        for (index, there) in there.iter().enumerate() {
            if !there {
                return Err(A::Error::custom(MISSING.get(index).unwrap_or(&"a claim is missing")));
            }
        }
        (claims.exp, claims.iat) = (exp.unwrap_or_default(), iat.unwrap_or_default());
        Ok(claims)
    }
}

/// A `NumericDate` (RFC 7519 §2): a number of seconds, never a string (CVE-2026-25537: a date of the
/// wrong type taken for no date). Fractions are cut off.
pub(crate) fn date<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    struct DateVisitor;
    impl Visitor<'_> for DateVisitor {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of seconds")
        }
        fn visit_u64<E: Error>(self, secs: u64) -> Result<u64, E> {
            if secs <= LATEST { Ok(secs) } else { Err(E::custom("the date is out of range")) }
        }
        fn visit_f64<E: Error>(self, secs: f64) -> Result<u64, E> {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked, and fractions are meant to be cut off"
            )]
            if (0.0..=9_007_199_254_740_991.0).contains(&secs) {
                Ok(secs as u64)
            } else {
                Err(E::custom("the date is out of range"))
            }
        }
    }
    struct Date;
    impl<'de> serde::de::DeserializeSeed<'de> for Date {
        type Value = u64;
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
            deserializer.deserialize_any(DateVisitor)
        }
    }
    map.next_value_seed(Date)
}

/// 2^53 - 1: the greatest number of seconds that every JSON implementation reads alike.
const LATEST: u64 = 9_007_199_254_740_991;

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Claims {
        Claims {
            iss: "https://issuer.example".into(),
            sub: "usr_1".into(),
            aud: "https://api.example".into(),
            exp: 2,
            iat: 1,
            nbf: Some(1),
            jti: "1.a".into(),
            client_id: Some("web".into()),
            scope: Scope::new("openid orders.read").unwrap(),
            roles: vec!["customer".into()],
            sid: Some("1.2.s".into()),
            outlives_session: true,
            fid: Some("1.2.f".into()),
            acr: Some("aal1".into()),
            amr: vec!["pwd".into()],
            auth_time: Some(1),
            permissions: Some(vec![]),
            authorization_details: Some(Details::parse(r#"[{"type":"t"}]"#).unwrap()),
            status: Some(Status { status_list: StatusEntry { idx: 7, uri: "https://x/1".into() } }),
            cnf: Some(Confirmation { jkt: Some("t".into()), x5t: None }),
            act: Some(Box::new(Actor {
                sub: "svc".into(),
                act: Some(Box::new(Actor { sub: "svc2".into(), act: None })),
            })),
            may_act: Some(MayAct { sub: "svc".into() }),
            original_jti: Some("1.b".into()),
            lineage: Lineage { kid: vec!["k".into()], ..Lineage::default() }.claim(),
            context: Some(Box::new(Context {
                ip: Some("192.0.2.1".parse().unwrap()),
                device_id: Some("d".into()),
            })),
            veil: Some("v".into()),
            transaction: Some(Box::new(Transaction {
                txn: "t".into(),
                req_wl: "svc".into(),
                ..Transaction::default()
            })),
        }
    }

    fn minimal(extra: &str) -> String {
        format!(r#"{{"iss":"i","sub":"s","aud":"a","exp":2,"iat":1,"jti":"j"{extra}}}"#)
    }

    #[test]
    fn reads_what_it_wrote() {
        assert_eq!(Claims::parse(&full().to_json()), Ok(full()));
        assert!(Claims::parse(minimal(r#","aux":{"x":[1,2.5,null,true,"y"]}"#).as_bytes()).is_ok());
    }

    #[test]
    fn a_required_claim_that_is_missing_is_named() {
        let whole: serde_json::Value = serde_json::from_str(&minimal("")).unwrap();
        for name in ["iss", "sub", "aud", "exp", "iat", "jti"] {
            let mut partial = whole.clone();
            partial.as_object_mut().unwrap().remove(name);
            let error = Claims::parse(partial.to_string().as_bytes()).unwrap_err();
            assert_eq!(error, format!("there is no `{name}`"));
        }
    }

    #[test]
    fn a_claim_of_the_wrong_type_is_never_taken_for_absent() {
        for (name, value) in [
            ("exp", "\"2\""),
            ("exp", "null"),
            ("exp", "-1"),
            ("exp", "1e300"),
            ("exp", "18446744073709551615"),
            ("exp", "[2]"),
            ("iat", "true"),
            ("iss", "null"),
            ("iss", "[\"i\"]"),
            ("sub", "1"),
            ("aud", "{\"a\":1}"),
            ("aud", "[1]"),
            ("aud", "null"),
            ("jti", "{}"),
        ] {
            let mut claims: serde_json::Map<_, _> = serde_json::from_str(&minimal("")).unwrap();
            claims.remove(name);
            let text = serde_json::to_string(&claims).unwrap();
            let text = format!("{},\"{name}\":{value}}}", &text[..text.len() - 1]);
            assert!(Claims::parse(text.as_bytes()).is_err(), "{name} = {value}");
        }
        for extra in [
            r#","nbf":"1""#,
            r#","nbf":null"#,
            r#","scope":["a"]"#,
            r#","scope":"a\"b""#,
            r#","roles":"admin""#,
            r#","roles":[1]"#,
            r#","status":{"status_list":{"idx":-1,"uri":"u"}}"#,
            r#","status":{"status_list":{"idx":"1","uri":"u"}}"#,
            r#","status":null"#,
            r#","status":{}"#,
            r#","cnf":"x""#,
            r#","act":{"sub":1}"#,
            r#","fid":1"#,
            r#","amr":"pwd""#,
            r#","authorization_details":null"#,
            r#","authorization_details":{"type":"t"}"#,
            r#","authorization_details":[{"type":1}]"#,
            r#","may_act":"svc""#,
            r#","may_act":{"sub":1}"#,
            r#","may_act":{"sub":"svc","iss":"https://elsewhere.example"}"#,
            r#","outlives_session":"false""#,
            r#","outlives_session":null"#,
            r#","lineage":[]"#,
            r#","lineage":{"kid":"k"}"#,
            r#","lineage":{"place":["somewhere"]}"#,
            r#","context":[]"#,
            r#","context":{"ip":"nowhere"}"#,
            r#","context":{"device_id":1}"#,
            r#","veil":null"#,
            r#","veil":["v"]"#,
            r#","txn":1"#,
            r#","req_wl":["svc"]"#,
            r#","tctx":[]"#,
            r#","rctx":null"#,
        ] {
            assert!(Claims::parse(minimal(extra).as_bytes()).is_err(), "{extra}");
        }
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused_at_any_depth() {
        for extra in [
            r#","sub":"t""#,
            r#","\u0073ub":"t""#,
            r#","x":1,"x":1"#,
            r#","x":{"y":1,"y":1}"#,
            r#","cnf":{"jkt":"a","jkt":"b"}"#,
            r#","act":{"sub":"a","act":{"sub":"b","sub":"c"}}"#,
            r#","may_act":{"sub":"a","sub":"b"}"#,
            r#","tctx":{"a":1,"a":2}"#,
            r#","status":{"status_list":{"idx":1,"idx":2,"uri":"u"}}"#,
        ] {
            let error = Claims::parse(minimal(extra).as_bytes()).unwrap_err();
            assert_eq!(error, "a member stands twice", "{extra}");
        }
    }

    #[test]
    fn scopes_are_sets_that_only_shrink() {
        let scope = Scope::new("b a  b").unwrap();
        assert_eq!(scope.as_str(), "b a");
        assert!(
            scope.covers(&Scope::new("a").unwrap()) && !scope.covers(&Scope::new("c").unwrap())
        );
        assert_eq!(scope.narrowed_to(&Scope::new("a c").unwrap()).as_str(), "a");
        let long: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        for bad in ["a\"", "a\\", "é", "a\tb", "a\n", &long.join(" ")] {
            assert!(Scope::new(bad).is_err(), "{bad:?}");
        }
    }
}
