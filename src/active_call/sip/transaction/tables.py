"""The four transaction machines as tables (RFC 3261 §17, with the Accepted states of RFC 6026). No actions are executed here.

A transaction is one request and its responses. Over an unreliable transport the client repeats the request until a response arrives; the
server repeats its response when the request is repeated. For an INVITE the ACK to a non-2xx belongs to the transaction, and a 2xx passes
through it. The Accepted state lets every retransmitted 2xx (client) and every ACK to it (server) still match a transaction for 64*T1, while
a repeated INVITE is absorbed.

A table maps (state, input) to (next state, actions). A pair that is not in it has no effect. `client` and `server` execute the actions.
"""

from __future__ import annotations

from enum import Enum, auto

LIFETIME_T1S = 64
"""Timers B, F, H, J, L and M in units of T1."""


class State(Enum):
    """The state of a transaction; each machine uses some of these."""

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class Input(Enum):
    """The inputs of a transaction. Timers have the letters of RFC 3261 table 4 and RFC 6026 §8.6."""

    PROVISIONAL = auto()
    SUCCESS = auto()
    FAILURE = auto()
    REQUEST = auto()
    ACK = auto()
    SEND_PROVISIONAL = auto()
    SEND_SUCCESS = auto()
    SEND_FAILURE = auto()
    TIMER_A = auto()
    TIMER_B = auto()
    TIMER_D = auto()
    TIMER_E = auto()
    TIMER_F = auto()
    TIMER_G = auto()
    TIMER_H = auto()
    TIMER_I = auto()
    TIMER_J = auto()
    TIMER_K = auto()
    TIMER_L = auto()
    TIMER_M = auto()
    TRANSPORT_ERROR = auto()


class Action(Enum):
    """The actions of a transition. `LINGER_x` starts timer x, which ends in Terminated."""

    REPEAT_REQUEST = auto()
    PASS_UP = auto()
    SEND_ACK = auto()
    REPORT_TIMEOUT = auto()
    REPORT_TRANSPORT = auto()
    SEND = auto()
    REPEAT_RESPONSE = auto()
    PASS_ACK = auto()
    START_G = auto()
    START_H = auto()
    STOP_G_H = auto()
    LINGER_D = auto()
    LINGER_I = auto()
    LINGER_J = auto()
    LINGER_K = auto()
    LINGER_L = auto()
    LINGER_M = auto()


Table = dict[tuple[State, Input], tuple[State, tuple[Action, ...]]]

_S = State
_I = Input
_A = Action

CLIENT_INVITE: Table = {
    (_S.CALLING, _I.TIMER_A): (_S.CALLING, (_A.REPEAT_REQUEST,)),
    (_S.CALLING, _I.TIMER_B): (_S.TERMINATED, (_A.REPORT_TIMEOUT,)),
    (_S.CALLING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.PASS_UP,)),
    (_S.CALLING, _I.SUCCESS): (_S.ACCEPTED, (_A.LINGER_M, _A.PASS_UP)),
    (_S.CALLING, _I.FAILURE): (_S.COMPLETED, (_A.SEND_ACK, _A.LINGER_D, _A.PASS_UP)),
    (_S.CALLING, _I.TRANSPORT_ERROR): (_S.TERMINATED, (_A.REPORT_TRANSPORT,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.PASS_UP,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_A.LINGER_M, _A.PASS_UP)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.SEND_ACK, _A.LINGER_D, _A.PASS_UP)),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, (_A.SEND_ACK,)),
    (_S.COMPLETED, _I.TIMER_D): (_S.TERMINATED, ()),
    (_S.COMPLETED, _I.TRANSPORT_ERROR): (_S.TERMINATED, ()),
    (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, (_A.PASS_UP,)),
    (_S.ACCEPTED, _I.TIMER_M): (_S.TERMINATED, ()),
}
"""RFC 3261 figure 5 as replaced by RFC 6026 §7.2. In Completed the user already has the final response,
so an ACK that cannot be sent is not reported."""

CLIENT_REQUEST: Table = {
    (_S.TRYING, _I.TIMER_E): (_S.TRYING, (_A.REPEAT_REQUEST,)),
    (_S.TRYING, _I.TIMER_F): (_S.TERMINATED, (_A.REPORT_TIMEOUT,)),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.PASS_UP,)),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_A.LINGER_K, _A.PASS_UP)),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_A.LINGER_K, _A.PASS_UP)),
    (_S.TRYING, _I.TRANSPORT_ERROR): (_S.TERMINATED, (_A.REPORT_TRANSPORT,)),
    (_S.PROCEEDING, _I.TIMER_E): (_S.PROCEEDING, (_A.REPEAT_REQUEST,)),
    (_S.PROCEEDING, _I.TIMER_F): (_S.TERMINATED, (_A.REPORT_TIMEOUT,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.PASS_UP,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_A.LINGER_K, _A.PASS_UP)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.LINGER_K, _A.PASS_UP)),
    (_S.PROCEEDING, _I.TRANSPORT_ERROR): (_S.TERMINATED, (_A.REPORT_TRANSPORT,)),
    (_S.COMPLETED, _I.TIMER_K): (_S.TERMINATED, ()),
}
"""RFC 3261 figure 6."""

SERVER_INVITE: Table = {
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_A.REPEAT_RESPONSE,)),
    (_S.PROCEEDING, _I.SEND_PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
    (_S.PROCEEDING, _I.SEND_SUCCESS): (_S.ACCEPTED, (_A.SEND, _A.LINGER_L)),
    (_S.PROCEEDING, _I.SEND_FAILURE): (_S.COMPLETED, (_A.SEND, _A.START_G, _A.START_H)),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_A.REPEAT_RESPONSE,)),
    (_S.COMPLETED, _I.TIMER_G): (_S.COMPLETED, (_A.REPEAT_RESPONSE, _A.START_G)),
    (_S.COMPLETED, _I.TIMER_H): (_S.TERMINATED, ()),
    (_S.COMPLETED, _I.ACK): (_S.CONFIRMED, (_A.STOP_G_H, _A.LINGER_I)),
    (_S.CONFIRMED, _I.TIMER_I): (_S.TERMINATED, ()),
    (_S.ACCEPTED, _I.SEND_SUCCESS): (_S.ACCEPTED, (_A.SEND,)),
    (_S.ACCEPTED, _I.ACK): (_S.ACCEPTED, (_A.PASS_ACK,)),
    (_S.ACCEPTED, _I.TIMER_L): (_S.TERMINATED, ()),
}
"""RFC 3261 figure 7 as replaced by RFC 6026 §7.1. In Accepted a repeated INVITE is absorbed: its UAS core repeats the 2xx."""

SERVER_REQUEST: Table = {
    (_S.TRYING, _I.SEND_PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
    (_S.TRYING, _I.SEND_SUCCESS): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
    (_S.TRYING, _I.SEND_FAILURE): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_A.REPEAT_RESPONSE,)),
    (_S.PROCEEDING, _I.SEND_PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
    (_S.PROCEEDING, _I.SEND_SUCCESS): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
    (_S.PROCEEDING, _I.SEND_FAILURE): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_A.REPEAT_RESPONSE,)),
    (_S.COMPLETED, _I.TIMER_J): (_S.TERMINATED, ()),
}
"""RFC 3261 figure 8."""


def response_input(code: int) -> Input:
    """The input of the client machines for a response with `code`."""
    return Input.PROVISIONAL if code < 200 else Input.SUCCESS if code < 300 else Input.FAILURE


def sending_input(code: int) -> Input:
    """The input of the server machines for sending a response with `code`."""
    return Input.SEND_PROVISIONAL if code < 200 else Input.SEND_SUCCESS if code < 300 else Input.SEND_FAILURE
