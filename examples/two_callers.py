"""The first caller hears music until the next one calls; then the two are connected.

Run it: python examples/two_callers.py, then call twice.
"""

import asyncio
import contextlib

from active_call import App, Call, CallEnded

app = App()
lobby: list[Call] = []


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    if lobby:
        partner = lobby.pop(0)
        try:
            await call.say("Somebody is here already. Say hello.")
            await partner.unhold()
            await call.bridge(partner)
        finally:
            await asyncio.gather(dismiss(call), dismiss(partner))
        return
    await call.say("You are the first. Please wait for somebody else.")
    await call.hold()
    lobby.append(call)
    await call.wait_ended()
    if call in lobby:
        lobby.remove(call)


async def dismiss(call: Call) -> None:
    """Say goodbye to the caller who is still there."""
    with contextlib.suppress(CallEnded):
        await call.say("The other side has left. Goodbye.")
    await call.hangup()


if __name__ == "__main__":
    app.run()
