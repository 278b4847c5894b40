//! What becomes of the cookie: given while it is the newest, taken away at the end, and otherwise left alone.

use std::{collections::BTreeSet, time::Duration};

use http::{Method, Uri, Version};
use prometheus_client::registry::Registry;
use tegata_core::{ManualClock, Node, Secret, SeededEntropy, UserId};
use tegata_identity::{NewUser, Username};
use tegata_session::{Beginning, Begun, Keys, Limits, Reason, Rise, Standing};

use super::*;
use crate::compose::for_tests;

const AGENT: &str = "Mozilla/5.0 (X11; Linux) Firefox/140.0";

/// A door, whose sessions have a clock of their own, and somebody who is signed in.
struct Bench {
    door: CookieDoor,
    clock: Arc<ManualClock>,
    user: UserId,
    _place: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let composed = for_tests(place.path()).await;
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new("bob").unwrap(),
            email: None,
            roles: BTreeSet::new(),
            locale: None,
            password: None,
        };
        let user = composed.users.register(&composed.realm, new, "test").await.unwrap().id;
        let clock = Arc::new(ManualClock::default());
        let sessions = Sessions::new(
            Node::with(clock.clone(), Arc::new(SeededEntropy::new(5))),
            composed.epoch,
            Arc::clone(&composed.records),
            Arc::clone(&composed.ephemeral),
            Keys::of_root(Secret::new([7; 32])),
            Arc::clone(&composed.endings),
            Limits::default(),
        );
        let origins = Origins::new("http://localhost:8000", &[]).unwrap();
        let metrics = Metrics::register(&mut Registry::default());
        let door = CookieDoor::new(&composed, Scope::default(), origins, metrics);
        Self { door: CookieDoor { sessions, ..door }, clock, user, _place: place }
    }

    async fn sign_in(&self, replaces: Option<&Begun>) -> Begun {
        let beginning = Beginning {
            user: self.user.clone(),
            binding: Self::binding(),
            traits: Traits::default(),
            standing: Standing { acr: Some("aal1".into()), ..Standing::default() },
            address: None,
            replaces: replaces.map(|before| before.session.id.clone()),
        };
        self.door.sessions.begin(&self.door.realm, &beginning).await.unwrap()
    }

    fn binding() -> Binding {
        Binding::of([192, 0, 2, 1].into(), Some(AGENT.as_bytes()))
    }

    async fn check(&self, value: &str) -> Checked {
        let (method, uri, mut headers) = (Method::GET, Uri::from_static("/x"), HeaderMap::new());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let peer = [192, 0, 2, 1].into();
        let head = Head {
            method: &method,
            uri: &uri,
            version: Version::HTTP_11,
            headers: &headers,
            peer,
            secure: false,
            certificate: None,
        };
        self.door.check(value, head, peer).await
    }

    /// What a cookie is renewed to, and the new value.
    async fn renewed(&self, value: &str) -> (Renewed, String) {
        let checked = self.check(value).await;
        assert!(checked.verdict.is_ok(), "{checked:?}");
        let Some(SetCookie::Renewed(renewed)) = checked.set_cookie else { panic!("none is given") };
        let line = renewed.line.to_str().unwrap();
        let value = line.split(['=', ';']).nth(1).unwrap().to_owned();
        assert!(line.starts_with(self.door.cookie()) && line.contains("HttpOnly"), "{line}");
        (renewed, value)
    }

    /// The next generation's value, by a rise.
    async fn raise(&self, value: &str) -> String {
        let (binding, traits) = (&Self::binding(), &Traits::default());
        let shown = sessions::Presentation { value, binding, traits, rotates: true };
        let standing = Standing { acr: Some("aal2".into()), ..Standing::default() };
        let rise = Rise { standing, requires: None };
        let raised = self.door.sessions.raise(&self.door.realm, &shown, &rise).await;
        raised.unwrap().unwrap().cookie.unwrap().expose().clone()
    }

    fn wait_for_rotation(&self) {
        self.clock.advance(Duration::from_secs(300));
    }
}

#[tokio::test]
async fn a_renewed_cookie_is_given_until_there_is_a_newer_one() {
    let bench = Bench::new().await;
    let begun = bench.sign_in(None).await;
    assert!(bench.check(begun.cookie.expose()).await.set_cookie.is_none());
    bench.wait_for_rotation();
    // Two at once are given the same, and may both give it.
    let (slow, value) = bench.renewed(begun.cookie.expose()).await;
    let (quick, same) = bench.renewed(begun.cookie.expose()).await;
    assert_eq!(value, same);
    assert!(bench.door.settle(&slow).await && bench.door.settle(&quick).await);
    // Its first use changes nothing of that.
    assert!(bench.check(&value).await.set_cookie.is_none());
    assert!(bench.door.settle(&slow).await);
    let risen = bench.raise(&value).await;
    assert!(!bench.door.settle(&slow).await, "a rise was lost");
    bench.wait_for_rotation();
    let (slow, next) = bench.renewed(&risen).await;
    assert!(bench.door.settle(&slow).await);
    bench.wait_for_rotation();
    let (newest, _) = bench.renewed(&next).await;
    assert!(!bench.door.settle(&slow).await, "the value before the last came back");
    // Whoever signs in anew has another session.
    let anew = bench.sign_in(Some(&begun)).await;
    assert!(!bench.door.settle(&newest).await, "a new sign-in was lost");
    assert!(bench.check(anew.cookie.expose()).await.verdict.is_ok());
}

#[tokio::test]
async fn a_value_that_was_replaced_is_told_apart_from_one_whose_session_has_ended() {
    let bench = Bench::new().await;
    let begun = bench.sign_in(None).await;
    bench.wait_for_rotation();
    let (_, value) = bench.renewed(begun.cookie.expose()).await;
    bench.check(&value).await.verdict.unwrap();
    let old = bench.check(begun.cookie.expose()).await;
    assert_eq!(old.verdict.unwrap_err(), SessionRefused::Superseded);
    assert!(old.set_cookie.is_none(), "the newer value would be taken from the browser");
    bench.check(&value).await.verdict.unwrap();
    let (sessions, realm) = (&bench.door.sessions, &bench.door.realm);
    assert!(sessions.end(realm, &begun.session.id, &Reason::Logout, "test").await.unwrap());
    for value in [value.as_str(), "made-up"] {
        let ended = bench.check(value).await;
        assert_eq!(ended.verdict.unwrap_err(), SessionRefused::Unknown);
        let Some(SetCookie::Cleared(line)) = ended.set_cookie else { panic!("{value} is kept") };
        assert!(line.to_str().unwrap().contains("Max-Age=0"), "{line:?}");
    }
}
