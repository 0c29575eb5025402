"""A colleague is called first and told who is waiting. The caller is connected only if the colleague agrees.

Run it: DESK=sip:you@your-phone python examples/warm_transfer.py, then call.
"""

import os

from active_call import App, Call, NoInput, TransferFailed

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
    try:
        await call.transfer(DESK, mode="warm", briefing=f"A caller is waiting. It is about this: {reason}.", timeout=20)
    except TransferFailed:  # busy, no answer, or the colleague declined
        await call.say("Nobody is free now. We will call you back. Goodbye.")


if __name__ == "__main__":
    app.run()
