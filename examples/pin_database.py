"""A caller enters a customer number and a PIN. They are looked up in a database, and the balance is read out.

Run it: python examples/pin_database.py, then call and press 1001# and 4711.
"""

import asyncio
import sqlite3
from pathlib import Path

from active_call import App, Call, NoInput

app = App()
DATABASE = Path("customers.db")


def prepare(path: Path) -> None:
    """Create a database for this example."""
    with sqlite3.connect(path) as database:
        database.execute("create table if not exists customers (number text primary key, pin text, name text, balance real)")
        database.execute("insert or ignore into customers values ('1001', '4711', 'Ada', 12.5), ('1002', '0815', 'Grace', 0)")


def look_up(path: Path, number: str, pin: str) -> tuple[str, float] | None:
    """Name and balance; None if the PIN is wrong or the number unknown."""
    with sqlite3.connect(path) as database:
        row = database.execute("select name, balance from customers where number = ? and pin = ?", (number, pin)).fetchone()
    return None if row is None else (str(row[0]), float(row[1]))


@app.incoming()
async def take(call: Call) -> None:
    await call.answer()
    for attempt in range(3):
        try:
            number = await call.collect(
                max_digits=8,
                prompt="Please enter your customer number, followed by the hash key." if attempt == 0 else "Your number, please.",
            )
            pin = await call.collect(digits=4, prompt="And your PIN, please.")
        except NoInput:
            break
        customer = await asyncio.to_thread(look_up, DATABASE, number, pin)
        if customer is not None:
            name, balance = customer
            call.variables["customer"] = number
            await call.say(f"Hello {name}. Your balance is {balance:.2f} euros. Goodbye.")
            return
        await call.say("Number and PIN do not match.")
    await call.say("Please call again when you have your PIN at hand. Goodbye.")


if __name__ == "__main__":
    prepare(DATABASE)
    app.run()
