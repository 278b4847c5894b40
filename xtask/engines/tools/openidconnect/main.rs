//! The crate `openidconnect` as a client of an issuer: it finds it, signs a person in, reads who that is,
//! refreshes, and signs them out.
//!
//! Arguments: the issuer, the client's id, its secret or `-`, and the addresses that a sign-in and a sign-out
//! come back to. It has no browser: it prints the address that its person is to go to, and reads a line with
//! the address where they came out. It ends with 0, and `done`, if everything was as the crate wants it.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _},
};

use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndUserUsername, HttpRequest, HttpResponse, IssuerUrl, LogoutRequest, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PostLogoutRedirectUrl, ProviderMetadataWithLogout,
    RedirectUrl, RequestTokenError, Scope, TokenResponse as _, UserInfoError,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreIdToken,
        CoreIdTokenVerifier, CoreTokenResponse, CoreUserInfoClaims,
    },
    http,
    url::Url,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [issuer, id, secret, callback, after] = arguments.as_slice() else {
        return Err("the issuer, the client, its secret, and two addresses are needed".into());
    };
    let http = Http(
        ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false).build().into(),
    );
    let send = |request| http.send(request);

    let issuer = IssuerUrl::new(issuer.clone())?;
    let metadata = ProviderMetadataWithLogout::discover(&issuer, &send)?;
    same("the issuer", metadata.issuer(), &issuer)?;
    let end = metadata.additional_metadata().end_session_endpoint.clone();
    let end = end.ok_or("nobody can be signed out")?;
    // Somebody who is not who they say is found out by the address of their metadata.
    let liar = IssuerUrl::new(format!("{}/", issuer.as_str()))?;
    must(ProviderMetadataWithLogout::discover(&liar, &send).is_err(), "another issuer is refused")?;

    let secret = (secret != "-").then(|| ClientSecret::new(secret.clone()));
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new(id.clone()), secret)
        .set_redirect_uri(RedirectUrl::new(callback.clone())?);
    let verifier = client.id_token_verifier();

    // The code flow, with PKCE, a state and a nonce.
    let sign_in = |scopes: &[&str]| -> Outcome<(CoreTokenResponse, Nonce)> {
        let (challenge, secret) = PkceCodeChallenge::new_random_sha256();
        let (address, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(scopes.iter().map(|it| Scope::new((*it).to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let came = go("sign in", &address)?;
        same("the state", &parameter(&came, "state")?, state.secret())?;
        // RFC 9207 §2.4: the crate leaves this to whoever uses it.
        same("the issuer of the answer", &parameter(&came, "iss")?, &issuer.as_str().to_owned())?;
        let code = || Ok::<_, Box<dyn Error>>(AuthorizationCode::new(parameter(&came, "code")?));
        let tokens = client.exchange_code(code()?)?.set_pkce_verifier(secret).request(&send)?;
        Ok((tokens, nonce))
    };
    let (online, nonce) = sign_in(&["profile", "email"])?;
    let (tokens, other) = sign_in(&["profile", "email", "offline_access"])?;
    let of = |tokens: &CoreTokenResponse| tokens.id_token().cloned().ok_or("no ID token");
    let id_token = of(&tokens)?;
    let claims = id_token.claims(&verifier, &other)?;
    same("the issuer of the token", claims.issuer(), &issuer)?;
    hashes(&tokens, &id_token, &verifier)?;
    hashes(&online, &of(&online)?, &verifier)?;
    let first = of(&online)?;
    same("the subject", first.claims(&verifier, &nonce)?.subject(), claims.subject())?;
    let swapped = id_token.claims(&verifier, &nonce);
    must(matches!(swapped, Err(ClaimsVerificationError::InvalidNonce(_))), "a nonce of another")?;

    // Who that is.
    let subject = || Some(claims.subject().clone());
    let who = |tokens: &CoreTokenResponse| {
        client
            .user_info(tokens.access_token().clone(), subject())
            .map(|asked| asked.request::<openidconnect::EmptyAdditionalClaims, _, _>(&send))
    };
    let told: CoreUserInfoClaims = who(&tokens)??;
    same("the person", told.subject(), claims.subject())?;
    // OpenID Connect Core §5.4: beside an access token, what scopes ask for is told here.
    let name: Option<&EndUserUsername> = told.preferred_username();
    must(name.is_some_and(|name| !name.is_empty()), "a name")?;

    // A refresh, after which the token before is spent.
    let refresh = |tokens: &CoreTokenResponse| -> Outcome<_> {
        let token = tokens.refresh_token().ok_or("no refresh token")?;
        Ok(client.exchange_refresh_token(token)?.request(&send))
    };
    let later = refresh(&tokens)??;
    let secret = |tokens: &CoreTokenResponse| tokens.refresh_token().map(|it| it.secret().clone());
    must(secret(&later).is_some() && secret(&later) != secret(&tokens), "a successor")?;
    // An ID token of a refresh has no nonce, or the same (OpenID Connect Core §12.2).
    if let Some(again) = later.id_token() {
        let same_one = |nonce: Option<&Nonce>| match nonce {
            Some(nonce) if nonce.secret() != other.secret() => {
                Err("the nonce of another".to_owned())
            }
            _ => Ok(()),
        };
        same("the subject", again.claims(&verifier, same_one)?.subject(), claims.subject())?;
        hashes(&later, again, &verifier)?;
    }
    let still: CoreUserInfoClaims = who(&later)??;
    same("the person", still.subject(), claims.subject())?;

    // The person leaves at the client's wish: what was for as long as they are there is over.
    let state = CsrfToken::new_random();
    let leave = LogoutRequest::from(end)
        .set_id_token_hint(&id_token)
        .set_client_id(ClientId::new(id.clone()))
        .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(after.clone())?)
        .set_state(state.clone());
    let came = go("sign out", &leave.http_get_url())?;
    must(came.as_str().starts_with(after.as_str()), "the way back")?;
    same("the state", &parameter(&came, "state")?, state.secret())?;
    must(
        matches!(who(&online)?, Err(UserInfoError::Response(status, ..)) if status == http::StatusCode::UNAUTHORIZED),
        "whoever signed out is not told of",
    )?;
    must(
        matches!(
            refresh(&online)?,
            Err(RequestTokenError::ServerResponse(said))
                if *said.error() == CoreErrorResponseType::InvalidGrant
        ),
        "a session that has ended is not refreshed",
    )?;
    // Back-Channel Logout §2.7: what was granted for when the person is away goes on.
    refresh(&later)??;
    println!("done");
    Ok(())
}

/// Requests, sent as the crate made them.
struct Http(ureq::Agent);

impl Http {
    fn send(&self, request: HttpRequest) -> Result<HttpResponse, ureq::Error> {
        let (head, mut body) = self.0.run(request)?.into_parts();
        Ok(HttpResponse::from_parts(head, body.read_to_vec()?))
    }
}

/// What binds an ID token to the access token beside it (OpenID Connect Core §3.1.3.6).
fn hashes(
    tokens: &CoreTokenResponse,
    id_token: &CoreIdToken,
    verifier: &CoreIdTokenVerifier<'_>,
) -> Outcome<()> {
    let any = |_: Option<&Nonce>| Ok(());
    let told = id_token.claims(verifier, any)?.access_token_hash().ok_or("no `at_hash`")?;
    let made = AccessTokenHash::from_token(
        tokens.access_token(),
        id_token.signing_alg()?,
        id_token.signing_key(verifier)?,
    )?;
    same("`at_hash`", told, &made)
}

/// Sends the person somewhere; answers where they came out.
fn go(why: &str, address: &Url) -> Outcome<Url> {
    println!("{why} {address}");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(Url::parse(line.trim())?)
}

fn parameter(address: &Url, name: &str) -> Outcome<String> {
    let found = address.query_pairs().find(|(own, _)| own == name);
    found
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| format!("{address} has no {name}").into())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, one: &T, other: &T) -> Outcome<()> {
    if one == other { Ok(()) } else { Err(format!("{what}: {one:?} is not {other:?}").into()) }
}

fn must(holds: bool, what: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("it does not hold: {what}").into()) }
}
