"""`active-call doctor`: checks a configuration and this machine, and explains how a call would be handled.

A thin layer: it reads the config, asks `doctor_checks` or `explain`, and prints. Exit codes: 0 all right, or the call is admitted;
1 something will not work, or the call is refused; 2 the question or the config cannot be used.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from active_call.base.errors import ActiveCallError, ConfigError
from active_call.server.config.config import Config, key_variables
from active_call.server.config.document import read_environment
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.setup.trunk_profiles import load_profile, profile_names
from active_call.server.terminal import Terminal, json_line

out = Terminal()
err = Terminal(stderr=True)
MARKS = {"ok": "[green]ok  [/green]", "warn": "[yellow]warn[/yellow]", "fail": "[bold red]FAIL[/bold red]"}
ConfFlag = Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


def doctor(
    conf: ConfFlag = None,
    explain: Annotated[str | None, typer.Option("--explain", metavar="IP", help="What would happen to a call from this address.")] = None,
    to: Annotated[str, typer.Option("--to", help="With --explain: the called number or address.")] = "",
    caller: Annotated[str, typer.Option("--from", help="With --explain: the caller.")] = "",
    user_agent: Annotated[str, typer.Option("--user-agent", help="With --explain: the caller's User-Agent.")] = "",
    transport: Annotated[str, typer.Option("--transport", help="With --explain: udp, tcp, tls, ws or wss.")] = "udp",
    providers: Annotated[
        bool, typer.Option("--providers", help="Try each configured provider for real: a short utterance, a word, a reply, a conversation.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check the installation; or, with --explain IP, say which rule applies to a call from there; or test the providers."""
    try:
        config = _config(conf)
        if explain is not None:
            code = _explain(config, explain, to=to, caller=caller, user_agent=user_agent, transport=transport, as_json=as_json)
        elif providers:
            environment = read_environment(conf.parent if conf else Path(), os.environ)
            code = asyncio.run(_try_providers(config, environment, as_json=as_json))
        else:
            environment = read_environment(conf.parent if conf else Path(), os.environ)
            code = asyncio.run(_examine(config, environment, conf, as_json=as_json))
    except (ActiveCallError, ValueError) as error:
        if as_json:
            out.print_json(data={"error": str(error)})
        else:
            err.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code)


def _config(conf: Path | None) -> Config:
    file = conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    return load_config(file, {}, os.environ)


def _explain(config: Config, ip: str, *, to: str, caller: str, user_agent: str, transport: str, as_json: bool) -> int:
    from active_call.server.explain import Question, explain

    found = explain(config, Question(ip, transport, to, caller, user_agent))
    if as_json:
        typer.echo(json_line(found.as_json()))
    else:
        out.print(found.as_text(), highlight=False, markup=False, soft_wrap=True)
    return 0 if found.allowed else 1


async def _examine(config: Config, environment: dict[str, str], conf: Path | None, *, as_json: bool) -> int:
    from active_call.server.doctor.checks import findings
    from active_call.server.doctor.findings import Finding

    file = conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    found = [Finding("config", "ok", f"{file} is valid" if file else "there is no active-call.toml here: checking the defaults")]
    found += [Finding("config", "warn", warning) for warning in config.warnings]
    found += [finding async for finding in findings(config, environment)]
    failed = any(finding.level == "fail" for finding in found)
    if as_json:
        body = [{"check": finding.check, "level": finding.level, "text": finding.text} for finding in found]
        typer.echo(json_line({"ok": not failed, "findings": body}))
    else:
        for finding in found:
            out.print(f"{MARKS[finding.level]}  {finding.check:<11}  ", end="")
            out.print(finding.text, highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0


async def _try_providers(config: Config, environment: dict[str, str], *, as_json: bool) -> int:
    import httpx

    from active_call.base.world import World
    from active_call.providers.base import Services
    from active_call.providers.declared import declared_providers
    from active_call.providers.local.local_engines import EngineProcesses
    from active_call.server.doctor.provider_targets import provider_targets
    from active_call.server.doctor.provider_trials import try_providers

    targets = await asyncio.to_thread(provider_targets, config, environment)
    with _only_critical_logs():  # the report lists errors
        async with httpx.AsyncClient() as http:
            services = Services(World(), http, EngineProcesses(), environment)
            try:
                trials = await try_providers(targets, declared_providers(environment), services, key_variables(config))
            finally:
                await services.local.close()
    ok = all(trial.ok for trial in trials)
    if as_json:
        typer.echo(json_line({"ok": ok, "providers": [trial.as_json() for trial in trials]}))
        return 0 if ok else 1
    for trial in trials:
        target, ms = trial.target, "" if trial.latency_ms is None else f"{trial.latency_ms} ms"
        out.print(f"{MARKS['ok' if trial.ok else 'fail']}  {target.kind:<8}  {target.provider:<16}  {ms:>8}  ", end="")
        out.print(f"{trial.text} ({target.whose})", highlight=False, markup=False, soft_wrap=True)
    if not trials:
        out.print("no provider is configured: there is no key in the environment, and no engine of this machine is installed")
    return 0 if ok else 1


@contextmanager
def _only_critical_logs() -> Iterator[None]:
    logger = logging.getLogger("active_call")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


trunk_app = typer.Typer(help="The carriers' profiles, and the trunks of the config file.")


@trunk_app.command("list")
def list_trunks(conf: ConfFlag = None, as_json: JsonFlag = False) -> None:
    """List the shipped profiles and the configured trunks."""
    profiles = {name: load_profile(name) for name in profile_names()}
    try:
        trunks = _config(conf).trunks
    except ConfigError as error:
        err.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        shipped = [{"name": name, "title": each.title, "ranges": len(each.allow)} for name, each in profiles.items()]
        configured = [{"name": trunk.name, "profile": trunk.profile, "disabled": trunk.disabled} for trunk in trunks]
        typer.echo(json_line({"profiles": shipped, "trunks": configured}))
        return
    for name, profile in profiles.items():
        out.print(f"{name:<12} {profile.title} ({len(profile.allow)} signalling ranges)", highlight=False, markup=False)
    for trunk in trunks:
        state = " (disabled)" if trunk.disabled else ""
        out.print(f"[[trunks]] {trunk.name}: profile {trunk.profile or 'none'}{state}", highlight=False, markup=False)


@trunk_app.command("show")
def show_trunk(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A trunk of the config file, or a profile.")],
    conf: ConfFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Print all settings of a trunk, including its profile's, or the contents of a profile."""
    try:
        trunk = next((entry for entry in _config(conf).trunks if entry.name == name), None)
        shown = trunk.resolved if trunk is not None else load_profile(name)
    except (ConfigError, ValueError) as error:
        err.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json_line(shown.model_dump(mode="json", exclude={"password"}, by_alias=True, exclude_none=True)))
        return
    for key, value in shown.model_dump(exclude={"password"}, by_alias=True, exclude_none=True).items():
        if value not in ("", (), {}):
            text = ", ".join(value) if isinstance(value, tuple) else value
            out.print(f"{key:<20} {text}", highlight=False, markup=False, soft_wrap=True)
