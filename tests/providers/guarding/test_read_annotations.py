"""What runs for each call or reply reads no annotations: msgspec evaluates those of a type anew each time, about a millisecond."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.repair import repaired
from active_call.call.sound.call_progress import gain_of
from active_call.contract.options import AgcOption
from active_call.providers.chat import Usage
from active_call.providers.guarding.guarded_chat import checked_usage

PLAYBOOK = "---\nasr: {provider: deepgram, language: en}\n---\nYou sell flowers.\n"


@pytest.fixture
def without_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a first playbook, the fields of types cannot be read any more."""
    parse_playbook(PLAYBOOK, file="p.md", environment={})

    def refuse(*_: Any) -> Any:
        raise AssertionError("annotations are read")

    monkeypatch.setattr(msgspec.structs, "_get_class_annotations", refuse)


@pytest.mark.usefixtures("without_annotations")
def test_each_reply_and_each_call_reads_no_annotations() -> None:
    usage: Any = Usage(5, True, -3)  # type: ignore[arg-type]
    assert checked_usage(usage) == Usage(5, 0, 0)
    assert repaired(usage) == {"input_tokens": 5, "output_tokens": True, "cached_tokens": -3} | dict.fromkeys(
        Usage.__struct_fields__[3:], 0
    )
    assert gain_of(AgcOption(max_gain_db=20)) is not None
    assert parse_playbook(PLAYBOOK, file="p.md", environment={}).option.asr is not None
