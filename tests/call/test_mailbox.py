"""The mailbox of a call: ordered, bounded, and waited for with or without a deadline."""

from __future__ import annotations

import asyncio

from active_call.call.mailbox import Mailbox


def test_items_come_in_order_and_a_wait_ends_with_the_first_item() -> None:
    async def run() -> list[int | None]:
        mailbox: Mailbox[int] = Mailbox(lambda _: False)
        waiting = asyncio.create_task(mailbox.wait(60.0))
        await asyncio.sleep(0)
        for item in (1, 2, 3):
            mailbox.put(item)
        return [await waiting, await mailbox.wait(), mailbox.get_nowait(), await mailbox.wait(0.001)]

    assert asyncio.run(run()) == [1, 2, 3, None]


def test_wait_that_is_cancelled_loses_no_item_and_leaves_nothing_behind() -> None:
    async def run() -> int | None:
        mailbox: Mailbox[int] = Mailbox(lambda _: False)
        waiting = asyncio.create_task(mailbox.wait(60.0))
        await asyncio.sleep(0)
        mailbox.put(7)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return await mailbox.wait(60.0)

    assert asyncio.run(run()) == 7


def test_full_mailbox_refuses_all_but_what_ends_the_call() -> None:
    mailbox: Mailbox[int] = Mailbox(lambda item: item < 0, is_last=lambda item: item == 4, size=2, reserved=1)
    assert [mailbox.put(item) for item in (1, 2, 3, -1, -2)] == [True, True, False, True, False]
    assert mailbox.put(4)
    assert mailbox.is_overflowed
    assert mailbox.n_refused == 2
