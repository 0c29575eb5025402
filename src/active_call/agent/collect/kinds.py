"""What `<collect type="…"/>` may name beside the playbook's own collectors."""

from __future__ import annotations

TEXT_KINDS = ("text", "speech", "voice")
"""The first thing that the caller says."""
DIGIT_KINDS = ("digits", "dtmf", "number", "keypad")
"""Digits of any number, to the key `#` or a pause."""
PLAIN_KINDS = (*TEXT_KINDS, *DIGIT_KINDS)
