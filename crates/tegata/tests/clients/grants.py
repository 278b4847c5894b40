"""authlib: a code with PKCE, refreshing, asking, taking back, and tokens in one's own name
and for a caller."""

from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from demo import ALICE, CALLBACK, KEYS, METADATA, authorize, described, refused
from joserfc import jwt
from joserfc.jwk import KeySet

TOKEN = METADATA["token_endpoint"]
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
keys = KeySet.import_key_set(KEYS)


def verified(token, kind):
    """The claims of a token that one of the published keys signed."""
    token = jwt.decode(token, keys, algorithms=["RS256", "ES256"])
    assert token.header["typ"] == kind, token.header
    return token.claims


def session(client_id, method, **more):
    """A client of the description."""
    secret = described(client_id)["client_secret"]
    return OAuth2Session(client_id, secret, token_endpoint_auth_method=method, **more)


def known(token):
    """What a client that may ask is told about a token."""
    inspector = session("demo-service", "client_secret_basic")
    answer = inspector.introspect_token(METADATA["introspection_endpoint"], token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def asks(method):
    """A service in its own name."""
    service = session("demo-service", method, scope="orders.read")
    token = service.fetch_token(TOKEN, grant_type="client_credentials")
    assert token["scope"] == "orders.read" and token["token_type"] == "Bearer", token
    claims = verified(token["access_token"], "at+jwt")
    assert claims["sub"] == claims["client_id"] == "demo-service", claims
    answer = service.introspect_token(METADATA["introspection_endpoint"], token["access_token"]).json()
    assert answer["active"] and answer["jti"] == claims["jti"], answer
    service.revoke_token(METADATA["revocation_endpoint"], token["access_token"])
    assert known(token["access_token"]) == {"active": False}
    wide = lambda: service.fetch_token(TOKEN, grant_type="client_credentials", scope="x")
    refused("invalid_scope", wide)


def signs_in(client_id, method):
    """Somebody signs in; the client refreshes and gives back what it got."""
    scope = "openid profile offline_access"
    client = session(client_id, method, scope=scope, redirect_uri=CALLBACK, code_challenge_method="S256")
    verifier, nonce = generate_token(48), generate_token(20)
    address, state = client.create_authorization_url(
        METADATA["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    came = authorize(address)
    token = client.fetch_token(TOKEN, authorization_response=came, code_verifier=verifier, state=state)
    identity = verified(token["id_token"], "JWT")
    assert (identity["aud"], identity["nonce"]) == (client_id, nonce), identity
    person = client.get(METADATA["userinfo_endpoint"])
    assert person.json()["preferred_username"] == ALICE["username"], person.text

    first = client.token
    second = client.refresh_token(TOKEN, refresh_token=first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    access = verified(second["access_token"], "at+jwt")
    assert access["sub"] == identity["sub"] and access["client_id"] == client_id, access
    assert client.get(METADATA["userinfo_endpoint"]).status_code == 200
    assert known(second["access_token"])["sub"] == identity["sub"]

    derived = session("orders", "client_secret_basic").fetch_token(
        TOKEN,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=second["access_token"],
        subject_token_type=ACCESS_TOKEN,
        audience="payments",
    )
    assert derived["issued_token_type"] == ACCESS_TOKEN, derived
    narrow = verified(derived["access_token"], "at+jwt")
    assert (narrow["sub"], narrow["aud"]) == (identity["sub"], "payments"), narrow
    assert narrow["act"]["sub"] == "orders", narrow

    orders = session("orders", "client_secret_basic")
    actor = orders.fetch_token(TOKEN, grant_type="client_credentials")["access_token"]
    acted = orders.fetch_token(
        TOKEN,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=second["access_token"],
        subject_token_type=ACCESS_TOKEN,
        actor_token=actor,
        actor_token_type=ACCESS_TOKEN,
        audience="payments",
    )
    by_actor = verified(acted["access_token"], "at+jwt")
    assert (by_actor["sub"], by_actor["act"]) == (identity["sub"], {"sub": "orders"}), by_actor

    answer = client.revoke_token(METADATA["revocation_endpoint"], second["refresh_token"])
    assert answer.status_code == 200, answer.text
    for gone in (second, derived, acted):
        assert known(gone["access_token"]) == {"active": False}, gone
    assert client.get(METADATA["userinfo_endpoint"]).status_code == 401
    refused("invalid_grant", lambda: client.refresh_token(TOKEN, refresh_token=second["refresh_token"]))


for way in ("client_secret_basic", "client_secret_post"):
    asks(way)
    signs_in("demo-web", way)
signs_in("demo-spa", "none")
