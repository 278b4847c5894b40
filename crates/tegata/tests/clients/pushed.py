"""authlib: a request that is pushed first, so that the browser carries nothing but its name."""

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from demo import ALICE, CALLBACK, METADATA, authorize, described

PUSHED = METADATA["pushed_authorization_request_endpoint"]


def push(client, **more):
    """The name of a request, for the client that it is of."""
    asked = {
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid profile",
        "state": "a state",
        "code_challenge_method": "S256",
        **more,
    }
    return requests.post(PUSHED, asked, auth=(client["client_id"], client["client_secret"]), timeout=30)


web = described("demo-web")
verifier = generate_token(48)
answer = push(web, code_challenge=create_s256_code_challenge(verifier))
assert answer.status_code == 201, answer.text
pushed = answer.json()
assert pushed["request_uri"].startswith("urn:ietf:params:oauth:request_uri:"), pushed
assert 0 < pushed["expires_in"] <= 600, pushed

client = OAuth2Session(
    web["client_id"],
    web["client_secret"],
    token_endpoint_auth_method="client_secret_basic",
    redirect_uri=CALLBACK,
    state="a state",
)
by_name = f"?client_id={web['client_id']}&request_uri={pushed['request_uri']}"
came = authorize(METADATA["authorization_endpoint"] + by_name)
client.fetch_token(
    METADATA["token_endpoint"], authorization_response=came, code_verifier=verifier, state="a state"
)
person = client.get(METADATA["userinfo_endpoint"])
assert person.json()["preferred_username"] == ALICE["username"], person.text

# It is of its client, says all that counts, and nobody pushes without proving who they are.
wrong = push({**web, "client_secret": "wrong"}, code_challenge=create_s256_code_challenge(verifier))
assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client"), wrong.text
bare = push(web)
assert (bare.status_code, bare.json()["error"]) == (400, "invalid_request"), bare.text
