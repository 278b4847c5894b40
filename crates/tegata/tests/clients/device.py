"""authlib: a device without a browser, whose person allows it, or does not, in a browser elsewhere."""

import subprocess
import tempfile
import time

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from demo import CONTEXT, METADATA, answer_device, refused, unique

TOKEN = METADATA["token_endpoint"]
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
assert DEVICE in METADATA["grant_types_supported"], METADATA

NAME, SECRET = unique("television"), unique("a secret of a television")
# Nobody else's script ends these sessions by signing in too often.
PERSON = {"username": unique("somebody"), "password": unique("a long and private phrase")}
with tempfile.NamedTemporaryFile("w", suffix=".toml") as declared:
    declared.write(
        f'[[client]]\nclient_id = "{NAME}"\nclient_secret = "{SECRET}"\nredirect_uris = []\n'
        f'grant_types = ["{DEVICE}", "refresh_token"]\nscope = "openid profile offline_access"\n'
        f'[[user]]\nusername = "{PERSON["username"]}"\npassword = "{PERSON["password"]}"\n'
    )
    declared.flush()
    subprocess.run(
        [CONTEXT["program"], "apply", declared.name, "--data-dir", CONTEXT["data"]],
        check=True,
        capture_output=True,
    )


def begin():
    """What the device is told, and what it asks with from then on."""
    answer = requests.post(
        METADATA["device_authorization_endpoint"],
        {"scope": "openid profile offline_access"},
        auth=(NAME, SECRET),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    client = OAuth2Session(NAME, SECRET, token_endpoint_auth_method="client_secret_basic")
    return told, client, lambda: client.fetch_token(TOKEN, grant_type=DEVICE, device_code=told["device_code"])


def waited(told, ask):
    """The answer, for which the device asks as often as it may."""
    for _ in range(10):
        time.sleep(told["interval"] + 1)
        try:
            return ask()
        except AuthlibBaseError as said:
            assert said.error in ("authorization_pending", "slow_down"), said
    raise AssertionError("nobody answered")


told, client, ask = begin()
refused("authorization_pending", ask)
answer_device(told["verification_uri_complete"], "allow", PERSON)
token = waited(told, ask)
person = client.get(METADATA["userinfo_endpoint"])
assert person.status_code == 200 and person.json()["preferred_username"] == PERSON["username"], person.text
second = client.refresh_token(TOKEN, refresh_token=token["refresh_token"])
assert second["refresh_token"] != token["refresh_token"]
client.revoke_token(METADATA["revocation_endpoint"], second["refresh_token"])
refused("invalid_grant", lambda: client.refresh_token(TOKEN, refresh_token=second["refresh_token"]))

told, _, ask = begin()
answer_device(told["verification_uri_complete"], "deny", PERSON)
refused("access_denied", ask)
