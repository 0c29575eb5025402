"""examples/callback_queue.py: callers who are called back later, in their order."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from active_call.testing.virtual_call import Caller, Incoming, virtual_run

Load = Callable[[str], ModuleType]
ADA, BOB = "sip:ada@example.com", "sip:bob@example.com"


async def wants_a_callback(caller: Caller) -> None:
    await caller.hears("Press 1")
    await caller.press("1")
    await caller.hears("We will call you back")


async def talks(customer: Caller) -> None:
    await customer.hears("This is your callback")
    await customer.waits(20)
    await customer.hangs_up()


async def takes_every_call(desk: Caller) -> None:
    await desk.hears("A callback")
    await desk.is_over()


def test_callers_are_called_back_in_their_order(load: Load) -> None:
    queue = load("callback_queue")
    result = virtual_run(
        queue.app,
        queue.main(),
        callers=[Incoming(wants_a_callback, caller=ADA), Incoming(wants_a_callback, after_s=3, caller=BOB)],
        others={queue.DESK: takes_every_call, ADA: talks, BOB: talks},
        for_s=300,
    )
    assert result.placed == (queue.DESK, ADA, queue.DESK, BOB)
    assert not queue.waiting
    assert all(call.record.status == "answered" for call in result.calls)


def test_customer_who_is_busy_stays_first_and_is_tried_again(load: Load) -> None:
    queue = load("callback_queue")
    result = virtual_run(
        queue.app,
        queue.main(),
        callers=[Incoming(wants_a_callback, caller=ADA)],
        others={queue.DESK: takes_every_call, ADA: 486},
        for_s=90,
    )
    assert result.placed[:4] == (queue.DESK, ADA, queue.DESK, ADA)
    assert list(queue.waiting) == [ADA]


def test_customer_is_not_called_while_the_desk_is_busy(load: Load) -> None:
    queue = load("callback_queue")
    result = virtual_run(
        queue.app, queue.main(), callers=[Incoming(wants_a_callback, caller=ADA)], others={queue.DESK: 486, ADA: talks}, for_s=50
    )
    assert set(result.placed) == {queue.DESK}
    assert list(queue.waiting) == [ADA]


def test_desk_that_hangs_up_early_loses_no_customer(load: Load) -> None:
    async def hangs_up(desk: Caller) -> None:
        await desk.is_answered()
        await desk.hangs_up()

    queue = load("callback_queue")
    virtual_run(
        queue.app, queue.main(), callers=[Incoming(wants_a_callback, caller=ADA)], others={queue.DESK: hangs_up, ADA: talks}, for_s=50
    )
    assert list(queue.waiting) == [ADA]


def test_who_does_not_press_1_is_not_called_back(load: Load) -> None:
    async def presses_2(caller: Caller) -> None:
        await caller.hears("Press 1")
        await caller.press("2")
        await caller.hears("try again later")

    async def hangs_up(caller: Caller) -> None:
        await caller.hears("All lines are busy", timeout_s=20)
        await caller.hangs_up()

    queue = load("callback_queue")
    result = virtual_run(queue.app, queue.main(), callers=[Incoming(presses_2), Incoming(hangs_up)], for_s=120)
    assert result.placed == ()
