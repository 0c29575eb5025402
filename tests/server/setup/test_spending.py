"""The day's budget of a server: what `/health` tells of it, and that a restart goes on from what was spent."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from active_call.base.world import World
from active_call.call.cost.spending import Spending
from active_call.providers.usage.units import Billed, Unit, Used
from active_call.server.closing import PartsClosing
from active_call.server.config.config import Config
from active_call.server.config.cost_sections import Budget
from active_call.server.setup.spending import configure_spending, kept_spending
from active_call.store.troubles import Troubles

USED = Used(Billed("llm", "openai", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1_000_000})


def served(config: Config, *uses: Used, then: Any = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a server says after these uses, before it is stopped."""

    async def run() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        world = World()
        troubles = Troubles(world.clock)
        async with AsyncExitStack() as stack:
            spending = await kept_spending(stack, PartsClosing(), config, world, troubles)
            for used in uses:
                spending.note(used)
            if then is not None:
                then(spending)
            return spending.as_json(), troubles.current()

    return asyncio.run(run())


def test_restart_goes_on_from_what_was_spent_and_a_spent_budget_is_a_trouble(tmp_path: Path) -> None:
    config = Config(budget=Budget(per_day=0.35, file=str(tmp_path / "spending.json")))
    told, problems = served(config, USED)
    assert (told["budget"]["spent"], told["budget"]["state"], problems) == (0.15, "ok", [])
    assert served(config)[0]["budget"]["spent"] == 0.15
    assert served(config, USED)[0]["budget"]["state"] == "near"
    told, problems = served(config, USED)
    assert told["budget"]["state"] == "spent" and problems[0]["part"] == "budget" and "midnight" in problems[0]["reason"]
    assert served(config)[1][0]["part"] == "budget"  # told after a restart, too


def test_higher_budget_of_a_reload_ends_the_trouble(tmp_path: Path) -> None:
    config = Config(budget=Budget(per_day=0.1, file=str(tmp_path / "spending.json")))

    def reload(spending: Spending) -> None:
        assert spending.is_spent
        configure_spending(spending, Config(budget=Budget(per_day=9.0)))

    told, problems = served(config, USED, then=reload)
    assert told["budget"]["state"] == "ok" and problems == []


def test_sum_of_another_day_or_currency_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "spending.json"
    config = Config(budget=Budget(per_day=1.0, file=str(file)))
    for day, currency in (("2020-01-01", "USD"), (World().clock.utc_now().date().isoformat(), "EUR")):
        file.write_text(json.dumps({"day": day, "spent": 5.0, "currency": currency}))
        assert served(config)[0]["budget"]["spent"] == 0.0


def test_server_without_a_budget_writes_nothing_and_tells_nothing(tmp_path: Path) -> None:
    assert served(Config(budget=Budget(file=str(tmp_path / "spending.json"))), USED) == ({}, [])
    assert list(tmp_path.iterdir()) == []
