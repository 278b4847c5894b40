//! Status lists, as a verifier outside reads them.

use std::{
    io::{Read as _, Write as _},
    task::{Context, Waker},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::ZlibEncoder,
};
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tegata_core::{Batch, Epoch};
use tegata_token::{Entry, ListId, StatusIndex, Target};
use tower::ServiceExt as _;

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, token},
};

fn header(token: &str) -> Value {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Whether the bit at `index` is set, read as the draft says (§4.1).
fn is_set(list: &Answer, index: u64) -> bool {
    let claims = claims(&list.body);
    assert_eq!(claims["status_list"]["bits"], 1);
    let bytes = URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bits = Vec::new();
    ZlibDecoder::new(bytes.as_slice()).read_to_end(&mut bits).unwrap();
    assert_eq!(bits.len(), 1 << 17);
    bits[usize::try_from(index / 8).unwrap()] & (1 << (index % 8)) != 0
}

#[tokio::test]
async fn shows_a_revoked_token_and_no_other() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let access = claims(tokens["access_token"].as_str().unwrap());
    let place = &access["status"]["status_list"];
    let (uri, index) = (place["uri"].as_str().unwrap(), place["idx"].as_u64().unwrap());

    let before = browser.get(uri).await;
    assert_eq!(before.status, StatusCode::OK, "{}", before.body);
    assert_eq!(before.header("content-type"), "application/statuslist+jwt");
    assert_eq!(before.header("access-control-allow-origin"), "*");
    let head = header(&before.body);
    assert_eq!((&head["typ"], &head["alg"]), (&"statuslist+jwt".into(), &"ES256".into()));
    let said = claims(&before.body);
    assert_eq!(
        (&said["sub"], &said["iss"], &said["ttl"]),
        (&uri.into(), &ISSUER.into(), &60.into())
    );
    assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 300);
    assert!(!is_set(&before, index));

    let fields = [("token", tokens["access_token"].as_str().unwrap())];
    let request = http::Request::post("/oauth2/revoke")
        .header(http::header::AUTHORIZATION, super::flow::basic("web"))
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(axum::body::Body::from(super::browser::encoded(&fields)))
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::OK);
    let after = browser.get(uri).await;
    assert!(is_set(&after, index));
    assert!(!is_set(&after, (index + 1) % (1 << 20)));
}

/// Whoever asks again and again has nothing signed by that; no two signatures of a key are the same.
#[tokio::test]
async fn a_list_with_nothing_revoked_is_signed_once_and_given_to_all() {
    let bench = Bench::new().await;
    let path = format!("/status-lists/{}", open(&bench));
    let ask = async |accept| Raw::ask(&bench, &path, &[("accept", accept)]).await.body;
    for form in ["application/statuslist+jwt", "application/statuslist+cwt"] {
        assert_eq!(ask(form).await, ask(form).await, "{form}");
    }
}

#[tokio::test]
async fn shows_only_lists_on_which_tokens_can_be_alive() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let now = ListId::slot_at(bench.provider.node().now());
    let status = async |browser: &mut Browser, id: String| {
        browser.get(&format!("/status-lists/{id}")).await.status
    };
    for good in [format!("1.{now}.0"), format!("1.{}.0", now - 4), format!("1.{now}.5")] {
        assert_eq!(status(&mut browser, good.clone()).await, StatusCode::OK, "{good}");
    }
    for bad in [
        format!("1.{}.0", now + 1),
        format!("1.{}.0", now - 10),
        format!("2.{now}.0"),
        format!("0.{now}.0"),
        format!("1.{now}.128"),
        format!("01.{now}.0"),
        format!("1.{now}"),
        "x".into(),
    ] {
        assert_eq!(status(&mut browser, bad.clone()).await, StatusCode::NOT_FOUND, "{bad}");
    }
}

/// An answer, as bytes.
struct Raw {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Raw {
    async fn ask(bench: &Bench, path: &str, said: &[(&str, &str)]) -> Self {
        let mut request = http::Request::get(path);
        for (name, value) in said {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// The name of the list that is open.
fn open(bench: &Bench) -> String {
    format!("1.{}.0", ListId::slot_at(bench.provider.node().now()))
}

/// What is asked for that there is not is refused, and never answered with something else.
#[tokio::test]
async fn gives_the_form_that_is_wanted_and_refuses_others() {
    let bench = Bench::new().await;
    let path = format!("/status-lists/{}", open(&bench));
    let (jwt, cwt) = ("application/statuslist+jwt", "application/statuslist+cwt");
    for (accept, given) in [
        (None, Some(jwt)),
        (Some(jwt), Some(jwt)),
        (Some(cwt), Some(cwt)),
        (Some("*/*"), Some(jwt)),
        (Some("application/*;q=0.1"), Some(jwt)),
        (Some("application/statuslist+cwt, Application/StatusList+JWT;q=0.5"), Some(cwt)),
        (Some("application/statuslist+jwt;q=0.1, */*;q=0.2"), Some(cwt)),
        (Some("text/html, */*;q=0.1"), Some(jwt)),
        (Some("application/statuslist+jwt;q=0"), None),
        (Some("application/statuslist+json"), None),
        (Some("text/html"), None),
    ] {
        let said: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        let answer = Raw::ask(&bench, &path, &said).await;
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding", "{accept:?}");
        match given {
            Some(given) => {
                assert_eq!(answer.status, StatusCode::OK, "{accept:?}");
                assert_eq!(answer.header("content-type"), given, "{accept:?}");
            }
            None => assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE, "{accept:?}"),
        }
    }
}

/// Token Status List §5.2: tagged as `COSE_Sign1` and not as a CWT, its type in the protected header.
/// In the tests of clients, `pycose` reads all of it.
#[tokio::test]
async fn a_cwt_says_what_the_jwt_says() {
    let bench = Bench::new().await;
    let path = format!("/status-lists/{}", open(&bench));
    let answer = Raw::ask(&bench, &path, &[("accept", "application/statuslist+cwt")]).await;
    let contains = |part: &[u8]| answer.body.windows(part.len()).any(|window| window == part);
    // Tag 18, four parts, the protected header with three members: the algorithm ES256 first.
    assert_eq!(answer.body[..3], [0xd2, 0x84, 0x58]);
    assert_eq!(answer.body[4..7], [0xa3, 0x01, 0x26]);
    assert!(contains(b"\x10\x78\x1aapplication/statuslist+cwt\xa0"));
    let mut bits = ZlibEncoder::new(Vec::new(), Compression::best());
    bits.write_all(&[0; 1 << 17]).unwrap();
    let bits = bits.finish().unwrap();
    // 65533: the list, by names in the order of deterministic CBOR; then 65534: 60 s.
    let list =
        [b"\x19\xff\xfd\xa2\x63lst\x58".as_slice(), &[u8::try_from(bits.len()).unwrap()], &bits];
    assert!(contains(
        &[&list.concat(), b"\x64bits\x01\x19\xff\xfe\x18\x3c\x58\x40".as_slice()].concat()
    ));
    let key = bench.provider.keys().now().signer(tegata_token::Algorithm::Es256).unwrap();
    assert!(contains(key.kid().as_str().as_bytes()));
    // There is nothing to gain by compressing it again.
    let said = [("accept", "application/statuslist+cwt"), ("accept-encoding", "gzip")];
    let answer = Raw::ask(&bench, &path, &said).await;
    assert_eq!((answer.header("content-encoding"), answer.body[0]), ("", 0xd2));
}

#[tokio::test]
async fn a_jwt_is_compressed_for_whoever_asks_for_it() {
    let bench = Bench::new().await;
    let path = format!("/status-lists/{}", open(&bench));
    let plain = Raw::ask(&bench, &path, &[("accept-encoding", "identity")]).await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = Raw::ask(&bench, &path, &[("accept-encoding", "br;q=1.0, gzip;q=0.8")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(packed.header("content-type"), "application/statuslist+jwt");
    let mut token = String::new();
    GzDecoder::new(packed.body.as_slice()).read_to_string(&mut token).unwrap();
    assert_eq!(claims(&token), claims(std::str::from_utf8(&plain.body).unwrap()));
    assert!(packed.body.len() < plain.body.len());
}

/// Takes one place of a list back.
async fn take_back(bench: &Bench, list: ListId, index: u32) -> u64 {
    let at = bench.node.now();
    let entry = Entry {
        target: Target::Token(format!("1.{index}").parse().unwrap()),
        places: vec![StatusIndex { list, index }],
        at,
        until: at + Duration::from_secs(86_400),
        reason: "stolen".into(),
        actor: "system".into(),
    };
    let batch = Batch::new(bench.realm.clone());
    bench.provider.revoker().commit(batch, vec![entry]).await.unwrap();
    at.secs()
}

/// Token Status List §8.4.
#[tokio::test]
async fn a_list_is_given_as_it_was() {
    let bench = Bench::new().await;
    let slot = ListId::slot_at(bench.node.now());
    let id = ListId { epoch: Epoch::FIRST, slot, number: 0 };
    let opened = u64::from(slot) * 900;
    let first = take_back(&bench, id, 1).await;
    bench.advance(400);
    let second = take_back(&bench, id, 2).await;
    bench.advance(3 * 86_400);
    bench.catch_up().await;
    let ask = async |time: u64| {
        Browser::new(&bench).get(&format!("/status-lists/{id}?time={time}")).await
    };
    // The list has been dead for days: as it is, there is none.
    let mut browser = Browser::new(&bench);
    let now = browser.get(&format!("/status-lists/{id}")).await;
    assert_eq!(now.status, StatusCode::NOT_FOUND);
    for (time, set) in [
        (first.saturating_sub(1).max(opened), first == opened),
        (first, true),
        (second - 1, true),
        (second, true),
        (opened + 900 + 3659, true),
    ] {
        let then = ask(time).await;
        assert_eq!(then.status, StatusCode::OK, "{time}: {}", then.body);
        assert_eq!(is_set(&then, 1), set, "{time}");
        assert_eq!(is_set(&then, 2), time >= second, "{time}");
        let said = claims(&then.body);
        // It was valid at the moment that was asked for, and is not any more.
        assert_eq!((&said["iat"], &said["exp"]), (&time.into(), &(time + 300).into()));
    }
    // All of it is of one reading.
    let calls = bench.calls();
    assert_eq!(ask(second).await.status, StatusCode::OK);
    assert_eq!(bench.calls(), calls);
    for never in [opened - 1, opened + 900 + 3660, bench.node.now().secs() + 60, 0, u64::MAX] {
        let answer = ask(never).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{never}: {}", answer.body);
    }
    for malformed in ["?time=x", "?time=", "?time=1&time=2", "?time=+1", "?time=1.5", "?time=%zz"] {
        let path = format!("/status-lists/{id}{malformed}");
        assert_eq!(browser.get(&path).await.status, StatusCode::BAD_REQUEST, "{malformed}");
    }
}

/// What may still become known of is not told as if it were over.
#[tokio::test]
async fn a_moment_must_be_over_for_long_enough() {
    let bench = Bench::new().await;
    let (id, asked) = (open(&bench), bench.node.now().secs());
    let path = format!("/status-lists/{id}?time={asked}");
    let mut browser = Browser::new(&bench);
    bench.advance(1199);
    bench.catch_up().await;
    assert_eq!(browser.get(&path).await.status, StatusCode::NOT_FOUND);
    bench.advance(1);
    bench.catch_up().await;
    assert_eq!(browser.get(&path).await.status, StatusCode::OK);
}

/// Whoever asks need not be known, so that nobody can make the store read its log without end.
#[tokio::test]
async fn asking_for_the_past_costs_little() {
    let bench = Bench::new().await;
    let first = ListId::slot_at(bench.node.now());
    let path = |slot: u32| format!("/status-lists/1.{slot}.0?time={}", u64::from(slot) * 900 + 899);
    bench.advance(40 * 900);
    bench.catch_up().await;
    let mut browser = Browser::new(&bench);
    assert_eq!(browser.get(&path(first)).await.status, StatusCode::OK);
    let calls = bench.calls();
    // Another quarter has to be read for: not at once.
    let busy = browser.get(&path(first + 1)).await;
    assert_eq!((busy.status, bench.calls()), (StatusCode::SERVICE_UNAVAILABLE, calls));
    assert_eq!(busy.header("retry-after"), "2");
    bench.advance(2);
    bench.catch_up().await;
    assert_eq!(browser.get(&path(first + 1)).await.status, StatusCode::OK);
    // What is kept is bounded, and what one network asks for is counted.
    let (mut good, mut refused) = (0, 0);
    for _ in 0..100 {
        let answer = browser.get(&path(first)).await;
        match answer.status {
            StatusCode::OK => good += 1,
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => panic!("{other}: {}", answer.body),
        }
    }
    assert!((50..=60).contains(&good) && refused >= 40, "{good}, {refused}");
    let mut other = Browser { address: "203.0.113.9".parse().unwrap(), ..Browser::new(&bench) };
    assert_eq!(other.get(&path(first)).await.status, StatusCode::OK);
    // And with the list as it is, this has nothing to do.
    let now = format!("/status-lists/{}", open(&bench));
    assert_eq!(browser.get(&now).await.status, StatusCode::OK);
}

/// Otherwise whoever asks and goes away, again and again, has the log read for nothing, and nobody else
/// ever has an answer.
#[tokio::test]
async fn what_was_read_for_somebody_who_went_away_is_there_for_the_next() {
    let bench = Bench::new().await;
    let slot = ListId::slot_at(bench.node.now());
    let path = format!("/status-lists/1.{slot}.0?time={}", u64::from(slot) * 900 + 899);
    bench.advance(40 * 900);
    bench.catch_up().await;
    let (mut stranger, calls) = (Browser::new(&bench), bench.calls());
    let mut asks = Box::pin(stranger.get(&path));
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(asks.as_mut().poll(&mut nobody).is_pending());
    drop(asks);
    while bench.calls() == calls {
        tokio::task::yield_now().await;
    }
    let calls = bench.calls();
    let mut browser = Browser::new(&bench);
    let answer = browser.get(&path).await;
    assert_eq!((answer.status, bench.calls()), (StatusCode::OK, calls), "{}", answer.body);
}

#[tokio::test]
async fn a_node_that_does_not_know_what_was_revoked_lately_says_nothing() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let now = ListId::slot_at(bench.provider.node().now());
    let target = format!("/status-lists/1.{now}.0");
    bench.advance(6);
    let answer = browser.get(&target).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");
    bench.catch_up().await;
    assert_eq!(browser.get(&target).await.status, StatusCode::OK);
}

/// Token Status List §9: a verifier can have all lists before it meets a token.
#[tokio::test]
async fn all_lists_are_named_while_tokens_on_them_can_be_alive() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let metadata = browser.get("/.well-known/oauth-authorization-server").await.json();
    let address = metadata["status_list_aggregation_endpoint"].as_str().unwrap().to_owned();
    let named = async |browser: &mut Browser| {
        let answer = browser.get(&address).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let lists = answer.json()["status_lists"].as_array().unwrap().clone();
        lists.iter().map(|list| list.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(named(&mut browser).await.is_empty());
    bench.advance(5);
    bench.catch_up().await;
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let access = claims(tokens["access_token"].as_str().unwrap());
    let uri = access["status"]["status_list"]["uri"].as_str().unwrap();
    assert_eq!(named(&mut browser).await, [uri]);
    assert_eq!(browser.get(uri).await.status, StatusCode::OK);
    // Many who ask are one who asks the store.
    let calls = bench.calls();
    for _ in 0..100 {
        assert_eq!(named(&mut browser).await, [uri]);
    }
    assert_eq!(bench.calls(), calls);
    // An answer that is old is not given where the store has none.
    bench.advance(5);
    bench.take_away(true);
    assert_eq!(browser.get(&address).await.status, StatusCode::SERVICE_UNAVAILABLE);
    bench.take_away(false);
    assert_eq!(named(&mut browser).await, [uri]);
    // When no token can be alive any more, there is no list.
    bench.advance(3600 + 60 + 900);
    assert!(named(&mut browser).await.is_empty());
}
