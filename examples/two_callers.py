"""The first caller waits with music; the next one is connected with the first: a conversation between strangers.

Run it: python examples/two_callers.py, then call twice.
"""

from active_call import App, Call

app = App()
lobby: list[Call] = []


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    partner = next((one for one in lobby if not one.is_over), None)
    if partner is not None:
        lobby.remove(partner)
        await call.say("Somebody is here already. Say hello.")
        await partner.unhold()
        await call.bridge(partner)
        await call.say("The other side has left. Goodbye.")
        return
    await call.say("You are the first. Please wait for somebody else.")
    await call.hold()
    lobby.append(call)
    await call.wait_ended()


if __name__ == "__main__":
    app.run()
