"""`Call`: one phone call, controlled by a program. Each method returns when the caller has heard it, or when it is done.

Commands and events go through a `CallHandle`. A method raises `CallError`: `CommandRefused` if the call cannot do it now,
`CallEnded` when the call ends meanwhile or has ended. Cancelling a method (`asyncio.timeout`) stops what it plays and leaves the call as
it is. Times are in seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

from active_call.app.errors import CallEnded, CommandRefused, NoInput
from active_call.app.event_matchers import (
    Playback,
    answered,
    bridge_ended,
    bridge_joined,
    caller_input,
    hold_agreed,
    key_pressed,
    said_or_pressed,
    speech_of,
    transferred,
)
from active_call.app.exchange import Exchange
from active_call.app.values import Heard, Outcome, Speech, TransferResult
from active_call.app.waiting import Matcher
from active_call.call.handle import CallHandle
from active_call.call.requests import BeginAgent
from active_call.call.state import Phase
from active_call.contract import commands
from active_call.contract.events import Event
from active_call.contract.options import BriefingOption, CallOption, ReferOption, SipOption, TtsOption

T = TypeVar("T")

DIGIT_TIMEOUT_S = 5.0
"""The longest pause between two digits of one input."""
DIGIT_GAP_MS = 40
"""Pause between two digits that we send."""


class Converses(Protocol):
    """The agent for `converse`: see `active_call.Agent`."""

    def begin(self, call: Call, *, interruptible: bool = True) -> tuple[BeginAgent, asyncio.Future[Any]]:
        """What the call is asked for, and what is done when the agent is finished."""
        ...


class Call:
    """One phone call. `App` creates it; programs receive it and do not construct it."""

    def __init__(self, handle: CallHandle) -> None:
        self._handle = handle
        self._exchange = Exchange(handle)
        self._n_plays = itertools.count(1)
        self.variables: MutableMapping[str, Any] = Variables(handle, self._set_variable)
        """Variables of the call: templates of playbooks can use them, the record stores them."""

    # -- what is known

    @property
    def id(self) -> str:
        """The id of the call in records, logs and the HTTP API."""
        return self._handle.id

    @property
    def caller(self) -> str:
        """The caller: a SIP or tel URI."""
        return self._handle.describe().caller

    @property
    def callee(self) -> str:
        """The callee: a SIP or tel URI."""
        return self._handle.describe().callee

    @property
    def direction(self) -> str:
        """`inbound` or `outbound`."""
        return self._handle.describe().direction

    @property
    def trunk(self) -> str:
        """The trunk of the call; empty if it uses none of the configuration."""
        return self._handle.describe().trunk

    @property
    def headers(self) -> Mapping[str, str]:
        """The SIP headers of the INVITE; for a call that we placed, those of the answer."""
        return self._handle.describe().headers

    @property
    def is_answered(self) -> bool:
        """Whether the two sides can talk."""
        return self._handle.describe().phase is Phase.ANSWERED

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._exchange.ended is not None

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.direction} {self.caller} -> {self.callee} {self._handle.describe().phase.name.lower()}>"

    def _set_variable(self, key: str, value: Any) -> None:
        self._exchange.send_soon(commands.SetVar(key=key, value=value))

    async def __aenter__(self) -> Call:
        """`async with call:` hangs up at the end, whatever happens meanwhile."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.hangup()

    # -- beginning and end

    async def ring(self, *, ringtone: str | None = None, early_media: bool = False) -> None:
        """Let the caller hear ringing: the network's own, a `ringtone` (file or URL), or speech and files with `early_media`."""
        await self._exchange.send(commands.Ringing(ringtone=ringtone, early_media=early_media))

    async def answer(self, option: CallOption | None = None) -> None:
        """Answer an inbound call; returns when the caller can hear us. `option` overrides the configuration for this call."""
        await self._exchange.do(commands.Accept(option=option or CallOption()), answered)

    async def wait_answered(self) -> None:
        """Wait until the call is answered. Raises CallRefused if a call that we placed is not answered, CallEnded for others."""
        if not self.is_answered:
            await self._exchange.unless_over(self._exchange.waits.expect(answered).result())

    async def reject(self, code: int = 486, reason: str = "") -> None:
        """Refuse an inbound call with a SIP status of 300 to 699; returns when it is over."""
        await self._exchange.send(commands.Reject(code=code, reason=reason))
        await self._exchange.over.wait()

    async def hangup(self, reason: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        """End the call; returns when it is over. Does nothing if the call is already over. `headers` go into the BYE."""
        if self._exchange.ended is not None:
            return
        with suppress(CommandRefused, CallEnded):  # it is already ending
            await self._exchange.send(commands.Hangup(reason=reason or None, initiator="agent", headers=dict(headers or {})))
        await self._exchange.over.wait()

    async def wait_ended(self) -> CallEnded:
        """Wait for the end of the call, and return how it ended."""
        await self._exchange.over.wait()
        assert self._exchange.ended is not None  # noqa: S101 (set with the event)
        return self._exchange.ended

    async def unless_over(self, work: Awaitable[T]) -> T:
        """The result of other `work`. If the call ends first, `work` is cancelled and CallEnded is raised."""
        return await self._exchange.unless_over(work)

    # -- speaking

    async def say(self, text: str, *, voice: str | None = None, speed: float | None = None, interruptible: bool = False) -> Heard:
        """Say `text`; returns when it was heard. `interruptible`: the caller stops it by speaking or pressing a key.

        Replaces the current playback. Raises PlaybackFailed if it cannot be synthesised.
        """
        return await self._play(self._tts(text, voice, speed), text, caller_input if interruptible else None)

    async def play(self, source: str, *, interruptible: bool = False) -> Heard:
        """Play a file, a URL or a tone (`tone:beep`); returns when it was heard. Otherwise as `say`."""
        return await self._play(commands.Play(url=source), "", caller_input if interruptible else None)

    async def stop_speaking(self, *, fade_ms: int | None = None) -> None:
        """Stop the current playback."""
        await self._exchange.send(commands.Interrupt(fade_out_ms=fade_ms))

    def _tts(self, text: str, voice: str | None = None, speed: float | None = None) -> commands.Tts:
        option = TtsOption(speed=speed) if speed is not None else None
        return commands.Tts(text=text, speaker=voice, play_id=f"say-{next(self._n_plays)}", option=option)

    async def _play(self, command: commands.Tts | commands.Play, text: str, stop: Matcher[bool] | None) -> Heard:
        exchange = self._exchange
        exchange.speech.clear()
        play_id = command.play_id if isinstance(command, commands.Tts) else command.url
        matcher = Playback(play_id or "", text, str(command.__struct_config__.tag))
        try:
            heard = await (exchange.do(command, matcher) if stop is None else exchange.do_until(stop, command, matcher))
        except asyncio.CancelledError:
            exchange.send_soon(commands.Interrupt())
            raise
        exchange.note_line("assistant", heard.text)
        return heard

    # -- listening

    async def listen(self, *, timeout: float | None = 15.0) -> Speech:
        """What the caller says next, returned when the turn is over; speech since the last `say` or `play` began counts.

        Raises NoInput if the caller says nothing within `timeout`, which counts from now to the end of the turn.
        """
        if self._exchange.speech:
            return self._exchange.speech.pop(0)
        wait = self._exchange.waits.expect(speech_of)
        try:
            return await wait.result(timeout)
        except TimeoutError:
            raise NoInput(f"nothing was said within {timeout:g} s") from None
        finally:
            self._exchange.speech.clear()

    async def ask(
        self,
        prompt: str,
        *,
        timeout: float = 8.0,
        retries: int = 1,
        reprompt: str | None = None,
        interruptible: bool = True,
        keys: int = 0,
    ) -> Speech:
        """Say `prompt` and return the caller's answer. Asks again `retries` times (with `reprompt` if given), then raises NoInput.

        `keys`: so many digits are an answer, too, or fewer that `#` or a pause ends; keys pressed earlier count.
        """
        for attempt in range(retries + 1):
            if not keys or self._exchange.digits.is_empty:
                await self.say(prompt if attempt == 0 or reprompt is None else reprompt, interruptible=interruptible)
            try:
                return await (self._said_or_pressed(timeout, keys) if keys else self.listen(timeout=timeout))
            except NoInput:
                if attempt == retries:
                    raise
        raise AssertionError("unreachable")

    async def _said_or_pressed(self, timeout: float, keys: int) -> Speech:
        exchange = self._exchange
        if exchange.digits.is_empty and not exchange.speech:
            try:
                await exchange.waits.expect(said_or_pressed).result(timeout)
            except TimeoutError:
                raise NoInput(f"nothing was said or pressed within {timeout:g} s") from None
        if exchange.digits.is_empty:
            return await self.listen(timeout=timeout)
        exchange.speech.clear()
        pressed = await self._read_digits(keys, "#", timeout, DIGIT_TIMEOUT_S)
        if not pressed:
            raise NoInput("only the key that ends the input was pressed")
        return Speech(pressed, is_pressed=True)

    async def collect(
        self,
        *,
        digits: int | None = None,
        min_digits: int = 1,
        max_digits: int = 32,
        finish: str = "#",
        prompt: str = "",
        reprompt: str | None = None,
        retries: int = 2,
        timeout: float = 10.0,
        digit_timeout: float = DIGIT_TIMEOUT_S,
        check: Callable[[str], bool] | None = None,
    ) -> str:
        """The digits that the caller presses after `prompt`; the first one cuts the prompt short.

        `digits`: exactly that many, else from `min_digits` to `max_digits`, ended by the `finish` key or by `digit_timeout` between two
        keys. `timeout`: from the end of the prompt to the first key. `check` says whether the input is accepted. If it is too short, wrong
        or missing, the call asks again `retries` times (with `reprompt` if given), then raises NoInput. Keys pressed earlier count. Raises
        ValueError if no digits can be collected.
        """
        least, most = (digits, digits) if digits is not None else (min_digits, max_digits)
        if most < 1 or least > most:
            raise ValueError(f"collect: expected at least one digit, found {least} to {most}")
        pressed = ""
        for attempt in range(retries + 1):
            said = prompt if attempt == 0 or reprompt is None else reprompt
            if said and self._exchange.digits.is_empty:
                await self._play(self._tts(said), said, key_pressed)
            pressed = await self._read_digits(most, finish, timeout, digit_timeout)
            if len(pressed) >= least and (check is None or check(pressed)):
                return pressed
            self._exchange.digits.clear()
        raise NoInput(f"no valid input after {retries + 1} attempts", pressed)

    async def _read_digits(self, most: int, finish: str, timeout: float, digit_timeout: float) -> str:
        pressed = ""
        while len(pressed) < most:
            try:
                digit = await self._exchange.digits.get(digit_timeout if pressed else timeout)
            except TimeoutError:
                break
            if digit == finish and finish:
                break
            pressed += digit
        return pressed

    # -- conversations

    async def converse(self, agent: Converses, *, interruptible: bool = True) -> Outcome:
        """Let `agent` hold the conversation until it is finished (`Agent.finish`); the call goes on afterwards.

        Raises CallEnded if the call ends meanwhile, also by the agent's own hang-up or transfer. Cancelling ends the agent's part.
        """
        if isinstance(agent, type):
            raise TypeError(f"converse: expected an agent, such as {agent.__name__}(), found the class {agent.__name__}")
        begin, finished = agent.begin(self, interruptible=interruptible)
        conversation = await self._exchange.begin_agent(begin)
        try:
            result = await self._exchange.unless_over(finished)
            await conversation.last_words()
            return Outcome(result, conversation.transcript)
        finally:
            conversation.end()

    async def run_playbook(self, playbook: str) -> None:
        """Let a playbook take over, by the name of its file; returns when the call is over."""
        conversation = await self._exchange.begin_agent(BeginAgent(playbook))
        try:
            await self._exchange.over.wait()
        finally:
            conversation.end()

    # -- the line

    async def dtmf(self, digits: str, *, duration_ms: int = 160, method: Literal["rfc4733", "info", "inband"] | None = None) -> None:
        """Send digits to the other side; returns when the last has been sent."""
        await self._exchange.send(commands.Dtmf(digits=digits, duration=duration_ms, method=method))
        await self._exchange.unless_over(asyncio.sleep(len(digits) * (duration_ms + DIGIT_GAP_MS) / 1000))

    async def hold(self, *, music: str | None = None, silent: bool = False) -> None:
        """Put the caller on hold, with music (a file or URL; none: the built-in melody); returns when the other side has agreed."""
        await self._exchange.do(commands.Hold(moh=music, mode="inactive" if silent else "sendonly"), hold_agreed(True))

    async def unhold(self) -> None:
        """Resume the caller; returns when the other side has agreed."""
        await self._exchange.do(commands.Unhold(), hold_agreed(False))

    @asynccontextmanager
    async def on_hold(self, *, music: str | None = None) -> AsyncIterator[None]:
        """`async with call.on_hold():` keeps the caller on hold inside the block."""
        await self.hold(music=music)
        try:
            yield
        finally:
            if not self.is_over:
                await self.unhold()

    async def transfer(
        self,
        target: str,
        *,
        mode: Literal["auto", "refer", "bridge", "warm"] = "auto",
        briefing: str | BriefingOption | None = None,
        caller: str = "",
        timeout: float = 30.0,
        music: str | None = None,
        headers: Mapping[str, str] | None = None,
        then_hang_up: bool = True,
    ) -> TransferResult:
        """Connect the caller with `target` (a SIP or tel URI, or a number for the trunk); returns when that is over.

        `refer` asks the carrier to do it, `bridge` calls the target from here and joins the two, `auto` tries the first and then the
        second. `warm` calls the target and tells it `briefing` first (a text, or with keys and times): it accepts the call with a key, `1`
        by default, and the caller hears music until then. With `then_hang_up=False` the caller is back here after a bridged
        target has hung up. Raises TransferFailed if the target is not reached or does not accept the call; the caller is then still here.
        """
        options = ReferOption(
            mode="warm" if briefing is not None and mode == "auto" else mode,
            briefing=BriefingOption(text=briefing) if isinstance(briefing, str) else briefing,
            timeout=max(1, math.ceil(timeout)),  # 0 would be the default
            moh=music,
            auto_hangup=then_hang_up,
            sip=SipOption(headers=dict(headers)) if headers else None,
        )
        return await self._exchange.do(commands.Refer(callee=target, caller=caller, options=options), transferred(target))

    async def bridge(self, other: Call) -> str:
        """Let the two callers talk with each other. Returns the reason when the bridge ends; both calls go on afterwards."""
        parted = self._exchange.waits.expect(bridge_ended(other.id))
        try:
            await self._exchange.do(commands.Bridge(target_session_id=other.id), bridge_joined(other.id))
            return await parted.result()
        except asyncio.CancelledError:
            self._exchange.send_soon(commands.Unbridge(target_session_id=other.id))
            raise
        finally:
            parted.cancel()

    async def record(self, action: Literal["start", "stop", "pause", "resume"] = "start") -> None:
        """Start, stop, pause or resume the recording of the call."""
        await self._exchange.send(commands.Record(action=action))

    async def mute(self, track: Literal["agent", "partner", "caller"] | None = None) -> None:
        """Silence a track: what we play, what a bridged partner says, or what the caller says to partners; none: all we send."""
        await self._exchange.send(commands.Mute(track_id=track))

    async def unmute(self, track: Literal["agent", "partner", "caller"] | None = None) -> None:
        """Undo `mute`."""
        await self._exchange.send(commands.Unmute(track_id=track))

    async def message(self, text: str, *, content_type: str = "text/plain") -> None:
        """Send a text inside the call (SIP MESSAGE)."""
        await self._exchange.send(commands.Message(body=text, content_type=content_type))

    async def send(self, command: commands.Command) -> None:
        """Carry out any command of the contract (`active_call.contract.commands`); returns when it has been accepted."""
        await self._exchange.send(command)

    def events(self) -> AsyncIterator[Event]:
        """Every event of the call from now on, until its hangup. A reader that is 1000 events late is ended."""
        return self._exchange.events()


class Variables(MutableMapping[str, Any]):
    """The variables of a call. Reading sees them as they are now; writing takes effect in the call's own order."""

    def __init__(self, handle: CallHandle, set_variable: Callable[[str, Any], None]) -> None:
        self._handle = handle
        self._set = set_variable
        self._own: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._own[key] if key in self._own else self._handle.describe().variables[key]

    def __setitem__(self, key: str, value: Any) -> None:
        plain = str(value) if isinstance(value, str) else value  # templates and records need a plain str
        self._own[key] = plain
        self._set(key, plain)

    def __delitem__(self, key: str) -> None:
        self[key] = None

    def __iter__(self) -> Iterator[str]:
        return iter({**self._handle.describe().variables, **self._own})

    def __len__(self) -> int:
        return len({**self._handle.describe().variables, **self._own})
