//! What a client signs, and all that somebody without its key makes of it: the part that client
//! assertions and request objects have in common.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tegata_token::{Algorithm, SigningKey};

/// A text, and what is wrong with it.
pub(crate) type Forged = (String, String);

/// A client with several keys, and somebody who has none of them.
pub(crate) struct Signer {
    /// What it signs with.
    pub(crate) key: SigningKey,
    /// Another of its keys.
    pub(crate) spare: SigningKey,
    rsa: SigningKey,
    /// None of its keys.
    stranger: SigningKey,
}

/// What is signed, as it must be.
#[derive(Clone, Copy)]
pub(crate) struct Good<'a> {
    pub(crate) typ: &'a str,
    pub(crate) claims: &'a Value,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let make = |algorithm| SigningKey::generate(algorithm).unwrap();
        Self {
            key: make(Algorithm::Es256),
            spare: make(Algorithm::Es256),
            rsa: make(Algorithm::Rs256),
            stranger: make(Algorithm::Es256),
        }
    }

    /// Its public keys.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.key.jwk(), self.spare.jwk(), self.rsa.jwk()]})
    }

    /// The public keys of whoever has none of them.
    pub(crate) fn strange_jwks(&self) -> Value {
        json!({"keys": [self.stranger.jwk()]})
    }

    /// What it signs.
    pub(crate) fn signed(&self, good: Good<'_>) -> String {
        self.under(&self.header(good.typ), good.claims)
    }

    /// The same by another of its keys.
    pub(crate) fn signed_by_spare(&self, good: Good<'_>) -> String {
        of(&self.spare, self.spare.kid().as_str(), good)
    }

    /// The same by its RSA key.
    pub(crate) fn signed_by_rsa(&self, good: Good<'_>) -> String {
        of(&self.rsa, self.rsa.kid().as_str(), good)
    }

    /// The same under another name of its key.
    pub(crate) fn signed_as(&self, kid: &str, good: Good<'_>) -> String {
        of(&self.key, kid, good)
    }

    fn header(&self, typ: &str) -> Value {
        json!({"alg": "ES256", "kid": self.key.kid().as_str(), "typ": typ})
    }

    fn under(&self, header: &Value, claims: &Value) -> String {
        by(&self.key, &header.to_string(), &claims.to_string())
    }

    /// Everything that must not count. `canary` is an address that nobody may ask.
    pub(crate) fn forgeries(&self, good: Good<'_>, canary: &str) -> Vec<Forged> {
        [
            self.without_signature(good),
            self.with_what_everybody_knows(good),
            self.with_keys_of_their_own(good, canary),
            self.under_other_rules(good),
            self.with_another_key(good, canary),
            self.with_a_broken_signature(good),
            self.in_another_form(good),
            self.with_two_meanings(good),
            self.of_another_kind(good),
        ]
        .concat()
    }

    /// RFC 8725 §2.1: nothing is signed, however that is written.
    fn without_signature(&self, good: Good<'_>) -> Vec<Forged> {
        let mut all = Vec::new();
        for alg in ["none", "None", "NONE", "nOnE", "none ", " none", "", "null", "NULL", "0"] {
            let mut header = self.header(good.typ);
            header["alg"] = json!(alg);
            let signed = self.under(&header, good.claims);
            let (text, _) = signed.rsplit_once('.').unwrap();
            for (rest, what) in [(".", "and no signature"), (".AA", "and a byte"), ("", "alone")] {
                all.push(forged(format!("alg `{alg}` {what}"), format!("{text}{rest}")));
            }
            all.push(forged(format!("alg `{alg}` over a signature"), signed));
        }
        for alg in [json!(null), json!(false), json!(["none"]), json!({})] {
            let mut header = self.header(good.typ);
            header["alg"] = alg.clone();
            all.push(forged(format!("alg {alg}"), self.under(&header, good.claims)));
        }
        let mut header = self.header(good.typ);
        header.as_object_mut().unwrap().remove("alg");
        all.push(forged("no alg", self.under(&header, good.claims)));
        all
    }

    /// RFC 8725 §2.1: a public key is no secret, in whichever form it is known.
    fn with_what_everybody_knows(&self, good: Good<'_>) -> Vec<Forged> {
        let mut all = Vec::new();
        for key in [&self.key, &self.rsa] {
            let der = public_der(key);
            let pem = pem(&der);
            let jwk = serde_json::to_string(key.jwk()).unwrap();
            let known = [
                ("PEM", pem.clone().into_bytes()),
                ("PEM without its last line break", pem.trim_end().as_bytes().to_vec()),
                ("DER", der),
                ("JWK", jwk.into_bytes()),
                ("thumbprint", key.jwk().thumbprint().into_bytes()),
                ("kid", key.kid().as_str().as_bytes().to_vec()),
                ("nothing", Vec::new()),
            ];
            for (what, secret) in known {
                for alg in ["HS256", key.algorithm().name()] {
                    let header = json!({"alg": alg, "kid": key.kid().as_str(), "typ": good.typ});
                    let text = unsigned(&header.to_string(), &good.claims.to_string());
                    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                    let tag = hmac::sign(&secret, text.as_bytes());
                    let of = key.algorithm();
                    all.push(forged(
                        format!("alg {alg}, by HMAC with the {of} key's {what}"),
                        format!("{text}.{}", part(tag.as_ref())),
                    ));
                }
            }
        }
        all
    }

    /// RFC 8725 §3.10: a token brings its own key along, or says where to find one.
    pub(crate) fn with_keys_of_their_own(&self, good: Good<'_>, canary: &str) -> Vec<Forged> {
        let certificate = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
        let certificate = STANDARD.encode(certificate.cert.der());
        let mut all = Vec::new();
        for (name, value) in [
            ("jwk", json!(self.stranger.jwk())),
            ("jku", json!(canary)),
            ("x5u", json!(canary)),
            ("x5c", json!([certificate])),
        ] {
            for kid in [&self.stranger, &self.key].map(|key| key.kid().as_str()) {
                let header = json!({"alg": "ES256", "kid": kid, "typ": good.typ, name: value});
                let text = by(&self.stranger, &header.to_string(), &good.claims.to_string());
                all.push(forged(format!("`{name}` of somebody else, kid {kid}"), text));
            }
            // Nor is it passed over where the key is the client's own.
            let mut header = self.header(good.typ);
            header[name] = value;
            let text = self.under(&header, good.claims);
            all.push(forged(format!("`{name}` beside its own key"), text));
        }
        all
    }

    /// RFC 7515 §4.1.11, RFC 7797: a token says by which rules it is to be read.
    fn under_other_rules(&self, good: Good<'_>) -> Vec<Forged> {
        let mut all = Vec::new();
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!(["b64"])),
            ("crit", json!([])),
            ("crit", json!("exp")),
            ("b64", json!(false)),
            ("b64", json!(true)),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("epk", json!({})),
            ("p2c", json!(1_000_000_000)),
            ("cty", json!("JWT")),
        ] {
            let mut header = self.header(good.typ);
            header[name] = value.clone();
            all.push(forged(format!("`{name}` {value}"), self.under(&header, good.claims)));
        }
        let mut header = self.header(good.typ);
        (header["b64"], header["crit"]) = (json!(false), json!(["b64"]));
        all.push(forged("b64 false and crit", self.under(&header, good.claims)));
        // What is signed stands as it is.
        let text = format!("{}.{}", part(header.to_string().as_bytes()), good.claims);
        let signature = part(&self.key.sign(text.as_bytes()).unwrap());
        all.push(forged("claims that are not encoded", format!("{text}.{signature}")));
        all
    }

    /// The key is not the one that is named, or nobody's, or of another algorithm.
    fn with_another_key(&self, good: Good<'_>, canary: &str) -> Vec<Forged> {
        let claims = good.claims.to_string();
        let named = |key: &SigningKey, kid: &Value| {
            by(key, &json!({"alg": "ES256", "kid": kid, "typ": good.typ}).to_string(), &claims)
        };
        let own = json!(self.key.kid().as_str());
        let mut all = vec![
            forged("another of its keys", named(&self.spare, &own)),
            forged("the name of another of its keys", {
                named(&self.key, &json!(self.spare.kid().as_str()))
            }),
            forged("the name of its RSA key", named(&self.key, &json!(self.rsa.kid().as_str()))),
            forged("a stranger's key by its name", named(&self.stranger, &own)),
            forged("a stranger's key", {
                named(&self.stranger, &json!(self.stranger.kid().as_str()))
            }),
        ];
        for kid in [
            json!("unknown"),
            json!(""),
            json!(7),
            json!(null),
            json!([own]),
            json!("../../../../dev/null"),
            json!("' OR '1'='1"),
            json!(canary),
            json!(format!("{} ", self.key.kid())),
        ] {
            all.push(forged(format!("kid {kid}"), named(&self.key, &kid)));
        }
        let nameless = json!({"alg": "ES256", "typ": good.typ}).to_string();
        // It has several.
        all.push(forged("no kid", by(&self.key, &nameless, &claims)));
        for alg in ["es256", "ES256 ", "ES256K", "ES384", "EdDSA", "RS256", "PS256", "HS256"] {
            let header = json!({"alg": alg, "kid": own, "typ": good.typ}).to_string();
            all.push(forged(format!("its P-256 key as {alg}"), by(&self.key, &header, &claims)));
        }
        let pkcs8 = self.rsa.to_pkcs8().unwrap();
        let kid = Some(self.rsa.kid().clone());
        let pss = SigningKey::from_pkcs8(pkcs8.expose(), Some(Algorithm::Ps256), kid).unwrap();
        for (key, alg) in [(&pss, "PS256"), (&pss, "RS256"), (&self.rsa, "PS256")] {
            let kid = self.rsa.kid().as_str();
            let header = json!({"alg": alg, "kid": kid, "typ": good.typ}).to_string();
            let what = format!("its RS256 key as {alg}, signed by {}", key.algorithm());
            all.push(forged(what, by(key, &header, &claims)));
        }
        all
    }

    fn with_a_broken_signature(&self, good: Good<'_>) -> Vec<Forged> {
        let whole = self.signed(good);
        let (text, signature) = whole.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let (r, s) = signature.split_at(32);
        let flipped = |at: usize| {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            flipped
        };
        // CVE-2022-21449, and numbers that are the order of the curve or beyond it.
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let order: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()).collect();
        let elsewhere = {
            let mut claims = good.claims.clone();
            claims["elsewhere"] = json!(true);
            let other = self.signed(Good { claims: &claims, ..good });
            URL_SAFE_NO_PAD.decode(other.rsplit_once('.').unwrap().1).unwrap()
        };
        let mut all = Vec::new();
        for (what, bytes) in [
            ("cut short", signature[..63].to_vec()),
            ("half", r.to_vec()),
            ("one byte", vec![0]),
            ("longer", [&signature[..], &[0]].concat()),
            ("twice", signature.repeat(2)),
            ("with its first bit flipped", flipped(0)),
            ("with its last bit flipped", flipped(63)),
            ("of zeros", vec![0; 64]),
            ("of the order of the curve", order.repeat(2)),
            ("with zero for r", [&[0; 32][..], s].concat()),
            ("with zero for s", [r, &[0; 32]].concat()),
            ("of ones", [&[0; 31][..], &[1], &[0; 31], &[1]].concat()),
            ("with its halves exchanged", [s, r].concat()),
            ("in DER", der(r, s)),
            ("of other claims", elsewhere),
        ] {
            all.push(forged(format!("a signature {what}"), format!("{text}.{}", part(&bytes))));
        }
        // Another text of the same bytes: four bits of the last character say nothing.
        let (rest, last) = whole.split_at(whole.len() - 1);
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = digits.find(last).unwrap() + 1;
        all.push(forged(
            "a signature that ends otherwise",
            format!("{rest}{}", &digits[next..=next]),
        ));
        all
    }

    fn in_another_form(&self, good: Good<'_>) -> Vec<Forged> {
        let whole = self.signed(good);
        let parts: Vec<_> = whole.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("{whole}") };
        let one = json!({"protected": header, "signature": signature});
        let flat = json!({"payload": claims, "protected": header, "signature": signature});
        let general = json!({"payload": claims, "signatures": [one]});
        let head = self.header(good.typ).to_string();
        // What is written otherwise there.
        let slashes = head.replace("{", r#"{"x":"?????","#);
        let filled = |most: usize| {
            let mut claims = good.claims.clone();
            claims["filler"] = json!("x".repeat(most));
            self.signed(Good { claims: &claims, ..good })
        };
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        vec![
            forged("JSON, flattened", flat.to_string()),
            forged("JSON, general", general.to_string()),
            forged("JSON, encoded", part(flat.to_string().as_bytes())),
            forged("a dot at its end", format!("{whole}.")),
            forged("a dot before it", format!(".{whole}")),
            forged("four parts", format!("{whole}.AA")),
            forged("five parts, as of a JWE", format!("{header}.{signature}.{claims}.AA.AA")),
            forged("two parts", format!("{header}.{claims}")),
            forged("nothing signed", format!("{header}..{signature}")),
            forged("no header", format!(".{claims}.{signature}")),
            forged("dots", "..".to_owned()),
            forged("many dots", ".".repeat(4000)),
            forged("more dots than a token is long", ".".repeat(20_000)),
            forged("padded", format!("{whole}==")),
            forged("a space before it", format!(" {whole}")),
            forged("a space after it", format!("{whole} ")),
            forged("a scheme before it", format!("Bearer {whole}")),
            forged("the other alphabet", {
                by_text(&self.key, &STANDARD_NO_PAD.encode(&slashes), claims)
            }),
            forged("longer than a token", filled(8 * 1024)),
            forged("far longer than a token", filled(30 * 1024)),
            forged("nested deeply", by(&self.key, &head, &deep)),
        ]
    }

    /// RFC 8725 §2.4, RFC 7515 §4: two readers could read it differently.
    fn with_two_meanings(&self, good: Good<'_>) -> Vec<Forged> {
        let (head, claims) = (self.header(good.typ).to_string(), good.claims.to_string());
        let within = |text: &str, more: &str| {
            let all = text.strip_suffix('}').unwrap();
            format!("{all},{more}}}")
        };
        let before =
            |text: &str, more: &str| format!("{{{more},{}", text.strip_prefix('{').unwrap());
        let mut all = Vec::new();
        for more in [
            r#""alg":"none""#,
            r#""alg":"ES256""#,
            r#""\u0061lg":"none""#,
            r#""kid":"other""#,
            r#""typ":"at+jwt""#,
            r#""x":1,"x":1"#,
            r#""x":{"y":1,"y":2}"#,
        ] {
            for header in [within(&head, more), before(&head, more)] {
                all.push(forged(format!("the header {header}"), by(&self.key, &header, &claims)));
            }
        }
        for more in [
            r#""iss":"other""#,
            r#""\u0069ss":"other""#,
            r#""aud":"https://evil.example""#,
            r#""exp":4102444800,"exp":4102444800"#,
            r#""x":[{"y":1,"y":2}]"#,
        ] {
            for claims in [within(&claims, more), before(&claims, more)] {
                all.push(forged(format!("the claims {claims}"), by(&self.key, &head, &claims)));
            }
        }
        for other in ["", "null", "[]", "\"\"", "1", "{", "{}{}", "\u{feff}{}"] {
            all.push(forged(format!("the header `{other}`"), by(&self.key, other, &claims)));
        }
        let trailing = format!("{claims} {claims}");
        for other in ["", "null", "[]", "\"\"", "1", "{}", "{", "\u{feff}{}", &trailing] {
            all.push(forged(format!("the claims `{other}`"), by(&self.key, &head, other)));
        }
        let array = format!("[{claims}]");
        all.push(forged("its claims in a list", by(&self.key, &head, &array)));
        all
    }

    /// RFC 8725 §3.11: what was signed for another purpose.
    fn of_another_kind(&self, good: Good<'_>) -> Vec<Forged> {
        let mut all = Vec::new();
        for typ in [
            "at+jwt",
            "application/at+jwt",
            "AT+JWT",
            "dpop+jwt",
            "logout+jwt",
            "secevent+jwt",
            "statuslist+jwt",
            "txntoken+jwt",
            "token-introspection+jwt",
            "JOSE+JSON",
            "",
        ] {
            let text = self.signed(Good { typ, ..good });
            all.push(forged(format!("typ `{typ}`"), text));
        }
        for typ in [json!(null), json!(1), json!(["JWT"])] {
            let mut header = self.header(good.typ);
            header["typ"] = typ.clone();
            all.push(forged(format!("typ {typ}"), self.under(&header, good.claims)));
        }
        all
    }
}

fn forged(what: impl Into<String>, text: String) -> Forged {
    (what.into(), text)
}

fn part(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", part(header.as_bytes()), part(claims.as_bytes()))
}

fn of(key: &SigningKey, kid: &str, good: Good<'_>) -> String {
    let header = json!({"alg": key.algorithm().name(), "kid": kid, "typ": good.typ});
    by(key, &header.to_string(), &good.claims.to_string())
}

fn by(key: &SigningKey, header: &str, claims: &str) -> String {
    by_text(key, &part(header.as_bytes()), &part(claims.as_bytes()))
}

/// Parts that are encoded already, signed as they stand.
fn by_text(key: &SigningKey, header: &str, claims: &str) -> String {
    let text = format!("{header}.{claims}");
    let signature = key.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", part(&signature))
}

/// A public key as X.509 has it.
fn public_der(key: &SigningKey) -> Vec<u8> {
    let pkcs8 = key.to_pkcs8().unwrap();
    let der: PublicKeyX509Der<'_> = if key.algorithm().is_rsa() {
        RsaKeyPair::from_pkcs8(pkcs8.expose()).unwrap().public_key().as_der().unwrap()
    } else {
        let fixed = &ECDSA_P256_SHA256_FIXED_SIGNING;
        EcdsaKeyPair::from_pkcs8(fixed, pkcs8.expose()).unwrap().public_key().as_der().unwrap()
    };
    der.as_ref().to_vec()
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// A signature as X.509 has it.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let high = bytes[start] >= 0x80;
        let value = [if high { &[0][..] } else { &[] }, &bytes[start..]].concat();
        [&[2, u8::try_from(value.len()).unwrap()][..], &value].concat()
    };
    let both = [number(r), number(s)].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()][..], &both].concat()
}
