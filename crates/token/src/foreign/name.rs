//! What can be taken back of another issuer, as a key.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    claims::Claims,
    revocation::{Revoked, Target},
};

/// The name of something that another issuer issued: a digest of the issuer and of what it calls it,
/// so that names are short, of one length, and say nothing to whoever reads a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name([u8; 32]);

impl Name {
    /// One token.
    #[must_use]
    pub fn token(issuer: &str, jti: &str) -> Self {
        Self::of(&["token", issuer, jti])
    }

    /// Everything of a subject.
    #[must_use]
    pub fn subject(issuer: &str, sub: &str) -> Self {
        Self::of(&["subject", issuer, sub])
    }

    /// Everything of a session.
    #[must_use]
    pub fn session(issuer: &str, sid: &str) -> Self {
        Self::of(&["session", issuer, sid])
    }

    /// Everything that was issued to a client.
    #[must_use]
    pub fn client(issuer: &str, client: &str) -> Self {
        Self::of(&["client", issuer, client])
    }

    /// Everything that a key signed.
    #[must_use]
    pub fn key_of(issuer: &str, kid: &str) -> Self {
        Self::of(&["key", issuer, kid])
    }

    /// What an entry takes back, where it is another issuer's, and up to when.
    #[must_use]
    pub fn taken_back(target: &Target) -> Option<(Self, u64)> {
        match target {
            Target::ForeignToken { issuer, jti } => Some((Self::token(issuer, jti), u64::MAX)),
            Target::ForeignSession { issuer, sid } => Some((Self::session(issuer, sid), u64::MAX)),
            Target::ForeignSubject { issuer, sub, up_to } => {
                Some((Self::subject(issuer, sub), up_to.millis()))
            }
            Target::ForeignClient { issuer, client, up_to } => {
                Some((Self::client(issuer, client), up_to.millis()))
            }
            Target::ForeignKey { issuer, kid } => Some((Self::key_of(issuer, kid), u64::MAX)),
            Target::Token(_)
            | Target::Family(_)
            | Target::Session(_)
            | Target::Subject { .. }
            | Target::Client { .. }
            | Target::Key(_) => None,
        }
    }

    /// The name as a key of stores.
    #[must_use]
    pub fn key(&self) -> String {
        format!("foreign.{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Two numbers that depend on all of it.
    pub(super) fn hashes(&self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.0;
        (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p]))
    }

    fn of(parts: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // With its length, so that no two lists of parts are one text.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// All names by which one token can have been taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    token: Name,
    subject: Name,
    session: Option<Name>,
    /// The claims `client_id` and `azp`, which name one client as a rule.
    clients: [Option<Name>; 2],
    key: Name,
    whole: Name,
    iat: u64,
}

impl Names {
    /// How many a token can have.
    pub(super) const MOST: usize = 6;

    /// Those of a token with these claims, as its issuer wrote them, signed by the key of this name.
    /// `azp` is where issuers that do not keep to RFC 9068 say which client it was issued to.
    #[must_use]
    pub fn of(claims: &Claims, azp: Option<&str>, kid: &str) -> Self {
        let (iss, sid) = (&claims.iss, claims.session());
        let client = claims.client_id.as_deref();
        let azp = azp.filter(|azp| client != Some(*azp));
        let iat = claims.iat.to_string();
        // What is there is marked, so that no claim passes for another.
        let said = |claim: Option<&str>| claim.map(|claim| format!("+{claim}")).unwrap_or_default();
        let (session, issued_to, party) = (said(sid), said(client), said(azp));
        let whole =
            ["whole", iss, &claims.jti, &claims.sub, &session, &issued_to, &party, kid, &iat];
        Self {
            token: Name::token(iss, &claims.jti),
            subject: Name::subject(iss, &claims.sub),
            session: sid.map(|sid| Name::session(iss, sid)),
            clients: [client, azp].map(|named| named.map(|client| Name::client(iss, client))),
            key: Name::key_of(iss, kid),
            whole: Name::of(&whole),
            iat: claims.iat,
        }
    }

    /// The same of a token that was made from one of before: it falls with what takes that one back.
    #[must_use]
    pub(super) fn first_issued(self, first: u64) -> Self {
        // `whole` names the token, which says nothing else about its first the next time.
        Self { iat: self.iat.min(first), ..self }
    }

    /// Each, with what it means when it was taken back.
    pub fn all(&self) -> impl Iterator<Item = (Name, Revoked)> {
        let session = self.session.map(|session| (session, Revoked::Session));
        let clients = self.clients.into_iter().flatten().map(|client| (client, Revoked::Client));
        [(self.token, Revoked::Token), (self.subject, Revoked::Subject), (self.key, Revoked::Key)]
            .into_iter()
            .chain(session)
            .chain(clients)
    }

    /// What stands for all of them together.
    pub(super) const fn whole(&self) -> &Name {
        &self.whole
    }

    /// Whether the token is among what was taken back up to a moment. `iat` is cut to whole seconds,
    /// so all of the second counts as before it.
    #[must_use]
    pub const fn covered(&self, mark: u64) -> bool {
        self.iat.saturating_mul(1000) <= mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_things_have_one_name() {
        let names = [
            Name::token("https://a.example", "x"),
            Name::subject("https://a.example", "x"),
            Name::session("https://a.example", "x"),
            Name::client("https://a.example", "x"),
            Name::key_of("https://a.example", "x"),
            Name::token("https://b.example", "x"),
            Name::token("https://a.example", "xx"),
            // The border between the parts is part of the name.
            Name::token("https://a.examplex", ""),
            Name::token("", "https://a.examplex"),
        ];
        for (at, one) in names.iter().enumerate() {
            assert!(names.iter().skip(at + 1).all(|other| one != other), "{at}");
            assert!((1..=255).contains(&one.key().len()));
        }
    }

    #[test]
    fn tokens_that_differ_in_anything_by_which_they_can_be_taken_back_are_not_taken_for_one() {
        let claims = Claims { iss: "https://a.example".into(), ..Claims::default() };
        let with = |sid: Option<&str>, client: Option<&str>, azp, kid| {
            let (sid, client_id) = (sid.map(str::to_owned), client.map(str::to_owned));
            Names::of(&Claims { sid, client_id, ..claims.clone() }, azp, kid)
        };
        let all = [
            with(None, None, None, "k"),
            with(Some(""), None, None, "k"),
            with(Some("x"), None, None, "k"),
            with(None, Some("x"), None, "k"),
            with(None, None, Some("x"), "k"),
            with(None, Some("x"), Some("y"), "k"),
            with(None, Some("x"), None, "l"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one.whole != other.whole), "{at}");
            assert!(one.all().count() <= Names::MOST);
        }
        // One client is one name, whichever claim says so.
        let names = |of: &Names| of.all().map(|(name, _)| name).collect::<Vec<_>>();
        let client = Name::client("https://a.example", "x");
        for of in [with(None, Some("x"), None, "k"), with(None, None, Some("x"), "k")] {
            assert_eq!(names(&of).iter().filter(|name| **name == client).count(), 1);
        }
        assert_eq!(with(None, Some("x"), Some("x"), "k"), with(None, Some("x"), None, "k"));
    }
}
