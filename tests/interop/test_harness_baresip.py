"""The baresip harness against itself: two of them call each other, and what one says is recognised in what the other recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.process import wait_until

from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import recognise_wav

CALLED_SAYS = "Please hold while I connect you."
CALLER_SAYS = "Press one for sales, or two for support."
DECOYS = ["Goodbye, and thank you for calling.", "Your balance is forty two dollars."]


def speech(text: str) -> Pcm:
    return np.concatenate((audio.silence(600), voice.speak(text, "en-us"), audio.silence(5000)))


def recorded_s(phone: Baresip) -> float:
    """How much sound of the other side it has written down."""
    try:
        return phone.heard.stat().st_size / 16_000
    except FileNotFoundError:
        return 0.0


@pytest.mark.parametrize(("transport", "srtp"), [("tls", True), ("udp", False)])
def test_baresip_calling_baresip_hears_what_the_other_says(tmp_path: Path, transport: str, srtp: bool) -> None:
    with (
        Baresip(tmp_path / "called", speech=speech(CALLED_SAYS), transport=transport, srtp=srtp, answers=True) as called,
        Baresip(tmp_path / "caller", speech=speech(CALLER_SAYS), transport=transport, srtp=srtp) as caller,
    ):
        called.start()
        caller.start(dial=called.uri)
        assert caller.wait_established(), caller.log
        # A real call in real time: the sentences take three seconds. Until each has recorded more, under load it begins later.
        assert wait_until(lambda: min(recorded_s(one) for one in (caller, called)) > 4.5, 20), caller.log + called.log
        caller.command("hangup")
        assert called.wait_for("terminated") or called.wait_for("session closed"), called.log
        caller.stop()
        called.stop()
        candidates = [CALLED_SAYS, CALLER_SAYS]
        assert [one.sentences for one in recognise_wav(caller.heard, candidates, DECOYS)] == [(CALLED_SAYS,)]
        assert [one.sentences for one in recognise_wav(called.heard, candidates, DECOYS)] == [(CALLER_SAYS,)]
        # Words that no sentence of the grammar fits are none of them, or a decoy; what was not said is never found.
        assert CALLED_SAYS not in recognise_wav(called.heard, [CALLED_SAYS], DECOYS)[0].sentences
