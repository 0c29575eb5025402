"""active-call: answers and places phone calls over SIP trunks and holds the conversation.

    from active_call import Agent, App, Call, tool

`App` is a server that lets Python functions answer its calls, `Call` is one phone call in such a function. docs/python.md teaches
them in ten minutes. `Client` drives the calls of a server that runs elsewhere (docs/python-client.md). The options and errors of
these are here, too. `active_call.contract.events` and `active_call.contract.commands` have the events and commands of a call, and
`active_call.testing.virtual_call` tests programs. Everything else in this package is internal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from active_call.base.version import __version__

if TYPE_CHECKING:
    from active_call.agent.playbook.scenes import FollowupOption as FollowupOption
    from active_call.agent.playbook.scenes import LlmOption as LlmOption
    from active_call.app.agent import Agent as Agent
    from active_call.app.app import App as App
    from active_call.app.call import Call as Call
    from active_call.app.errors import CallEnded as CallEnded
    from active_call.app.errors import CallError as CallError
    from active_call.app.errors import CallRefused as CallRefused
    from active_call.app.errors import CommandRefused as CommandRefused
    from active_call.app.errors import NoInput as NoInput
    from active_call.app.errors import PlaybackFailed as PlaybackFailed
    from active_call.app.errors import TransferFailed as TransferFailed
    from active_call.app.tools import tool as tool
    from active_call.app.values import Heard as Heard
    from active_call.app.values import Outcome as Outcome
    from active_call.app.values import Speech as Speech
    from active_call.app.values import TransferResult as TransferResult
    from active_call.base.errors import ActiveCallError as ActiveCallError
    from active_call.base.errors import ConfigError as ConfigError
    from active_call.base.errors import LimitReached as LimitReached
    from active_call.base.errors import NotAllowed as NotAllowed
    from active_call.client.call import ClientCall as ClientCall
    from active_call.client.client import Client as Client
    from active_call.client.errors import CallOver as CallOver
    from active_call.client.errors import ClientError as ClientError
    from active_call.client.errors import CommandFailed as CommandFailed
    from active_call.contract.options import AsrOption as AsrOption
    from active_call.contract.options import BriefingOption as BriefingOption
    from active_call.contract.options import CallOption as CallOption
    from active_call.contract.options import RealtimeOption as RealtimeOption
    from active_call.contract.options import TtsOption as TtsOption

_NAMES = {
    "ActiveCallError": "base.errors",
    "Agent": "app.agent",
    "App": "app.app",
    "AsrOption": "contract.options",
    "BriefingOption": "contract.options",
    "Call": "app.call",
    "CallEnded": "app.errors",
    "CallError": "app.errors",
    "CallOption": "contract.options",
    "CallOver": "client.errors",
    "CallRefused": "app.errors",
    "Client": "client.client",
    "ClientCall": "client.call",
    "ClientError": "client.errors",
    "CommandFailed": "client.errors",
    "CommandRefused": "app.errors",
    "ConfigError": "base.errors",
    "FollowupOption": "agent.playbook.scenes",
    "Heard": "app.values",
    "LimitReached": "base.errors",
    "LlmOption": "agent.playbook.scenes",
    "NoInput": "app.errors",
    "NotAllowed": "base.errors",
    "Outcome": "app.values",
    "PlaybackFailed": "app.errors",
    "RealtimeOption": "contract.options",
    "Speech": "app.values",
    "TransferFailed": "app.errors",
    "TransferResult": "app.values",
    "TtsOption": "contract.options",
    "tool": "app.tools",
}
"""Loaded on first use: commands and processes of this package that need no application start faster without it."""

if not TYPE_CHECKING:  # a type checker that saw these would accept every misspelt name, and know no name of `import *`
    __all__ = ["__version__", *_NAMES]

    def __getattr__(name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(f"module 'active_call' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"active_call.{_NAMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(["__version__", *_NAMES])
