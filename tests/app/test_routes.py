"""Which function takes which call, and how the console says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call import App, Call
from active_call.server.config.loading import load_config
from active_call.server.serving import call_lines


def test_routes_are_told_in_their_order_and_then_the_configured_handler(tmp_path: Path) -> None:
    app = App()

    @app.incoming(callee=r"\+1800", trunk="office")
    async def sales(call: Call) -> None:
        await call.reject()

    @app.incoming()
    async def take(call: Call) -> None:
        await call.reject()

    assert app.describe_routes() == [r"sales(), when callee matches '\\+1800' and trunk is office", "take()"]
    file = tmp_path / "active-call.toml"
    file.write_text('[handler]\ntype = "webhook"\nurl = "http://127.0.0.1:1/"\n', encoding="utf-8")
    assert call_lines(load_config(file), app.describe_routes()[1:]) == [
        "  calls  go to take()",
        "         others are decided by http://127.0.0.1:1/",
    ]


def test_without_any_route_nobody_takes_calls() -> None:
    assert call_lines(load_config(None), []) == ["  calls  nobody takes inbound calls: set [handler] in the config file"]
    assert call_lines(load_config(None), ["take()"]) == ["  calls  go to take()"]


def test_decorator_without_parentheses_takes_every_call() -> None:
    app = App()

    @app.incoming
    async def take(call: Call) -> None:
        await call.reject()

    assert app.describe_routes() == ["take()"]


def test_mistakes_of_a_route_are_named_where_it_is_defined() -> None:
    app = App()
    with pytest.raises(ValueError, match=r"callee: '\+1800' is not a regular expression: nothing to repeat"):
        app.incoming(callee="+1800")

    def take(call: Call) -> None: ...

    with pytest.raises(TypeError, match=r"write `async def take\(call: Call\)`"):
        app.incoming()(take)  # type: ignore[type-var]
