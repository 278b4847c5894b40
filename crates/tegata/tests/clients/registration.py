"""authlib: a client registers itself, is used, and is read, changed and removed (RFC 7591, RFC 7592)."""

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Auth, OAuth2Session
from demo import CALLBACK, METADATA, authorize, refused

SAID = {
    "redirect_uris": [CALLBACK],
    "client_name": "A client of the tests",
    "grant_types": ["authorization_code", "refresh_token"],
    "scope": "openid profile offline_access",
    "token_endpoint_auth_method": "client_secret_post",
}

answer = requests.post(METADATA["registration_endpoint"], json=SAID, timeout=30)
assert answer.status_code == 201, answer.text
client = answer.json()
own = client["registration_client_uri"]
bearer = OAuth2Auth({"access_token": client["registration_access_token"], "token_type": "bearer"})


def signs_in():
    """Somebody signs in at the client."""
    session = OAuth2Session(
        client["client_id"],
        client["client_secret"],
        token_endpoint_auth_method="client_secret_post",
        scope="openid offline_access",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
    )
    verifier = generate_token(48)
    address, state = session.create_authorization_url(
        METADATA["authorization_endpoint"], code_verifier=verifier
    )
    token = session.fetch_token(
        METADATA["token_endpoint"],
        authorization_response=authorize(address),
        code_verifier=verifier,
        state=state,
    )
    assert token["id_token"] and token["refresh_token"], token
    return session


assert signs_in().get(METADATA["userinfo_endpoint"]).status_code == 200
read = requests.get(own, auth=bearer, timeout=30)
assert read.status_code == 200, read.text
for name, value in SAID.items():
    assert read.json()[name] == value, (name, read.text)
assert requests.get(own, timeout=30).status_code == 401

changed = SAID | {"client_id": client["client_id"], "client_name": "Another name"}
put = requests.put(own, json=changed, auth=bearer, timeout=30)
assert put.status_code == 200 and put.json()["client_name"] == "Another name", put.text
client |= put.json()
session = signs_in()

assert requests.delete(own, auth=bearer, timeout=30).status_code == 204
assert requests.get(own, auth=bearer, timeout=30).status_code == 401
# With the client, all that it had is gone.
assert session.get(METADATA["userinfo_endpoint"]).status_code == 401
refresh = session.token["refresh_token"]
refused("invalid_client", lambda: session.refresh_token(METADATA["token_endpoint"], refresh_token=refresh))
