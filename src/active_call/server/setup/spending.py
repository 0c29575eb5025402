"""The prices and budgets of a configuration, and the stored sum of the day. Connects `call.cost` with the store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from active_call.base.world import World
from active_call.call.cost.spending import PART, DayBudget, Spending
from active_call.server.closing import PartsClosing
from active_call.server.config.config import Config
from active_call.store.day_spending import DaySpendingFile, DaySum
from active_call.store.troubles import Troubles


async def kept_spending(stack: AsyncExitStack, closing: PartsClosing, config: Config, world: World, troubles: Troubles) -> Spending:
    """The spending, starting from today's stored sum; the stack's end stores it. `/health` shows a spent budget."""
    day = DayBudget(clock=world.clock)
    spending, file = Spending(day=day), DaySpendingFile(Path(config.budget.file))
    configure_spending(spending, config)
    day.on_spent = lambda reason: troubles.note(PART, reason)
    day.on_all_clear = lambda: troubles.clear(PART)
    found = await file.load() if config.budget.per_day is not None else None
    if found is not None and found.currency == spending.prices.currency:
        day.restore(found.day, found.spent)
    day.on_change = lambda changed: _keep(changed, spending, file)
    keeping = asyncio.get_running_loop().create_task(file.keep(), name="the day's spending")
    stack.push_async_callback(closing.close, "the day's spending", partial(_end, keeping, file))
    return spending


def configure_spending(spending: Spending, config: Config) -> None:
    """Use `config` from now on."""
    spending.reconfigure(config.prices.table(), config.budget.per_day)


async def _end(keeping: asyncio.Task[None], file: DaySpendingFile) -> None:
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await file.close()


def _keep(day: DayBudget, spending: Spending, file: DaySpendingFile) -> None:
    if day.per_day is not None:
        file.note(DaySum(day.day, day.spent, spending.prices.currency))
