//! Streams of signals: whose they are, what is told on them, and what becomes of acknowledgements.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tegata_core::{Batch, Event, EventType, Network, Outward, Realm};
use tegata_identity::{EmailAddress, NewUser, Username};
use tegata_oauth::{
    Client, Credential, GrantType, Proven,
    signals::{
        Exchanged, Handled, RefusedSet, SignalKind, Status, Stream, StreamRefused, StreamRules,
        Streams,
        access::{Need, NoAccess},
        streams::DefaultSubjects,
    },
};

use crate::provider::world::{World, claims, params, place};

struct Bed {
    world: World,
    streams: Streams,
    client: Client,
}

impl Bed {
    async fn new(rules: StreamRules) -> Self {
        let world = World::new().await;
        let client = receiver(&world, "receiver", "ssf.manage roles").await;
        let streams = Streams::new(world.provider.clone(), rules);
        Self { world, streams, client }
    }

    async fn stream(&self, asked: &Value) -> Stream {
        self.streams.create(&self.client, &object(asked)).await.unwrap()
    }

    async fn polled(&self) -> Stream {
        self.stream(&json!({"events_requested": [SignalKind::SessionRevoked.uri()]})).await
    }

    async fn tell(&self, kind: EventType, data: &Value) {
        let mut event = Event::new(&self.world.node, &Realm::default(), kind, []);
        event.data = object(data);
        self.world.commit(Batch::new(Realm::default()).journal(&event)).await;
    }

    /// A session of a person ends.
    async fn ends(&self, user: &str, session: &str) {
        let data = json!({"user_id": user, "session_id": session, "reason": "logout"});
        self.tell(EventType::SessionEnded, &data).await;
    }

    async fn exchange(&self, stream: &Stream, handled: &Handled, most: usize) -> Exchanged {
        self.streams.exchange(&stream.id, handled, most).await.unwrap()
    }

    async fn due(&self, stream: &Stream) -> Vec<Value> {
        let exchanged = self.exchange(stream, &Handled::default(), 100).await;
        exchanged.due.iter().map(|due| claims(&due.set)).collect()
    }
}

async fn receiver(world: &World, id: &str, scope: &str) -> Client {
    let grants = [GrantType::ClientCredentials];
    world.client(id, &grants, |metadata| metadata.scope = scope.to_owned()).await
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn acks(due: &[Value]) -> Handled {
    let acked = due.iter().map(|set| set["jti"].as_str().unwrap().to_owned()).collect();
    Handled { acked, refused: vec![] }
}

#[tokio::test]
async fn a_stream_tells_what_happens_from_its_beginning_on() {
    let bed = Bed::new(StreamRules::default()).await;
    bed.ends("usr_before", "1.2.a").await;
    let stream = bed.polled().await;
    bed.ends("usr_1", "1.2.s").await;
    bed.tell(EventType::CredentialChanged, &json!({"user_id": "usr_1"})).await;
    let [set] = &bed.due(&stream).await[..] else { panic!("not one") };
    assert_eq!(set["iss"], "https://issuer.example");
    assert_eq!(set["aud"], "receiver");
    assert_eq!(
        set["sub_id"],
        json!({
            "format": "complex",
            "user": {"format": "iss_sub", "iss": "https://issuer.example", "sub": "usr_1"},
            "session": {"format": "opaque", "id": "1.2.s"},
        })
    );
    let event = &set["events"][SignalKind::SessionRevoked.uri()];
    assert_eq!(event["reason_admin"]["en"], "the person signed out");
    assert!(set["txn"].is_string() && set["exp"].is_null() && set["sub"].is_null());
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_under_the_same_name() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    for number in 0..5 {
        bed.ends("usr_1", &format!("1.2.{number}")).await;
    }
    let first = bed.due(&stream).await;
    assert_eq!(first.len(), 5);
    // An answer was lost: the same, with the same names and times.
    bed.world.clock.advance(Duration::from_secs(60));
    let again = bed.due(&stream).await;
    assert_eq!(first, again);
    // What comes later is acknowledged first; what nobody was given is not there to acknowledge.
    let mut some = acks(&first[2..4]);
    some.acked.push("forged".into());
    some.acked.push(format!("{}.forged.0", stream.id));
    let exchanged = bed.exchange(&stream, &some, 100).await;
    assert_eq!((exchanged.handled, exchanged.due.len()), (2, 3));
    assert_eq!(exchanged.stream.acked.len(), 2);
    // An acknowledgement that is repeated changes nothing.
    let exchanged = bed.exchange(&stream, &some, 100).await;
    assert_eq!((exchanged.handled, exchanged.due.len()), (0, 3));
    // Once everything before is acknowledged, no names are kept.
    let exchanged = bed.exchange(&stream, &acks(&first[..2]), 100).await;
    assert_eq!((exchanged.due.len(), exchanged.stream.acked.len()), (1, 0));
    let exchanged = bed.exchange(&stream, &acks(&first), 100).await;
    assert!(exchanged.due.is_empty() && !exchanged.more);
    assert!(bed.due(&stream).await.is_empty());
}

#[tokio::test]
async fn a_part_is_given_and_more_is_said_to_be_there() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    for number in 0..250 {
        bed.ends("usr_1", &format!("1.2.{number}")).await;
    }
    let none = bed.exchange(&stream, &Handled::default(), 0).await;
    assert!(none.due.is_empty() && none.more);
    let mut got = 0;
    loop {
        let given = bed.exchange(&stream, &Handled::default(), 40).await;
        let sets: Vec<_> = given.due.iter().map(|due| claims(&due.set)).collect();
        for set in &sets {
            assert_eq!(set["sub_id"]["session"]["id"], format!("1.2.{got}"));
            got += 1;
        }
        let after = bed.exchange(&stream, &acks(&sets), 0).await;
        assert_eq!(after.more, got < 250, "{got}");
        if !after.more {
            break;
        }
    }
    assert_eq!(got, 250);
}

#[tokio::test]
async fn what_a_receiver_cannot_use_is_noted_and_not_given_again() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    bed.ends("usr_1", "1.2.s").await;
    let jti = bed.due(&stream).await[0]["jti"].as_str().unwrap().to_owned();
    let err = format!("invalid_key\n{}", "x".repeat(1000));
    let refused = vec![RefusedSet { jti: jti.clone(), err }];
    let exchanged = bed.exchange(&stream, &Handled { acked: vec![], refused }, 10).await;
    assert!(exchanged.due.is_empty());
    let last = exchanged.stream.last_refused.unwrap();
    assert_eq!((exchanged.stream.refused, last.jti), (1, jti));
    assert!(last.err.len() < 250 && !last.err.contains('\n'), "{}", last.err);
}

#[tokio::test]
async fn a_stream_belongs_to_the_client_that_made_it() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    let other = receiver(&bed.world, "other", "ssf.manage").await;
    let unknown = || Err::<(), _>(StreamRefused::Unknown);
    let streams = &bed.streams;
    let id = stream.id.as_str();
    assert_eq!(streams.of(&other.id, id).await.map(|_| ()), unknown());
    assert_eq!(streams.delete(&other.id, id).await, unknown());
    assert_eq!(streams.verify(&other, id, None).await.map(|_| ()), unknown());
    let paused = streams.set_status(&other, id, Status::Paused, None).await;
    assert_eq!(paused.map(|_| ()), unknown());
    let asked = object(&json!({"stream_id": id, "events_requested": []}));
    assert_eq!(streams.update(&other, &asked).await.map(|_| ()), unknown());
    assert_eq!(streams.replace(&other, &asked).await.map(|_| ()), unknown());
    let person = object(&json!({"format": "iss_sub", "iss": "i", "sub": "usr_1"}));
    assert_eq!(streams.want(&other, id, &person, false).await, unknown());
    assert!(streams.of_client(&other.id).await.unwrap().is_empty());
    for odd in ["", "\0", &"x".repeat(65), "../x", "nobody"] {
        assert_eq!(streams.of(&bed.client.id, odd).await.map(|_| ()), unknown(), "{odd:?}");
    }
    assert_eq!(streams.of(&bed.client.id, id).await.unwrap().id, stream.id);
}

#[tokio::test]
async fn a_client_may_have_so_many_streams() {
    let bed = Bed::new(StreamRules { most: 2, ..StreamRules::default() }).await;
    let first = bed.polled().await;
    bed.polled().await;
    let third = bed.streams.create(&bed.client, &Map::new()).await;
    assert_eq!(third.map(|_| ()), Err(StreamRefused::TooMany));
    bed.streams.delete(&bed.client.id, &first.id).await.unwrap();
    bed.polled().await;
}

#[tokio::test]
async fn a_paused_stream_keeps_and_a_disabled_one_does_not() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    let set = async |status| {
        bed.streams.set_status(&bed.client, &stream.id, status, Some("why")).await.unwrap()
    };
    assert_eq!(set(Status::Paused).await.reason.as_deref(), Some("why"));
    bed.ends("usr_1", "1.2.paused").await;
    assert!(bed.due(&stream).await.is_empty());
    set(Status::Enabled).await;
    let due = bed.due(&stream).await;
    assert_eq!(due[0]["sub_id"]["session"]["id"], "1.2.paused");
    set(Status::Disabled).await;
    bed.ends("usr_1", "1.2.disabled").await;
    assert!(bed.due(&stream).await.is_empty());
    set(Status::Enabled).await;
    assert!(bed.due(&stream).await.is_empty());
    bed.ends("usr_1", "1.2.after").await;
    assert_eq!(bed.due(&stream).await[0]["sub_id"]["session"]["id"], "1.2.after");
}

#[tokio::test]
async fn a_verification_says_what_was_asked_and_is_asked_for_now_and_then() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    let verify =
        async |state: Option<&str>| bed.streams.verify(&bed.client, &stream.id, state).await;
    verify(Some("abc")).await.unwrap();
    assert!(matches!(verify(None).await, Err(StreamRefused::TooSoon(_))));
    assert!(matches!(verify(Some(&"x".repeat(1025))).await, Err(StreamRefused::Invalid(_))));
    let due = bed.due(&stream).await;
    assert_eq!(due[0]["sub_id"], json!({"format": "opaque", "id": stream.id}));
    assert_eq!(due[0]["events"], json!({SignalKind::Verification.uri(): {"state": "abc"}}));
    assert_eq!(bed.exchange(&stream, &acks(&due), 9).await.handled, 1);
    assert!(bed.due(&stream).await.is_empty());
    bed.world.clock.advance(Duration::from_secs(10));
    verify(None).await.unwrap();
    assert_eq!(bed.due(&stream).await[0]["events"], json!({SignalKind::Verification.uri(): {}}));
}

#[tokio::test]
async fn a_silent_receiver_is_told_that_its_stream_is_paused() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    bed.world.clock.advance(Duration::from_secs(29 * 86_400));
    bed.streams.pause_if_silent(&stream).await.unwrap();
    // Whoever polls is not silent.
    let active = bed.exchange(&stream, &Handled::default(), 1).await.stream;
    bed.world.clock.advance(Duration::from_secs(29 * 86_400));
    bed.streams.pause_if_silent(&active).await.unwrap();
    assert_eq!(bed.streams.of(&bed.client.id, &stream.id).await.unwrap().status, Status::Enabled);
    bed.world.clock.advance(Duration::from_secs(2 * 86_400));
    bed.streams.pause_if_silent(&active).await.unwrap();
    let paused = bed.streams.of(&bed.client.id, &stream.id).await.unwrap();
    assert_eq!(paused.status, Status::Paused);
    let payload = json!({"status": "paused", "reason": "inactivity"});
    let due = bed.due(&stream).await;
    assert_eq!(due[0]["events"], json!({SignalKind::StreamUpdated.uri(): payload}));
}

#[tokio::test]
async fn people_are_added_and_removed_and_nobody_learns_whether_they_exist() {
    for (default_subjects, before) in [(DefaultSubjects::All, 1), (DefaultSubjects::None, 0)] {
        let bed = Bed::new(StreamRules { default_subjects, ..StreamRules::default() }).await;
        let stream = bed.polled().await;
        let want = async |sub: &str, wanted| {
            let iss = "https://issuer.example";
            let person = object(&json!({"format": "iss_sub", "iss": iss, "sub": sub}));
            bed.streams.want(&bed.client, &stream.id, &person, wanted).await.unwrap();
        };
        bed.ends("usr_1", "1.2.a").await;
        assert_eq!(bed.due(&stream).await.len(), before);
        want("usr_1", before == 0).await;
        want("usr_nobody", true).await;
        assert_eq!(bed.due(&stream).await.len(), 1 - before);
        want("usr_1", before == 1).await;
        assert_eq!(bed.due(&stream).await.len(), before);
        for bad in [
            json!({"format": "email", "email": "a@b.example"}),
            json!({"format": "opaque", "id": "1.2.a"}),
            json!({"format": "phone_number", "phone_number": "+1"}),
            json!({}),
        ] {
            let refused = bed.streams.want(&bed.client, &stream.id, &object(&bad), true).await;
            assert!(matches!(refused, Err(StreamRefused::Invalid(_))), "{bad}");
        }
        bed.streams.delete(&bed.client.id, &stream.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_receiver_is_told_no_more_than_it_may_know() {
    let bed = Bed::new(StreamRules::default()).await;
    let uris: Vec<_> = SignalKind::TOLD.iter().map(|kind| kind.uri()).collect();
    let other = receiver(&bed.world, "other", "ssf.manage email").await;
    let mine = bed.stream(&json!({"events_requested": uris})).await;
    let asked = json!({"events_requested": uris, "format": "email"});
    let theirs = bed.streams.create(&other, &object(&asked)).await.unwrap();
    // By mail, only where the client may ask for it.
    let refused = bed.streams.create(&bed.client, &object(&asked)).await;
    assert!(matches!(refused, Err(StreamRefused::Invalid(_))));
    let new = NewUser {
        profile: tegata_identity::Profile::default(),
        username: Username::new("bob").unwrap(),
        email: Some(EmailAddress::new("bob@b.example").unwrap()),
        roles: std::collections::BTreeSet::new(),
        locale: None,
        password: None,
    };
    let bob = bed.world.users.register(&Realm::default(), new, "test").await.unwrap();
    let changes = json!({"roles": {"now": ["admin"]}});
    let data = json!({"user_id": bob.id, "changes": changes});
    bed.tell(EventType::PermissionsChanged, &data).await;
    bed.ends("usr_without_mail", "1.2.a").await;
    let data = json!({
        "family": "1.2.f", "user_id": bob.id, "client_id": "other", "session_id": null,
    });
    bed.tell(EventType::FamilyRevoked, &data).await;
    let mine = bed.due(&mine).await;
    assert_eq!(mine.len(), 2);
    assert!(mine[0]["events"][SignalKind::TokenClaimsChange.uri()].is_object());
    let [family] = &bed.due(&theirs).await[..] else { panic!("not one") };
    let email = json!({"format": "email", "email": "bob@b.example"});
    assert_eq!(family["sub_id"]["user"], email);
    assert_eq!(family["sub_id"]["session"]["id"], "1.2.f");
}

#[tokio::test]
async fn what_is_shown_at_an_endpoint_is_never_shown_to_anybody_else() {
    let rules =
        StreamRules { outward: Outward::new(Network::loopback().to_vec()), ..Default::default() };
    let bed = Bed::new(rules).await;
    let delivery = |url: &str, more: Value| {
        let mut delivery = json!({"method": "urn:ietf:rfc:8935", "endpoint_url": url});
        delivery.as_object_mut().unwrap().extend(object(&more));
        json!({"delivery": delivery})
    };
    let shown = |stream: &Stream| match &stream.delivery {
        tegata_oauth::signals::Delivery::Push { authorization, .. } => {
            authorization.as_ref().map(|it| it.expose().to_owned())
        }
        tegata_oauth::signals::Delivery::Poll => panic!("it is polled"),
    };
    let here = "https://receiver.example/events";
    let secret = json!({"authorization_header": "Bearer hunter2"});
    let stream = bed.stream(&delivery(here, secret)).await;
    assert_eq!(shown(&stream).as_deref(), Some("Bearer hunter2"));
    let told = format!("{stream:?}{}", bed.streams.shown(&stream));
    assert!(!told.contains("hunter2"), "{told}");
    let update = async |asked: Value| {
        let mut asked = object(&asked);
        asked.insert("stream_id".into(), json!(stream.id));
        bed.streams.update(&bed.client, &asked).await
    };
    // Whoever cannot read it back may leave it out, but takes it nowhere else.
    let same = update(delivery(here, json!({}))).await.unwrap();
    assert!(shown(&same).is_some());
    let none = update(delivery(here, json!({"authorization_header": null}))).await.unwrap();
    assert_eq!(shown(&none), None);
    let secret = json!({"authorization_header": "Bearer hunter2"});
    update(delivery(here, secret)).await.unwrap();
    let moved = update(delivery("https://evil.example/", json!({}))).await.unwrap();
    assert_eq!(shown(&moved), None);
    for bad in ["a\nb", "a\u{7f}", "é", "", &"x".repeat(4097)] {
        let refused = update(delivery(here, json!({"authorization_header": bad}))).await;
        assert!(matches!(refused, Err(StreamRefused::Invalid(_))), "{bad:?}");
    }
    for bad in ["https://10.0.0.1/", "http://receiver.example/", "https://169.254.169.254/"] {
        let refused = update(delivery(bad, json!({}))).await;
        assert!(matches!(refused, Err(StreamRefused::Invalid(_))), "{bad}");
    }
    // What the transmitter says cannot be said otherwise.
    for (name, value) in [("aud", json!("other")), ("iss", json!("https://evil.example"))] {
        let refused = update(json!({name: value})).await;
        assert!(matches!(refused, Err(StreamRefused::Invalid(_))), "{name}");
    }
    let same = bed.streams.shown(&moved);
    assert!(update(same).await.is_ok());
}

#[tokio::test]
async fn only_a_token_of_the_client_itself_with_the_scope_opens_streams() {
    let bed = Bed::new(StreamRules::default()).await;
    let provider = &bed.world.provider;
    let token = async |client: &Client, more: &[(&str, &str)]| {
        let all = [&[("grant_type", "client_credentials")][..], more].concat();
        provider
            .token(&bed.world.proven(client).await, &params(&all), &place(), Proven::default())
            .await
            .unwrap()
            .access_token
    };
    let manage = token(&bed.client, &[]).await;
    for need in [Need::Read, Need::Manage] {
        assert_eq!(
            provider.signals_client(&Credential::Bearer(&manage), need).await.unwrap().id,
            bed.client.id
        );
    }
    let reader = receiver(&bed.world, "reader", "ssf.read").await;
    let read = token(&reader, &[]).await;
    assert!(provider.signals_client(&Credential::Bearer(&read), Need::Read).await.is_ok());
    let refused = provider.signals_client(&Credential::Bearer(&read), Need::Manage).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InsufficientScope(Need::Manage.scope())));
    let narrow = token(&bed.client, &[("scope", "roles")]).await;
    let refused = provider.signals_client(&Credential::Bearer(&narrow), Need::Read).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InsufficientScope(Need::Read.scope())));
    // A service that was shown a token of `machine` cannot order signals with it.
    let machine = receiver(&bed.world, "machine", "ssf.manage").await;
    let of_service = token(&machine, &[("audience", "orders")]).await;
    let refused = provider.signals_client(&Credential::Bearer(&of_service), Need::Manage).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InvalidToken));
    // Nor can a person's token, whatever its scope.
    let grants = [GrantType::AuthorizationCode];
    let web =
        bed.world.client("web", &grants, |metadata| metadata.scope = "openid ssf.manage".into());
    let web = web.await;
    let code = bed.world.code(&[("scope", "openid ssf.manage")]).await;
    let answer = bed.world.redeem(&web, &code, &[]).await.unwrap();
    let refused =
        provider.signals_client(&Credential::Bearer(&answer.access_token), Need::Manage).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InvalidToken));
    // Nor one whose client has lost the scope since.
    receiver(&bed.world, "reader", "").await;
    let refused = provider.signals_client(&Credential::Bearer(&read), Need::Read).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InsufficientScope(Need::Read.scope())));
    // Nor a signal.
    let stream = bed.polled().await;
    bed.ends("usr_1", "1.2.s").await;
    let set = bed.exchange(&stream, &Handled::default(), 1).await.due.remove(0).set;
    let refused = provider.signals_client(&Credential::Bearer(&set), Need::Read).await;
    assert_eq!(refused.map(|_| ()), Err(NoAccess::InvalidToken));
}

#[tokio::test]
async fn a_disabled_client_is_told_nothing_until_it_is_one_again() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    let (clients, realm) = (bed.world.provider.clients(), bed.world.provider.realm());
    let disable = async |disabled| {
        let found = clients.load(realm, &bed.client.id).await.unwrap().unwrap();
        clients.disable(realm, &found, disabled).await.unwrap();
    };
    disable(true).await;
    bed.ends("usr_1", "1.2.s").await;
    let exchanged = bed.streams.exchange(&stream.id, &Handled::default(), 1).await;
    assert_eq!(exchanged.map(|_| ()).unwrap_err(), StreamRefused::Unknown);
    disable(false).await;
    assert_eq!(bed.due(&stream).await.len(), 1);
}

#[tokio::test]
async fn a_client_that_may_no_longer_hear_is_told_no_more() {
    let bed = Bed::new(StreamRules::default()).await;
    let stream = bed.polled().await;
    bed.ends("usr_1", "1.2.s").await;
    assert_eq!(bed.due(&stream).await.len(), 1);
    receiver(&bed.world, "receiver", "roles").await;
    assert!(bed.due(&stream).await.is_empty());
    // What it may again, it is told.
    receiver(&bed.world, "receiver", "ssf.read").await;
    assert_eq!(bed.due(&stream).await.len(), 1);
    // Who is given the name of a client that is gone does not have its streams.
    let (clients, realm) = (bed.world.provider.clients(), bed.world.provider.realm());
    clients.remove(realm, &bed.client.id).await.unwrap();
    let exchanged = bed.streams.exchange(&stream.id, &Handled::default(), 1).await;
    assert_eq!(exchanged.map(|_| ()).unwrap_err(), StreamRefused::Unknown);
    receiver(&bed.world, "receiver", "ssf.manage").await;
    assert!(bed.streams.of_client(&bed.client.id).await.unwrap().is_empty());
    let stream = bed.polled().await;
    bed.streams.delete_all(&bed.client.id).await.unwrap();
    let gone = bed.streams.of(&bed.client.id, &stream.id).await;
    assert_eq!(gone.map(|_| ()).unwrap_err(), StreamRefused::Unknown);
}
