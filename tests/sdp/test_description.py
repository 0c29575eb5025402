"""Session descriptions: reading and writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.base.errors import ParseError
from active_call.sdp.description import Crypto, Origin, RtpMap, format_description, is_unspecified, parse_description

CARRIERS = Path(__file__).parents[1] / "vectors" / "carriers"

# RFC 8866 §5, the example, without the lines that have gone out of use.
RFC8866 = b"""v=0
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
s=Call to John Smith
i=SDP Offer #1
u=http://www.jdoe.example.com/home.html
e=Jane Doe <jane@jdoe.example.com>
p=+1 617 555-6011
c=IN IP4 198.51.100.1
t=0 0
m=audio 49170 RTP/AVP 0
m=audio 49180 RTP/AVP 0
m=video 51372 RTP/AVP 99
c=IN IP6 2001:db8::2
a=rtpmap:99 h263-1998/90000
"""


def minimal(*lines: str) -> bytes:
    return ("v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" + "".join(f"{line}\r\n" for line in lines)).encode()


def test_parse_description_rfc8866_5_example() -> None:
    description = parse_description(RFC8866)
    assert description.origin == Origin("jdoe", "3724394400", "3724394405", "198.51.100.1")
    assert description.name == "Call to John Smith"
    assert [(m.media, m.port, m.formats) for m in description.media] == [
        ("audio", 49170, ("0",)),
        ("audio", 49180, ("0",)),
        ("video", 51372, ("99",)),
    ]
    assert [description.address_of(m) for m in description.media] == ["198.51.100.1", "198.51.100.1", "2001:db8::2"]
    assert description.media[2].rtpmaps() == {99: RtpMap(99, "h263-1998", 90000)}


def test_format_description_read_back_is_equal() -> None:
    description = parse_description((CARRIERS / "meta_offer.sdp").read_bytes())
    assert parse_description(format_description(description)) == description


def test_format_description_writes_crlf_in_order() -> None:
    text = format_description(parse_description(RFC8866)).decode()
    kinds = [line[0] for line in text.split("\r\n")[:-1]]
    assert kinds == ["v", "o", "s", "c", "t", "m", "m", "m", "c", "a"]
    assert "c=IN IP6 2001:db8::2\r\n" in text


def test_media_fmtp_keeps_blanks_and_events_of_both_clocks() -> None:
    section = parse_description((CARRIERS / "telnyx_invite_compact.dat").read_bytes().partition(b"\r\n\r\n")[2]).media[0]
    assert section.fmtp(102) == "useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20"
    assert section.rtpmaps()[102] == RtpMap(102, "opus", 48000, 2)
    assert section.rtcp() == (24357, "36.255.198.129")
    assert section.milliseconds("ptime") == 20
    assert section.fmtp(96) is None


def test_media_without_session_address_has_its_own() -> None:
    description = parse_description((CARRIERS / "meta_offer.sdp").read_bytes())
    assert (description.address, description.address_of(description.media[0])) == (None, "157.240.19.130")
    assert description.media[0].rtcp() == (9, "0.0.0.0")


def test_cryptos_reads_well_formed_lines_only() -> None:
    section = parse_description(
        minimal(
            "m=audio 1 RTP/SAVP 0", "a=crypto:1 S inline:k|2^31|1:1 WSH=64 KDR=1", "a=crypto:x S inline:k", "a=crypto:", "a=crypto:2 T u:k"
        )
    ).media[0]
    assert section.cryptos() == [Crypto(1, "S", "inline:k|2^31|1:1", "WSH=64 KDR=1"), Crypto(2, "T", "u:k")]


def test_direction_of_media_wins_over_session() -> None:
    description = parse_description(minimal("a=sendonly", "m=audio 1 RTP/AVP 0", "m=audio 2 RTP/AVP 0", "a=inactive"))
    assert [description.direction_of(section) for section in description.media] == ["sendonly", "inactive"]
    plain = parse_description(minimal("m=audio 1 RTP/AVP 0"))
    assert plain.direction_of(plain.media[0]) == "sendrecv"


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_parse_description_takes_any_line_end(ending: bytes) -> None:
    assert len(parse_description(RFC8866.replace(b"\n", ending)).media) == 3


def test_parse_description_takes_missing_s_and_t_brackets_ttl_and_padding() -> None:
    description = parse_description(
        b"v=0\r\no=a b c 1 2 IN IP4 h\r\nc=IN IP4 224.2.1.1/127/3\r\nm=audio 5/2 RTP/AVP 0 \r\nc=in ip6 [::1]\r\n\r\n\0"
    )
    section = description.media[0]
    assert (description.address, section.address, section.port_count, section.formats) == ("224.2.1.1", "::1", 2, ("0",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=ptime:20", 20),
        ("a=ptime:2.5", 2),
        ("a=ptime:", None),
        ("a=ptime:x", None),
        ("a=ptime:0", None),
        ("a=ptime:nan", None),
        ("a=ptime:1e9", None),
    ],
)
def test_media_milliseconds_are_sensible_or_absent(line: str, expected: int | None) -> None:
    assert parse_description(minimal("m=audio 1 RTP/AVP 0", line)).media[0].milliseconds("ptime") == expected


def test_media_payload_types_pass_over_what_is_no_number() -> None:
    assert parse_description(minimal("m=audio 1 RTP/AVP 0 x 128 007 -1 127")).media[0].payload_types == (0, 7, 127)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1\r\n",
        b"hello",
        b"v=0\r\ns=-\r\n",
        b"v=0\r\no=-\r\n",
        minimal("nonsense"),
        minimal("m=audio"),
        minimal("m=audio 65536 RTP/AVP 0"),
        minimal("m=audio x RTP/AVP 0"),
        minimal("m=audio 1 RTP/AVP 0", "c=IN IP4"),
        minimal("m=audio 1 RTP/AVP 0", "c=IN IP6 1::2::3"),
        minimal("m=audio 1 RTP/AVP 0", "c=IN ATM x"),
        b"v=0\r\no=- 1 2 IN IP4 h\r\n" + b"a=x\r\n" * 20_000,
    ],
)
def test_parse_description_malformed_raises(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_description(data)


@pytest.mark.parametrize(
    ("address", "expected"), [("0.0.0.0", True), ("::", True), ("0:0::0", True), ("192.0.2.1", False), ("host", False)]
)
def test_is_unspecified(address: str, expected: bool) -> None:
    assert is_unspecified(address) is expected
