"""Handing the caller on: a REFER, what becomes of it as `transfer` events, and the end in a known state.

start -> referring -> progress … -> completed (the call is hung up at once, as carriers demand)
                                 -> failed    (the caller is back with the agent, which is told why)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.contract import commands, events
from active_call.legs.events import LegTransferProgress


class Refers(Protocol):
    """A leg that can be asked to refer its peer."""

    def refer(self, target: str, headers: Mapping[str, str]) -> None: ...


class Transfer:
    """The transfer of one call; one at a time."""

    def __init__(self, leg: Refers, emit: Callable[[events.Event], None], on_completed: Callable[[], None]) -> None:
        self._leg = leg
        self._emit = emit
        self._on_completed = on_completed
        self._target = ""

    @property
    def is_under_way(self) -> bool:
        return bool(self._target)

    def start(self, command: commands.Refer) -> None:
        """Ask for the transfer. One that cannot even be asked for has failed. Raises LocalProtocolError while another is under way."""
        if self._target:
            raise LocalProtocolError(f"a transfer to {self._target!r} is under way")
        option = command.options
        if option is not None and option.mode == "bridge":
            raise LocalProtocolError("transfers by bridging are not supported yet; expected mode 'refer' or 'auto'")
        self._target = command.callee
        self._emit(events.Transfer(state="referring", target=self._target))
        headers = option.sip.headers if option is not None and option.sip is not None else {}
        try:
            self._leg.refer(self._target, headers)
        except ActiveCallError as error:
            self._fail(500)
            raise LocalProtocolError(f"the call cannot be transferred to {command.callee!r}: {error}") from error

    def progress(self, report: LegTransferProgress) -> None:
        """The peer has told how it goes."""
        if not self._target:
            return
        if not report.final:
            self._emit(events.Transfer(state="progress", target=self._target, code=report.code))
        elif 200 <= report.code < 300:
            target, self._target = self._target, ""
            self._emit(events.Transfer(state="completed", target=target, code=report.code))
            self._on_completed()
        else:
            self._fail(report.code)

    def _fail(self, code: int) -> None:
        target, self._target = self._target, ""
        self._emit(events.Transfer(state="failed", target=target, code=code or None))
