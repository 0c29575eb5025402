"""Which models their vendors shut down, and when: the table `shutdowns.toml`, and the look-up in it. Pure.

A model that ends fails every call from one day to the next. So it is named in the log when calls begin to use it, by the doctor, and in
docs/providers.md.
"""

from __future__ import annotations

import tomllib
from datetime import date
from functools import lru_cache
from importlib import resources

import msgspec
from msgspec import Struct

from active_call.providers.usage.prices import ALIASES, ANY
from active_call.providers.usage.units import Billed


class Shutdown(Struct, frozen=True):
    """The end of `model` of `provider`; the model `*`: of all its models. `source`: the vendor's page."""

    kind: str
    provider: str
    model: str
    date: date
    replacement: str
    source: str

    def __str__(self) -> str:
        what = "the service" if self.model == ANY else self.model
        advice = f"the vendor recommends {self.replacement}" if self.replacement else "choose another provider or model"
        return f"the vendor ends {what} on {self.date.isoformat()}; {advice} ({self.source})"


@lru_cache(maxsize=1)
def shipped_shutdowns() -> tuple[Shutdown, ...]:
    """The shipped table."""
    text = resources.files("active_call.providers").joinpath("shutdowns.toml").read_text("utf-8")
    return tuple(
        msgspec.convert({**row, "source": page["source"]}, Shutdown) for page in tomllib.loads(text)["page"] for row in page["rows"]
    )


def shutdown_of(used: Billed) -> Shutdown | None:
    """The end of the model in `used`; None if none is known."""
    names = {used.provider, ALIASES.get(used.provider, used.provider)}
    model = used.model.lower().rpartition("/")[2]
    rows = (row for row in shipped_shutdowns() if row.kind == used.kind and row.provider in names)
    return next((row for row in rows if row.model in (ANY, model)), None)
