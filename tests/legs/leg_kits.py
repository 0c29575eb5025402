"""What the conformance suite runs over: a kit for each kind of leg. A new kind gets the suite by a kit here.

A kit makes a stage inside the virtual loop (`far_end.Stage`); `can` names what its kind of leg is able to do, so that a promise is held
against those legs alone that make it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_far_end import BareStage, FakeStage
from far_end import Stage
from sip_far_end import SipStage

from active_call.testing.virtual_time import run_virtually

LIFE = frozenset({"early media", "confirmation", "q850", "hang-up headers"})
TELEPHONY = LIFE | {"hold", "digits", "text", "transfer"}


@dataclass(frozen=True)
class Kit:
    name: str
    stage: Callable[[], Stage]
    can: frozenset[str]
    hold_forms: tuple[tuple[str, bool], ...] = ()
    """The ways in which a peer holds us, and whether it plays nothing meanwhile."""


SIP = Kit(
    "sip",
    SipStage,
    TELEPHONY | {"delayed offer", "header syntax"},
    (("sendonly", False), ("inactive", True), ("zero", False), ("update", False)),
)
FAKE = Kit("fake", FakeStage, TELEPHONY | {"late keys"}, (("sendonly", False), ("inactive", True)))
BARE = Kit("bare", BareStage, LIFE | {"late keys"})
"""A leg without optional abilities."""
KITS = (SIP, FAKE, BARE)


def every_kit(*can: str) -> pytest.MarkDecorator:
    """Run a test over all kits whose legs are able to do that."""
    return pytest.mark.parametrize("kit", [kit for kit in KITS if kit.can >= set(can)], ids=lambda kit: kit.name)


def play(kit: Kit, story: Callable[[Any], Awaitable[None]]) -> None:
    """Run a story on a stage of the kit; whatever goes wrong in the loop beside it fails it, too."""
    failures: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await story(kit.stage())

    run_virtually(run())
    assert failures == []
