"""The configuration of calls with browsers (STUN and TURN servers, a public address, codecs) and of carriers' streams."""

from __future__ import annotations

from active_call.api.carrier_streams.access import StreamSettings
from active_call.legs.webrtc.settings import CODECS, BrowserSettings, IceSettings
from active_call.server.config.config import Config
from active_call.server.config.sections import IceServer

PORTS = {"stun": 3478, "turn": 3478, "turns": 5349}


def browser_settings(config: Config) -> BrowserSettings:
    """The first STUN and the first TURN server of the configuration are used by the server as well."""
    stun = turn = None
    of_turn: IceServer | None = None
    is_tls, transport = False, "udp"
    for server in config.ice_servers:
        for url in server.urls:
            scheme, _, place = url.partition(":")
            host, port = _place(place.partition("?")[0], PORTS.get(scheme, 3478))
            if scheme == "stun" and stun is None:
                stun = (host, port)
            elif scheme in ("turn", "turns") and turn is None:
                turn, of_turn, is_tls = (host, port), server, scheme == "turns"
                transport = "tcp" if is_tls or place.partition("?")[2].strip().lower() == "transport=tcp" else "udp"
    allowed = {name.lower() for name in config.codecs}
    ice = IceSettings(
        stun=stun,
        turn=turn,
        turn_username=of_turn.username if of_turn is not None else None,
        turn_password=of_turn.credential if of_turn is not None else None,
        turn_tls=is_tls,
        turn_transport=transport,
        public_ip=config.public_ip or "",
        is_lite=config.enable_ice_lite,
    )
    return BrowserSettings(ice, tuple(name for name in CODECS if name in allowed) or CODECS)


def stream_settings(config: Config) -> StreamSettings:
    """Who may stream calls to us."""
    wanted = config.media_streams
    return StreamSettings(wanted.token, {"twilio": wanted.twilio_auth_token or ""}, wanted.public_url or "")


def _place(text: str, port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[address]:port`."""
    host, colon, given = text.rpartition(":")
    if colon and given.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(given)
    return text.strip("[]"), port
