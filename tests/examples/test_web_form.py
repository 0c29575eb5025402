"""examples/web_form.py: the page is asked as a browser does, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from active_call.testing.virtual_call import Caller, RunResult, virtual_run

Load = Callable[[str], ModuleType]
ADA = "sip:ada@example.com"


def post(module: ModuleType, number: str, **others: Any) -> RunResult:
    """The page after `number` was sent, and what has become of the calls."""

    async def work() -> str:
        transport = httpx.ASGITransport(app=module.web)
        async with module.app, httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
            assert "<form" in (await browser.get("/")).text
            text = (await browser.post("/", data={"number": number})).text
            for call in module.app.calls():
                await call.wait_ended()
            return text

    return virtual_run(module.app, work(), others={module.SHOP if name == "shop" else name: script for name, script in others.items()})


async def talks(shop: Caller) -> None:
    await shop.is_answered()
    await shop.waits(10)
    await shop.hangs_up()


async def listens(customer: Caller) -> None:
    await customer.hears("connecting you with the shop")
    await customer.is_over()


def test_customer_is_called_and_connected_with_the_shop(load: Load) -> None:
    form = load("web_form")
    result = post(form, ADA, **{ADA: listens, "shop": talks})
    assert "being connected" in result.value
    assert result.placed == (ADA, form.SHOP)


def test_customer_is_told_when_the_shop_is_closed(load: Load) -> None:
    async def hears(customer: Caller) -> None:
        await customer.hears("Nobody is in the shop")

    form = load("web_form")
    assert "being connected" in post(form, ADA, **{ADA: hears, "shop": 480}).value


def test_customer_who_is_busy_is_told_on_the_page(load: Load) -> None:
    assert "could not be reached (486)" in post(load("web_form"), ADA, **{ADA: 486}).value


@pytest.mark.parametrize("number", ["12", "<script>", "+1 555", "tel:+15550100"])
def test_what_is_no_number_is_not_called(load: Load, number: str) -> None:
    result = post(load("web_form"), number)
    assert "Please write the number" in result.value
    assert result.placed == ()


def test_customer_who_hangs_up_ends_it(load: Load) -> None:
    async def leaves(customer: Caller) -> None:
        await customer.is_answered()
        await customer.waits(1)
        await customer.hangs_up()

    form = load("web_form")
    assert post(form, ADA, **{ADA: leaves}).placed == (ADA,)
