"""The demo that a script is run against, and a browser for its pages. `demo.mjs` says what the context is.

python SCRIPT CONTEXT
"""

import html
import json
import os
import re
import signal
import sys
import uuid
from urllib.parse import urljoin, urlsplit

# The demo has no TLS, which the library would ask for.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests

# Whoever waits for something that does not come is ended.
signal.alarm(120)

with open(sys.argv[1], encoding="utf-8") as file:
    CONTEXT = json.load(file)

ISSUER = CONTEXT["issuer"]
CALLBACK = "http://127.0.0.1:9999/callback"
ALICE = next(user for user in CONTEXT["users"] if user["username"] == "alice")
METADATA = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=30).json()
KEYS = requests.get(METADATA["jwks_uri"], timeout=30).json()


def described(client_id):
    """A client of the description."""
    return next(client for client in CONTEXT["clients"] if client["client_id"] == client_id)


def unique(name):
    """A name that no other script uses."""
    return f"{name}-{uuid.uuid4()}"


def authorize(address):
    """Answers an authorization request in a new browser: signs in and agrees where it is asked."""
    browser = requests.Session()
    browser.headers["User-Agent"] = "Mozilla/5.0 Firefox/140.0"
    answer = browser.get(address, allow_redirects=False, timeout=30)
    for _ in range(10):
        if answer.is_redirect:
            address = urljoin(answer.url, answer.headers["Location"])
            if address.startswith(CALLBACK):
                return address
            assert urlsplit(address).netloc == urlsplit(ISSUER).netloc, address
            answer = browser.get(address, allow_redirects=False, timeout=30)
        else:
            assert answer.status_code == 200, answer.text
            answer = submit(browser, answer)
    raise AssertionError("no answer came to the callback")


def answer_device(address, decision, person):
    """Answers a device in a new browser: signs in, looks at its code and decides."""
    browser = requests.Session()
    browser.headers["User-Agent"] = "Mozilla/5.0 Firefox/140.0"
    answer = browser.get(address, timeout=30)
    for _ in range(4):
        assert answer.status_code == 200, answer.text
        decided = "name=\"decision\"" in answer.text
        answer = submit(browser, answer, decision, follows=True, person=person)
        if decided:
            assert answer.status_code == 200, answer.text
            return
    raise AssertionError("nobody was asked about the device")


def submit(browser, answer, decision="allow", follows=False, person=ALICE):
    """Sends the form of a page: the sign-in, the code of a device, or the agreement."""
    tags = [attributes(tag) for tag in re.findall(r"<(?:form|input) [^>]*>", answer.text)]
    action = next(tag["action"] for tag in tags if tag.get("method") == "post")
    fields = {tag["name"]: tag["value"] for tag in tags if tag.get("type") == "hidden"}
    typed = {tag["name"]: tag.get("value") for tag in tags if tag.get("type") in ("text", "password")}
    if "username" in typed:
        fields |= {"username": person["username"], "password": person["password"]}
    elif "user_code" in typed:
        fields["user_code"] = typed["user_code"]
    else:
        fields["decision"] = decision
    fresh = {"Origin": ISSUER, "Sec-Fetch-Site": "same-origin"}
    address = urljoin(answer.url, action)
    return browser.post(address, fields, headers=fresh, allow_redirects=follows, timeout=30)


def attributes(tag):
    """The attributes of a tag."""
    return {name: html.unescape(value) for name, value in re.findall(r' ([\w-]+)="([^"]*)"', tag)}


def refused(error, ask):
    """Makes sure that the library says that the issuer refused, and with which error."""
    from authlib.common.errors import AuthlibBaseError

    try:
        answer = ask()
    except AuthlibBaseError as said:
        assert said.error == error, said
    else:
        raise AssertionError(f"not refused with {error}: {answer}")
