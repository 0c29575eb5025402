"""Every torture message of RFC 4475 and what it must lead to in a user agent's message layer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from active_call.base.errors import ParseError
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.framing import StreamFramer
from active_call.sip.syntax.headers import parse_name_addr, parse_via
from active_call.sip.syntax.message import Request, Response, parse_leniently, parse_message
from active_call.sip.syntax.validation import validate_request, validate_response

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc4475"

ACCEPTED = "accepted"
DROPPED = "dropped"

# name: (section, verdict). A number is the code of the refusal. What only an application may refuse (415, 420, 401 …) is accepted here.
VERDICTS: dict[str, tuple[str, str | int]] = {
    "wsinv": ("3.1.1.1", ACCEPTED),
    "intmeth": ("3.1.1.2", ACCEPTED),
    "esc01": ("3.1.1.3", ACCEPTED),
    "escnull": ("3.1.1.4", ACCEPTED),
    "esc02": ("3.1.1.5", ACCEPTED),
    "lwsdisp": ("3.1.1.6", ACCEPTED),
    "longreq": ("3.1.1.7", ACCEPTED),
    "dblreq": ("3.1.1.8", ACCEPTED),
    "semiuri": ("3.1.1.9", ACCEPTED),
    "transports": ("3.1.1.10", ACCEPTED),
    "mpart01": ("3.1.1.11", ACCEPTED),
    "unreason": ("3.1.1.12", ACCEPTED),
    "noreason": ("3.1.1.13", ACCEPTED),
    "badinv01": ("3.1.2.1", 400),
    "clerr": ("3.1.2.2", 400),
    "ncl": ("3.1.2.3", 400),
    "scalar02": ("3.1.2.4", 400),
    "scalarlg": ("3.1.2.5", DROPPED),
    "quotbal": ("3.1.2.6", 400),
    "ltgtruri": ("3.1.2.7", 400),
    "lwsruri": ("3.1.2.8", 400),
    "lwsstart": ("3.1.2.9", 400),
    "trws": ("3.1.2.10", 400),
    "escruri": ("3.1.2.11", 400),
    "baddate": ("3.1.2.12", ACCEPTED),  # the RFC lets an element ignore a Date it has no use for
    "regbadct": ("3.1.2.13", 400),
    "badaspec": ("3.1.2.14", ACCEPTED),  # the RFC lets an element pass over the blanks inside the brackets
    "baddn": ("3.1.2.15", ACCEPTED),  # the RFC lets an element take the display name as it stands
    "badvers": ("3.1.2.16", 505),
    "mismatch01": ("3.1.2.17", 400),
    "mismatch02": ("3.1.2.18", 400),
    "bigcode": ("3.1.2.19", DROPPED),
    "badbranch": ("3.2.1", ACCEPTED),
    "insuf": ("3.3.1", 400),
    "unkscm": ("3.3.2", 416),
    "novelsc": ("3.3.3", 416),
    "unksm2": ("3.3.4", ACCEPTED),  # a registrar refuses it, for the meaning of To
    "bext01": ("3.3.5", ACCEPTED),
    "invut": ("3.3.6", ACCEPTED),
    "regaut01": ("3.3.7", ACCEPTED),
    "multi01": ("3.3.8", 400),
    "mcl01": ("3.3.9", 400),
    "bcast": ("3.3.10", ACCEPTED),  # dropped by who knows that the second Via is not ours
    "zeromf": ("3.3.11", ACCEPTED),
    "cparam01": ("3.3.12", ACCEPTED),
    "cparam02": ("3.3.13", ACCEPTED),
    "regescrt": ("3.3.14", ACCEPTED),
    "sdp01": ("3.3.15", ACCEPTED),
    "inv2543": ("3.4.1", ACCEPTED),
}


def load(name: str) -> bytes:
    return (VECTORS / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    message = parse_message(load(name))
    assert isinstance(message, Request)
    return message


def judge(data: bytes) -> str | int:
    try:
        message = parse_message(data)
        if isinstance(message, Request):
            validate_request(message)
        else:
            validate_response(message)
    except BadRequest as error:
        return error.code if error.reason else "no reason"
    except ParseError:
        return DROPPED
    return ACCEPTED


def test_rfc4475_vectors_are_the_bytes_of_the_rfc() -> None:
    """Line endings and blanks are what these messages are about; no editor may touch them."""
    total = hashlib.sha256()
    for path in sorted(VECTORS.glob("*.dat")):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    assert total.hexdigest() == "db35a66e2663a19fe41560b708930d4c1aae92e41e156e3cb7c4709d2fb08640"


def test_rfc4475_every_vector_has_a_verdict() -> None:
    assert {path.stem for path in VECTORS.glob("*.dat")} == set(VERDICTS)
    assert len(VERDICTS) == 49


@pytest.mark.parametrize("name", VERDICTS)
def test_rfc4475_vector_leads_to_its_verdict(name: str) -> None:
    assert judge(load(name)) == VERDICTS[name][1]


@pytest.mark.parametrize("name", [name for name, (_, verdict) in VERDICTS.items() if isinstance(verdict, int)])
def test_rfc4475_refused_vector_leaves_enough_for_the_refusal(name: str) -> None:
    readable = parse_leniently(load(name))
    assert readable is not None
    assert readable.headers.get("Via")
    assert readable.headers.get("CSeq")


def test_wsinv_3_1_1_1_reads_every_folded_value() -> None:
    message = request("wsinv")
    assert message.to.uri_text == "sip:vivekg@chair-dnrc.example.com"
    assert message.to.tag == "1918181833n"
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert (message.top_via.transport, message.top_via.host, message.top_via.branch) == ("UDP", "192.0.2.2", "390skdjuw")
    assert len(message.headers.split("Via")) == 3
    assert message.headers.get("Subject") == ""
    assert message.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert len(message.body) == 150


def test_intmeth_3_1_1_2_keeps_every_strange_character() -> None:
    message = request("intmeth")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.parsed_uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.parsed_uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.headers.get("extensionheader-!.%*+_`'~") == "\ufeff大停電"
    assert message.to_bytes() == load("intmeth").replace(b"~:\xef", b"~: \xef")


def test_esc01_3_1_1_3_resolves_escapes_only_where_they_mean_the_same() -> None:
    message = request("esc01")
    assert message.parsed_uri.user == "sips%3Auser%40example.com"
    assert message.parsed_uri.decoded_user == "sips:user@example.com"
    contact = message.headers.get("Contact") or ""
    assert contact.startswith("<sip:cal%6Cer@host5.example.net")
    assert "%6C%72" in contact


def test_esc01_3_1_1_3_escaped_parameter_name_is_lr() -> None:
    uri = parse_name_addr(request("esc01").headers.get("Contact") or "").uri
    assert uri.parameters == {"lr": None, "name": "v%61lue%25%34%31"}


def test_esc02_3_1_1_5_escaped_header_name_is_another_header() -> None:
    message = request("esc02")
    assert message.method == "RE%47IST%45R"
    assert len(message.headers.get_all("Contact")) == 2
    assert message.to.display == "%Z%45"


def test_longreq_3_1_1_7_reads_all_34_via_lines() -> None:
    message = request("longreq")
    hosts = [via.split()[1].split(";")[0] for via in message.headers.split("Via")]
    assert hosts == [f"sip{n}.example.com" for n in range(33, 0, -1)] + ["host.example.com"]


def test_dblreq_3_1_1_8_datagram_gives_the_first_request_only() -> None:
    message = request("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")


def test_dblreq_3_1_1_8_stream_gives_both_requests() -> None:
    found = [parse_message(item) for item in StreamFramer().feed(load("dblreq")) if isinstance(item, bytes)]
    assert [message.method for message in found if isinstance(message, Request)] == ["REGISTER", "INVITE"]


def test_clerr_3_1_2_2_stream_waits_for_the_rest() -> None:
    assert StreamFramer().feed(load("clerr")) == []


def test_ncl_3_1_2_3_stream_cannot_go_on() -> None:
    with pytest.raises(ParseError):
        StreamFramer().feed(load("ncl"))


def test_semiuri_3_1_1_9_semicolon_belongs_to_the_user() -> None:
    uri = request("semiuri").parsed_uri
    assert (uri.user, uri.host, uri.parameters) == ("user;par=u%40example.net", "example.com", {})


def test_transports_3_1_1_10_reads_unknown_transports() -> None:
    vias = [parse_via(text) for text in request("transports").headers.split("Via")]
    assert [via.transport for via in vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_3_1_1_11_keeps_a_body_with_every_octet() -> None:
    message = request("mpart01")
    assert len(message.body) == 553
    assert b"\x00" in message.body


def test_unreason_3_1_1_12_keeps_a_reason_in_utf8() -> None:
    message = parse_message(load("unreason"))
    assert isinstance(message, Response)
    assert message.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    assert message.to_bytes() == load("unreason")


def test_noreason_3_1_1_13_has_an_empty_reason() -> None:
    message = parse_message(load("noreason"))
    assert isinstance(message, Response)
    assert (message.code, message.reason) == (100, "")


def test_badaspec_3_1_2_14_blanks_around_the_uri_do_not_count() -> None:
    assert request("badaspec").to.uri.user == "t.watson"


def test_baddn_3_1_2_15_comma_in_a_bare_display_name() -> None:
    assert request("baddn").from_.display == "Bell, Alexander"


def test_cparam01_3_3_12_parameter_without_brackets_is_the_headers() -> None:
    contact = parse_name_addr(request("cparam01").headers.get("Contact") or "")
    assert (contact.uri.parameters, contact.parameters) == ({}, {"unknownparam": None})


def test_cparam02_3_3_13_parameter_within_brackets_is_the_uris() -> None:
    contact = parse_name_addr(request("cparam02").headers.get("Contact") or "")
    assert (contact.uri.parameters, contact.parameters) == ({"unknownparam": None}, {})


def test_regescrt_3_3_14_headers_within_brackets_are_the_uris() -> None:
    assert parse_name_addr(request("regescrt").headers.get("Contact") or "").uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_inv2543_3_4_1_body_without_content_length_runs_to_the_end() -> None:
    message = request("inv2543")
    assert message.from_.tag is None
    assert message.body.startswith(b"v=0") and message.body.endswith(b"RTP/AVP 0\r\n")
