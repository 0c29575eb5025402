"""Natural sentences in natural voices over the wire, to a script that ends and transfers calls: understood, not forced into a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_server import running_server

from active_call.testing.phone.caller import Caller
from active_call.testing.phone.story import Story
from active_call.testing.sound.audio import MULAW

VECTORS = Path(__file__).parents[1] / "vectors" / "speech"
SENTENCES = (VECTORS / "sentences.txt").read_text(encoding="utf-8").splitlines()
HOURS = "We are open from nine in the morning until six in the evening."
UNKNOWN = "I am sorry, I did not understand that."
FAREWELL = "Thank you for calling, and have a wonderful day."
GREETING = "Welcome to the flower shop. How may I help you?"
PLAYBOOK = f"""---
tts: {{provider: espeak}}
llm: {{provider: script}}
greeting: {GREETING}
---
## opening hours
{HOURS}

## transfer me please | speak to sales
One moment. <refer to="sip:nobody@127.0.0.1:9"/>

## goodbye | thank you goodbye
{FAREWELL} <hangup/>

## *
{UNKNOWN}
"""


def call_with_voice(
    voice: str, numbers: dict[str, int], steps: list[dict[str, Any]], uri: str, folder: Path, ended_by: str
) -> dict[str, Any]:
    """Play a story whose sentences are recordings of `voice`, by number."""
    story = Story.from_dict(
        {
            "agent": [GREETING, HOURS, UNKNOWN, FAREWELL],
            "decoys": ["Please hold the line."],
            "steps": steps,
            "success": {"ended_by": ended_by},
        }
    )
    folder.mkdir()
    with Caller(story, profile="trunk", local_ip="127.0.0.1") as caller:
        for text, number in numbers.items():
            caller._speech[text] = MULAW.decode((VECTORS / f"{voice}_{number:02}.ulaw").read_bytes())
        caller.call(uri, transport="tls", srtp=True)
        return caller.summary(folder)


QUESTION, YES_PLEASE, GOODBYE = SENTENCES[0], SENTENCES[7], SENTENCES[10]
NUMBERS = {QUESTION: 1, YES_PLEASE: 8, GOODBYE: 11}
QUESTIONS: list[dict[str, Any]] = [
    {"do": "listen", "expect": [GREETING]},
    {"do": "say", "text": QUESTION},
    {"do": "listen", "expect": [HOURS]},
    {"do": "say", "text": YES_PLEASE},
    {"do": "listen", "expect": [UNKNOWN]},
]
FAREWELLS: list[dict[str, Any]] = [{"do": "say", "text": GOODBYE}, {"do": "listen", "expect": [FAREWELL]}, {"do": "expect_hangup"}]


@pytest.mark.alone
@pytest.mark.parametrize(
    ("voice", "last_steps", "ended_by"),
    [("joe", FAREWELLS, "agent"), pytest.param("rms", [{"do": "hang_up"}], "caller", marks=pytest.mark.slow)],
    ids=["joe", "rms"],
)
def test_natural_sentences_are_understood_and_none_of_them_ends_or_transfers_the_call_by_mistake(
    tmp_path: Path, voice: str, last_steps: list[dict[str, Any]], ended_by: str
) -> None:
    """The second voice is slow: `tests/providers/asr/test_moonshine` has the words of both."""
    assert (QUESTION, YES_PLEASE, GOODBYE) == ("Could you tell me your opening hours please?", "Yes please.", "Thank you, goodbye.")
    with running_server(tmp_path / "server", PLAYBOOK, engines="") as server:
        uri = f"sip:+15550123@127.0.0.1:{server.tls_port};transport=tls"
        summary = call_with_voice(voice, NUMBERS, [*QUESTIONS, *last_steps], uri, tmp_path / "phone", ended_by)
        (record,) = server.wait_records(1)
    heard = [turn["text"] for turn in record["turns"] if turn["speaker"] == "caller"]
    said = [(turn["at"], turn["kind"], turn["text"]) for turn in summary["turns"]]
    assert not summary["failures"], f"{summary['failures']}\nunderstood: {heard}\nsaid: {said}"
    assert "opening" in heard[0] and "please" in heard[1], heard
    assert (record["status"], record["hangupBy"]) == ("answered", ended_by)
    assert "engine process started" in server.log and "moonshine" in server.log
