"""How many examples a property test tries. `make test` tries few, other ones in every run; `make fuzz` takes the profile `long`: many."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

N_USUAL = 25
"""Of a property test that says nothing."""
N_LONG = 5000
"""The same in `make fuzz`."""
_TIMES = 40


def searching(n_examples: int) -> settings:
    """Settings of a test that tries `n_examples` in `make test`, and 40 times as many in `make fuzz`, at most `N_LONG`."""
    return settings(
        max_examples=min(_TIMES * n_examples, N_LONG) if is_long() else n_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def is_long() -> bool:
    """Whether `make fuzz` runs."""
    usual = settings.default
    return usual is not None and usual.max_examples >= N_LONG
