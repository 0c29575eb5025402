"""Free dictation with the language model in PocketSphinx's wheel, for playbooks without phrases.

Speech (s16le, 16 kHz) enters, words leave. In the telephone band most sentences contain wrong words, and it takes half of real time. It
runs in a process of its own (engine processes go by module), so that it never delays requests with a grammar.
"""

from __future__ import annotations

import functools
from typing import Any

from active_call.providers.asr.pocketsphinx_engine import create_decoder, with_noise_floor

MAX_SPEECH_BYTES = 10 * 16_000 * 2
"""Longer speech would make its caller wait for many seconds, so only its end is decoded."""


def warm() -> None:
    """Load the models (0.6 s, 120 MB)."""
    _decoder()


def dictate(pcm: bytes) -> str:
    """The probable words in `pcm`, lower case, without punctuation."""
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(with_noise_floor(pcm[-MAX_SPEECH_BYTES:]), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return str(hypothesis.hypstr) if hypothesis is not None else ""


@functools.cache
def _decoder() -> Any:
    from pocketsphinx import get_model_path

    decoder = create_decoder()
    decoder.add_lm_file("dictation", f"{get_model_path('en-us')}/en-us.lm.bin")
    decoder.activate_search("dictation")
    return decoder
