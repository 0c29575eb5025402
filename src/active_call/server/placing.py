"""`active-call call`: one outbound call from the command line, with its conversation printed as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console

from active_call.contract import events
from active_call.contract.options import CallOption, SipOption
from active_call.server.composition import running
from active_call.server.config.config import Config


@dataclass(frozen=True, slots=True)
class CallWish:
    """Whom to call, and how. None: as configured."""

    uri: str
    playbook: str
    caller: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    srtp: bool | None = None


async def place_one_call(config: Config, environment: Mapping[str, str], out: Console, wish: CallWish) -> bool:
    """Place the call and wait for its end. True when it was answered. Raises ActiveCallError for what cannot be dialled."""
    config = config.model_copy(update={"udp_port": 0, "tls_port": None, "http_addr": "127.0.0.1:0", "handler": None})
    async with running(config, environment) as server:
        book = server.playbooks.load(wish.playbook)
        login = SipOption(username=wish.username, password=wish.password, enable_srtp=wish.srtp)
        option = CallOption(callee=wish.uri, caller=wish.caller, sip=login)
        call = server.registry.place(option, playbook=book)
        events_of_call = call.subscribe()
        out.print(f"calling {wish.uri} …", highlight=False, markup=False)
        async for item in events_of_call:
            _show(item.event, out)
        described = call.describe()
        if described.answered_at is None:
            why = described.error or f"{described.sip_code or ''} {described.end_reason}".strip()
            out.print(f"not answered: {why}", style="red", highlight=False, markup=False, soft_wrap=True)
        return described.answered_at is not None


def _show(event: events.Event, out: Console) -> None:
    match event:
        case events.Ringing():
            out.print("it rings", style="dim")
        case events.Answer():
            out.print("answered", style="dim")
        case events.AddHistory(speaker=speaker, text=text):
            who = {"assistant": "agent", "user": "callee"}.get(speaker, speaker)
            out.print(f"{who:>7}  {text}", highlight=False, markup=False, soft_wrap=True)
        case events.Dtmf(digit=digit):
            out.print(f"{'digit':>7}  {digit}", highlight=False, markup=False)
        case events.Error(sender=sender, error=error):
            out.print(f"{sender}: {error}", style="red", highlight=False, markup=False)
        case events.Hangup(reason=reason, initiator=initiator):
            out.print(f"over: {reason} (by {initiator})", style="dim", highlight=False, markup=False)
        case _:
            pass
