"""The messages of a call for its record: which are kept, how long, and what is left out of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from far_end import Habits
from leg_stories import answered, buried, reached
from sip_far_end import SipStage

from active_call.legs.abilities import signalling_of
from active_call.legs.sip.trace.log import (
    LEAST_BYTES,
    MAX_BYTES,
    MAX_CALL_BYTES,
    MAX_ENDED,
    MAX_FIRST,
    MAX_LAST,
    MAX_WAITING,
    SipTrace,
)
from active_call.legs.sip.trace.text import call_id_of, headers_of, start_line_of, whole_text_of
from active_call.sip.events import Address, Flow, Target
from active_call.testing.virtual_time import VirtualClock, run_virtually

FLOW = Flow("tls", Address("198.51.100.1", 5061), Address("2001:db8::9", 5061), 7)


def said(leg: Any) -> list[str]:
    return [f"{'<' if one.is_received else '>'} {one.start_line}" for one in signalling_of(leg, whole=False)]


def test_inbound_call_has_every_message_from_invite_to_bye_in_order() -> None:
    async def story() -> None:
        party = await answered(SipStage())
        party.far.hangs_up()
        await buried(party)
        assert said(party.leg) == [
            "< INVITE sip:agent@198.51.100.1 SIP/2.0",
            "> SIP/2.0 100 Trying",
            "> SIP/2.0 180 Ringing",
            "> SIP/2.0 200 OK",
            "< ACK sip:agent@198.51.100.1:5060 SIP/2.0",
            "< BYE sip:agent@198.51.100.1:5060 SIP/2.0",
            "> SIP/2.0 200 OK",
        ]
        first = signalling_of(party.leg, whole=False)[0]
        assert (first.transport, first.peer, first.text) == ("udp", "192.0.2.9:5060", "")
        assert first.headers["CSeq"].endswith(" INVITE")
        assert "Via" not in first.headers
        assert "m=audio" in signalling_of(party.leg, whole=True)[0].text

    run_virtually(story())


def test_our_own_call_has_its_first_invite_and_the_answer_to_its_bye() -> None:
    async def story() -> None:
        party = await reached(SipStage())
        party.leg.hang_up(headers={}, by="system", cause="hangup", reason="")
        await party.until(lambda: party.seen.is_over)
        await asyncio.sleep(1.0)
        lines = said(party.leg)
        assert lines[0].startswith("> INVITE sip:desk-1@192.0.2.9")
        assert lines[-2].startswith("> BYE ")
        assert lines[-1].startswith("< SIP/2.0 200 ")
        times = [one.at_ms for one in signalling_of(party.leg, whole=False)]
        assert times == sorted(times)
        assert times[-1] > times[0] + 1000  # the far end has rung for a second

    run_virtually(story())


def test_released_call_is_forgotten_and_refused_ones_do_not_pile_up() -> None:
    async def story() -> None:
        stage = SipStage()
        party = await answered(stage)
        trace = stage._gateway.trace
        assert trace.n_followed == 1
        party.far.hangs_up()
        await buried(party)
        assert trace.n_followed == 0
        for _ in range(MAX_ENDED + 20):
            refused = await stage.incoming(Habits())
            refused.leg.attach(lambda _: None)
            refused.leg.reject(503, "No room")
        assert trace.n_followed == MAX_ENDED

    run_virtually(story())


def bare_trace() -> SipTrace:
    return SipTrace(VirtualClock(asyncio.get_running_loop()))


def invite(call_id: str, length: int = 0) -> bytes:
    return f"INVITE sip:a@b SIP/2.0\r\nCall-ID: {call_id}\r\n\r\n".encode() + b"x" * length


def test_call_with_very_many_messages_keeps_the_first_and_the_last() -> None:
    async def story() -> None:
        log = bare_trace()
        trace = log.new_trace()
        log.received(invite("many", 3 * MAX_BYTES), FLOW)
        log.follow(trace, "many")
        log.follow(trace, "many")
        for number in range(1000):
            log.sent(b"UPDATE sip:%d SIP/2.0\r\ni: many\r\n\r\n" % number, Target("udp", "host.example", 5070))
        kept = trace.messages(whole=True)
        assert len(kept) == MAX_FIRST + MAX_LAST
        assert trace.n_left_out == 1001 - len(kept)
        assert len(kept[0].text) == MAX_BYTES
        assert (kept[0].peer, kept[1].peer) == ("[2001:db8::9]:5061", "host.example:5070")
        assert kept[-1].start_line == "UPDATE sip:999 SIP/2.0"

    run_virtually(story())


def test_long_messages_of_a_call_take_limited_memory_and_later_ones_are_known_by_their_beginning() -> None:
    async def story() -> None:
        log = bare_trace()
        trace = log.new_trace()
        log.follow(trace, "long")
        for number in range(500):
            head = f"INFO sip:{number} SIP/2.0\r\nCall-ID: long\r\nTo: <sip:{'a' * 470}:secret@b>\r\n"
            log.received(head.encode() + b"X: y\r\n" * 2000, FLOW)
        kept = trace.messages(whole=True)
        assert len(kept) == MAX_FIRST + MAX_LAST
        assert sum(len(message.text) for message in kept) <= MAX_CALL_BYTES + len(kept) * LEAST_BYTES
        assert kept[0].text.count("X: y") > 900
        assert kept[-1].text == "INFO sip:499 SIP/2.0\r\nCall-ID: long\r\n"
        assert all("secret" not in message.text and "secre" not in message.text for message in kept)

    run_virtually(story())


def test_messages_of_no_call_of_ours_are_not_kept_and_invites_without_a_leg_only_for_a_while() -> None:
    async def story() -> None:
        log = bare_trace()
        log.received(b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: scan\r\n\r\n", FLOW)
        log.sent(b"\r\n", FLOW)
        for number in range(MAX_WAITING + 1):
            for _ in range(30):
                log.received(invite(f"flood-{number}"), FLOW)
        found = {}
        for call_id in ("scan", "flood-0", f"flood-{MAX_WAITING}"):
            trace = log.new_trace()
            log.follow(trace, call_id)
            found[call_id] = len(trace.messages(whole=False))
        assert found == {"scan": 0, "flood-0": 0, f"flood-{MAX_WAITING}": 8}

    run_virtually(story())


def test_two_legs_of_one_call_id_both_have_what_is_said() -> None:
    async def story() -> None:
        log = bare_trace()
        first, second = log.new_trace(), log.new_trace()
        log.follow(first, "loop")
        log.follow(second, "loop")
        log.received(invite("loop"), FLOW)
        first.close()
        log.received(invite("loop"), FLOW)
        assert (len(first.messages(whole=False)), len(second.messages(whole=False))) == (1, 2)

    run_virtually(story())


SECRET = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy"
CHALLENGED = (
    "REGISTER sip:bob:hunter2@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.1\r\n"
    f'Authorization: Digest username="bob",\r\n response="{SECRET}"\r\n'
    f"Proxy-authorization : Bearer {SECRET}\r\n"
    f"PROXY-AUTHORIZATION: Basic {SECRET}\r\n"
    'f: "Bob" <sip:bob:hunter2@example.com>;tag=1\r\n'
    "Contact: <sips:bob:hunter2@192.0.2.1>\r\n"
    "i: quiet@peer\r\n"
    "CSeq: 2\r\n INVITE\r\n"
    "\r\n"
    "v=0\r\n"
    f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{SECRET}\r\n"
    f"k=clear:{SECRET}\r\n"
).encode()


@pytest.mark.parametrize("data", [CHALLENGED, CHALLENGED.replace(b"\r\n", b"\n")])
def test_credentials_keys_and_passwords_are_in_no_form_of_a_message(data: bytes) -> None:
    shown = str((start_line_of(data), headers_of(data), whole_text_of(data)))
    assert SECRET not in shown
    assert "hunter2" not in shown
    whole = whole_text_of(data)
    assert "Authorization: ***" in whole
    assert "a=crypto:1 AES_CM_128_HMAC_SHA1_80" in whole
    assert 'f: "Bob" <sip:bob:***@example.com>;tag=1' in whole
    assert headers_of(data) == {
        "From": '"Bob" <sip:bob:***@example.com>;tag=1',
        "Contact": "<sips:bob:***@192.0.2.1>",
        "CSeq": "2 INVITE",
    }
    assert call_id_of(data) == b"quiet@peer"


@pytest.mark.parametrize("odd", ["\r", "\x1c", "\x00", "\n"])
def test_control_characters_of_one_header_neither_stay_nor_show_a_password(odd: str) -> None:
    data = f"BYE sip:a@b SIP/2.0\r\nFrom: <sip:bob:hun{odd}ter2@example.com>;tag=1\r\nCall-ID: 1\r\n\r\nTo: body\r\n".encode()
    shown = headers_of(data)
    assert set(shown) == {"From"}
    assert shown["From"].isprintable()
    assert "ter2" not in shown["From"]


def test_summary_ends_at_the_first_empty_line_whatever_its_line_ends() -> None:
    assert headers_of(b"BYE sip:a@b SIP/2.0\r\nFrom: a\n\r\nTo: b\r\n\r\n") == {"From": "a"}
    assert headers_of(b"BYE sip:a@b SIP/2.0\nFrom: a\n\nTo: b\r\n\r\n") == {"From": "a"}


def test_message_that_no_parser_takes_is_shown_as_clean_text() -> None:
    data = b"INVITE \xff\x1b[31m\r\nCall-ID:\r\nTo: \xe9\x00\r\n no colon here\r\n"
    assert start_line_of(data).isprintable()
    assert all(value.isprintable() for value in headers_of(data).values())
    whole_text_of(data).encode()
    assert call_id_of(data) == b""
    assert (start_line_of(b""), headers_of(b""), whole_text_of(b"")) == ("", {}, "")


@pytest.mark.parametrize("header", ["Content-Type: application/dtmf-relay", "c:application/dtmf", "CONTENT-TYPE :  Application/DTMF"])
def test_digits_that_were_pressed_are_in_no_text(header: str) -> None:
    data = f"INFO sip:a@b SIP/2.0\r\nCall-ID: x\r\n{header}\r\n\r\nSignal=7\r\nDuration=160\r\n".encode()
    assert whole_text_of(data).endswith("\r\n\r\n***")
    assert "=7" not in whole_text_of(data)
