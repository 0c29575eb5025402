"""An attended transfer by a real phone: linphone holds its call with the agent, asks a colleague, and then joins the two.

It sends its REFER to us and names its call with the colleague (Refer-To with Replaces, RFC 5589 section 7). The colleague has another
linphone, on a loopback address of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from peers.linphone import Linphone
from running_server import Server, running_server

from active_call.testing.sound import audio
from active_call.testing.sound.listening import recognise_wav

GREETING = "Welcome to the switchboard."
DECOYS = ["Your balance is forty two dollars.", "Please leave a message after the tone.", "We are open from nine until five."]
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {GREETING}
interruption: {{strategy: none}}
tts: {{provider: espeak}}
refer: {{onRequest: bridge, timeout: 8}}
---
## press 9
<hangup/>
"""


OUTBOUND = """media_workers = 1
[outbound]
domains = ["127.0.0.77"]"""


def transfer_states(record: dict[str, Any]) -> list[str]:
    return [event["state"] for event in record["events"] if event["event"] == "transfer"]


def held_and_asking(secretary: Linphone, colleague: Linphone, server: Server, *, while_speaking: bool) -> None:
    """The secretary has the agent on hold (call 1) and the colleague on the line (call 2)."""
    secretary.command(f"call sip:switchboard@127.0.0.1:{server.udp_port};transport=udp")
    assert secretary.wait_established(), secretary.log + server.log
    time.sleep(0.6 if while_speaking else 3.0)
    secretary.command("pause")
    assert secretary.wait_for("is now paused", 5), secretary.log
    secretary.command(f"call {colleague.uri}")
    assert colleague.wait_established(), colleague.log + secretary.log
    assert secretary.wait_for("for call 2", 15), secretary.log  # its media streams run: before that it refuses to transfer


@pytest.mark.xdist_group("127.0.0.77")  # the colleague's port is SIP's, and there is one of it
@pytest.mark.parametrize("while_speaking", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["agent-speaks", "agent-silent"])
def test_linphone_that_holds_asks_and_transfers_leaves_its_colleague_with_the_agent(tmp_path: Path, while_speaking: bool) -> None:
    """A silent agent is slow: `tests/calls/test_held_calls` has it."""
    with (
        running_server(tmp_path / "server", PLAYBOOK, extra=OUTBOUND) as server,
        Linphone(tmp_path / "secretary", speech=audio.silence(60_000)) as secretary,
        Linphone(tmp_path / "colleague", speech=audio.silence(60_000), answers=True, host="127.0.0.77", port=5060) as colleague,
    ):
        n_records = len(server.records())
        colleague.start()
        secretary.start()
        held_and_asking(secretary, colleague, server, while_speaking=while_speaking)
        secretary.command("transfer 1 --to-call 2")
        server.wait(lambda: "state=connected" in server.log, 15, "the transfer to be made")
        secretary.command("terminate all")
        server.wait(lambda: "state=completed" in server.log, 15, "the transfer to complete")
        time.sleep(4.0)  # the agent greets
        colleague.command("terminate all")
        record = server.wait_records(n_records + 1, 15)[-1]
        secretary.stop()
        colleague.stop()
        heard = [one for group in recognise_wav(colleague.heard, [GREETING], DECOYS) for one in group.sentences]
        assert heard == [GREETING]
        assert (transfer_states(record)[-1], record["error"]) == ("completed", None)
        assert [event["onHold"] for event in record["events"] if event["event"] == "hold"][:2] == [True, False]
