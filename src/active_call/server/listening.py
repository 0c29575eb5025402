"""Whether a port is free, or which process has it. Transport, address and port enter; text leaves. Linux: reads /proc, changes nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from active_call.net.sip_listening import ListenSpec

_LISTENING = {"tcp": "0A", "udp": "07"}
"""The state column of /proc/net: LISTEN for TCP, the only state for UDP."""


def why_not_free(kind: Literal["udp", "tcp"], host: str, port: int) -> str:
    """Why a socket cannot be bound there; empty if it can, or if the port is 0."""
    if port == 0:
        return ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        if kind == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            if kind == "tcp":
                probe.listen(1)
        except PermissionError:
            return "ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        except OSError as error:
            holder = holder_of(kind, port)
            return f"{(error.strerror or str(error)).lower()}{f', by {holder}' if holder else ''}"
    return ""


def taken_ports(specs: Sequence[ListenSpec]) -> list[tuple[str, str]]:
    """The config keys of the SIP ports that cannot be opened, with the reason: which process has them."""
    found = []
    for spec in specs:
        kind: Literal["udp", "tcp"] = "udp" if spec.transport == "udp" else "tcp"
        key = "udp_port" if spec.transport in ("udp", "tcp") else f"{spec.transport}_port"
        why = why_not_free(kind, spec.host, spec.port)
        if why:
            found.append((key, f"cannot listen on {spec.host}:{spec.port} ({kind}): {why}"))
    return found


def taken_http_port(address: str, host: str, port: int) -> list[tuple[str, str]]:
    """The same for the HTTP port; `address` is the value in the config file."""
    why = why_not_free("tcp", host, port)
    return [("http_addr", f"cannot listen on {address}: {why}")] if why else []


def holder_of(kind: Literal["udp", "tcp"], port: int) -> str:
    """`name (pid 123)` of the process that has the port, as far as this user may see it; empty if unknown."""
    inodes = _inodes(kind, port)
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in wanted for entry in (process / "fd").iterdir()):
                return f"{_name_of(process)} (pid {process.name})"
    return ""


def _inodes(kind: Literal["udp", "tcp"], port: int) -> set[str]:
    found = set()
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").split("\n")[1:]:
                words = line.split()
                if len(words) > 9 and words[3] == _LISTENING[kind] and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found


def _name_of(process: Path) -> str:
    command = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    if any("active_call" in word or "active-call" in word for word in command[:3]):
        return "active-call"
    return Path(command[0]).name or (process / "comm").read_text(encoding="utf-8").strip()
