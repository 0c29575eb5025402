"""One costly step in each pass of the loop."""

from __future__ import annotations

import asyncio

from active_call.base.one_per_pass import BUSY_S, MAX_HELD, OnePerPass


def test_waiter_that_comes_alone_goes_on_at_once() -> None:
    async def story() -> None:
        steps = OnePerPass()
        turn = steps.turn()
        try:
            turn.send(None)
        except StopIteration:
            return
        raise AssertionError("it has waited")

    asyncio.run(story())


def test_waiters_go_on_one_by_one_in_their_order_and_the_loop_runs_between_them() -> None:
    async def story() -> list[str]:
        steps, seen = OnePerPass(), list[str]()

        async def step(name: str) -> None:
            await steps.turn()
            seen.append(name)

        async def sockets() -> None:
            while len(seen) < 11:
                seen.append("-")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for name in "abcd":
                tasks.create_task(step(name))
            tasks.create_task(sockets())
        assert steps.n_waiting == 0
        return seen

    seen = asyncio.run(story())
    assert [one for one in seen if one != "-"] == ["a", "b", "c", "d"]
    text = "".join(seen)
    assert not any(pair in text for pair in ("ab", "bc", "cd"))


def test_long_queue_takes_fewer_passes_than_it_has_waiters() -> None:
    async def story() -> int:
        steps, n_passes = OnePerPass(), 0
        waiting = [asyncio.create_task(steps.turn()) for _ in range(100)]
        while not all(one.done() for one in waiting):
            n_passes += 1
            await asyncio.sleep(0)
        return n_passes

    assert 10 < asyncio.run(story()) < 50


def test_waiter_that_is_cancelled_keeps_nobody_waiting() -> None:
    async def story() -> None:
        steps = OnePerPass()
        await steps.turn()
        given_up, patient = asyncio.create_task(steps.turn()), asyncio.create_task(steps.turn())
        await asyncio.sleep(0)
        given_up.cancel()
        async with asyncio.timeout(30):
            await patient
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        turn = asyncio.create_task(steps.turn())
        async with asyncio.timeout(30):
            await turn

    asyncio.run(story())


def n_passes_of_a_queue(pass_uses_s: float) -> int:
    """How many passes three waiting tasks take if each pass uses that much CPU time."""

    async def story() -> int:
        used_s, n_passes = 0.0, 0
        steps = OnePerPass(is_held=True, cpu_s=lambda: used_s)
        waiting = [asyncio.create_task(steps.turn()) for _ in range(4)]
        while not all(one.done() for one in waiting):
            n_passes += 1
            used_s += pass_uses_s
            await asyncio.sleep(0)
        return n_passes

    return asyncio.run(story())


def test_nobody_continues_after_a_busy_pass_for_a_bounded_number_of_passes() -> None:
    """Calls whose set-up has begun are finished before others begin."""
    quick = n_passes_of_a_queue(BUSY_S / 2)
    assert quick <= 8
    assert n_passes_of_a_queue(BUSY_S * 2) == quick + 3 * MAX_HELD
