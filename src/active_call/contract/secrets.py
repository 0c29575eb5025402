"""Hides credentials in values that others see: commands on an event stream, options in a list. Pure."""

from __future__ import annotations

from typing import Any, Final

STARS: Final = "***"
_SECRET_KEYS: Final = frozenset({"password", "secretkey", "secretid", "apikey", "appid", "credential", "token", "authorization", "offer"})
_SIGNS: Final = str.maketrans("", "", "_-")


def without_secrets(value: Any) -> Any:
    """A copy of a JSON value with stars in place of secret values. SDP contains keys, too."""
    if isinstance(value, dict):
        return {key: STARS if _is_secret(key) and entry else without_secrets(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_secrets(entry) for entry in value]
    return value


def _is_secret(key: object) -> bool:
    name = str(key).lower().translate(_SIGNS)
    return name in _SECRET_KEYS or name.endswith(("password", "secret", "token", "apikey"))
