//! A verifier of access tokens that can lack any one of its rules. It is written to be read, and to be careless in the
//! ways in which others were: nothing of it is used by the gateway.

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use tegata_attack::{
    case::PublicForm::{Der, Jwk, Pem},
    forge::public,
};

use crate::json::{Members, depth};

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// There are three parts; without it, the first three count.
    Parts,
    /// Parts are base64url without padding; without it, whatever can be made one.
    Encoding,
    /// The compact form alone counts; without it, JSON does, too.
    Serialisation,
    /// No member stands twice; without it, the last counts.
    Members,
    /// Nothing is nested deeply.
    Depth,
    /// Keys that a token brings do not count.
    OwnKey,
    /// What must be understood is; without it, it is passed over.
    Critical,
    /// Nothing says that the token is compressed, encrypted or another.
    Header,
    /// The key is that of this name; without it, the name is a path, SQL or an address, or the only key counts.
    KeyName,
    /// The algorithm is the key's; without it, it is the token's.
    Algorithm,
    /// It is an access token.
    Kind,
    /// There is a signature; without it, none is checked where none is there.
    SignaturePresent,
    /// Of P-256, it is two numbers; without it, DER counts, too.
    SignatureForm,
    /// The numbers are not zero; without it, zero is a signature of everything.
    Numbers,
    /// The signature is the key's.
    Signature,
    /// It is this issuer's.
    Issuer,
    /// The issuer's name is compared to the letter.
    IssuerExact,
    /// It is for this audience.
    Audience,
    /// The audience's name is compared to the letter.
    AudienceExact,
    /// Dates are numbers that everybody reads alike; without it, others count as none.
    Dates,
    /// It has not ended.
    Expired,
    /// It has begun.
    NotYet,
    /// The other claims are there, and of their types.
    Claims,
    /// The subject is a text that can be told in a field.
    Subject,
    /// What it is bound to is shown.
    Possession,
}

impl Rule {
    /// All of them, by the names that cases give them.
    pub(crate) const ALL: [(&'static str, Self); 25] = [
        ("parts", Self::Parts),
        ("encoding", Self::Encoding),
        ("serialisation", Self::Serialisation),
        ("members", Self::Members),
        ("depth", Self::Depth),
        ("own-key", Self::OwnKey),
        ("critical", Self::Critical),
        ("header", Self::Header),
        ("key-name", Self::KeyName),
        ("algorithm", Self::Algorithm),
        ("kind", Self::Kind),
        ("signature-present", Self::SignaturePresent),
        ("signature-form", Self::SignatureForm),
        ("numbers", Self::Numbers),
        ("signature", Self::Signature),
        ("issuer", Self::Issuer),
        ("issuer-exact", Self::IssuerExact),
        ("audience", Self::Audience),
        ("audience-exact", Self::AudienceExact),
        ("dates", Self::Dates),
        ("expired", Self::Expired),
        ("not-yet", Self::NotYet),
        ("claims", Self::Claims),
        ("subject", Self::Subject),
        ("possession", Self::Possession),
    ];
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It breaks this rule.
    Broken(Rule),
    /// Nobody could make a token of it.
    Unreadable,
}

/// A verifier.
pub(crate) struct Verifier<'v> {
    pub(crate) kid: &'v str,
    pub(crate) issuer: &'v str,
    pub(crate) audience: &'v str,
    pub(crate) now: u64,
    /// The issuer's key, as SPKI.
    pub(crate) public: &'v [u8],
    /// Where another key may be fetched, and that key.
    pub(crate) fetched: (&'v str, &'v [u8]),
    /// The rule that it lacks.
    pub(crate) lacks: Option<Rule>,
}

/// The texts of the parts; where claims are read from another place than is signed, that, too.
struct Cut {
    header: String,
    claims: String,
    signature: String,
    believed: Option<String>,
}

/// A key, which has one algorithm.
enum Key {
    /// A point.
    P256(Vec<u8>),
    Secret(Vec<u8>),
}

impl Key {
    fn of(spki: &[u8]) -> Self {
        Self::P256(public::point_in(spki).unwrap().to_vec())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Secret(_) => "HS256",
        }
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(text, signature)
                .is_ok(),
            Self::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::verify(&key, text, signature).is_ok()
            }
        }
    }

    fn verifies_der(&self, text: &[u8], signature: &[u8]) -> bool {
        let Self::P256(point) = self else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text, signature).is_ok()
    }
}

/// Takes what is no canonical base64.
const CARELESS: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// How deeply members may be nested.
const DEEPEST: usize = 32;

impl Verifier<'_> {
    /// The first rule that a token breaks.
    pub(crate) fn verify(&self, token: &str) -> Result<(), Refusal> {
        let cut = self.cut(token)?;
        let header = self.members(&self.decoded(&cut.header)?)?;
        let claims = self.decoded(&cut.claims)?;
        let signature = self.decoded(&cut.signature)?;
        self.check_header(&header)?;
        let text = format!("{}.{}", cut.header, cut.claims);
        self.check_signature(&header, text.as_bytes(), &signature)?;
        let believed = cut.believed.map(|it| self.decoded(&it)).transpose()?;
        self.check_claims(&self.members(&believed.unwrap_or(claims))?)
    }

    fn hold(&self, rule: Rule, holds: bool) -> Result<(), Refusal> {
        if holds || self.lacks == Some(rule) { Ok(()) } else { Err(Refusal::Broken(rule)) }
    }

    fn cut(&self, token: &str) -> Result<Cut, Refusal> {
        let parts: Vec<&str> = token.split('.').collect();
        let part = |n: usize| parts.get(n).copied().unwrap_or_default().to_owned();
        if token.starts_with('{') {
            self.hold(Rule::Serialisation, false)?;
            let json: Value = serde_json::from_str(token).map_err(|_| Refusal::Unreadable)?;
            let one = json.pointer("/signatures/0").unwrap_or(&json);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Ok(Cut {
                header: text(&one["protected"]),
                claims: text(&json["payload"]),
                signature: text(&one["signature"]),
                believed: (parts.len() == 3).then(|| part(1)),
            });
        }
        self.hold(Rule::Parts, parts.len() <= 3)?;
        Ok(Cut { header: part(0), claims: part(1), signature: part(2), believed: None })
    }

    fn decoded(&self, part: &str) -> Result<Vec<u8>, Refusal> {
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(part) {
            return Ok(bytes);
        }
        self.hold(Rule::Encoding, false)?;
        let kept = part.chars().filter(|letter| !letter.is_whitespace() && *letter != '=');
        let text: String = kept
            .map(|letter| match letter {
                '+' => '-',
                '/' => '_',
                other => other,
            })
            .collect();
        CARELESS.decode(text).map_err(|_| Refusal::Unreadable)
    }

    fn members(&self, json: &[u8]) -> Result<Members, Refusal> {
        let members = Members::read(json).ok_or(Refusal::Unreadable)?;
        self.hold(Rule::Members, members.are_unique())?;
        self.hold(Rule::Depth, depth(&String::from_utf8_lossy(json)) <= DEEPEST)?;
        Ok(members)
    }

    fn check_header(&self, header: &Members) -> Result<(), Refusal> {
        for (names, rule) in [
            (&["crit", "b64"][..], Rule::Critical),
            (&["zip", "p2c", "enc", "epk", "cty"], Rule::Header),
            (&["jwk", "jku", "x5u", "x5c"], Rule::OwnKey),
        ] {
            self.hold(rule, !names.iter().any(|name| header.get(name).is_some()))?;
        }
        let typ = header.get("typ").and_then(|typ| typ.as_str().map(str::to_ascii_lowercase));
        let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        self.hold(Rule::Kind, typ == Some("at+jwt"))
    }

    fn check_signature(
        &self,
        header: &Members,
        text: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let mut keys = vec![Key::of(self.public)];
        keys.extend(self.keys_of_its_own(header));
        let kid = header.get("kid");
        let kid = kid.as_ref().and_then(Value::as_str);
        if kid != Some(self.kid) {
            self.hold(Rule::KeyName, false)?;
            keys.extend(self.key_called(kid.unwrap_or_default()));
        }
        let algorithm = header.get("alg");
        let algorithm = algorithm.as_ref().and_then(Value::as_str);
        if self.lacks == Some(Rule::Algorithm) {
            let said = algorithm.unwrap_or_default().trim().to_ascii_lowercase();
            if said == "none" {
                return Ok(());
            }
            if said == "hs256" {
                let form = |form| Key::Secret(public::in_form(self.public, form).unwrap());
                keys.extend([Pem, Der, Jwk].map(form));
            }
        } else {
            keys.retain(|key| Some(key.algorithm()) == algorithm);
            self.hold(Rule::Algorithm, !keys.is_empty())?;
        }
        if signature.is_empty() {
            return self.hold(Rule::SignaturePresent, false);
        }
        if keys.iter().any(|key| key.verifies(text, signature)) {
            return Ok(());
        }
        if keys.iter().any(|key| key.verifies_der(text, signature)) {
            return self.hold(Rule::SignatureForm, false);
        }
        if signature == [0; 64] {
            return self.hold(Rule::Numbers, false);
        }
        self.hold(Rule::Signature, false)
    }

    /// The keys that a token brings, or says where to fetch.
    fn keys_of_its_own(&self, header: &Members) -> Vec<Key> {
        let mut keys = Vec::new();
        let decoded = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap_or_default());
        if let Some(jwk) = header.get("jwk") {
            match (decoded(&jwk["x"]), decoded(&jwk["y"]), decoded(&jwk["k"])) {
                (_, _, Ok(secret)) if !secret.is_empty() => keys.push(Key::Secret(secret)),
                (Ok(x), Ok(y), _) => keys.push(Key::P256([vec![4], x, y].concat())),
                _ => {}
            }
        }
        if let Some(chain) = header.get("x5c") {
            let certificate = STANDARD.decode(chain[0].as_str().unwrap_or_default());
            keys.push(Key::of(&certificate.unwrap()));
        }
        if header.get("jku").or_else(|| header.get("x5u")).is_some_and(|at| at == self.fetched.0) {
            keys.push(Key::of(self.fetched.1));
        }
        keys
    }

    /// The key that is found by a name that is put into a path, a query or a request.
    fn key_called(&self, kid: &str) -> Option<Key> {
        if kid.ends_with("/dev/null") {
            return Some(Key::Secret(vec![]));
        }
        if let Some((_, selected)) = kid.split_once("UNION SELECT '") {
            return Some(Key::Secret(selected.as_bytes().to_vec()));
        }
        (kid == self.fetched.0).then(|| Key::of(self.fetched.1))
    }

    fn check_claims(&self, claims: &Members) -> Result<(), Refusal> {
        self.check_name(claims.get("iss"), self.issuer, (Rule::Issuer, Rule::IssuerExact), false)?;
        let audience = (Rule::Audience, Rule::AudienceExact);
        self.check_name(claims.get("aud"), self.audience, audience, true)?;
        let [exp, nbf, iat] = ["exp", "nbf", "iat"].map(|name| claims.get(name));
        self.hold(Rule::Dates, exp.is_some())?;
        self.hold(Rule::Claims, iat.is_some())?;
        let [exp, nbf, iat] = [self.date(exp)?, self.date(nbf)?, self.date(iat)?];
        let now = self.now as f64;
        self.hold(Rule::Expired, exp.is_none_or(|exp| now < exp))?;
        self.hold(Rule::NotYet, [nbf, iat].into_iter().flatten().all(|from| from <= now))?;
        let [sub, jti, scope] = ["sub", "jti", "scope"].map(|name| claims.get(name));
        let is_text = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_string);
        self.hold(Rule::Claims, is_text(&sub) && is_text(&jti))?;
        let is_plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let is_plain =
            |value: Option<Value>| value.as_ref().and_then(Value::as_str).is_none_or(is_plain);
        self.hold(Rule::Subject, is_plain(sub))?;
        self.hold(Rule::Claims, is_plain(scope))?;
        self.hold(Rule::Claims, claims.get("roles").is_none_or(|roles| roles.is_array()))?;
        self.hold(Rule::Possession, claims.get("cnf").is_none())
    }

    /// Whether a claim is a name, or several of which one is, and nothing but names.
    fn check_name(
        &self,
        said: Option<Value>,
        name: &str,
        (rule, exact): (Rule, Rule),
        may_be_several: bool,
    ) -> Result<(), Refusal> {
        let is_list = said.as_ref().is_some_and(Value::is_array);
        let said = match said {
            Some(Value::Array(several)) => several,
            other => other.into_iter().collect(),
        };
        let texts: Vec<&str> = said.iter().filter_map(Value::as_str).collect();
        let are_texts = texts.len() == said.len() && (may_be_several || !is_list);
        if are_texts && texts.contains(&name) {
            return Ok(());
        }
        let are_alike = |text: &&str| {
            let (text, name) = (folded(text), folded(name));
            text.contains(&name) || name.contains(&text)
        };
        let alike = texts.len() == said.len() && texts.iter().any(are_alike);
        self.hold(if alike { exact } else { rule }, false)
    }

    /// A date that everybody reads alike; `None`: there is none.
    fn date(&self, said: Option<Value>) -> Result<Option<f64>, Refusal> {
        const LATEST: f64 = 9_007_199_254_740_991.0;
        let Some(said) = said else { return Ok(None) };
        let date = said.as_f64().filter(|date| (0.0..=LATEST).contains(date));
        self.hold(Rule::Dates, date.is_some())?;
        Ok(date)
    }
}

/// A name as those read it who want to be kind.
fn folded(name: &str) -> String {
    let until = name.split('\0').next().unwrap_or_default();
    let kept = until.chars().filter(|letter| *letter != '\u{200b}');
    let plain = kept.map(|letter| match letter {
        '\u{430}' | '\u{ff41}' => 'a',
        other => other.to_ascii_lowercase(),
    });
    plain.collect()
}
