"""authlib over connections that show a certificate: it proves who the client is, and tokens are theirs
alone who show it."""

import os
import tempfile

import requests
from authlib.integrations.requests_client import OAuth2Session
from demo import CONTEXT, METADATA, refused

ALIASES = METADATA["mtls_endpoint_aliases"]
TOKEN = ALIASES["token_endpoint"]
assert "tls_client_auth" in METADATA["token_endpoint_auth_methods_supported"], METADATA
assert TOKEN != METADATA["token_endpoint"]

place = tempfile.TemporaryDirectory()


def files(name):
    """The certificate and the key of somebody, as requests takes them."""
    paths = []
    for part in ("cert", "key"):
        path = os.path.join(place.name, f"{name}.{part}.pem")
        with open(path, "w", encoding="utf-8", opener=lambda at, how: os.open(at, how, 0o600)) as file:
            file.write(CONTEXT["certificates"][name][part])
        paths.append(path)
    return tuple(paths)


def client(name, shown):
    """A client that says its name, and shows a certificate or none."""
    session = OAuth2Session(name, token_endpoint_auth_method="none")
    session.cert = shown
    return session


def asks(session):
    """A token in its own name."""
    return session.fetch_token(TOKEN, grant_type="client_credentials")


def called(token, shown):
    """What the gateway answers to whoever shows a token."""
    bearer = {"Authorization": f"Bearer {token}"}
    address = CONTEXT["gateway"] + CONTEXT["protected_path"]
    return requests.get(address, headers=bearer, cert=shown, timeout=30).status_code


for name in ("machine", "own"):
    token = asks(client(name, files(name)))["access_token"]
    assert called(token, files(name)) == 200
    for thief in (files("other"), None):
        assert called(token, thief) == 401
        refused("invalid_client", lambda: asks(client(name, thief)))
