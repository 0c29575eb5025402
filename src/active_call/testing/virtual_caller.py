"""The other side of a virtual call: the actions of a test, and what it has heard. Speech is text here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from active_call.contract import events
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.fakes.providers import FakeRecogniser

S_PER_CHARACTER = 0.06
"""How fast a scripted caller speaks."""
AGENT = ("agent", "assistant")


class Caller:
    """The other side of one call: a test calls its methods, and reads what it has heard."""

    def __init__(self, leg: FakeLeg, recogniser: FakeRecogniser) -> None:
        self._leg = leg
        self._recogniser = recogniser
        self._news = asyncio.Event()
        self._has_call = False
        self.events: list[events.Event] = []
        """Every event of the call."""
        self.transcript: list[tuple[str, str]] = []
        """Who (`caller` or `agent`) said what, as far as it was heard."""
        self._n_read = 0

    # -- what the caller does

    async def says(self, text: str, *, duration_s: float | None = None) -> None:
        """Say `text`; returns when it is said."""
        await self._leg.speak(duration_s if duration_s is not None else max(0.4, len(text) * S_PER_CHARACTER))
        self._recogniser.script.append(text)  # at the end of the speech: callers who speak at once are then not mixed up

    async def press(self, digits: str, *, every_s: float = 0.3) -> None:
        """Press keys, one after another."""
        for digit in digits:
            await asyncio.sleep(every_s)
            self._leg.press(digit)

    async def waits(self, seconds: float) -> None:
        """Wait for that many seconds."""
        await asyncio.sleep(seconds)

    async def hangs_up(self) -> None:
        """End the call."""
        self._leg.end("callee" if self._leg.dialled is not None else "caller", "remote_bye")
        await asyncio.sleep(0.05)

    # -- what the caller expects

    async def hears(self, text: str, *, timeout_s: float = 60.0) -> str:
        """Wait until the agent has said `text` (letters in any case) after what was heard before; returns everything that it said.

        Raises AssertionError if it does not come. The target of a transfer has no transcript: what it is told is in `spoken` of the result.
        """
        heard: list[str] = []

        def has_come() -> bool:
            while self._n_read < len(self.transcript):
                speaker, line = self.transcript[self._n_read]
                self._n_read += 1
                if speaker == "agent":
                    heard.append(line)
                if text.lower() in " ".join(heard).lower():
                    return True
            return False

        try:
            await self._until(has_come, timeout_s, f"the agent has not said {text!r}", heard)
        except AssertionError as error:
            if self._has_call:
                raise
            raise AssertionError(f"{error}; the target of a transfer hears no text, see `spoken` of the result") from None
        return " ".join(heard)

    async def is_answered(self, *, timeout_s: float = 60.0) -> None:
        """Wait until the call is answered."""
        await self._until(lambda: self._leg.answered, timeout_s, "the call is not answered", [])

    async def is_over(self, *, timeout_s: float = 600.0) -> None:
        """Wait for the end of the call."""
        await self._until(lambda: self._is_over, timeout_s, "the call does not end", [])

    @property
    def was_referred_to(self) -> list[str]:
        """The target to which the program has asked this caller's carrier to transfer it."""
        return list(self._leg.referred_to)

    @property
    def digits_heard(self) -> str:
        """The digits that the program has sent."""
        return self._leg.stream.digits_sent if self._leg.stream is not None else ""

    # -- inside

    @property
    def _is_over(self) -> bool:
        """The far end of a transfer has no events of its own: its leg says when it is over."""
        return any(is_end(event) for event in self.events) if self._has_call else self._leg.ended is not None

    def begin(self) -> None:
        """The program holds a call with this side, whose events come."""
        self._has_call = True

    def wake(self) -> None:
        """Handle an event of the leg."""
        self._news.set()

    def take(self, event: events.Event) -> None:
        """An event of the call."""
        self.events.append(event)
        if isinstance(event, events.AddHistory) and not event.refer:
            self.transcript.append(("agent" if event.speaker in AGENT else "caller", event.text))
        self._news.set()

    async def _until(self, has_come: Callable[[], bool], timeout_s: float, otherwise: str, heard: list[str]) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not has_come():
                    assert not self._is_over, f"the call is over; {otherwise}; heard: {heard}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{otherwise}; heard within {timeout_s:g} s: {heard}") from None


Script = Callable[[Caller], Awaitable[object]]
"""The script of the other side, from the beginning of the call; the call goes on until somebody hangs up."""


def is_end(event: events.Event) -> bool:
    """Whether `event` is the end of the call."""
    return isinstance(event, events.Hangup) and not event.refer
