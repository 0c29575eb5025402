"""A colleague is called first and told who waits; only who agrees gets the caller.

Run it: DESK=sip:you@your-phone python examples/warm_transfer.py, then call.
"""

import contextlib
import os

from active_call import App, Call, CallEnded, CallRefused, NoInput

app = App()
DESK = os.environ.get("DESK", "sip:desk@example.com")


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    try:
        reason = await call.ask("Hello. What is your call about?")
    except NoInput:
        await call.say("I cannot hear you. Goodbye.")
        return
    await call.say("One moment, I am looking for a colleague.")
    async with call.on_hold():
        colleague = await call.unless_over(find_colleague(call.caller, reason))
    if colleague is None:
        await call.say("Nobody is free now. We will call you back. Goodbye.")
        return
    async with colleague:  # hangs up at the end
        await call.say("I am connecting you.")
        await call.bridge(colleague)


async def find_colleague(caller: str, reason: str) -> Call | None:
    """The call of a colleague who wants to talk with `caller`; None where nobody does."""
    try:
        colleague = await app.call(DESK, timeout=20)
    except CallRefused:
        return None
    key = ""
    try:
        with contextlib.suppress(NoInput, CallEnded):
            key = await colleague.collect(digits=1, prompt=f"{caller} is calling about: {reason}. Press 1 to take the call.", retries=1)
    finally:
        if key != "1":
            await colleague.hangup()
    return colleague if key == "1" else None


if __name__ == "__main__":
    app.run()
