//! Test vectors of the standard: WebAuthn Level 3, §16. Those of algorithms and attestations that are not
//! taken here are left out; two show what a page within another gets.
//!
//! Challenges of assertions are our own and tell what they were given out for, so none of the standard's
//! passes that check. Everything else of a ceremony is done to them as to any other.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_core::Secret;

use super::*;

/// The domain and the page of all vectors.
const DOMAIN: &str = "example.org";
const PAGE: &str = "https://example.org";

/// §16.2: ES256 with no attestation.
const NONE: Vector = Vector {
    id: "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4",
    attested: "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad\
               6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f00\
               20f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a50102032620012158\
               20afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2f\
               ca66334b03458abf879717c12cc68ed73290af2e2664796b9220",
    made_by: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22414d4d\
               507434557878475453746e63647134313759447742466938767049612d7077386f4f755657345441222c\
               226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f72696769\
               6e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d61792062\
               6520657874656e6465642077697468206164646974696f6e616c206669656c647320696e207468652066\
               75747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c4535\
               51227d",
    used: Some(Used {
        data: "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000",
        by: "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e5568\
               5158756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f72\
               6967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a\
               66616c73657d",
        signature: "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480\
               ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87",
    }),
};

/// §16.3: ES256 that vouches for itself.
const OWN: Vector = Vector {
    id: "455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58c",
    attested: "a363666d74667061636b65646761747453746d74a263616c672663736967584630440220067a20754ab9\
               25005dbf378097c92120031581c73228d1fb4f5b881bcd7da98302207fc7b147558c7c0eba3af18bd9d1\
               21fa3d3a26d17fe3f220272178f473b6006d68617574684461746158a4bfabc37432958b063360d3ad64\
               61c9c4735ae7f8edd46592a5e0f01452b2e4b55d00000000df850e09db6afbdfab51697791506cfc0020\
               455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58ca5010203262001215820\
               eb151c8176b225cc651559fecf07af450fd85802046656b34c18f6cf193843c5225820927b8aa427a2be\
               1b8834d233a2d34f61f13bfd44119c325d5896e183fee484f2",
    made_by: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a2265476e\
               4374334c55745936366b336a506a796e6962506b31716e666644616966715a774c33417032392d55222c\
               226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f72696769\
               6e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d61792062\
               6520657874656e6465642077697468206164646974696f6e616c206669656c647320696e207468652066\
               75747572652c207375636820617320746869733a205539685458764b453255526b4d6e625f3078594856\
               67227d",
    used: Some(Used {
        data: "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50900000000",
        by: "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a22524869684378\
               4e534e493352594d45314f7731476d3132786e726b634a5f6666707637546e2d4a71386773222c226f72\
               6967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a\
               66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d61792062652065\
               7874656e6465642077697468206164646974696f6e616c206669656c647320696e207468652066757475\
               72652c207375636820617320746869733a206754623533727a36456853576f6d58477a696d433151227d",
        signature: "304402203310b9431903c401f1be2bdc8d23a4007682dbbddcf846994947b7f465daf84002204e94dd00\
               047b316061b3b99772b7efd95994a83ef584b3b6b825ea3550251b66",
    }),
};

/// §16.5: made by a page within another.
const WITHIN: Vector = Vector {
    id: "b8ad59b996047ab18e2ceb57206c362da57458793481f4a8ebf101c7ca7cc0f1",
    attested: "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad\
               6461c9c4735ae7f8edd46592a5e0f01452b2e4b5410000000097586fd09799a76401c200455099ef2a00\
               20b8ad59b996047ab18e2ceb57206c362da57458793481f4a8ebf101c7ca7cc0f1a50102032620012158\
               20a1c47c1d82da4ebe82cd72207102b380670701993bc35398ae2e5726427fe01d22582086c1080d8298\
               7028c7f54ecb1b01185de243b359294a0ed210cd47480f0adc88",
    made_by: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22546839\
               4d595a68706e6a504254786b68555f53646667364f4e58665672454673587a72636b7151664a2d55222c\
               226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f72696769\
               6e223a747275652c22746f704f726967696e223a2268747470733a2f2f6578616d706c652e636f6d227d",
    used: None,
};

struct Vector {
    id: &'static str,
    attested: &'static str,
    made_by: &'static str,
    used: Option<Used>,
}

struct Used {
    data: &'static str,
    by: &'static str,
    signature: &'static str,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// As JSON has bytes.
fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn party() -> RelyingParty {
    RelyingParty::new(DOMAIN, &[PAGE], &Secret::new([7; 32])).unwrap()
}

impl Vector {
    /// As a page sends it (§5.1, `toJSON`).
    fn json(&self, response: &Value) -> String {
        let id = text(&unhex(self.id));
        json!({
            "id": id, "rawId": id, "type": "public-key", "response": response,
            "clientExtensionResults": {},
        })
        .to_string()
    }

    fn registration(&self) -> Registration {
        let response = json!({
            "clientDataJSON": text(&unhex(self.made_by)),
            "attestationObject": text(&unhex(self.attested)),
        });
        Registration::parse(&self.json(&response)).unwrap()
    }

    fn assertion(&self) -> Assertion {
        let used = self.used.as_ref().unwrap();
        let response = json!({
            "clientDataJSON": text(&unhex(used.by)),
            "authenticatorData": text(&unhex(used.data)),
            "signature": text(&unhex(used.signature)),
            "userHandle": null,
        });
        Assertion::parse(&self.json(&response)).unwrap()
    }

    fn made(&self, challenge: &[u8]) -> Result<Passkey, Flaw> {
        let now = Timestamp::from_secs(0);
        Passkey::made(&self.registration(), &party(), challenge, PasskeyName::new("x"), now)
    }
}

/// The `challenge` of client data: the standard gives it beside, and each is told by its data alone.
fn challenge(client: &str) -> Vec<u8> {
    let client: Value = serde_json::from_slice(&unhex(client)).unwrap();
    URL_SAFE_NO_PAD.decode(client["challenge"].as_str().unwrap()).unwrap()
}

#[test]
fn a_passkey_is_made_as_the_standard_makes_it() {
    for (vector, verified) in [(NONE, false), (OWN, true)] {
        let asked = challenge(vector.made_by);
        let passkey = vector.made(&asked).unwrap();
        assert_eq!(passkey.id, unhex(vector.id));
        assert_eq!(
            (passkey.verified, passkey.backup_eligible, passkey.backed_up),
            (verified, true, true)
        );
        assert_eq!((passkey.key.algorithm(), passkey.counter), (-7, 0));
        let mut other = asked;
        other[0] ^= 1;
        assert_eq!(vector.made(&other).unwrap_err(), Flaw::Challenge);
    }
}

#[test]
fn a_passkey_is_used_as_the_standard_uses_it() {
    for vector in [NONE, OWN] {
        let passkey = vector.made(&challenge(vector.made_by)).unwrap();
        let assertion = vector.assertion();
        let Assertion { client, data, .. } = &assertion;
        assert_eq!(party().check(Ceremony::Get, client, data), Ok(()));
        assert_eq!(client.challenge, challenge(vector.used.as_ref().unwrap().by));
        assert_eq!((data.backup_eligible, data.counter), (passkey.backup_eligible, 0));
        assert_eq!(assertion.id, passkey.id);
        assert!(assertion.is_signed_by(&passkey.key));
        let after = passkey.after(&assertion, Timestamp::from_secs(1)).unwrap();
        assert_eq!(after.backed_up, data.backed_up);
        // The authenticator has not made sure who was there.
        assert!(!passkey.proves_who(&assertion));
        let other = if vector.id == NONE.id { OWN } else { NONE };
        let others = other.made(&challenge(other.made_by)).unwrap();
        assert!(!assertion.is_signed_by(&others.key));
        let mut altered = assertion.clone();
        altered.signed[40] ^= 1;
        assert!(!altered.is_signed_by(&passkey.key));
        // All of it, as it is checked here: what is not ours is its challenge alone.
        let realm = Realm::default();
        let purpose = Purpose::Alone { browser: "here" };
        let asked = Asked { realm: &realm, purpose, alone: false, now: Timestamp::from_secs(1) };
        assert_eq!(passkey.check(&assertion, &party(), None, &asked), Err(Flaw::Challenge));
    }
}

#[test]
fn what_a_page_within_another_made_is_refused() {
    assert_eq!(WITHIN.made(&challenge(WITHIN.made_by)).unwrap_err(), Flaw::WithinAnother);
}

#[test]
fn what_was_made_for_the_domain_of_the_vectors_is_of_no_other() {
    let other = RelyingParty::new("example.com", &["https://example.com"], &Secret::new([7; 32]));
    let made = NONE.registration();
    let made = Passkey::made(
        &made,
        &other.unwrap(),
        &challenge(NONE.made_by),
        PasskeyName::new("x"),
        Timestamp::from_secs(0),
    );
    assert_eq!(made.unwrap_err(), Flaw::Origin);
}

/// §16.11: an assertion with Ed25519. Of its passkey, the key is given.
#[test]
fn a_signature_of_ed25519_is_the_standards() {
    let x = unhex("44e06ddd331c36a8dc667bab52bcae63486c916aa5e339e6acebaa84934bf832");
    let cose = [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 0x20][..], &x].concat();
    let key = PublicKey::read(&cbor::whole(&cose).unwrap()).unwrap();
    let client = unhex(
        "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a2269566c583442786a4f6d\
         6d44534b4c596f7870557439736e364d48454f7943413135726947514a6e763949222c226f726967696e223a2268\
         747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d",
    );
    let data = unhex("bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50100000000");
    let signature = unhex(
        "f5c59c7e46c34f6f8cc197101ddf9934fa2595f68eb1913a637e8419eb9ba4cfdfc48f85393bc0d40b011f0d6fec\
         b097d6607525713223a0dc0d453993dae00b",
    );
    let assertion = Assertion { signature, ..Assertion::of(&client, &data).unwrap() };
    assert!(assertion.is_signed_by(&key));
    let Assertion { client, data, .. } = &assertion;
    assert_eq!(party().check(Ceremony::Get, client, data), Ok(()));
}
