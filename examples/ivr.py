"""A menu without a language model: the caller presses a key or says a word, and is connected.

Run it: python examples/ivr.py, then call sip:anything@THIS-MACHINE:25060.
"""

from active_call import App, Call, NoInput, TransferFailed

app = App()

MENU = "Welcome to Harbour Street Bakery. For opening hours press 1. To order press 2. To speak with us press 0."
DESK = "sip:desk@example.com"


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    while True:
        try:
            key = await call.collect(digits=1, prompt=MENU, retries=1, check=lambda digit: digit in "012")
        except NoInput:
            await call.say("Goodbye.")
            return
        if key == "1":
            await call.say("We are open from seven to six, Monday to Saturday.")
        elif key == "2":
            try:
                order = await call.ask("Please say your order.", timeout=20)
            except NoInput:
                await call.say("I have not understood an order. Goodbye.")
                return
            call.variables["order"] = order
            await call.say(f"You have ordered: {order}. Thank you, goodbye.")
            return
        else:
            await call.say("One moment, please.")
            try:
                await call.transfer(DESK)
            except TransferFailed:
                await call.say("Sorry, nobody is free now. Please call again later. Goodbye.")
            return


if __name__ == "__main__":
    app.run()
