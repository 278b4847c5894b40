//! The crate `oauth2` drives the provider: what it takes for wrong, others would. It speaks no HTTP of
//! its own; the requests that it makes are sent as it made them.

use std::io;

use oauth2::{
    AccessToken, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    DeviceAuthorizationUrl, EndpointSet, HttpRequest, HttpResponse, IntrospectionUrl,
    PkceCodeChallenge, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope,
    StandardDeviceAuthorizationResponse, StandardRevocableToken, TokenIntrospectionResponse as _,
    TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenType},
};
use serde_json::Value;

use super::{
    browser::{Browser, CALLBACK},
    demo::{Client, Demo, demo, unique},
    http::{parameter, query},
};

type Told = BasicClient<EndpointSet, EndpointSet, EndpointSet, EndpointSet, EndpointSet>;
type Refused = RequestTokenError<io::Error, BasicErrorResponse>;

/// Sends what the crate would send, to the demo, whatever the scheme.
fn send(request: HttpRequest) -> Result<HttpResponse, io::Error> {
    let path = request.uri().path_and_query().unwrap().as_str();
    let mut ask = demo().public.ask(request.method().as_str(), path);
    for (name, value) in request.headers() {
        ask.fields.push((name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    }
    ask.body = request.into_body();
    let answer = ask.send();
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.fields {
        response = response.header(name, value);
    }
    response.body(answer.body).map_err(io::Error::other)
}

/// The client as the crate knows it, by what the metadata of the issuer say.
fn told(demo: &Demo, client: &Client) -> Told {
    let found = demo.public.get("/.well-known/oauth-authorization-server").send();
    let metadata: Value = found.expect(200).json();
    assert_eq!(metadata["issuer"], demo.issuer.as_str());
    let at = |name: &str| metadata[name].as_str().unwrap().to_owned();
    // It takes back nothing over HTTP that is plain.
    let revocation = at("revocation_endpoint").replace("http://", "https://");
    let mut told = BasicClient::new(ClientId::new(client.id.clone()));
    if let Some(secret) = &client.secret {
        told = told.set_client_secret(ClientSecret::new(secret.clone()));
    }
    told.set_auth_uri(AuthUrl::new(at("authorization_endpoint")).unwrap())
        .set_token_uri(TokenUrl::new(at("token_endpoint")).unwrap())
        .set_device_authorization_url(
            DeviceAuthorizationUrl::new(at("device_authorization_endpoint")).unwrap(),
        )
        .set_introspection_url(IntrospectionUrl::new(at("introspection_endpoint")).unwrap())
        .set_revocation_url(RevocationUrl::new(revocation).unwrap())
        .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).unwrap())
}

/// What the issuer said when it refused.
fn error<T: std::fmt::Debug>(refused: Result<T, Refused>) -> String {
    match refused {
        Err(RequestTokenError::ServerResponse(said)) => said.error().to_string(),
        other => panic!("{other:?} is no answer of the issuer"),
    }
}

fn is_active(token: &AccessToken) -> bool {
    let asking = told(demo(), &demo().client("demo-service"));
    asking.introspect(token).request(&send).unwrap().active()
}

#[test]
fn it_signs_people_in_with_a_code_refreshes_asks_and_takes_back() {
    for id in ["demo-web", "demo-spa"] {
        let client = told(demo(), &demo().client(id));
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (address, state) = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(["openid", "profile", "offline_access"].map(|it| Scope::new(it.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let asked = query(address.as_str());
        let asked: Vec<_> =
            asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut browser = Browser::new(demo().public);
        let came = browser.authorize(&asked, &demo().person("customer"));
        assert_eq!(parameter(&came, "state").as_deref(), Some(state.secret().as_str()));
        let code = || AuthorizationCode::new(parameter(&came, "code").unwrap());
        let first =
            client.exchange_code(code()).set_pkce_verifier(verifier).request(&send).unwrap();
        assert_eq!(*first.token_type(), BasicTokenType::Bearer);
        assert!(first.expires_in().is_some() && is_active(first.access_token()));

        let refresh = |token: &RefreshToken| client.exchange_refresh_token(token).request(&send);
        let second = refresh(first.refresh_token().unwrap()).unwrap();
        let (before, after) = (first.refresh_token().unwrap(), second.refresh_token().unwrap());
        assert_ne!(before.secret(), after.secret());
        let taken = StandardRevocableToken::RefreshToken(after.clone());
        client.revoke_token(taken).unwrap().request(&send).unwrap();
        assert!(!is_active(second.access_token()) && !is_active(first.access_token()));
        assert_eq!(error(refresh(after)), "invalid_grant");
        assert_eq!(error(client.exchange_code(code()).request(&send)), "invalid_grant");
    }
}

#[test]
fn it_gets_tokens_in_its_own_name_and_no_more_than_it_may() {
    let client = told(demo(), &demo().client("demo-service"));
    let scope = |text: &str| Scope::new(text.to_owned());
    let own = client.exchange_client_credentials().add_scope(scope("orders.read")).request(&send);
    let own = own.unwrap();
    assert_eq!(own.scopes(), Some(&vec![scope("orders.read")]));
    let answer = client.introspect(own.access_token()).request(&send).unwrap();
    assert!(answer.active());
    assert_eq!(answer.client_id().map(|id| id.as_str()), Some("demo-service"));
    let wide = client.exchange_client_credentials().add_scope(scope("admin")).request(&send);
    assert_eq!(error(wide), "invalid_scope");
    let taken = StandardRevocableToken::AccessToken(own.access_token().clone());
    client.revoke_token(taken).unwrap().request(&send).unwrap();
    assert!(!is_active(own.access_token()));
    let liar = Client { secret: Some("wrong".to_owned()), ..demo().client("demo-service") };
    let refused = told(demo(), &liar).exchange_client_credentials().request(&send);
    let Err(RequestTokenError::ServerResponse(said)) = refused else { panic!("{refused:?}") };
    assert_eq!(*said.error(), BasicErrorResponseType::InvalidClient);
}

#[test]
fn it_waits_on_a_device_for_its_person() {
    let name = unique("television");
    let declared = format!(
        "[[client]]\nclient_id = \"{name}\"\npublic = true\nredirect_uris = []\n\
         grant_types = [\"urn:ietf:params:oauth:grant-type:device_code\", \"refresh_token\"]\n\
         scope = \"openid profile offline_access\"\n"
    );
    demo().command(&["apply", &demo().file(&declared)]);
    let client = told(demo(), &Client { id: name, secret: None });
    let begin = || -> StandardDeviceAuthorizationResponse {
        let asked =
            client.exchange_device_code().add_scope(Scope::new("openid profile".to_owned()));
        asked.request(&send).unwrap()
    };
    let (mut browser, _) = Browser::signed_in(demo().public, &demo().person("customer"));
    let mut answer = |told: &StandardDeviceAuthorizationResponse, decision: &str| {
        let page = browser.get("/login/device").expect(200).text();
        let code = told.user_code().secret().as_str();
        let asks = browser.submit(&page, &[("user_code", code)]).expect(200).text();
        browser.submit(&asks, &[("decision", decision)]).expect(200);
    };
    // Somebody has answered before it asks, so it never has to wait.
    let wait = |_| panic!("there was an answer");
    let allowed = begin();
    answer(&allowed, "allow");
    let tokens = client.exchange_device_access_token(&allowed).request(&send, wait, None).unwrap();
    assert!(is_active(tokens.access_token()));
    let denied = begin();
    answer(&denied, "deny");
    let refused = client.exchange_device_access_token(&denied).request(&send, wait, None);
    let Err(RequestTokenError::ServerResponse(said)) = refused else { panic!("{refused:?}") };
    assert_eq!(said.error().to_string(), "access_denied");
}
