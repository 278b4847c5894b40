//! What a token was made from, as far as its other claims do not say it, so that it falls with any
//! of that, along a chain of exchanges of any length.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    claims::Claims,
    status::{ListId, StatusIndex},
};

/// The claim `lineage`, which is our own: names that a token falls with.
///
/// Its subject, session, family and place are those of the token that it was made from first, and
/// stand in its own claims, as that one's name does in `original_jti`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// The tokens between the first and this one, and those by which actors showed who they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jti: Vec<String>,
    /// The clients that those were issued to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<String>,
    /// The keys that signed all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kid: Vec<String>,
    /// The places of the tokens of actors in status lists: `LIST/INDEX`.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "write_places",
        deserialize_with = "read_places"
    )]
    pub place: Vec<StatusIndex>,
    /// When the first was issued, where `iat` says something else: seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// When the oldest of the tokens was issued by which actors showed who they are, or the client was looked
    /// up that made this, where that is earlier than the first was issued: seconds since 1970.
    /// What takes back a client takes back what it had until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acted: Option<u64>,
    /// When the session began that it was made from, where that was no token: seconds since 1970. What takes
    /// back everything that its subject had until a moment takes back what a session of before gave after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<u64>,
}

impl Lineage {
    /// That of what is made from a token, which this key signed.
    #[must_use]
    pub fn of(parent: &Claims, kid: &str) -> Self {
        let mut lineage = parent.lineage.as_deref().cloned().unwrap_or_default();
        // The first of all is named by `original_jti`.
        if parent.original_jti.is_some() {
            add(&mut lineage.jti, &parent.jti);
        }
        lineage.issued(parent, kid);
        lineage
    }

    /// The same where an actor shows who it is by another token.
    pub fn acted(&mut self, actor: &Claims, kid: &str, place: Option<StatusIndex>) {
        add(&mut self.jti, &actor.jti);
        self.issued(actor, kid);
        let issued = actor.first_issued();
        self.acted = Some(self.acted.map_or(issued, |before| before.min(issued)));
        self.place.extend(place.filter(|place| !self.place.contains(place)));
    }

    /// The same for the client that makes it. Where it was looked up before the second in which the first
    /// token was issued, it may be removed since without that being later: so what it had until then is
    /// what it made this with.
    pub fn made_by(&mut self, client: &str, looked_up: u64, issued: u64) {
        if looked_up < issued {
            add(&mut self.client, client);
            self.acted = Some(self.acted.map_or(looked_up, |before| before.min(looked_up)));
        }
    }

    /// The same for when the first was issued, where what is made says by `iat` when it was made itself.
    pub fn first_issued(&mut self, first: u64, iat: u64) {
        self.iat = (first < iat).then_some(first);
    }

    /// The claim, or nothing where it would say nothing.
    #[must_use]
    pub fn claim(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    fn issued(&mut self, token: &Claims, kid: &str) {
        if let Some(client) = &token.client_id {
            add(&mut self.client, client);
        }
        add(&mut self.kid, kid);
    }
}

/// Adds a name that is not there yet. Chains are short: the list is walked.
fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

#[expect(clippy::ptr_arg, reason = "serde gives what the field is")]
fn write_places<S: Serializer>(places: &Vec<StatusIndex>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(places.iter().map(|place| format!("{}/{}", place.list, place.index)))
}

fn read_places<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<StatusIndex>, D::Error> {
    let read = |text: &String| {
        let (list, index) = text.split_once('/')?;
        let index: u32 = index.parse().ok()?;
        Some(StatusIndex { list: ListId::parse(list)?, index })
    };
    let places = Vec::<String>::deserialize(from)?;
    // One that cannot be read would be one that nobody looks up.
    let read = places.iter().map(read).collect::<Option<Vec<_>>>();
    read.ok_or_else(|| D::Error::custom("a place of `lineage` cannot be read"))
}

#[cfg(test)]
mod tests {
    use tegata_core::Epoch;

    use super::*;

    fn token(jti: &str, client: &str) -> Claims {
        Claims { jti: jti.into(), client_id: Some(client.into()), ..Claims::default() }
    }

    #[test]
    fn grows_along_a_chain_and_names_nothing_twice() {
        let first = token("1.first", "web");
        let second = Claims {
            original_jti: Some("1.first".into()),
            lineage: Lineage::of(&first, "k1").claim(),
            ..token("1.second", "orders")
        };
        let lineage = second.lineage.as_deref().unwrap();
        assert!(lineage.jti.is_empty(), "the first is named elsewhere");
        assert_eq!(
            (&*lineage.client, &*lineage.kid),
            (&["web".to_owned()][..], &["k1".into()][..])
        );
        let mut third = Lineage::of(&second, "k2");
        assert_eq!(third.jti, ["1.second"]);
        assert_eq!((third.client.len(), third.kid.len()), (2, 2));
        let place =
            StatusIndex { list: ListId { epoch: Epoch::FIRST, slot: 7, number: 0 }, index: 3 };
        for _ in 0..2 {
            third.acted(&token("1.actor", "agent"), "k2", Some(place));
        }
        assert_eq!(third.jti, ["1.second", "1.actor"]);
        assert_eq!(third.client, ["web", "orders", "agent"]);
        assert_eq!((third.kid.len(), third.place.len()), (2, 1));
    }

    #[test]
    fn reads_what_it_wrote_and_refuses_a_place_that_nobody_could_look_up() {
        let place =
            StatusIndex { list: ListId { epoch: Epoch::FIRST, slot: 7, number: 0 }, index: 3 };
        let lineage = Lineage { place: vec![place], iat: Some(5), ..Lineage::default() };
        let text = serde_json::to_string(&lineage).unwrap();
        assert_eq!(text, r#"{"place":["1.7.0/3"],"iat":5}"#);
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
        for bad in ["1.7.0", "1.7.0/", "1.7.0/-1", "/3", "1.07.0/3", "x/3"] {
            let text = format!(r#"{{"place":["{bad}"]}}"#);
            assert!(serde_json::from_str::<Lineage>(&text).is_err(), "{bad}");
        }
        assert!(Lineage::default().claim().is_none());
    }
}
