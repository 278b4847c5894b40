//! What people are called to clients that must not find out together who is who (OpenID Connect Core
//! §8.1): the same by all clients of a sector, and otherwise in each.
//!
//! A name is a keyed digest: without the key, nobody can tell whose it is, or that two are of one
//! person. An access token says the names that its client knows, for the client can read it, and
//! carries the true ones hidden. Who judges it reveals them, so that whatever is taken back, decided or
//! recorded of a person is so of this token as of any other.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::Realm;

use crate::{
    claims::Claims,
    root::{Roots, digest},
};

/// What names of people begin with: as ids of people, and never of clients, but with a dot, which no id
/// of a person has.
const SUBJECT: &str = "usr_p.";

/// The names of a realm.
#[derive(Clone)]
pub struct Pairwise {
    names: hmac::Key,
    veils: hmac::Key,
}

/// What an access token hides.
#[derive(Serialize, Deserialize)]
struct Hidden {
    sub: String,
    sid: Option<String>,
}

impl Pairwise {
    /// The names of a realm. `roots` are those of the purpose `pairwise`; the oldest counts for ever,
    /// because another would call everybody otherwise. `None`: there is none.
    #[must_use]
    pub fn new(roots: &Roots, realm: &Realm) -> Option<Self> {
        let realm = realm.as_str().as_bytes();
        let key = |what: &[u8]| roots.derive(roots.oldest(), &[b"pairwise", what, realm]);
        Some(Self { names: key(b"names")?, veils: key(b"veils")? })
    }

    /// What a person is called in a sector.
    #[must_use]
    pub fn subject(&self, sector: &str, user: &str) -> String {
        format!("{SUBJECT}{}", self.name(b"subject", sector, user))
    }

    /// Whether a subject is called so in some sector, rather than being an id.
    #[must_use]
    pub fn is_name(sub: &str) -> bool {
        sub.starts_with(SUBJECT)
    }

    /// What a session is called in a sector.
    #[must_use]
    pub fn session(&self, sector: &str, session: &str) -> String {
        self.name(b"session", sector, session)
    }

    /// What an event is called in a sector.
    #[must_use]
    pub fn event(&self, sector: &str, event: &str) -> String {
        self.name(b"event", sector, event)
    }

    /// The claims of an access token as a client of a sector may read them. `None`: they could not be
    /// hidden.
    #[must_use]
    pub fn hide(&self, sector: &str, claims: Claims) -> Option<Claims> {
        let hidden = Hidden { sub: claims.sub, sid: claims.sid };
        let mut text = serde_json::to_vec(&hidden).ok()?;
        let veil = self.veil(&claims.jti)?;
        veil.seal_in_place_append_tag(nonce(), Aad::empty(), &mut text).ok()?;
        Some(Claims {
            sub: self.subject(sector, &hidden.sub),
            sid: hidden.sid.map(|sid| self.session(sector, &sid)),
            veil: Some(URL_SAFE_NO_PAD.encode(text)),
            ..claims
        })
    }

    /// The claims of an access token, saying whom it speaks of in truth. `None`: what hides it was not
    /// made with this key, for this token.
    #[must_use]
    pub fn reveal(&self, claims: Claims) -> Option<Claims> {
        let mut text = URL_SAFE_NO_PAD.decode(claims.veil?).ok()?;
        let veil = self.veil(&claims.jti)?;
        let text = veil.open_in_place(nonce(), Aad::empty(), &mut text).ok()?;
        let Hidden { sub, sid } = serde_json::from_slice(text).ok()?;
        Some(Claims { sub, sid, veil: None, ..claims })
    }

    fn name(&self, kind: &[u8], sector: &str, name: &str) -> String {
        let parts: [&[u8]; 3] = [kind, sector.as_bytes(), name.as_bytes()];
        URL_SAFE_NO_PAD.encode(digest(&self.names, &parts))
    }

    /// The key of one token.
    fn veil(&self, jti: &str) -> Option<LessSafeKey> {
        let key = digest(&self.veils, &[jti.as_bytes()]);
        UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// INVARIANT: each token has a key of its own, and hides the same however often it is made anew, so
/// nothing else is ever encrypted with that key.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl std::fmt::Debug for Pairwise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pairwise(…)")
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{ClientId, UserId};

    use super::*;

    fn names(seed: u8) -> Pairwise {
        Pairwise::new(&Roots::for_tests(seed), &Realm::default()).unwrap()
    }

    fn token(jti: &str) -> Claims {
        Claims {
            sub: "usr_alice".into(),
            sid: Some("1.20500.s".into()),
            jti: jti.into(),
            fid: Some("1.20500.f".into()),
            ..Claims::default()
        }
    }

    #[test]
    fn a_person_has_one_name_in_a_sector_and_another_in_each() {
        let ours = names(1);
        let alice = ours.subject("app.example", "usr_alice");
        assert_eq!(alice, names(1).subject("app.example", "usr_alice"), "whichever node says it");
        for other in [
            ours.subject("app.exampl", "eusr_alice"),
            ours.subject("other.example", "usr_alice"),
            ours.subject("app.example", "usr_bob"),
            names(2).subject("app.example", "usr_alice"),
            ours.session("app.example", "usr_alice"),
            ours.event("app.example", "usr_alice"),
        ] {
            assert_ne!(alice, other);
        }
        let realm = Realm::new("other").unwrap();
        let other = Pairwise::new(&Roots::for_tests(1), &realm).unwrap();
        assert_ne!(alice, other.subject("app.example", "usr_alice"));
        // OpenID Connect Core §2: at most 255 characters of ASCII. It passes for no client.
        assert!(alice.is_ascii() && alice.len() == 49 && !alice.contains("alice"), "{alice}");
        assert!(ClientId::new(&alice).is_err() && UserId::new(&alice).is_ok());
        assert_eq!(format!("{ours:?}"), "Pairwise(…)");
    }

    #[test]
    fn a_token_hides_whom_it_speaks_of_from_everybody_but_its_issuer() {
        let ours = names(1);
        let hidden = ours.hide("app.example", token("1.a")).unwrap();
        assert_eq!(hidden.sub, ours.subject("app.example", "usr_alice"));
        assert_eq!(hidden.sid.as_deref(), Some(&*ours.session("app.example", "1.20500.s")));
        let text = String::from_utf8(hidden.to_json()).unwrap();
        assert!(!text.contains("usr_alice") && !text.contains("20500.s"), "{text}");
        // The same each time that it is made, and nothing of it in another token of the same person.
        assert_eq!(ours.hide("app.example", token("1.a")).unwrap(), hidden);
        assert_ne!(ours.hide("app.example", token("1.b")).unwrap().veil, hidden.veil);

        assert_eq!(ours.reveal(hidden.clone()), Some(token("1.a")));
        assert_eq!(names(2).reveal(hidden.clone()), None);
        assert_eq!(ours.reveal(Claims { jti: "1.b".into(), ..hidden.clone() }), None);
        assert_eq!(ours.reveal(token("1.a")), None);
        for veil in [String::new(), "AAAA".into(), hidden.veil.clone().unwrap() + "A", "é".into()]
        {
            assert_eq!(ours.reveal(Claims { veil: Some(veil), ..hidden.clone() }), None);
        }
        let offline = Claims { sid: None, ..token("1.c") };
        let hidden = ours.hide("app.example", offline.clone()).unwrap();
        assert_eq!((&hidden.sid, ours.reveal(hidden.clone())), (&None, Some(offline)));
    }
}
