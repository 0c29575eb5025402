"""What the parts of the transaction layer need of it. The layer implements both ports; a test gives a fake one.

`TransactionPort` is for the RFC 3261 §17 machines: send bytes, set a timer, end. `RequestPort` is for what chooses the place of a request:
it also asks the resolver and writes Via and Contact.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from active_call.sip.events import EndpointConfig, Flow, Target
from active_call.sip.faults import PartOfCall
from active_call.sip.transaction.next_hops import NextHopsPort
from active_call.sip.transaction.request_writer import RequestWriter
from active_call.sip.transaction.timers import Timers


class Sender(PartOfCall, Protocol):
    """The part that has queued a transmit."""

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The transmit could not be carried out."""


class Transaction(Protocol):
    """A transaction as the layer finds it: by its key (RFC 3261 §17.1.3, §17.2.3)."""

    @property
    def key(self) -> Hashable:
        """What a message is matched by."""


class TransactionPort(Protocol):
    """What one transaction needs of its layer."""

    @property
    def config(self) -> EndpointConfig:
        """T1, T2 and T4."""

    @property
    def timers(self) -> Timers:
        """The alarms."""

    def transmit(self, data: bytes, destination: Flow | Target, sender: Sender | None = None, previous_id: int = 0) -> int:
        """Queue `data` and give the transmit's id. `sender` hears of a failure of it, and no longer of `previous_id`."""

    def end(self, transaction: Transaction, transmit_id: int) -> None:
        """`transaction` has terminated: forget it and its last transmit."""


class RequestPort(TransactionPort, NextHopsPort, Protocol):
    """What a request on its way needs: its places, and the bytes for each of them."""

    @property
    def writer(self) -> RequestWriter:
        """Writes Via and Contact."""

    def new_branch(self) -> str:
        """A branch unique over space and time."""

    def forget_transmit(self, transmit_id: int) -> None:
        """A failure of that transmit is not reported any more."""
