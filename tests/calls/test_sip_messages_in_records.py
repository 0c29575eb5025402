"""What the record of a call says of its SIP messages, for its own leg and for far legs."""

from __future__ import annotations

from typing import Any

import pytest
from calls_kit import a_call

from active_call.contract.options import CallOption
from active_call.legs.signalling import SignallingMessage
from active_call.store.call_record import parse_record

INVITE = SignallingMessage(
    1_700_000_000_123, True, "udp", "192.0.2.9:5060", "INVITE sip:a@b SIP/2.0", {"CSeq": "1 INVITE"}, "INVITE sip:a@b SIP/2.0\r\n"
)
PLAYBOOK = "---\nllm: {provider: script, greeting: Hello.}\n---\n# Scene: main\n## bye\nBye. <hangup/>\n"


@pytest.mark.parametrize(("wanted", "n_messages", "text"), [(None, 1, ""), ("summary", 1, ""), ("full", 1, INVITE.text), ("off", 0, "")])
def test_record_has_the_messages_as_far_as_they_are_wanted(virtually: Any, wanted: Any, n_messages: int, text: str) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, option=CallOption(sip_messages=wanted)) as call:
            call.leg.on_the_wire.append(INVITE)
            call.leg.end("caller", "hangup")
            record = parse_record((await call.over()).to_json())
            assert len(record.sip_messages) == n_messages
            for message in record.sip_messages:
                assert (message.timestamp, message.received, message.peer, message.start_line) == (
                    INVITE.at_ms,
                    True,
                    INVITE.peer,
                    INVITE.start_line,
                )
                assert (message.headers, message.text) == (INVITE.headers, text)

    virtually(story())
