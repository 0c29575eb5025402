"""The built-in values of `<collect type="…"/>`, in addition to the playbook's own collectors."""

from __future__ import annotations

TEXT_KINDS = ("text", "speech", "voice")
"""The first utterance of the caller."""
DIGIT_KINDS = ("digits", "dtmf", "number", "keypad")
"""Any number of digits, ended by `#` or a pause."""
PLAIN_KINDS = (*TEXT_KINDS, *DIGIT_KINDS)
