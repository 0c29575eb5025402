"""The stories of the demo's caller, and their success criteria: one conversation with a script, one with a language model. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

CALLER_VOICE = "piper:joe*1.2"
"""The agent's voice a fifth higher, with shorter formants: natural, but clearly another voice."""


class DemoStory(Struct, frozen=True):
    """A conversation. `playbook` is a file shipped with the package; the rest is the telephone's (`testing.phone.story`).

    `min_words_right`: share of the caller's words that the agent must recognise over the whole call.
    """

    playbook: str
    agent: Mapping[str, str]
    decoys: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    success: Mapping[str, Any]
    ended_by: str
    min_recording_s: float
    min_words_right: float = 0.75

    def as_json(self) -> dict[str, Any]:
        """The story file of the telephone."""
        return {
            "agent": dict(self.agent),
            "decoys": list(self.decoys),
            "voice": CALLER_VOICE,
            "listening": "open",
            "steps": [dict(step) for step in self.steps],
            "success": dict(self.success),
        }


SCRIPTED = DemoStory(
    playbook="demo.md",
    agent={
        "greeting": "Welcome to Harbour Street Bakery. How may I help you?",
        "hours": "We are open from nine in the morning until five in the afternoon, and on Sundays we rest.",
        "place": "You will find us in the old harbour, right behind the market hall.",
        "size": "With pleasure. For how many people shall the cake be?",
        "ready": "Very well. A cake of that size will be ready on Saturday, from ten o'clock.",
        "news": "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. On Tuesday there are cinnamon rolls,"
        " warm from the oven. On Wednesday the children of the village come to visit us and make their own pizza. On Thursday we rest.",
        "stopped": "Of course. What else would you like to know?",
        "goodbye": "Thank you for calling. Have a wonderful day.",
    },
    decoys=("I am sorry, I did not understand that.", "Your number is not in service.", "Please hold the line."),
    steps=(
        {"do": "listen", "expect": ["greeting"]},
        {
            "do": "ask",
            "text": "Hi, good morning, could you tell me when you're open?",
            "expect": ["hours"],
            "again": ["Sorry, I meant your opening hours.", "When are you open, please?"],
        },
        {
            "do": "ask",
            "text": "All right, and where is your shop, please?",
            "expect": ["place"],
            "again": ["I mean, where can I find you?", "What is your address?"],
        },
        {
            "do": "ask",
            "text": "Good, I'd like to order a birthday cake for Saturday.",
            "expect": ["size"],
            "again": ["A birthday cake, please.", "I want to order a cake."],
        },
        {
            "do": "ask",
            "text": "It's for about twelve people, I think.",
            "expect": ["ready"],
            "again": ["For twelve people, please.", "Twelve guests."],
        },
        {"do": "press", "digit": "2"},
        {"do": "interrupt", "text": "Sorry, that's enough, thank you.", "after_s": 5.2},
        {"do": "listen", "expect": ["stopped"]},
        {
            "do": "ask",
            "text": "No, that's all, thank you very much, goodbye.",
            "expect": ["goodbye"],
            "again": ["Yes, goodbye.", "Goodbye."],
        },
        {"do": "expect_hangup", "timeout_s": 10},
    ),
    success={"max_violations": 0, "ended_by": "agent", "max_barge_in_ms": 1000, "max_latency_ms": 5000},
    ended_by="agent",
    min_recording_s=30.0,
)

WITH_MODEL = DemoStory(
    playbook="demo_model.md",
    agent={},
    decoys=(),
    steps=(
        {"do": "listen"},
        {"do": "say", "text": "Hi, good morning, what kinds of bread do you bake?"},
        {"do": "interrupt", "text": "That sounds good, and what do you recommend for a birthday party?", "after_s": 4.0, "or_after": True},
        {"do": "interrupt", "text": "Nice, please tell me the whole story of bread from the beginning.", "after_s": 4.0, "or_after": True},
        {"do": "interrupt", "text": "Sorry, let me stop you there, do you sell coffee, too?", "after_s": 2.0, "or_after": True},
        {"do": "interrupt", "text": "Thank you very much. Goodbye.", "after_s": 4.0, "or_after": True},
        {"do": "hang_up"},
    ),
    success={"max_violations": 0, "ended_by": "caller", "max_barge_in_ms": 1500, "max_latency_ms": 10_000},
    ended_by="caller",
    min_recording_s=20.0,
)
