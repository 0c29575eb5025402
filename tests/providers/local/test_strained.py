"""What nobody waits for is not computed while the machine has no time."""

from __future__ import annotations

import asyncio

import pytest

from active_call.base.errors import ProviderError
from active_call.providers.local.local_engines import EngineProcesses


def test_background_request_is_refused_while_the_machine_is_strained() -> None:
    engines = EngineProcesses(is_strained=lambda: True)
    with pytest.raises(ProviderError, match="no time") as caught:
        asyncio.run(engines.run(print, background=True))
    assert caught.value.retryable
    asyncio.run(engines.close())
