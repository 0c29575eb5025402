"""Callers who do not want to wait press 1 and are called back when an agent is free, in order of their calls.

Run it: DESK=sip:you@your-phone python examples/callback_queue.py, then call.
"""

import asyncio
import contextlib
import os
from collections import deque

from active_call import App, Call, CallEnded, CallError, CallRefused, NoInput

app = App()
DESK = os.environ.get("DESK", "sip:desk@example.com")
RETRY_S = 30.0
waiting: deque[str] = deque()


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    prompt = f"All lines are busy; {len(waiting)} callers are before you. Press 1, and we call you back on this number."
    try:
        await call.collect(digits=1, prompt=prompt, check=lambda digit: digit == "1")
    except NoInput:
        await call.say("Please try again later. Goodbye.")
        return
    waiting.append(call.caller)
    await call.say("We will call you back. Goodbye.")


async def call_back(number: str) -> bool:
    """Call the desk, then the customer, and connect the two. False if either does not answer."""
    try:
        desk = await app.call(DESK, timeout=30)
    except CallRefused:
        return False
    async with desk:  # hangs up when the block ends
        try:
            await desk.say("A callback. Connecting you with the customer.")
            customer = await app.call(number, timeout=30)
        except CallEnded:  # the desk has hung up, or the customer does not answer
            return False
        async with customer:
            with contextlib.suppress(CallError):  # one of the two has hung up
                await customer.say("This is your callback.")
                await customer.bridge(desk)
    return True


async def serve_queue() -> None:
    """Call back the waiting callers, one after another."""
    while True:
        if not waiting:
            await asyncio.sleep(1)
        elif await call_back(waiting[0]):
            waiting.popleft()
        else:
            await asyncio.sleep(RETRY_S)


async def main() -> None:
    async with app:
        await serve_queue()


if __name__ == "__main__":
    asyncio.run(main())
