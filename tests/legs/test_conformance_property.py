"""What every leg promises holds in any story."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from typing import Any

from far_end import AGES_S, Habits, Party, Stage
from hypothesis import given
from hypothesis import strategies as st
from leg_kits import Kit, every_kit, play
from leg_stories import OPTION, TARGET

from active_call.base.errors import ActiveCallError
from active_call.legs.abilities import attended_target, can_refer, dtmf, has_telephone_events, holdable, texting, transferable
from active_call.legs.events import LegHeld, LegRinging
from active_call.legs.leg import Leg


def look(leg: Leg) -> None:
    """What can be asked at any time."""
    assert isinstance(attended_target(leg), str)
    assert isinstance(has_telephone_events(leg), bool)
    assert isinstance(can_refer(leg), bool)


OURS: dict[str, Any] = {
    "ring": lambda leg: leg.ring(),
    "ring with sound": lambda leg: leg.ring(early_media=True),
    "accept": lambda leg: leg.accept(OPTION),
    "dial": lambda leg: leg.dial(OPTION),
    "open": lambda leg: leg.open_media(),
    "release": lambda leg: leg.release(),
    "reject": lambda leg: leg.reject(486, "Busy Here"),
    "hang up": lambda leg: leg.hang_up(headers={"X-Why": "test"}, by="agent", cause="goodbye", reason="all is said"),
    "write": lambda leg: texting(leg).send_message("hello", "text/plain", {}),
    "digits": lambda leg: dtmf(leg).send_digits_by_signalling("12", 160),
    "refer": lambda leg: transferable(leg).refer(TARGET, {}),
    "hold": lambda leg: holdable(leg).hold(True),
    "hold silently": lambda leg: holdable(leg).hold(True, inactive=True),
    "unhold": lambda leg: holdable(leg).hold(False),
    "take transfer": lambda leg: transferable(leg).answer_transfer(True),
    "decline transfer": lambda leg: transferable(leg).answer_transfer(False),
    "notify": lambda leg: transferable(leg).notify_transfer(180, "Ringing", final=False),
    "notify the end": lambda leg: transferable(leg).notify_transfer(200, "OK", final=True),
    "look": look,
}
THEIRS: dict[str, Any] = {
    "peer rings again": lambda far: far.rings_again(),
    "peer hangs up": lambda far: far.hangs_up(),
    "peer cancels": lambda far: far.cancels(),
    "peer confirms": lambda far: far.confirms(),
    "peer holds": lambda far: far.holds(),
    "peer holds silently": lambda far: far.holds("inactive"),
    "peer unholds": lambda far: far.unholds(),
    "peer presses": lambda far: far.presses("7"),
    "peer writes": lambda far: far.writes("hello"),
    "peer refers": lambda far: far.asks_for_transfer(TARGET),
    "peer tells": lambda far: far.tells_transfer(180, final=False),
    "peer tells the end": lambda far: far.tells_transfer(200, final=True),
}
PAUSES = (0.0, 0.005, 0.03, 1.5, 40.0)
HABITS = st.builds(
    Habits,
    answers_after_s=st.sampled_from((0.0, 1.0)),
    refuses=st.sampled_from((None, None, (486, "Busy Here"))),
    is_silent=st.sampled_from((False, False, False, True)),
    has_early_media=st.booleans(),
    is_slow_to_withdraw=st.booleans(),
    confirms=st.sampled_from((True, True, False)),
    has_usable_sound=st.sampled_from((True, True, True, False)),
    leaves_the_offer_to_us=st.sampled_from((False, False, True)),
    forgets_to_answer=st.sampled_from((False, False, True)),
    refuses_hold=st.sampled_from((0, 0, 488, 491)),
    refuses_requests=st.sampled_from((None, (415, "Unsupported Media Type"))),
    refuses_transfer=st.sampled_from((None, (603, "Decline"))),
)
STEPS = st.lists(st.tuples(st.sampled_from([*OURS, *THEIRS]), st.sampled_from(PAUSES)), max_size=20)


async def attempt(operation: Any, leg: Any) -> None:
    """Nothing but ActiveCallError is raised."""
    with contextlib.suppress(ActiveCallError):
        doing = operation(leg)
        if inspect.isawaitable(doing):
            await doing


def check_order(party: Party) -> None:
    """What was told makes a life: ringing, one answer, one beginning of sound, one end."""
    kinds = party.kinds
    assert kinds.count("Answered") <= 1
    assert kinds.count("Ready") <= 1
    assert (kinds.count("Ended"), kinds[-1]) == (1, "Ended")
    before_answer = kinds[: kinds.index("Answered")] if "Answered" in kinds else kinds[:-1]
    assert set(before_answer) <= {"Ringing"}
    assert "Ringing" not in kinds[len(before_answer) :]
    if "Ready" in kinds:
        assert kinds.index("Answered") < kinds.index("Ready")
    if "HoldAnswered" in kinds:
        assert kinds.index("Ready") < kinds.index("HoldAnswered")
    rings = party.of(LegRinging)
    assert all(one != next_one for one, next_one in itertools.pairwise(rings))
    holds = [event.on_hold for event in party.of(LegHeld)]
    assert holds == [n % 2 == 0 for n in range(len(holds))]


@every_kit()
@given(is_inbound=st.booleans(), first=st.sampled_from(("", "accept", "dial")), habits=HABITS, steps=STEPS)
def test_any_story_of_a_leg_keeps_its_promises(kit: Kit, is_inbound: bool, first: str, habits: Habits, steps: list[Any]) -> None:
    run_any_story(kit, is_inbound=is_inbound, first=first, habits=habits, steps=steps)


def run_any_story(kit: Kit, *, is_inbound: bool, first: str, habits: Habits, steps: list[Any]) -> None:
    async def story(stage: Stage) -> None:
        party = await (stage.incoming(habits) if is_inbound else stage.outgoing(habits))
        tasks: list[asyncio.Task[None]] = []
        for name, pause in [(first, 1.5), *steps] if first else steps:
            if name in THEIRS:
                THEIRS[name](party.far)
            else:
                tasks.append(asyncio.create_task(attempt(OURS[name], party.leg)))
            await asyncio.sleep(pause)
        party.hang_up()
        await party.leg.release()
        await asyncio.gather(*tasks)
        await asyncio.sleep(AGES_S)
        check_order(party)
        assert all(stream.closed for stream in stage.streams)
        assert stage.leftovers() == []
        assert await party.leg.release() == {}
        if is_inbound or (party.leg.call_id and not habits.is_silent):  # who says nothing cannot be told anything
            assert party.seen.is_over

    play(kit, story)
