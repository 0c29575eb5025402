from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ConfigError, ProviderError
from active_call.providers.engine_choice import MAX_DELAY_S, STABLE_S, Choice, EngineChoice

LOST = ProviderError("vendor", "lost", retryable=True)
REFUSED = ProviderError("vendor", "no such key")


def test_engine_that_worked_is_opened_again_at_once() -> None:
    choice = EngineChoice(2)
    for _ in range(5):
        assert choice.fail(LOST, lived_s=STABLE_S) == Choice(0, 0.0)


def test_each_engine_has_two_attempts_and_the_round_begins_again_more_slowly() -> None:
    choice = EngineChoice(2)
    chosen = [choice.fail(LOST) for _ in range(6)]
    assert chosen == [Choice(0, 0.2), Choice(1, 0.0), Choice(1, 0.8), Choice(0, 1.6), Choice(0, 3.2), Choice(1, 0.0)]


def test_result_makes_earlier_failures_forgotten() -> None:
    choice = EngineChoice(2)
    choice.fail(LOST)
    choice.note_result()
    assert choice.fail(LOST) == Choice(0, 0.2)


def test_engine_without_a_result_is_left_at_once_where_there_is_another() -> None:
    assert EngineChoice(2).fail(LOST, leave=True) == Choice(1, 0.0)
    assert EngineChoice(2).fail(REFUSED, leave=True) == Choice(1, 0.0)
    assert EngineChoice(1).fail(LOST, leave=True) == Choice(0, 0.2)


@pytest.mark.parametrize("error", [REFUSED, ConfigError("asr.language", "no")])
def test_engine_that_refuses_for_good_is_not_used_again(error: ProviderError) -> None:
    choice = EngineChoice(3)
    assert choice.fail(error) == Choice(1, 0.0)
    assert [choice.fail(LOST).position for _ in range(6)] == [1, 2, 2, 1, 1, 2]  # type: ignore[union-attr]
    assert choice.fail(error) == Choice(1, MAX_DELAY_S)
    assert not choice.has_other
    assert choice.fail(error) is None


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from([LOST, REFUSED]), st.sampled_from([0.0, 3.0, 20.0]), st.booleans(), st.booleans()), max_size=60),
)
def test_choice_is_always_a_usable_engine_after_a_bounded_delay(
    n_engines: int, events: list[tuple[ProviderError, float, bool, bool]]
) -> None:
    choice, refused = EngineChoice(n_engines), set()
    for error, lived_s, leave, gave_result in events:
        if gave_result:
            choice.note_result()
        before = choice.position
        next_engine = choice.fail(error, lived_s=lived_s, leave=leave)
        if error is REFUSED and not leave:
            refused.add(before)
        if next_engine is None:
            assert len(refused) == n_engines
            return
        assert next_engine.position == choice.position and next_engine.position not in refused
        assert 0 <= next_engine.delay_s <= MAX_DELAY_S
