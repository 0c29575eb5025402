"""Trunks are asked by OPTIONS at their own pace; what becomes of it is told when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from active_call.base.errors import LocalProtocolError
from active_call.legs.trunks.policy import TrunkPolicy
from active_call.legs.trunks.watch import TrunkWatch
from active_call.sip import events as sip
from active_call.sip.syntax.message import Response
from active_call.testing.virtual_time import run_virtually

ANSWER = Response(200, "OK")


class Gateway:
    """Takes OPTIONS and answers them, half a second later, as it was told."""

    def __init__(self, *answers: tuple[int, Response | None]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str, str, dict[str, Any]]] = []
        self.watch: TrunkWatch | None = None

    def own_address_for(self, host: str) -> str:
        return "198.51.100.7"

    def run(self, operation: Callable[[Any, float], Any]) -> Any:
        return operation(self, asyncio.get_running_loop().time())

    def request_outside(self, method: str, uri: str, now: float, **said: Any) -> sip.TransactionToken:
        self.asked.append((now, method, uri, said))
        token = sip.TransactionToken(str(len(self.asked)))
        code, response = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if code < 0:
            raise LocalProtocolError("no way there")
        assert self.watch is not None
        event = sip.RequestCompleted(token, code, "Whatever", response)
        if code == 503:
            self.watch.handle(event)  # could not be sent at all: told before the token is known
        else:
            asyncio.get_running_loop().call_later(0.5, self.watch.handle, event)
        return token


def watch_for(gateway: Gateway, seconds: float, **trunk: Any) -> TrunkWatch:
    watch = gateway.watch = TrunkWatch(
        cast("Any", gateway), [TrunkPolicy("t", address="sip.example.com", options_interval_s=60.0, **trunk), TrunkPolicy("unwatched")]
    )

    async def go() -> None:
        task = asyncio.ensure_future(watch.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(go())
    return watch


def test_trunk_is_asked_at_its_pace_and_is_reachable_when_it_answers() -> None:
    gateway = Gateway((200, ANSWER))
    watch = watch_for(gateway, 130.0)
    assert watch.states == {"t": "reachable"}
    times = [at for at, *_ in gateway.asked]
    assert [round(at - times[0]) for at in times] == [0, 60, 121]
    assert gateway.asked[0][1:3] == ("OPTIONS", "sip:sip.example.com")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((404, ANSWER), "reachable"),
        ((403, ANSWER), "reachable"),
        ((408, None), "unreachable: 408 Whatever"),
        ((503, None), "unreachable: 503 Whatever"),
        ((500, ANSWER), "unreachable: 500 Whatever"),
        ((-1, None), "unreachable: no way there"),
    ],
)
def test_any_answer_but_408_and_5xx_means_that_somebody_is_there(answer: tuple[int, Response | None], state: str) -> None:
    assert watch_for(Gateway(answer), 5.0).states == {"t": state}


def test_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="active_call.trunks")
    gateway = Gateway((200, ANSWER), (200, ANSWER), (408, None), (408, None), (200, ANSWER))
    watch_for(gateway, 290.0)
    assert [vars(record)["state"] for record in caplog.records] == ["reachable", "unreachable: 408 Whatever", "reachable"]


def test_carrier_that_knows_us_by_name_is_told_the_name() -> None:
    gateway = Gateway((200, ANSWER))
    watch_for(gateway, 1.0, contact_host="sbc.example.com", transport="tls")
    said = gateway.asked[0][3]
    assert said["from_uri"] == "sip:sbc.example.com"
    assert said["headers"] == (("Contact", "<sip:sbc.example.com;transport=tls>"),)
    assert said["transport"] == "tls"
