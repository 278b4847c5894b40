use std::sync::Arc;

use tegata_core::{Log, Realm};
use tegata_identity::{EmailAddress, NewUser};
use tegata_oauth::signals::heard::{NamedBy, OnChange};
use tegata_session::{Beginning, Binding, Standing, Traits};

use super::*;
use crate::{
    compose,
    config::{Span, signals},
    signals::way,
};

const THEIRS: &str = "https://theirs.example";

/// An installation that hears one transmitter.
struct Bed {
    ear: Ear,
    of: Transmitter,
    _place: tempfile::TempDir,
}

impl Bed {
    async fn new(people: &[NamedBy], on_change: OnChange) -> Self {
        Self::of_sector(None, people, on_change).await
    }

    /// The same, where the transmitter knows our people by the names of a sector.
    async fn of_sector(sector: Option<&str>, people: &[NamedBy], on_change: OnChange) -> Self {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let set = signals::Transmitter {
            name: "theirs".into(),
            issuer: THEIRS.into(),
            audience: "ours".into(),
            jwks_uri: None,
            secret_file: None,
            poll: None,
            people: people.to_vec(),
            sector: sector.map(|host| Sector::new(host).unwrap()),
            on_change,
            max_age: Span::secs(60),
        };
        let transport = way::configured(&composed, std::time::Duration::from_secs(1)).unwrap();
        let of = Transmitter::new(&set, transport, composed.node.clone()).unwrap();
        let ear = Ear::open(&composed, tegata_server::metrics::Signals::default()).unwrap();
        Self { ear, of, _place: place }
    }

    async fn user(&self, name: &str) -> UserId {
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new(name).unwrap(),
            email: Some(EmailAddress::new(&format!("{name}@people.example")).unwrap()),
            roles: BTreeSet::new(),
            locale: None,
            password: None,
        };
        self.ear.composed.users.register(&Realm::default(), new, "test").await.unwrap().id
    }

    async fn session(&self, user: &UserId) -> SessionId {
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        let beginning = Beginning {
            user: user.clone(),
            binding: Binding::of(address, None),
            traits: Traits::default(),
            standing: Standing {
                acr: Some("aal1".into()),
                amr: vec!["pwd".into()],
                auth_time: self.ear.composed.node.now().secs(),
                elevated_until: None,
                authority: 1,
                roles: vec![],
                factors: vec![],
            },
            address: Some(address),
            replaces: None,
        };
        let realm = &self.ear.composed.realm;
        self.ear.composed.sessions.begin(realm, &beginning).await.unwrap().session.id
    }

    async fn lives(&self, sid: &SessionId) -> bool {
        self.ear.composed.sessions.find(&Realm::default(), sid).await.unwrap().is_some()
    }

    fn ours(&self, user: &UserId) -> Value {
        json!({"format": "iss_sub", "iss": self.ear.composed.provider.issuer(), "sub": user})
    }

    async fn hear(&self, kind: SignalKind, jti: &str, sub_id: Value) -> &'static str {
        let claims = json!({
            "iss": THEIRS, "aud": "ours", "iat": self.ear.composed.node.now().secs(), "jti": jti,
            "sub_id": sub_id, "events": {kind.uri(): {"current_level": "x"}},
        });
        let token = SecurityEventToken::parse(claims.to_string().as_bytes()).unwrap();
        match self.ear.act(&self.of, &token).await.unwrap() {
            Outcome::Repeated => "repeated",
            Outcome::NobodyOfOurs => "nobody",
            Outcome::Done(follows) => follows.name(),
        }
    }

    /// What the journal has of signals.
    async fn written(&self) -> Vec<Value> {
        let pull = self.ear.composed.records.pull(Log::Journal, 0, 1000).await.unwrap();
        let events = pull.entries.into_iter().map(|entry| serde_json::from_slice(&entry.body));
        let events = events.map(|event| event.unwrap());
        events.filter(|event: &Value| event["type"] == "SIGNAL_RECEIVED").collect()
    }
}

fn complex(user: &Value, session: &str) -> Value {
    json!({
        "format": "complex", "user": user, "session": {"format": "opaque", "id": session},
    })
}

#[tokio::test]
async fn the_session_that_is_named_ends_and_no_other() {
    let bed = Bed::new(&[NamedBy::IssSub], OnChange::Note).await;
    let alice = bed.user("alice").await;
    let (one, two) = (bed.session(&alice).await, bed.session(&alice).await);
    let revoked = SignalKind::SessionRevoked;
    let named = complex(&bed.ours(&alice), one.as_str());
    assert_eq!(bed.hear(revoked, "a", named.clone()).await, "end_sessions");
    assert!(!bed.lives(&one).await && bed.lives(&two).await);
    // Said again under another name, of a session that has ended: the others are not meant.
    assert_eq!(bed.hear(revoked, "b", named).await, "end_sessions");
    assert!(bed.lives(&two).await);
    // A session alone is named by its handle.
    let alone = json!({"format": "opaque", "id": two});
    assert_eq!(bed.hear(revoked, "c", alone).await, "end_sessions");
    assert!(!bed.lives(&two).await);
}

/// A transmitter that is a pairwise client of ours names people and sessions as its tokens do.
#[tokio::test]
async fn a_pairwise_client_ends_what_it_names_by_the_names_of_its_sector() {
    let sector = "clinic.example.com";
    let bed = Bed::of_sector(Some(sector), &[NamedBy::IssSub], OnChange::Note).await;
    let (alice, bob) = (bed.user("alice").await, bed.user("bob").await);
    let (one, two, bobs) =
        (bed.session(&alice).await, bed.session(&alice).await, bed.session(&bob).await);
    let (provider, sector) = (bed.ear.composed.provider.clone(), Sector::new(sector).unwrap());
    let called = |sector: &Sector, user: &UserId| {
        json!({
            "format": "iss_sub", "iss": provider.issuer(), "sub": provider.subject_in(sector, user),
        })
    };
    let revoked = SignalKind::SessionRevoked;
    // By the names of another sector, it means nobody.
    let other = Sector::new("other.example.com").unwrap();
    assert_eq!(bed.hear(revoked, "a", called(&other, &alice)).await, "nobody");
    let named = complex(&called(&sector, &alice), &provider.session_in(&sector, &one));
    assert_eq!(bed.hear(revoked, "b", named.clone()).await, "end_sessions");
    assert!(!bed.lives(&one).await && bed.lives(&two).await);
    assert_eq!(bed.hear(revoked, "c", named).await, "end_sessions");
    assert!(bed.lives(&two).await);
    let disabled = SignalKind::AccountDisabled;
    assert_eq!(bed.hear(disabled, "d", called(&sector, &alice)).await, "end_everything");
    assert!(!bed.lives(&two).await && bed.lives(&bobs).await);
    // Without a word of its sector, nobody knows whom it means.
    let deaf = Bed::new(&[NamedBy::IssSub], OnChange::Note).await;
    let alice = deaf.user("alice").await;
    let provider = deaf.ear.composed.provider.clone();
    let sub = provider.subject_in(&sector, &alice);
    let named = json!({"format": "iss_sub", "iss": provider.issuer(), "sub": sub});
    assert_eq!(deaf.hear(revoked, "a", named).await, "nobody");
}

/// Sessions that have ended are looked through, too, and somebody has had many.
#[tokio::test]
async fn a_session_is_found_among_however_many() {
    let sector = Sector::new("clinic.example.com").unwrap();
    let bed = Bed::of_sector(Some(sector.as_str()), &[NamedBy::IssSub], OnChange::Note).await;
    let alice = bed.user("alice").await;
    let mut all = BTreeSet::new();
    for _ in 0..510 {
        all.insert(bed.session(&alice).await.as_str().to_owned());
    }
    let users = BTreeSet::from([alice]);
    for sid in [all.first().unwrap(), all.last().unwrap()] {
        let sid = SessionId::new(sid).unwrap();
        let name = bed.ear.composed.provider.session_in(&sector, &sid);
        let found = bed.ear.session_in(&sector, &name, &users).await.unwrap();
        assert_eq!(found.map(|found| found.id), Some(sid));
    }
    // Without its person, it is nobody's.
    let name = bed
        .ear
        .composed
        .provider
        .session_in(&sector, &SessionId::new(all.last().unwrap()).unwrap());
    let alone = json!({"format": "opaque", "id": name});
    assert_eq!(bed.hear(SignalKind::SessionRevoked, "a", alone).await, "nobody");
}

#[tokio::test]
async fn a_session_of_theirs_means_all_of_the_person_and_one_of_another_person_too() {
    let bed = Bed::new(&[NamedBy::Email], OnChange::Note).await;
    let (alice, bob) = (bed.user("alice").await, bed.user("bob").await);
    let revoked = SignalKind::SessionRevoked;
    let email = json!({"format": "email", "email": "ALICE@people.example"});
    let (one, two, bobs) =
        (bed.session(&alice).await, bed.session(&alice).await, bed.session(&bob).await);
    assert_eq!(bed.hear(revoked, "a", complex(&email, "theirs")).await, "end_sessions");
    assert!(!bed.lives(&one).await && !bed.lives(&two).await && bed.lives(&bobs).await);
    let one = bed.session(&alice).await;
    assert_eq!(bed.hear(revoked, "b", complex(&email, bobs.as_str())).await, "end_sessions");
    assert!(!bed.lives(&one).await && bed.lives(&bobs).await);
}

#[tokio::test]
async fn a_signal_counts_once_and_one_about_nobody_of_ours_not_at_all() {
    let bed = Bed::new(&[NamedBy::IssSub], OnChange::Note).await;
    let alice = bed.user("alice").await;
    let revoked = SignalKind::SessionRevoked;
    let one = bed.session(&alice).await;
    assert_eq!(bed.hear(revoked, "a", bed.ours(&alice)).await, "end_sessions");
    assert!(!bed.lives(&one).await);
    let next = bed.session(&alice).await;
    assert_eq!(bed.hear(revoked, "a", bed.ours(&alice)).await, "repeated");
    assert!(bed.lives(&next).await);
    let stranger = UserId::new("usr_stranger").unwrap();
    for nobody in [
        bed.ours(&stranger),
        json!({"format": "iss_sub", "iss": THEIRS, "sub": alice}),
        json!({"format": "email", "email": "alice@people.example"}),
        json!({"format": "opaque", "id": "1.2.theirs"}),
        json!({"format": "complex", "device": {"format": "opaque", "id": "d"}}),
    ] {
        assert_eq!(bed.hear(revoked, "b", nobody.clone()).await, "nobody", "{nobody}");
    }
    assert!(bed.lives(&next).await);
    assert_eq!(bed.written().await.len(), 1);
}

#[tokio::test]
async fn who_is_disabled_there_has_nothing_here_up_to_now() {
    let bed = Bed::new(&[NamedBy::IssSub], OnChange::Note).await;
    let alice = bed.user("alice").await;
    let one = bed.session(&alice).await;
    let view = bed.ear.composed.view.realm(&Realm::default());
    let disabled = SignalKind::AccountDisabled;
    assert_eq!(view.earliest_issue(alice.as_str(), None), 0);
    assert_eq!(bed.hear(disabled, "a", bed.ours(&alice)).await, "end_everything");
    assert!(!bed.lives(&one).await);
    assert!(view.earliest_issue(alice.as_str(), None) > 0);
    let written = &bed.written().await[0]["data"];
    assert_eq!(written["transmitter"], "theirs");
    assert_eq!(written["event"], "account-disabled");
    assert_eq!(written["action"], "end_everything");
    assert_eq!(written["user_ids"], json!([alice]));
}

#[tokio::test]
async fn what_changed_there_is_written_down_or_ends_sessions_as_it_is_configured() {
    for (on_change, action, lives) in
        [(OnChange::Note, "note", true), (OnChange::EndSessions, "end_sessions", false)]
    {
        let bed = Bed::new(&[NamedBy::IssSub], on_change).await;
        let alice = bed.user("alice").await;
        let one = bed.session(&alice).await;
        let changed = SignalKind::CredentialChange;
        assert_eq!(bed.hear(changed, "a", bed.ours(&alice)).await, action);
        assert_eq!(bed.lives(&one).await, lives);
        let level = SignalKind::AssuranceLevelChange;
        assert_eq!(bed.hear(level, "b", bed.ours(&alice)).await, "note");
        let written = bed.written().await;
        assert_eq!(written[1]["data"]["payload"], json!({"current_level": "x"}));
        // It is about the stream, and nothing is written.
        let stream = json!({"format": "opaque", "id": "stream"});
        assert_eq!(bed.hear(SignalKind::Verification, "c", stream).await, "stream");
        assert_eq!(bed.written().await.len(), 2);
    }
}
