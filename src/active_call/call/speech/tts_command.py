"""Reads a `tts` command: its text and names as valid Unicode, its own sound decoded, its options.

A command with types and limits checked by the contract enters; `Spoken` leaves.
"""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct

from active_call.base.errors import LocalProtocolError
from active_call.base.repair import valid_unicode
from active_call.call.speech.play import Job, Piece, Play
from active_call.contract import commands


class Spoken(Struct, frozen=True):
    """A checked `tts` command. `pcm` is empty unless the command contains its own sound."""

    text: str
    pcm: bytes
    play_id: str | None
    speaker: str | None
    speed: float | None
    cache_key: str


def checked(command: commands.Tts) -> Spoken:
    """The speech of a command. Raises LocalProtocolError for invalid sound."""
    option = command.option
    cache_key = command.cache_key if command.cache_key is not None else option.cache_key if option else None
    return Spoken(
        text="" if command.base64 else valid_unicode(command.text).strip(),
        pcm=_pcm(command.text) if command.base64 else b"",
        play_id=valid_unicode(command.play_id or "") or None,
        speaker=valid_unicode(command.speaker or "") or (option.speaker if option else None),
        speed=option.speed if option else None,
        cache_key=valid_unicode(cache_key or ""),
    )


def job_of(said: Spoken, play: Play, piece: Piece, command: commands.Tts) -> Job:
    """The job for `said`, as a piece of `play`."""
    return Job(
        play,
        piece,
        text=piece.text,
        pcm=said.pcm,
        speaker=said.speaker,
        speed=said.speed,
        cache_key=said.cache_key,
        option=command.option,
    )


def _pcm(text: str) -> bytes:
    """The sound in `text`, which may contain line breaks."""
    try:
        pcm = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LocalProtocolError(f"text: not base64 ({error})") from error
    if len(pcm) % 2:
        raise LocalProtocolError(f"text: samples have two bytes each, found {len(pcm)} bytes")
    return pcm
