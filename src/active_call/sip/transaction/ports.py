"""What the parts of the transaction layer need from it. The layer implements both ports; tests pass fakes.

`TransactionPort` is for the RFC 3261 §17 machines: send bytes, set a timer, end. `RequestPort` is for the part that chooses the target of a
request: it also has look-ups and writes Via and Contact.
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
    """The part that queued a transmit."""

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The transmit failed."""


class Transaction(Protocol):
    """A transaction in the table of the layer, found by its key (RFC 3261 §17.1.3, §17.2.3)."""

    @property
    def key(self) -> Hashable:
        """The key that messages are matched by."""


class TransactionPort(Protocol):
    """What one transaction needs from its layer."""

    @property
    def config(self) -> EndpointConfig:
        """T1, T2 and T4."""

    @property
    def timers(self) -> Timers:
        """The timers of the endpoint."""

    def transmit(self, data: bytes, destination: Flow | Target, sender: Sender | None = None, previous_id: int = 0) -> int:
        """Queue `data`; returns the transmit's id. `sender` is called if it fails, and no longer for `previous_id`."""

    def end(self, transaction: Transaction, transmit_id: int) -> None:
        """`transaction` has terminated: remove it and its last transmit."""


class RequestPort(TransactionPort, NextHopsPort, Protocol):
    """What an outgoing request needs: its targets, and the bytes for each of them."""

    @property
    def writer(self) -> RequestWriter:
        """Writes Via and Contact."""

    def new_branch(self) -> str:
        """A branch unique over space and time."""

    def forget_transmit(self, transmit_id: int) -> None:
        """Do not report a failure of that transmit any more."""
