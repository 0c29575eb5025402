"""Connections while the phone rings: begun at once, renewed, ended with the answer, and harmless where they fail. In virtual time."""

from __future__ import annotations

import asyncio

from active_call.base.errors import ConfigError
from active_call.call.opening.connections import AGAIN_S, keep_connected
from active_call.testing.virtual_time import run_virtually


class Engine:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.at: list[float] = []

    async def connect_ahead(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if self.fails:
            raise ConfigError("tts", "nobody is there")


def ringing_for(seconds: float, *engines: object | None) -> float:
    """How long the work goes on when the phone rings for so long."""
    took = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await keep_connected(engines, lambda: loop.time() - began < seconds)
        took.append(loop.time() - began)

    run_virtually(run())
    return took[0]


def test_engines_connect_at_once_and_again_until_the_answer() -> None:
    first, second = Engine(), Engine()
    took = ringing_for(3 * AGAIN_S - 1.0, first, None, object(), second)
    assert len(first.at) == len(second.at) == 3 and took == 3 * AGAIN_S
    assert [at - first.at[0] for at in first.at] == [0.0, AGAIN_S, 2 * AGAIN_S]


def test_engine_that_cannot_connect_is_tried_again_and_disturbs_no_other() -> None:
    broken, fine = Engine(fails=True), Engine()
    ringing_for(AGAIN_S + 1.0, broken, fine)
    assert len(broken.at) == len(fine.at) == 2


def test_phone_that_nobody_answers_ends_it() -> None:
    engine = Engine()
    assert ringing_for(1e6, engine) == 180.0 and len(engine.at) == 30


def test_engines_without_connections_cost_no_time() -> None:
    assert ringing_for(1e6, object(), None) == 0.0
