"""Digest authentication against the RFCs' own numbers."""

from __future__ import annotations

import hashlib
import re

import pytest

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.events import Credentials
from active_call.sip.syntax import digest
from active_call.sip.syntax.digest import (
    Challenge,
    authorization,
    parse_challenge,
    select_challenge,
)

RFC2617 = Challenge(
    "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "5ccc069c403ebaf9f0171e9517f40e41", None, ("auth", "auth-int")
)
RFC7616_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def answer(challenge: Challenge, password: str, *, cnonce: str = "0a4f113b", body: bytes = b"", username: str = "Mufasa") -> str:
    return authorization(challenge, Credentials(username, password), "GET", "/dir/index.html", body, 1, cnonce)


def response(challenge: Challenge, password: str, **more: str) -> str:
    return response_in(answer(challenge, password, **more))  # type: ignore[arg-type]


def response_in(header: str) -> str:
    (found,) = re.findall(r' response="([0-9a-f]+)"', header)
    return str(found)


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_authorization_rfc2617_3_5_example() -> None:
    assert answer(RFC2617, "Circle Of Life") == (
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", '
        'response="6629fae49393a05397450978507c4ef1", cnonce="0a4f113b", qop=auth, nc=00000001, opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )


def test_authorization_rfc2069_example_without_qop() -> None:
    challenge = Challenge("testrealm@host.com", RFC2617.nonce, "5ccc069c403ebaf9f0171e9517f40e41")
    header = answer(challenge, "CircleOfLife")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in header
    assert "cnonce" not in header and "nc=" not in header and "qop" not in header


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("sha-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_authorization_rfc7616_3_9_1_example(algorithm: str, expected: str) -> None:
    challenge = Challenge(
        "http-auth@example.org", RFC7616_NONCE, "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", algorithm, ("auth", "auth-int")
    )
    assert response(challenge, "Circle of Life", cnonce=RFC7616_CNONCE) == expected
    assert f"algorithm={algorithm}" in answer(challenge, "Circle of Life")


@pytest.mark.skipif("SHA-512-256" not in digest.ALGORITHMS, reason="this build of OpenSSL has no SHA-512/256")
def test_authorization_rfc7616_3_9_2_sha_512_256_as_in_erratum_4897() -> None:
    challenge = Challenge("api@example.org", "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", None, "SHA-512-256", ("auth",))
    credentials = Credentials("J\u00e4s\u00f8n Doe", "Secret, or not?")
    header = authorization(challenge, credentials, "GET", "/doe.json", b"", 1, "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v")
    assert response_in(header) == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_authorization_md5_sess_hashes_the_nonces_in() -> None:
    challenge = Challenge("r", "n", None, "MD5-sess", ("auth",))
    ha1 = md5(md5("Mufasa:r:p") + ":n:c")
    assert response(challenge, "p", cnonce="c") == md5(f"{ha1}:n:00000001:c:auth:" + md5("GET:/dir/index.html"))


def test_authorization_auth_int_hashes_the_body() -> None:
    challenge = Challenge("r", "n", None, None, ("auth-int",))
    header = answer(challenge, "p", cnonce="c", body=b"v=0")
    ha2 = md5("GET:/dir/index.html:" + md5("v=0"))
    assert response_in(header) == md5(md5("Mufasa:r:p") + f":n:00000001:c:auth-int:{ha2}")


def test_authorization_counts_in_hexadecimal() -> None:
    header = authorization(RFC2617, Credentials("u", "p"), "GET", "/", b"", 26, "c")
    assert "nc=0000001a" in header


def test_authorization_of_an_unknown_algorithm_raises() -> None:
    with pytest.raises(LocalProtocolError):
        answer(Challenge("r", "n", None, "AKAv1-MD5"), "p")


def test_parse_challenge_twilio_407_names_no_algorithm() -> None:
    text = 'Digest realm="sip.twilio.com",qop="auth",nonce="aQ9mfGkPZVA4KuRX+W/dx4cQ",opaque="5ed0c0b7"'
    assert parse_challenge(text) == Challenge("sip.twilio.com", "aQ9mfGkPZVA4KuRX+W/dx4cQ", "5ed0c0b7", None, ("auth",))


def test_parse_challenge_telnyx_401_has_no_qop_and_its_opaque_is_echoed() -> None:
    challenge = parse_challenge('Digest realm="sip.telnyx.com", nonce="abc", opaque="2/10.13.246.184"')
    assert (challenge.qop, challenge.opaque) == ((), "2/10.13.246.184")
    assert answer(challenge, "p").endswith('opaque="2/10.13.246.184"')


def test_parse_challenge_reads_stale_and_spaced_qop() -> None:
    challenge = parse_challenge('dIgEsT  realm = "a, \\"b\\"" , nonce="n",qop="auth-int , AUTH",STALE=TRUE, algorithm=md5, , x=y')
    assert challenge == Challenge('a, "b"', "n", None, "md5", ("auth-int", "auth"), stale=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        "Basic realm=x",
        'Digest realm="x"',
        'Digest nonce="x"',
        'Digest realm="x, nonce="y',
        "Digest realm",
        'Digest realm="a",realm="b",nonce="n"',
    ],
)
def test_parse_challenge_malformed_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_challenge(text)


def test_select_challenge_takes_the_topmost_supported() -> None:
    headers = [
        "Bearer x",
        'Digest realm="r",nonce="1",algorithm=AKAv1-MD5',
        'Digest realm="r",nonce="2",qop="other"',
        "Digest broken",
        'Digest realm="r",nonce="3",algorithm=SHA-256',
        'Digest realm="r",nonce="4"',
    ]
    chosen = select_challenge(headers)
    assert chosen is not None and chosen.nonce == "3"
    assert select_challenge(headers[:4]) is None


def test_select_challenge_passes_over_a_hash_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "ALGORITHMS", frozenset({"MD5"}))
    chosen = select_challenge(['Digest realm="r",nonce="1",algorithm=SHA-512-256', 'Digest realm="r",nonce="2",algorithm=MD5'])
    assert chosen is not None and chosen.nonce == "2"


def test_credentials_and_keys_do_not_leak_a_password_into_the_header() -> None:
    assert "Circle Of Life" not in answer(RFC2617, "Circle Of Life")
