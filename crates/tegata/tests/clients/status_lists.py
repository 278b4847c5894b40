"""pycose: a status list as a CWT says of a token what the JWT says, and is signed by a published key.

What reads it shares no code with what wrote it: cbor2 reads CBOR, pycose judges the signature."""

import base64
import json
import time
import zlib

import cbor2
import requests
from demo import ISSUER, KEYS, METADATA, described
from pycose.headers import KID, Algorithm
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import CoseMessage, Sign1Message

CWT, JWT = "application/statuslist+cwt", "application/statuslist+jwt"
# RFC 8392 §4; Token Status List §5.2.
ISS, SUB, EXP, IAT, STATUS_LIST, TTL = 1, 2, 4, 6, 65533, 65534
# RFC 9596.
TYP = 16


def decoded(text):
    """What unpadded base64url stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def part(token, index):
    """A part of a JWT."""
    return json.loads(decoded(token.split(".")[index]))


def asked(uri, form, **more):
    """The answer to somebody who takes only this form."""
    answer = requests.get(uri, headers={"Accept": form}, timeout=30, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == form, answer.headers
    assert answer.headers["Vary"] == "Accept, Accept-Encoding", answer.headers
    return answer


def cwt(uri):
    """The claims of a list, after everything that the draft asks for."""
    answer = asked(uri, CWT)
    assert "Content-Encoding" not in answer.headers, answer.headers
    tagged = cbor2.loads(answer.content)
    # Tagged as COSE_Sign1, and with no tag of a CWT around it.
    assert tagged.tag == 18, tagged
    protected, unprotected, payload, signature = tagged.value
    header = cbor2.loads(protected)
    assert header[1] == -7 and header[TYP] == CWT and sorted(header) == [1, 4, TYP], header
    assert dict(unprotected) == {} and len(signature) == 64

    message = CoseMessage.decode(answer.content)
    assert isinstance(message, Sign1Message), message
    assert message.phdr[Algorithm].fullname == "ES256", message.phdr
    kid = message.phdr[KID].decode()
    key = next(key for key in KEYS["keys"] if key["kid"] == kid)
    assert key["alg"] == "ES256", key
    message.key = EC2Key(crv=P256, x=decoded(key["x"]), y=decoded(key["y"]))
    assert message.verify_signature(), "the signature is wrong"
    message.payload += b"\x00"
    assert not message.verify_signature(), "the signature is over something else"

    claims = cbor2.loads(payload)
    # Written in the one form that is deterministic (RFC 8949 §4.2.1): numbers before texts, by their size.
    assert list(claims) == sorted(claims), claims
    assert set(claims) == {ISS, SUB, EXP, IAT, STATUS_LIST, TTL}, claims
    assert claims[ISS] == ISSUER and claims[SUB] == uri, claims
    assert claims[EXP] - claims[IAT] == 300 and claims[TTL] == 60, claims
    assert set(claims[STATUS_LIST]) == {"bits", "lst"} and claims[STATUS_LIST]["bits"] == 1, claims
    return claims


def bits_of_cwt(uri):
    """The bits that a CWT holds, as bytes of zlib."""
    return zlib.decompress(cwt(uri)[STATUS_LIST]["lst"])


def bits_of_jwt(uri):
    """The bits that a JWT holds. `requests` asks for gzip, and undoes it."""
    answer = asked(uri, JWT)
    assert answer.headers["Content-Encoding"] == "gzip", answer.headers
    return zlib.decompress(decoded(part(answer.text, 1)["status_list"]["lst"]))


def is_set(bits, index):
    """Token Status List §4.1: the lowest bit of a byte is the first."""
    assert len(bits) == 1 << 17
    return bits[index // 8] >> (index % 8) & 1 == 1


def until(what, holds):
    """A list is given out for some seconds as it was made."""
    for _ in range(100):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(what)


service = ("demo-service", described("demo-service")["client_secret"])
answer = requests.post(
    METADATA["token_endpoint"], {"grant_type": "client_credentials"}, auth=service, timeout=30
)
token = answer.json()["access_token"]
place = part(token, 1)["status"]["status_list"]
uri, index = place["uri"], place["idx"]
assert not is_set(bits_of_cwt(uri), index)
assert not is_set(bits_of_jwt(uri), index)

answer = requests.post(METADATA["revocation_endpoint"], {"token": token}, auth=service, timeout=30)
assert answer.status_code == 200, answer.text
until("the CWT has the bit", lambda: is_set(bits_of_cwt(uri), index))
until("the JWT has the bit", lambda: is_set(bits_of_jwt(uri), index))
