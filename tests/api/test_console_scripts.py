"""The pure scripts of the console, run by node where there is one: what they make of records."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import active_call.api

PARTS = Path(active_call.api.__file__).parent / "console" / "parts"
NODE = shutil.which("node")


def run(script: str, expression: str) -> Any:
    """The value of `expression`, in which `module` is the script."""
    if NODE is None:
        pytest.skip("there is no node")
    source = base64.b64encode((PARTS / script).read_bytes()).decode()
    program = f'const module = await import("data:text/javascript;base64,{source}"); console.log(JSON.stringify({expression}));'
    done = subprocess.run([NODE, "--input-type=module", "-e", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def message(start_line: str, cseq: str, *, received: bool, at: int = 1, **headers: str) -> dict[str, Any]:
    return {"timestamp": at, "received": received, "startLine": start_line, "headers": {"CSeq": cseq, **headers}}


def test_ladder_is_drawn_from_the_messages_of_a_record() -> None:
    messages = [
        message("INVITE sip:a@b SIP/2.0", "1 INVITE", received=False),
        message("INVITE sip:a@b SIP/2.0", "1 INVITE", received=False, at=501),
        message("SIP/2.0 401 Unauthorized", "1 INVITE", received=True),
        message("INVITE sip:a@b SIP/2.0", "2 INVITE", received=False),
        message("SIP/2.0 200 OK", "2 INVITE", received=True),
        message("REFER sip:a@b SIP/2.0", "3 REFER", received=True, **{"Refer-To": "<sip:c@d>"}),
        message("BYE sip:a@b SIP/2.0", "4 BYE", received=False, Reason="Q.850;cause=16"),
        message("SIP/2.0 200 OK", "4 BYE", received=True),
    ]
    steps = run("sip_steps.js", f"module.stepsOf({json.dumps({'direction': 'outbound', 'events': [], 'sipMessages': messages})})")
    assert [(step["text"], step["isIn"]) for step in steps] == [
        ("INVITE", False),
        ("INVITE (again)", False),
        ("401 Unauthorized", True),
        ("INVITE", False),
        ("200 OK", True),
        ("REFER to <sip:c@d>", True),
        ("BYE · Q.850;cause=16", False),
        ("200 OK (BYE)", True),
    ]
    assert steps[1]["at"] == 501


def test_ladder_of_a_record_without_messages_is_drawn_from_its_events() -> None:
    record = {"direction": "inbound", "startTime": "2026-01-01T00:00:00Z", "answerTime": "2026-01-01T00:00:01Z", "sipMessages": []}
    record["events"] = [{"event": "answer", "timestamp": 2}, {"event": "hangup", "initiator": "caller", "timestamp": 3}]  # type: ignore[assignment]
    steps = run("sip_steps.js", f"module.stepsOf({json.dumps(record)})")
    assert [(step["text"], step["isIn"]) for step in steps] == [("INVITE", True), ("200 OK", False), ("BYE", True)]


def test_quality_lines_have_gaps_where_nothing_is_known_and_say_the_worst() -> None:
    samples = [
        {"timestamp": 5000, "received": 250, "jitterMs": 2, "mos": 4.4},
        {"timestamp": 10000, "received": 150, "lost": 90, "late": 10, "jitterMs": 40, "mos": 2.0, "roundTripMs": 80},
        {"timestamp": 15000, "received": 0},
        {"timestamp": 20000, "received": 250, "jitterMs": 3, "mos": 4.3, "roundTripMs": 60},
    ]
    lines = {line["name"]: line for line in run("quality_points.js", f"module.linesOf({json.dumps(samples)})")}
    assert set(lines) == {"Loss", "Jitter", "Round trip", "MOS (estimate)"}
    assert [round(lines["Loss"]["worst"], 1), round(lines["MOS (estimate)"]["worst"], 1)] == [41.7, 2.0]
    assert [len(part) for part in lines["MOS (estimate)"]["parts"]] == [2, 1]
    assert [len(part) for part in lines["Round trip"]["parts"]] == [1, 1]
    points = [point for line in lines.values() for part in line["parts"] for point in part]
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in points)
    assert run("quality_points.js", "module.linesOf([])") == []


def test_conversation_of_a_call_that_is_over_has_nobody_speaking() -> None:
    track = {"event": "trackStart", "trackId": "server-side-track", "timestamp": 5}
    delta = {"event": "asrDelta", "index": 1, "text": "when", "timestamp": 6}
    heard = [
        track,
        delta,
        {"event": "speaking", "timestamp": 6},
        {"event": "hangup", "initiator": "caller", "reason": "caller", "timestamp": 7},
    ]
    state = run("conversation.js", f"{json.dumps(heard)}.reduce(module.hear, module.NOTHING)")
    assert (state["isAgentSpeaking"], state["isCallerSpeaking"], state["partial"]) == (False, False, None)
    assert [line["text"] for line in state["lines"]] == ["ended by caller: caller"]


def test_words_of_an_operator_are_a_line_of_their_own_while_the_agent_speaks() -> None:
    heard = [
        {"event": "trackStart", "trackId": "server-side-track", "timestamp": 5},
        {"event": "addHistory", "speaker": "agent", "text": "One moment.", "sender": "client", "timestamp": 9},
        {"event": "addHistory", "speaker": "assistant", "text": "Welcome.", "sender": "dialogue", "timestamp": 12},
    ]
    state = run("conversation.js", f"{json.dumps(heard)}.reduce(module.hear, module.NOTHING)")
    assert [(line["text"], line["at"]) for line in state["lines"]] == [("One moment.", 9), ("Welcome.", 5)]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sip:%2B49301234@example.com;transport=tls", "+49301234@example.com"),
        ('"Ann" <sip:a@b>', "Ann"),
        ("sip:100%@b", "100%@b"),
        ("sip:%D7%A9@b", "\u2068\u05e9@b\u2069"),
    ],
)
def test_address_is_shown_without_escapes_and_apart_from_other_text(address: str, shown: str) -> None:
    assert run("../format.js", f"module.who({json.dumps(address)})") == shown
