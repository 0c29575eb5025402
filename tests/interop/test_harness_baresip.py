"""The baresip harness against itself: two of them call each other, and what one says is recognised in what the other recorded."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from peers.baresip import Baresip

from active_call.testing import audio, voice
from active_call.testing.audio import Pcm
from active_call.testing.listening import recognise_wav

CALLED_SAYS = "Please hold while I connect you."
CALLER_SAYS = "Press one for sales, or two for support."
DECOYS = ["Goodbye, and thank you for calling.", "Your balance is forty two dollars."]


def speech(text: str) -> Pcm:
    return np.concatenate((audio.silence(600), voice.speak(text, "en-us"), audio.silence(5000)))


@pytest.mark.parametrize(("transport", "srtp"), [("tls", True), ("udp", False)])
def test_baresip_calling_baresip_hears_what_the_other_says(tmp_path: Path, transport: str, srtp: bool) -> None:
    with (
        Baresip(tmp_path / "called", speech=speech(CALLED_SAYS), transport=transport, srtp=srtp, answers=True) as called,
        Baresip(tmp_path / "caller", speech=speech(CALLER_SAYS), transport=transport, srtp=srtp) as caller,
    ):
        called.start()
        caller.start(dial=called.uri)
        assert caller.wait_established(), caller.log
        time.sleep(4.5)  # a real call in real time: the sentences take three seconds
        caller.command("hangup")
        assert called.wait_for("terminated") or called.wait_for("session closed"), called.log
        caller.stop()
        called.stop()
        candidates = [CALLED_SAYS, CALLER_SAYS]
        assert [one.sentences for one in recognise_wav(caller.heard, candidates, DECOYS)] == [(CALLED_SAYS,)]
        assert [one.sentences for one in recognise_wav(called.heard, candidates, DECOYS)] == [(CALLER_SAYS,)]
        assert recognise_wav(called.heard, [CALLED_SAYS], DECOYS)[0].sentences == ()
