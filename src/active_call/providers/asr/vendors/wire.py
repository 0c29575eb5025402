"""What a streaming vendor's adapter tells `streaming`: the address, the settings and the messages. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from active_call.contract.options import AsrOption
from active_call.providers.asr.vendors.sound_format import WIDE, SoundFormat

Message = str | bytes


class Last(Struct, frozen=True):
    """A message after which the vendor does not accept more until it is ready again (`note_ready`): later messages wait."""

    message: Message

    def __len__(self) -> int:
        return len(self.message)


@dataclass(frozen=True, slots=True)
class Setup:
    """How to reach a vendor: the option, the server's address, the key, and the sound format."""

    option: AsrOption
    url: str
    key: str = field(default="", repr=False)
    sound: SoundFormat = WIDE
    account: str = field(default="", repr=False)
    """The public half of a key pair, for vendors with key pairs."""


class Address(Struct, frozen=True):
    """The address of a stream. `secrets` are the texts in it that no message may contain."""

    url: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    subprotocols: Sequence[str] = ()
    secrets: Sequence[str] = ()
