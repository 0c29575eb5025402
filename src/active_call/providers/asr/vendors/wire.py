"""What an adapter of a streaming vendor tells `streaming`: how the vendor is asked, where, and with which messages. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from active_call.contract.options import AsrOption
from active_call.providers.asr.vendors.sound_format import WIDE, SoundFormat

Message = str | bytes


@dataclass(frozen=True, slots=True)
class Last:
    """A message after which the vendor does not listen, until it is ready anew (`note_ready`): what comes later waits."""

    message: Message

    def __len__(self) -> int:
        return len(self.message)


@dataclass(frozen=True, slots=True)
class Setup:
    """How a vendor is asked: the option, where its service is, with which key, and the form of the sound."""

    option: AsrOption
    url: str
    key: str = field(default="", repr=False)
    sound: SoundFormat = WIDE
    account: str = field(default="", repr=False)
    """The public half of a pair of keys, where the vendor has pairs."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a stream connects to. `secrets` are the texts in it that no message may hold."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: Sequence[str] = ()
    secrets: Sequence[str] = ()
