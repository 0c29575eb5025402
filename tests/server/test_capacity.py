"""What is told when ports or descriptors do not suffice for `max_calls`."""

from __future__ import annotations

import pytest

from active_call.server.capacity import capacity_warnings, shortage_text
from active_call.server.config.config import Config


def config(max_calls: int | None, last_port: int = 20_199) -> Config:
    admission = {} if max_calls is None else {"max_calls": max_calls}
    return Config.model_validate({"rtp_start_port": 20_000, "rtp_end_port": last_port, "admission": admission})


@pytest.mark.parametrize(
    ("max_calls", "n_files", "n_workers", "words"),
    [
        (None, 10, 1, []),
        (100, 1024, 1, []),
        (101, 1024, 1, ["rtp_end_port"]),
        (100, 256, 1, ["LimitNOFILE"]),
        (100, 256, 2, []),
        (1000, 256, 1, ["rtp_end_port", "LimitNOFILE"]),
    ],
)
def test_limits_below_what_max_calls_needs_are_told_with_how_to_raise_them(
    max_calls: int | None, n_files: int, n_workers: int, words: list[str]
) -> None:
    told = capacity_warnings(config(max_calls), n_files, n_workers)
    assert len(told) == len(words)
    assert all(word in text and f"{max_calls} calls" in text for word, text in zip(words, told, strict=True))


@pytest.mark.parametrize(("reason", "words"), [("ports", "20000-20199"), ("descriptors", "LimitNOFILE")])
def test_shortage_says_what_is_short_and_how_to_raise_it(reason: str, words: str) -> None:
    assert words in shortage_text(config(None), reason)
