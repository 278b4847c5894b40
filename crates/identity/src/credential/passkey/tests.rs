use std::time::Duration;

use serde_json::{Value, json};
use tegata_core::{Entropy as _, SeededEntropy};

use super::{challenge::LIFETIME, *};
use crate::testing::{
    PAGE, party,
    soft::{BACKED_UP, BACKUP_ELIGIBLE, Key, PRESENT, Soft, VERIFIED, bytes, encoded, none, text},
};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const HERE: Purpose<'static> = Purpose::Alone { browser: "here" };
const HANDLE_OF_ALICE: Handle = [3; 32];

/// A passkey of alice's, enrolled, and the authenticator that has it.
struct Enrolled {
    party: RelyingParty,
    realm: Realm,
    soft: Soft,
    passkey: Passkey,
}

fn creation(party: &RelyingParty, challenge: &[u8]) -> Value {
    options::creation(party, challenge, &HANDLE_OF_ALICE, "alice", std::iter::empty())
}

fn enrol(soft: &mut Soft) -> Result<Passkey, Flaw> {
    let party = party();
    let challenge = [5; 32];
    let made = soft.create(&creation(&party, &challenge));
    let made = Registration::parse(&made).unwrap();
    Passkey::made(&made, &party, &challenge, PasskeyName::new("phone"), NOW)
}

impl Enrolled {
    fn new() -> Self {
        Self::with(Soft::at(PAGE))
    }

    fn with(mut soft: Soft) -> Self {
        let passkey = enrol(&mut soft).unwrap();
        Self { party: party(), realm: Realm::default(), soft, passkey }
    }

    /// What a page asks for.
    fn options(&self, purpose: &Purpose<'_>) -> Value {
        let entropy = SeededEntropy::new(u64::from(entropy_of_the_system()));
        let challenge = self.party.challenge(&self.realm, purpose, NOW, &entropy);
        options::request(&self.party, &challenge, None::<std::iter::Empty<_>>)
    }

    /// What comes of what a page was given, when it is all that is shown.
    fn alone(&self, shown: &str) -> Result<(), Flaw> {
        self.asked(shown, &HERE, true, NOW)
    }

    fn asked(
        &self,
        shown: &str,
        purpose: &Purpose<'_>,
        alone: bool,
        now: Timestamp,
    ) -> Result<(), Flaw> {
        let asked = Asked { realm: &self.realm, purpose: *purpose, alone, now };
        let assertion = Assertion::parse(shown).unwrap();
        self.passkey.check(&assertion, &self.party, Some(&HANDLE_OF_ALICE), &asked)
    }

    /// What comes of using the passkey after its authenticator was changed.
    fn used(&mut self, change: impl FnOnce(&mut Soft)) -> Result<(), Flaw> {
        change(&mut self.soft);
        let shown = self.soft.get(&self.options(&HERE));
        self.alone(&shown)
    }
}

fn entropy_of_the_system() -> u32 {
    let mut bytes = [0; 4];
    tegata_core::OsEntropy.fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

#[test]
fn what_was_enrolled_proves_who_somebody_is_with_every_algorithm() {
    for key in [Key::es256(), Key::eddsa(), Key::rs256()] {
        let mut enrolled = Enrolled::with(Soft::with(PAGE, key));
        let algorithm = enrolled.passkey.key.algorithm();
        assert_eq!(enrolled.used(|_| ()), Ok(()), "{algorithm}");
        assert_eq!(enrolled.passkey.transports, ["internal", "hybrid"]);
        assert!(enrolled.passkey.platform);
    }
}

#[test]
fn only_our_own_pages_use_it() {
    for origin in [
        "https://evil.example",
        "https://auth.example.com.evil.example",
        "https://auth.example.com:8443",
        "http://auth.example.com",
        "https://auth.example.com/",
        "https://AUTH.example.com",
        "https://example.com",
        "https://sub.auth.example.com",
        "android:apk-key-hash:x",
        "null",
        "",
    ] {
        let refused = Enrolled::new().used(|soft| soft.origin = origin.to_owned());
        assert_eq!(refused, Err(Flaw::Origin), "{origin}");
        let mut soft = Soft { origin: origin.to_owned(), ..Soft::at(PAGE) };
        assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::Origin, "{origin}");
    }
    let gateway = "https://api.auth.example.com:8443".to_owned();
    assert_eq!(Enrolled::new().used(|soft| soft.origin = gateway), Ok(()));
}

#[test]
fn a_page_within_another_gets_nothing() {
    for client in [
        json!({"crossOrigin": true}),
        json!({"topOrigin": PAGE}),
        json!({"crossOrigin": false, "topOrigin": "https://evil.example"}),
    ] {
        let refused = Enrolled::new().used(|soft| soft.client = client.clone());
        assert_eq!(refused, Err(Flaw::WithinAnother), "{client}");
        let mut soft = Soft { client: client.clone(), ..Soft::at(PAGE) };
        assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::WithinAnother, "{client}");
    }
}

#[test]
fn what_was_signed_for_somebody_else_counts_for_nothing() {
    for other in ["example.com", "evil.example", "", "auth.example.com "] {
        let refused = Enrolled::new().used(|soft| soft.party = Some(other.to_owned()));
        assert_eq!(refused, Err(Flaw::Party), "{other}");
        let mut soft = Soft { party: Some(other.to_owned()), ..Soft::at(PAGE) };
        assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::Party, "{other}");
    }
}

#[test]
fn making_one_is_not_using_one() {
    for kind in ["webauthn.create", "payment.get", "", "webauthn.get "] {
        let refused = Enrolled::new().used(|soft| soft.kind = Some(kind));
        assert_eq!(refused, Err(Flaw::Ceremony), "{kind}");
    }
    let mut soft = Soft { kind: Some("webauthn.get"), ..Soft::at(PAGE) };
    assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::Ceremony);
}

#[test]
fn somebody_must_be_there_and_be_known_where_nothing_else_is_shown() {
    assert_eq!(Enrolled::new().used(|soft| soft.flags = VERIFIED), Err(Flaw::Absent));
    assert_eq!(Enrolled::new().used(|soft| soft.flags = 0), Err(Flaw::Absent));
    assert_eq!(Enrolled::new().used(|soft| soft.flags = PRESENT), Err(Flaw::Unverified));
    let mut soft = Soft { flags: VERIFIED, ..Soft::at(PAGE) };
    assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::Absent);
    // After a password, to be there is enough.
    let mut enrolled = Enrolled::new();
    enrolled.soft.flags = PRESENT;
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    assert_eq!(enrolled.asked(&shown, &HERE, false, NOW), Ok(()));
}

/// A key without a PIN takes its first from whoever has found it, and says from then on that it has made
/// sure who is there.
#[test]
fn a_passkey_that_did_not_prove_who_was_there_at_first_is_never_all_that_is_shown() {
    let mut enrolled = Enrolled::with(Soft { flags: PRESENT, ..Soft::at(PAGE) });
    assert_eq!(enrolled.used(|soft| soft.flags = PRESENT | VERIFIED), Err(Flaw::Unverified));
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    assert_eq!(enrolled.asked(&shown, &HERE, false, NOW), Ok(()));
    assert!(!enrolled.passkey.proves_who(&Assertion::parse(&shown).unwrap()));
}

#[test]
fn what_may_not_be_copied_is_never_said_to_be() {
    let copied = PRESENT | VERIFIED | BACKED_UP;
    assert_eq!(Enrolled::new().used(|soft| soft.flags = copied), Err(Flaw::Backup));
    let eligible = PRESENT | VERIFIED | BACKUP_ELIGIBLE;
    assert_eq!(Enrolled::new().used(|soft| soft.flags = eligible), Err(Flaw::Backup));
    let mut soft = Soft { flags: copied, ..Soft::at(PAGE) };
    assert_eq!(enrol(&mut soft).unwrap_err(), Flaw::Backup);
    // One that may be copied is or is not.
    let mut synced = Enrolled::with(Soft { flags: eligible, ..Soft::at(PAGE) });
    assert_eq!(synced.used(|soft| soft.flags |= BACKED_UP), Ok(()));
    assert_eq!(synced.used(|soft| soft.flags = PRESENT | VERIFIED), Err(Flaw::Backup));
}

#[test]
fn the_authenticator_says_whose_it_is() {
    let refused = Enrolled::new().used(|soft| soft.handle = vec![4; 32]);
    assert_eq!(refused, Err(Flaw::Handle));
    assert_eq!(Enrolled::new().used(|soft| soft.handle = b"alice".to_vec()), Err(Flaw::Handle));
    // One that says nothing is enough where the person is known, and not where they are not.
    let mut enrolled = Enrolled::new();
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    let mut silent: Value = serde_json::from_str(&shown).unwrap();
    silent["response"]["userHandle"] = Value::Null;
    assert_eq!(enrolled.alone(&silent.to_string()), Err(Flaw::Handle));
    assert_eq!(enrolled.asked(&silent.to_string(), &HERE, false, NOW), Ok(()));
    // Whoever has no handle has no passkey that says one.
    let asked = Asked { realm: &enrolled.realm, purpose: HERE, alone: false, now: NOW };
    let assertion = Assertion::parse(&shown).unwrap();
    let refused = enrolled.passkey.check(&assertion, &enrolled.party, None, &asked);
    assert_eq!(refused, Err(Flaw::Handle));
}

#[test]
fn a_challenge_is_for_one_purpose_and_five_minutes() {
    let mut enrolled = Enrolled::new();
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    for other in [
        Purpose::Alone { browser: "elsewhere" },
        Purpose::Again { session: "here" },
        Purpose::Second { sign_in: "here", browser: "here" },
    ] {
        assert_eq!(enrolled.asked(&shown, &other, true, NOW), Err(Flaw::Challenge), "{other:?}");
    }
    let almost = NOW + LIFETIME - Duration::from_millis(1);
    assert_eq!(enrolled.asked(&shown, &HERE, true, almost), Ok(()));
    assert_eq!(enrolled.asked(&shown, &HERE, true, NOW + LIFETIME), Err(Flaw::Challenge));
    // What was given out to make one, what was made up, and none.
    for challenge in [vec![5; 32], vec![0; 56], Vec::new(), vec![1; 1000]] {
        let mut options = enrolled.options(&HERE);
        options["challenge"] = encoded(&challenge).into();
        let shown = enrolled.soft.get(&options);
        assert_eq!(enrolled.alone(&shown), Err(Flaw::Challenge), "{challenge:?}");
    }
    // To make one, it is that one and no other.
    let (party, mut soft) = (party(), Soft::at(PAGE));
    let made = Registration::parse(&soft.create(&creation(&party, &[5; 32]))).unwrap();
    let refused = Passkey::made(&made, &party, &[6; 32], PasskeyName::new(""), NOW);
    assert_eq!(refused.unwrap_err(), Flaw::Challenge);
}

#[test]
fn nobody_else_signs_for_it() {
    let mut enrolled = Enrolled::new();
    let options = enrolled.options(&HERE);
    let shown: Value = serde_json::from_str(&enrolled.soft.get(&options)).unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = shown.clone();
        changed["response"][name] = value;
        changed.to_string()
    };
    let signature = crate::testing::soft::decoded(&shown["response"]["signature"]);
    for at in 0..signature.len() {
        let mut altered = signature.clone();
        altered[at] ^= 1;
        let refused = enrolled.alone(&with("signature", encoded(&altered).into()));
        assert_eq!(refused, Err(Flaw::Signature), "altered at {at}");
        let cut = with("signature", encoded(&signature[..at]).into());
        assert_eq!(enrolled.alone(&cut), Err(Flaw::Signature), "cut at {at}");
    }
    // A signature of before, of other data.
    let data = enrolled.soft.data("auth.example.com", PRESENT | VERIFIED | 1 << 1);
    let refused = enrolled.alone(&with("authenticatorData", encoded(&data).into()));
    assert_eq!(refused, Err(Flaw::Signature));
    // Another key under the same id, and the same key under another.
    let id = enrolled.soft.id.clone();
    let mut thief = Soft { id, handle: HANDLE_OF_ALICE.to_vec(), ..Soft::at(PAGE) };
    assert_eq!(enrolled.alone(&thief.get(&options)), Err(Flaw::Signature));
    assert_eq!(enrolled.used(|soft| soft.id = vec![9; 32]), Err(Flaw::Signature));
}

/// The key that was enrolled says which algorithm it is of, whatever comes.
#[test]
fn no_assertion_chooses_the_algorithm() {
    for (theirs, other) in [
        (Key::es256(), Key::eddsa()),
        (Key::es256(), Key::rs256()),
        (Key::eddsa(), Key::es256()),
        (Key::rs256(), Key::es256()),
    ] {
        let enrolled = Enrolled::with(Soft::with(PAGE, theirs));
        let id = enrolled.soft.id.clone();
        let mut thief = Soft { id, handle: HANDLE_OF_ALICE.to_vec(), ..Soft::with(PAGE, other) };
        let shown = thief.get(&enrolled.options(&HERE));
        let mut said: Value = serde_json::from_str(&shown).unwrap();
        said["response"]["publicKeyAlgorithm"] = json!(-8);
        said["response"]["publicKey"] = json!(encoded(&thief.key.cose()));
        assert_eq!(enrolled.alone(&said.to_string()), Err(Flaw::Signature));
    }
}

#[test]
fn a_counter_only_rises() {
    let mut enrolled = Enrolled::new();
    let mut counted = |from: u32, to: u32| {
        let passkey = Passkey { counter: from, ..enrolled.passkey.clone() };
        enrolled.soft.counter = to;
        let shown = Assertion::parse(&enrolled.soft.get(&enrolled.options(&HERE))).unwrap();
        passkey.after(&shown, NOW).map(|next| next.counter)
    };
    for (from, to, after) in [
        (0, 0, Some(0)),
        (0, 1, Some(1)),
        (0, u32::MAX, Some(u32::MAX)),
        (1, 2, Some(2)),
        (1, 1, None),
        (2, 1, None),
        (2, 0, None),
        (u32::MAX, 0, None),
        (u32::MAX, u32::MAX, None),
    ] {
        assert_eq!(counted(from, to), after, "from {from} to {to}");
    }
}

#[test]
fn what_is_cut_short_goes_on_or_is_too_large_is_not_read() {
    let mut enrolled = Enrolled::new();
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    for length in 0..shown.len() {
        assert!(Assertion::parse(&shown[..length]).is_err(), "{length}");
    }
    assert!(Assertion::parse(&format!("{shown} ")).is_ok());
    assert!(Assertion::parse(&format!("{shown}{}", " ".repeat(16 * 1024))).is_err());
    let whole: Value = serde_json::from_str(&shown).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut changed = whole.clone();
        change(&mut changed);
        Assertion::parse(&changed.to_string()).is_err()
    };
    assert!(changed(&|it| it["type"] = json!("password")));
    assert!(changed(&|it| it["rawId"] = json!("AAAA")));
    assert!(changed(&|it| it["id"] = json!("A=")));
    assert!(changed(&|it| it["response"]["signature"] = json!("+/")));
    assert!(changed(&|it| it["response"]["userHandle"] = json!(encoded(&[1; 65]))));
    assert!(changed(&|it| it["response"] = json!([])));
    assert!(changed(&|it| it["response"]["clientDataJSON"] = json!(encoded(b"{}"))));
    let data = enrolled.soft.data("auth.example.com", PRESENT | VERIFIED);
    for length in 0..data.len() {
        let cut = encoded(&data[..length]);
        assert!(changed(&|it| it["response"]["authenticatorData"] = json!(cut)), "{length}");
    }
    let longer = encoded(&[data, vec![0]].concat());
    assert!(changed(&|it| it["response"]["authenticatorData"] = json!(longer)));
    // Only what makes one says what it made.
    let made = encoded(&enrolled.soft.made("auth.example.com"));
    assert!(changed(&|it| it["response"]["authenticatorData"] = json!(made)));
}

/// An attestation object with these members.
fn object(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut object = vec![0xa0 | u8::try_from(members.len()).unwrap()];
    for (name, value) in members {
        object.extend([text(name), value.clone()].concat());
    }
    object
}

#[test]
fn no_attestation_is_one_or_the_passkeys_own_and_nothing_else_is() {
    let soft = Soft::at(PAGE);
    let client = soft.client_data("webauthn.create", &json!(encoded(&[5; 32])));
    let data = soft.made("auth.example.com");
    let parse = |object: &[u8]| Registration::parse(&soft.registration(&client, object));
    assert!(parse(&none(&data)).is_ok());
    let of = |format: &str, statement: Vec<u8>| {
        let members = [("fmt", text(format)), ("attStmt", statement), ("authData", bytes(&data))];
        parse(&object(&members)).is_ok()
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &client);
    let own = soft.key.sign(&[data.as_slice(), digest.as_ref()].concat());
    let statement = |alg: u8, sig: &[u8]| object(&[("alg", vec![alg]), ("sig", bytes(sig))]);
    assert!(of("packed", statement(0x26, &own)));
    assert!(!of("packed", statement(0x27, &own)), "of another algorithm");
    assert!(!of("packed", statement(0x26, &soft.key.sign(b"something else"))));
    let vouched = [("alg", vec![0x26]), ("sig", bytes(&own)), ("x5c", vec![0x80])];
    assert!(!of("packed", object(&vouched)), "vouched for by somebody else");
    assert!(!of("none", statement(0x26, &own)));
    for format in ["fido-u2f", "tpm", "android-key", "apple", "compound", "", "None"] {
        assert!(!of(format, vec![0xa0]), "{format}");
    }
    // A member that is missing, stands twice, or is one too many; and no passkey at all.
    let fmt = ("fmt", text("none"));
    let stmt = ("attStmt", vec![0xa0]);
    let auth = ("authData", bytes(&data));
    for members in [
        vec![fmt.clone(), stmt.clone()],
        vec![stmt.clone(), auth.clone()],
        vec![fmt.clone(), stmt.clone(), auth.clone(), auth.clone()],
        vec![fmt.clone(), stmt.clone(), auth, ("epAtt", vec![0xf5])],
        vec![fmt, stmt, ("authData", bytes(&soft.data("auth.example.com", PRESENT)))],
    ] {
        assert!(parse(&object(&members)).is_err(), "{members:?}");
    }
}

#[test]
fn cbor_that_says_it_is_large_costs_nothing() {
    let soft = Soft::at(PAGE);
    let client = soft.client_data("webauthn.create", &json!(encoded(&[5; 32])));
    let data = soft.made("auth.example.com");
    let whole = none(&data);
    for length in 0..whole.len() {
        assert!(Registration::of(&client, &whole[..length]).is_err(), "{length}");
    }
    assert!(Registration::of(&client, &whole).is_ok());
    assert!(Registration::of(&client, &[whole.clone(), vec![0]].concat()).is_err());
    for bomb in [
        vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x9b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x81; 100_000],
        [0xa1, 0x00].repeat(50_000),
        vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xbf; 10_000],
    ] {
        assert!(Registration::of(&client, &bomb).is_err());
        // And where the key would be.
        let keyless = data.len() - soft.key.cose().len();
        let hidden = [&data[..keyless], &bomb].concat();
        if hidden.len() <= usize::from(u16::MAX) {
            assert!(Registration::of(&client, &none(&hidden)).is_err());
        }
    }
    // Another id outside than inside.
    let mut other: Value = serde_json::from_str(&soft.registration(&client, &whole)).unwrap();
    other["id"] = json!(encoded(&[8; 32]));
    other["rawId"] = other["id"].clone();
    assert!(Registration::parse(&other.to_string()).is_err());
}

#[test]
fn a_name_is_seen_and_short() {
    for (typed, name) in [
        ("  My phone ", "My phone"),
        ("", "Passkey"),
        ("\u{202e}\u{200b}\n", "Passkey"),
        ("a\u{202e}b\u{0}c", "abc"),
        ("電話", "電話"),
        (&"x".repeat(100_000), &"x".repeat(64)),
    ] {
        assert_eq!(PasskeyName::new(typed).as_str(), name);
    }
}

#[test]
fn nothing_printed_signs_anybody_in() {
    let mut enrolled = Enrolled::new();
    let shown = enrolled.soft.get(&enrolled.options(&HERE));
    let signature =
        serde_json::from_str::<Value>(&shown).unwrap()["response"]["signature"].to_string();
    let printed = format!("{:?} {:?}", Assertion::parse(&shown).unwrap(), enrolled.passkey);
    assert!(!printed.contains(signature.trim_matches('"')) && printed.len() < 200, "{printed}");
}
