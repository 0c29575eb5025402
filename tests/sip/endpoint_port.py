"""An endpoint that is none: implements the ports of `sip.ports` and writes down what a part asks of it."""

from __future__ import annotations

from dataclasses import dataclass

from active_call.sip.events import EndpointConfig
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.timers import Timers


@dataclass
class Sent:
    """A request on its way, as `send_request` was called with; stands in for a FailoverRequest."""

    request: Request
    target: object
    user: object
    origin: object
    is_proceeding: bool = False
    is_withdrawn: bool = False
    peer_host: str = "192.0.2.9"
    transport: str = "udp"

    def withdraw(self, now):
        self.is_withdrawn = True


class FakeEndpointPort:
    """See the module. `refuses` is raised by the next `send_request`."""

    def __init__(self, randomness, **config):
        self.config = EndpointConfig(listeners=(), user_agent="u", **config)
        self.randomness = randomness
        self.timers = Timers()
        self.refuses = None
        self.sent, self.acks, self.replies, self.faults = [], [], [], []
        self.users = {}

    def default_transport(self):
        return "tcp"

    def send_request(self, request, target, user, now, origin):
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(Sent(request, target, user, origin))
        return self.sent[-1]

    def send_ack(self, request, target, origin, now):
        self.acks.append(request)

    def add_dialog(self, dialog, user):
        self.users[dialog.key] = user

    def remove_dialog(self, dialog, user):
        if self.users.get(dialog.key) is user:
            del self.users[dialog.key]

    def reply(self, transaction, reply, now):
        self.replies.append(reply.code)
        return True

    def note_fault(self, where, error, *, call_id=""):
        self.faults.append((where, str(error), call_id))
