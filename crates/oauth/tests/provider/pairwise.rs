//! Pairwise clients: what they are told of people, what they could find out together, and whether what
//! they have is taken back as from anybody.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tegata_core::{Batch, Event, EventType, Realm, repository::load};
use tegata_oauth::{
    Client, ClientMetadata, Credential, GrantType, Next, NotAuthorized, Proven, Said, SignedIn,
    TokenAnswer,
    backchannel::RelyingParty,
    client::SubjectType,
    signals::{Handled, SignalKind, Stream, StreamRules, Streams},
    userinfo::{NoUserinfo, Userinfo},
};
use tegata_token::{Algorithm, Entry, Family, Pairwise, Roots, SigningKey, Target};

use super::world::{World, after, asked, claims, error, params, place, query};

/// Where the clients of two sectors are answered; those of the first know each other.
const HERE: &str = "https://app.example/cb";
const HERE_TOO: &str = "https://app.example:8443/other/cb";
const THERE: &str = "https://other.example/cb";

const GRANTS: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

impl World {
    /// A client that is answered there, and pairwise.
    async fn pairwise(&self, id: &str, redirect_uri: &str) -> Client {
        self.client(id, &GRANTS, |it| {
            it.subject_type = Some(SubjectType::Pairwise);
            it.redirect_uris = vec![redirect_uri.to_owned()];
            it.may_introspect = true;
            it.backchannel_logout_uri = Some("https://app.example/bc".to_owned());
        })
        .await
    }

    /// What a client gets where somebody is signed in.
    async fn at(&self, client: &Client, who: &SignedIn) -> TokenAnswer {
        let uri = client.redirect_uris[0].as_str();
        let named = [("client_id", client.id.as_str()), ("redirect_uri", uri)];
        let code = self.code_for(who, &named).await;
        self.redeem(client, &code, &[("redirect_uri", uri)]).await.unwrap()
    }

    async fn introspected(&self, by: &Client, token: &str) -> Value {
        self.provider.introspect(by, &params(&[("token", token)])).await.unwrap()
    }

    async fn info(&self, token: &str) -> Result<Userinfo, NoUserinfo> {
        self.provider.userinfo(&Credential::Bearer(token)).await.map(|(info, _)| info)
    }

    async fn plain_info(&self, token: &str) -> Map<String, Value> {
        match self.info(token).await.unwrap() {
            Userinfo::Plain(info) => info,
            Userinfo::Signed(_) => panic!("signed"),
        }
    }

    /// What comes of a request, in words.
    async fn outcome(&self, client: &Client, who: &SignedIn, more: &[(&str, &str)]) -> String {
        let uri = client.redirect_uris[0].as_str();
        let named = [("client_id", client.id.as_str()), ("redirect_uri", uri), ("prompt", "none")];
        let request = self.request(&[&named, more].concat()).await;
        let said = Said { consented: true };
        match self.provider.next(&request, client, Some(who), said).await.unwrap() {
            Next::Answer => "answer".to_owned(),
            Next::Refuse(error) => error.code.name().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Everything up to now that speaks of somebody.
    fn subject(&self, sub: &str, tokens_only: bool) -> Target {
        Target::Subject { sub: sub.to_owned(), up_to: self.node.now(), tokens_only }
    }

    /// Takes something back, as a kill switch does.
    async fn takes_back(&self, target: Target) {
        let now = self.node.now();
        let until = now + std::time::Duration::from_secs(7200);
        let (reason, actor) = ("test".to_owned(), "test".to_owned());
        let entry = Entry { target, places: vec![], at: now, until, reason, actor };
        let batch = Batch::new(Realm::default());
        self.provider.revoker().commit(batch, vec![entry]).await.unwrap();
    }
}

fn id_token(answer: &TokenAnswer) -> Value {
    claims(answer.id_token.as_ref().unwrap())
}

/// All texts in a document that are long enough to name somebody.
fn names(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) if text.len() > 8 => BTreeSet::from([text.clone()]),
        Value::Array(all) => all.iter().flat_map(names).collect(),
        Value::Object(all) => all.values().flat_map(names).collect(),
        _ => BTreeSet::new(),
    }
}

#[tokio::test]
async fn clients_of_a_sector_call_people_the_same_and_others_cannot_compare() {
    let world = World::new().await;
    let who = world.signed_in();
    let (one, two) = (world.pairwise("one", HERE).await, world.pairwise("two", HERE_TOO).await);
    let (far, web) = (world.pairwise("far", THERE).await, world.web().await);
    let mut told = Vec::new();
    for client in [&one, &two, &far, &web] {
        let tokens = world.at(client, &who).await;
        let id = id_token(&tokens);
        let access = claims(&tokens.access_token);
        let info = world.plain_info(&tokens.access_token).await;
        assert_eq!((&id["sub"], &id["sid"]), (&access["sub"], &access["sid"]), "{}", client.id);
        assert_eq!(info["sub"], id["sub"], "{}", client.id);
        let refreshed = world.refresh(client, tokens.refresh_token.as_ref().unwrap()).await;
        assert_eq!(claims(&refreshed.unwrap().access_token)["sub"], id["sub"]);
        told.push(json!({"id": id, "access": access, "info": info}));
    }
    let [one, two, far, web] = &told[..] else { panic!("{told:?}") };
    assert_eq!(web["id"]["sub"], world.user.id.as_str());
    assert_eq!(web["id"]["sid"], who.session.as_str());
    assert_eq!((&one["id"]["sub"], &one["id"]["sid"]), (&two["id"]["sub"], &two["id"]["sid"]));
    for (mine, other) in [(one, far), (one, web), (far, web)] {
        let shared: Vec<_> = names(mine).intersection(&names(other)).cloned().collect();
        let of_all = |text: &String| text.starts_with("https://") || text == "openid orders.read";
        assert!(shared.iter().all(of_all), "{shared:?}");
    }
    for pairwise in [one, two, far] {
        let text = pairwise.to_string();
        assert!(!text.contains(world.user.id.as_str()) && !text.contains(who.session.as_str()));
    }
    // Another person, and the same one in another session.
    let again = id_token(&world.at(&world.pairwise("one", HERE).await, &world.signed_in()).await);
    assert_eq!(again["sub"], one["id"]["sub"]);
    assert_ne!(again["sid"], one["id"]["sid"]);
}

#[tokio::test]
async fn every_node_and_every_key_gives_the_same_names() {
    let world = World::new().await;
    let client = world.pairwise("one", HERE).await;
    let who = world.signed_in();
    let first = id_token(&world.at(&client, &who).await)["sub"].clone();
    let fresh = SigningKey::generate(Algorithm::Es256).unwrap();
    world.parts.keys.rotate(&fresh, true).await.unwrap();
    assert_eq!(id_token(&world.at(&client, &who).await)["sub"], first);
    // Another node reads what the first has made.
    let realm = world.provider.realm();
    let roots = Roots::open(world.records.as_ref(), &world.node, realm, "pairwise");
    let names = Pairwise::new(&roots.await.unwrap(), realm).unwrap();
    assert_eq!(names.subject("app.example", world.user.id.as_str()), first);
}

#[tokio::test]
async fn who_asks_about_a_token_is_told_of_those_whom_it_calls_so_and_of_nobody_else() {
    let world = World::new().await;
    let who = world.signed_in();
    let (one, far) = (world.pairwise("one", HERE).await, world.pairwise("far", THERE).await);
    let public = world
        .client("public", &[GrantType::ClientCredentials], |it| it.may_introspect = true)
        .await;
    let (of_one, of_far) = (world.at(&one, &who).await, world.at(&far, &who).await);
    let (here, there) = (id_token(&of_one), id_token(&of_far));
    for tokens in [&of_one, &of_far] {
        let asked = [&tokens.access_token, tokens.refresh_token.as_ref().unwrap()];
        for token in asked {
            // Whoever was told its own name for another sector's would know that the two are of one.
            let of_here = std::ptr::eq(tokens, &of_one);
            let (own, other) = if of_here { (&here, &one) } else { (&there, &far) };
            assert_eq!(world.introspected(other, token).await["sub"], own["sub"]);
            let stranger = if of_here { &far } else { &one };
            let told = world.introspected(stranger, token).await;
            assert_eq!(
                (&told["active"], told.get("sub"), told.get("sid")),
                (&json!(true), None, None)
            );
            let told = world.introspected(&public, token).await;
            assert_eq!(told["sub"], world.user.id.as_str());
        }
        let told = world.introspected(&one, &tokens.access_token).await;
        assert_eq!(told["sid"] == here["sid"], std::ptr::eq(tokens, &of_one));
        assert!(told.get("username").is_none() && told.get("veil").is_none(), "{told}");
        let told = world.introspected(&public, &tokens.access_token).await;
        assert_eq!((&told["username"], &told["sid"]), (&"alice".into(), &json!(who.session)));
        assert!(told.get("veil").is_none());
    }
    let asked = params(&[("token", &of_one.access_token)]);
    for (asks, sub) in [(&one, Some(&here["sub"])), (&far, None)] {
        let told = world.provider.introspect(asks, &asked).await.unwrap();
        let signed = world.provider.sign_introspection(asks, told).await.unwrap();
        assert_eq!(claims(&signed)["token_introspection"].get("sub"), sub);
    }
    // Nor for the id, which tokens of others say.
    let web = world.web().await;
    let told = world.introspected(&one, &world.at(&web, &who).await.access_token).await;
    assert_eq!((&told["active"], told.get("sub"), told.get("sid")), (&json!(true), None, None));
    // A client that speaks for itself is called so by all.
    let fields = params(&[("grant_type", "client_credentials"), ("scope", "orders.read")]);
    let proven = world.proven(&public).await;
    let own = world.provider.token(&proven, &fields, &place(), Proven::default()).await.unwrap();
    assert_eq!(world.introspected(&one, &own.access_token).await["sub"], "public");
    // What is taken back is told by ids.
    assert!(world.provider.check_may_follow(&public).is_ok());
    assert!(world.provider.check_may_follow(&one).is_err());
}

#[tokio::test]
async fn signed_userinfo_says_the_same_name() {
    let world = World::new().await;
    let grants = [GrantType::AuthorizationCode];
    let client = world.client("web", &grants, |it| {
        it.subject_type = Some(SubjectType::Pairwise);
        it.userinfo_signed_response_alg = Some(Algorithm::Es256);
    });
    let tokens = world.at(&client.await, &world.signed_in()).await;
    let Userinfo::Signed(info) = world.info(&tokens.access_token).await.unwrap() else {
        panic!("plain");
    };
    assert_eq!(claims(&info)["sub"], id_token(&tokens)["sub"]);
    // A client that an operator takes into another sector is told the name that its ID token has.
    world.pairwise("web", THERE).await;
    let info = world.plain_info(&tokens.access_token).await;
    assert_eq!(info["sub"], id_token(&tokens)["sub"]);
}

#[tokio::test]
async fn what_is_taken_back_of_a_person_takes_their_pairwise_tokens_with_it() {
    type Named = fn(&World, &SignedIn) -> Target;
    let targets: [(&str, Named); 3] = [
        ("the person", |world, _| world.subject(world.user.id.as_str(), false)),
        ("what they may do", |world, _| world.subject(world.user.id.as_str(), true)),
        ("the session", |_, who| Target::Session(who.session.clone())),
    ];
    for (what, named) in targets {
        let world = World::new().await;
        let who = world.signed_in();
        let client = world.pairwise("one", HERE).await;
        let token = world.at(&client, &who).await.access_token;
        assert!(world.is_active(&token).await && world.info(&token).await.is_ok(), "{what}");
        let (said, by) = world.provider.inspect(&token).unwrap();
        assert_eq!((said.sub.as_str(), by), (world.user.id.as_str(), None), "{what}");

        world.takes_back(named(&world, &who)).await;
        assert!(!world.is_active(&token).await, "{what}");
        assert_eq!(world.introspected(&client, &token).await, json!({"active": false}), "{what}");
        assert_eq!(world.info(&token).await, Err(NoUserinfo::InvalidToken), "{what}");
        assert!(world.provider.inspect(&token).unwrap().1.is_some(), "{what}");
    }
    // Nobody is meant by the name that a client has for them.
    let world = World::new().await;
    let tokens = world.at(&world.pairwise("one", HERE).await, &world.signed_in()).await;
    let name = id_token(&tokens)["sub"].as_str().unwrap().to_owned();
    world.takes_back(world.subject(&name, false)).await;
    assert!(world.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn what_a_service_makes_of_a_pairwise_token_speaks_of_the_person_and_falls_with_them() {
    let world = World::new().await;
    let client = world.pairwise("one", HERE).await;
    let token = world.at(&client, &world.signed_in()).await.access_token;
    let grants = [GrantType::TokenExchange, GrantType::ClientCredentials];
    let orders = world.client("orders", &grants, |_| {}).await;
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "payments"),
    ];
    let (asked, place) = (params(&exchange), place());
    let exchanged = async || {
        let orders = world.proven(&orders).await;
        world.provider.token(&orders, &asked, &place, Proven::default()).await
    };
    let made = exchanged().await.unwrap().access_token;
    let said = claims(&made);
    assert_eq!((&said["sub"], said.get("veil")), (&json!(world.user.id), None));
    assert!(world.is_active(&made).await);
    world.takes_back(world.subject(world.user.id.as_str(), false)).await;
    assert!(!world.is_active(&made).await);
    assert!(exchanged().await.is_err());
}

#[tokio::test]
async fn a_hint_names_somebody_only_to_those_who_call_them_the_same() {
    let world = World::new().await;
    let who = world.signed_in();
    let (one, two) = (world.pairwise("one", HERE).await, world.pairwise("two", HERE_TOO).await);
    let (far, web) = (world.pairwise("far", THERE).await, world.web().await);
    let clients = [&one, &two, &far, &web];
    let mut hints = Vec::new();
    for client in clients {
        hints.push(world.at(client, &who).await.id_token.unwrap());
    }
    after(&world.clock, 1);
    for (asks, client) in clients.into_iter().enumerate() {
        for (whose, hint) in hints.iter().enumerate() {
            let sector = |client: &Client| client.sector.clone();
            let same = sector(client) == sector(clients[whose]);
            let expected = if same { "answer" } else { "login_required" };
            // With the token, and with the name in it.
            let outcome = world.outcome(client, &who, &[("id_token_hint", hint)]).await;
            assert_eq!(outcome, expected, "{asks} {whose}");
            let sub = claims(hint)["sub"].clone();
            let wish = json!({"id_token": {"sub": {"value": sub}}}).to_string();
            let outcome = world.outcome(client, &who, &[("claims", &wish)]).await;
            assert_eq!(outcome, expected, "{asks} {whose}");
        }
    }
    // Two names of one person are two people.
    let wish = json!({"userinfo": {"sub": {"value": world.user.id}}}).to_string();
    let both = [
        ("client_id", "one"),
        ("redirect_uri", HERE),
        ("id_token_hint", hints[0].as_str()),
        ("claims", wish.as_str()),
    ];
    let refused = world.provider.authorization_request(&asked(&both)).await.unwrap_err();
    let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
    assert_eq!(query(back.address(), "error"), "invalid_request");
}

#[tokio::test]
async fn a_client_hears_of_the_end_of_a_session_by_the_names_in_its_id_token() {
    let world = World::new().await;
    let who = world.signed_in();
    for (id, uri) in [("one", HERE), ("far", THERE)] {
        let client = world.pairwise(id, uri).await;
        let known = id_token(&world.at(&client, &who).await);
        let party = RelyingParty::new(&who.session, &client.id, &who.user);
        let message = world.provider.logout_message(&party).await.unwrap().unwrap();
        let told = claims(&message.token);
        assert_eq!((&told["sub"], &told["sid"]), (&known["sub"], &known["sid"]));
    }
}

#[tokio::test]
async fn tokens_of_a_pairwise_client_are_for_those_alone_who_can_tell_of_whom_they_speak() {
    let world = World::new().await;
    // A public client of this name may have tokens for that service.
    let grants = [GrantType::AuthorizationCode];
    let redirect = |target: &'static str| {
        let asked = asked(&[("client_id", "orders"), ("audience", target)]);
        let provider = world.provider.clone();
        async move { provider.authorization_request(&asked).await }
    };
    world.client("orders", &grants, |_| {}).await;
    assert!(redirect("payments").await.is_ok());
    world.client("orders", &grants, |it| it.subject_type = Some(SubjectType::Pairwise)).await;
    for target in ["payments", "vault", "https://issuer.example/admin/v1"] {
        let refused = redirect(target).await.unwrap_err();
        let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
        assert_eq!(query(back.address(), "error"), "invalid_target", "{target}");
    }
    let (request, _) = redirect("https://api.example").await.unwrap();
    assert_eq!(request.audience, ["https://api.example"]);
    // One that waited while its client became pairwise is not answered.
    world.client("orders", &grants, |_| {}).await;
    let (waiting, _) = redirect("payments").await.unwrap();
    let handle = world.provider.hold(&waiting).await.unwrap();
    world.client("orders", &grants, |it| it.subject_type = Some(SubjectType::Pairwise)).await;
    assert!(world.provider.held(&handle).await.unwrap().is_none());
}

/// Operators may take a client into a sector, or out of it: then it knows nobody any more.
#[tokio::test]
async fn what_a_client_had_when_it_called_people_otherwise_ends() {
    let world = World::new().await;
    let public =
        async || world.client("one", &GRANTS, |it| it.redirect_uris = vec![HERE.into()]).await;
    let refused = |outcome: Result<TokenAnswer, tegata_oauth::Refused>| error(outcome.unwrap_err());
    for (before, after) in [(None, Some(HERE)), (Some(HERE), None), (Some(HERE), Some(THERE))] {
        let becomes = async |uri: Option<&str>| match uri {
            Some(uri) => world.pairwise("one", uri).await,
            None => public().await,
        };
        let client = becomes(before).await;
        let who = world.signed_in();
        let held = world.at(&client, &who).await;
        let uri = client.redirect_uris[0].as_str().to_owned();
        let named = [("client_id", "one"), ("redirect_uri", uri.as_str())];
        let code = world.code_for(&who, &named).await;
        let client = becomes(after).await;
        let refresh = held.refresh_token.as_ref().unwrap();
        let inspector = world
            .client("inspector", &[GrantType::ClientCredentials], |it| it.may_introspect = true)
            .await;
        let told = world.introspected(&inspector, refresh).await;
        assert_eq!(told, json!({"active": false}), "{before:?} {after:?}");
        assert_eq!(refused(world.refresh(&client, refresh).await), "invalid_grant");
        let redeemed = world.redeem(&client, &code, &[("redirect_uri", &uri)]).await;
        assert_eq!(refused(redeemed), "invalid_grant");
        // What it gets from now on goes on.
        let anew = world.at(&client, &who).await;
        assert!(world.refresh(&client, anew.refresh_token.as_ref().unwrap()).await.is_ok());
    }
}

/// What a version before this one wrote says nothing of the sector; nor does what it rewrites.
#[tokio::test]
async fn what_does_not_say_in_which_sector_it_is_goes_on_and_says_it_then() {
    let world = World::new().await;
    let realm = Realm::default();
    for (id, pairwise, sector) in [("one", true, "app.example"), ("plain", false, "")] {
        let client = if pairwise {
            world.pairwise(id, HERE).await
        } else {
            let plain = |it: &mut ClientMetadata| {
                it.redirect_uris = vec![HERE.into()];
                it.may_introspect = true;
            };
            world.client(id, &GRANTS, plain).await
        };
        let held = world.at(&client, &world.signed_in()).await;
        let families = world.provider.families();
        let of = async |token: &str| families.of_token(&realm, token).await.unwrap().unwrap().0;
        let token = held.refresh_token.as_ref().unwrap();
        let begun = of(token).await;
        assert_eq!(begun.grant.sector.as_deref(), Some(sector));
        let found = load::<Family>(world.records.as_ref(), &realm, begun.id.as_str()).await;
        let found = found.unwrap().unwrap();
        let mut before = found.value.clone();
        before.grant.sector = None;
        world.commit(Batch::new(realm.clone()).with(found.replace(&before))).await;
        let told = world.introspected(&client, token).await;
        assert_eq!(told["sub"], id_token(&held)["sub"], "{told}");
        let far = world.pairwise("far", THERE).await;
        assert_eq!(world.introspected(&far, token).await.get("sub"), None);
        let next = world.refresh(&client, token).await.unwrap();
        let token = next.refresh_token.as_ref().unwrap();
        assert_eq!(of(token).await.grant.sector.as_deref(), Some(sector));
        // From now on it is known.
        let client = world.pairwise(id, THERE).await;
        assert_eq!(error(world.refresh(&client, token).await.unwrap_err()), "invalid_grant");
    }
}

/// The signals of one receiver.
struct Receiver {
    client: Client,
    stream: Stream,
}

async fn receiver(world: &World, streams: &Streams, id: &str, redirect_uri: &str) -> Receiver {
    let grants = [GrantType::ClientCredentials, GrantType::AuthorizationCode];
    let client = world
        .client(id, &grants, |it| {
            it.subject_type = Some(SubjectType::Pairwise);
            it.redirect_uris = vec![redirect_uri.to_owned()];
            it.scope = "openid orders.read ssf.manage".to_owned();
        })
        .await;
    let asked = json!({"events_requested": [SignalKind::SessionRevoked.uri()]});
    let stream = streams.create(&client, asked.as_object().unwrap()).await.unwrap();
    Receiver { client, stream }
}

#[tokio::test]
async fn signals_name_people_as_their_receiver_knows_them() {
    let world = World::new().await;
    let who = world.signed_in();
    let streams = Streams::new(world.provider.clone(), StreamRules::default());
    let one = receiver(&world, &streams, "one", HERE).await;
    let far = receiver(&world, &streams, "far", THERE).await;
    let known = [
        id_token(&world.at(&one.client, &who).await),
        id_token(&world.at(&far.client, &who).await),
    ];
    let ends = async || {
        let data = [
            ("user_id", json!(who.user)),
            ("session_id", json!(who.session)),
            ("reason", json!("logout")),
        ];
        let event = Event::new(&world.node, &Realm::default(), EventType::SessionEnded, data);
        world.commit(Batch::new(Realm::default()).journal(&event)).await;
    };
    ends().await;
    let mut told = Vec::new();
    for (receiver, known) in [&one, &far].into_iter().zip(&known) {
        let due = streams.exchange(&receiver.stream.id, &Handled::default(), 10).await.unwrap().due;
        let [set] = &due[..] else { panic!("not one") };
        let said = claims(&set.set);
        assert_eq!(said["sub_id"]["user"]["sub"], known["sub"]);
        assert_eq!(said["sub_id"]["session"]["id"], known["sid"]);
        told.push(said);
        // The same each time, so that it can be acknowledged.
        let acks = Handled { acked: vec![set.jti.clone()], refused: vec![] };
        let after = streams.exchange(&receiver.stream.id, &acks, 10).await.unwrap();
        assert_eq!((after.handled, after.due.len()), (1, 0));
    }
    let shared: Vec<_> = names(&told[0]).intersection(&names(&told[1])).cloned().collect();
    let of_all = |text: &String| text.starts_with("https://") || text.contains(' ');
    assert!(shared.iter().all(of_all), "{shared:?}");
    let (here, there) = (told[0]["jti"].as_str().unwrap(), told[1]["jti"].as_str().unwrap());
    let event = |jti: &str| jti.split('.').nth(1).unwrap().to_owned();
    assert_ne!(event(here), event(there));

    // A receiver names people so, too; by another's name it means nobody.
    let want = async |sub: &Value| {
        let person = json!({"format": "iss_sub", "iss": "https://issuer.example", "sub": sub});
        let person = person.as_object().unwrap();
        streams.want(&one.client, &one.stream.id, person, false).await.unwrap();
        ends().await;
        let due = streams.exchange(&one.stream.id, &Handled::default(), 10).await.unwrap().due;
        due.len()
    };
    assert_eq!(want(&known[1]["sub"]).await, 1);
    assert_eq!(want(&json!(who.user)).await, 2);
    assert_eq!(want(&known[0]["sub"]).await, 0);
}

#[tokio::test]
async fn a_family_of_its_own_is_told_to_a_client_by_the_name_in_its_tokens() {
    let world = World::new().await;
    let streams = Streams::new(world.provider.clone(), StreamRules::default());
    let one = receiver(&world, &streams, "one", HERE).await;
    let data = [
        ("family", json!("1.20500.f")),
        ("user_id", json!(world.user.id)),
        ("client_id", json!("one")),
        ("reason", json!("stolen")),
    ];
    let event = Event::new(&world.node, &Realm::default(), EventType::FamilyRevoked, data);
    world.commit(Batch::new(Realm::default()).journal(&event)).await;
    let due = streams.exchange(&one.stream.id, &Handled::default(), 10).await.unwrap().due;
    let [set] = &due[..] else { panic!("not one") };
    assert_eq!(claims(&set.set)["sub_id"]["session"]["id"], "1.20500.f");
}
