"""An agent with tools: it knows the opening hours, books a table and hands over to a person.

Run it: OPENAI_API_KEY=… python examples/agent_tools.py, then call.
"""

import os
from datetime import date

from active_call import Agent, App, Call, TransferFailed, tool

app = App()
DESK = os.environ.get("DESK", "sip:desk@example.com")
OPEN = {"monday": "closed", "sunday": "9 to 13"}


class Reception(Agent):
    instructions = """You answer the phone of Harbour Street Bakery. Be brief and friendly; everything you write is spoken.
    Use the tools for opening hours and bookings. When the caller wants a person, or something that you cannot do, call hand_over.
    When the caller has all that was wanted, call end_call and say goodbye."""
    greeting = "Harbour Street Bakery, good day. What can I do for you?"
    llm = os.environ.get("MODEL", "openai/gpt-4o-mini")

    def __init__(self) -> None:
        self.bookings: list[tuple[date, int]] = []

    @tool
    def opening_hours(self, weekday: str) -> str:
        """When the bakery is open on a weekday."""
        return OPEN.get(weekday.lower(), "7 to 18")

    @tool(say_meanwhile="One moment, I am looking.", cancellable=False)
    async def book_table(self, call: Call, day: date, people: int) -> str:
        """Book a table in the café, for 1 to 8 people."""
        if not 1 <= people <= 8:
            raise ValueError("there are tables for 1 to 8 people only")
        self.bookings.append((day, people))
        call.variables["booking"] = f"{people} on {day}"
        return f"booked for {people} on {day:%A, %d %B}"

    @tool
    def hand_over(self, reason: str) -> str:
        """Connect the caller with a person."""
        self.finish(("desk", reason))
        return "say that you are connecting the caller"

    @tool
    def end_call(self) -> str:
        """The caller needs nothing more."""
        self.finish(("done", ""))
        return "say goodbye"


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    outcome = await call.converse(Reception())
    where, reason = outcome.result
    if where == "desk":
        call.variables["reason"] = reason
        try:
            await call.transfer(DESK)
        except TransferFailed:
            await call.say("Nobody is free now. Please call again later. Goodbye.")


if __name__ == "__main__":
    app.run()
