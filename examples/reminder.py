"""Calls people and reminds them of an appointment; they confirm or cancel it by a key.

Run it: python examples/reminder.py sip:you@your-phone
"""

import asyncio
import sys

from active_call import App, Call, CallError, CallRefused, NoInput

app = App(udp_port=0, http_addr="127.0.0.1:0")


async def remind(number: str, when: str) -> str:
    """Call `number`. Returns `confirmed`, `cancelled`, `no answer` or `unclear`."""
    answer = "unclear"

    async def talk(call: Call) -> None:
        nonlocal answer
        prompt = f"This is Harbour Street Dental Practice. You have an appointment {when}. Press 1 to confirm it, 2 to cancel it."
        try:
            key = await call.collect(digits=1, prompt=prompt, retries=2, check=lambda digit: digit in "12")
        except NoInput:
            return
        answer = "confirmed" if key == "1" else "cancelled"
        await call.say(f"Your appointment is {answer}. Thank you, goodbye.")

    try:
        call = await app.call(number, talk, timeout=30)
        await call.wait_ended()
    except CallRefused as refused:
        answer = f"no answer ({refused.sip_code})"
    except CallError as error:
        answer = f"failed: {error}"
    return answer


async def main(numbers: list[str]) -> None:
    async with app:
        for number in numbers:
            print(number, await remind(number, "tomorrow at nine"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
