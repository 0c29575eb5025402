"""examples/reminder.py: calls that we place, and what those say who are called."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from active_call.testing.virtual_call import Caller, virtual_run

Load = Callable[[str], ModuleType]
ADA, BOB, EVE = "sip:ada@example.com", "sip:bob@example.com", "sip:eve@example.com"


async def confirms(patient: Caller) -> None:
    await patient.hears("appointment tomorrow at nine")
    await patient.press("1")
    await patient.hears("is confirmed")


async def cancels_in_the_end(patient: Caller) -> None:
    await patient.hears("2 to cancel")
    await patient.press("5")
    await patient.hears("2 to cancel")
    await patient.press("2")
    await patient.hears("is cancelled")


async def hangs_up(patient: Caller) -> None:
    await patient.hears("Harbour Street")
    await patient.hangs_up()


async def says_nothing(patient: Caller) -> None:
    await patient.is_over()


def test_all_are_called_one_after_another(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    reminder = load("reminder")
    result = virtual_run(reminder.app, reminder.main([ADA, BOB, EVE]), others={ADA: confirms, BOB: cancels_in_the_end, EVE: 486})
    assert capsys.readouterr().out.splitlines() == [f"{ADA} confirmed", f"{BOB} cancelled", f"{EVE} no answer (486)"]
    assert result.placed == (ADA, BOB, EVE)
    assert [call.sip_code for call in result.calls] == [None, None, 486]
    assert result.calls_with(ADA)[0].ended_by == "agent"


@pytest.mark.parametrize(("script", "expected"), [(hangs_up, "unclear"), (says_nothing, "unclear"), (404, "no answer (404)")])
def test_answer_of_one(load: Load, script: object, expected: str) -> None:
    reminder = load("reminder")
    assert virtual_run(reminder.app, reminder.remind(ADA, "today"), others={ADA: script}).value == expected  # type: ignore[dict-item]
