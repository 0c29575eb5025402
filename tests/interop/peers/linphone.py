"""linphone as the other side: its console `linphonec`, told what to do on its standard input, with WAV files instead of a sound card.

Facts are those of linphonec 5.1 (Debian `linphone-cli`). It needs the folder of its database to exist, takes file mode, the file to play
and the file to record as commands before the call, accepts no TLS connections, and
calls an end that a BYE explains in Q.850 an unknown error.
"""

from __future__ import annotations

from pathlib import Path

from peers.process import Program, require, wait_until

from active_call.testing import certificate
from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm
from ports import free_port

_CONFIG = """\
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
contact="linphone" <sip:linphone@{host}>
guess_hostname=0
bind_address={host}
use_ipv6=0
ipv6_migration_done=1
verify_server_certs=0
verify_server_cn=0
client_cert_chain={certificate}
client_cert_key={certificate}
media_encryption={encryption}
use_info={use_info}
use_rfc2833={use_rfc2833}
inc_timeout=30

[rtp]
audio_rtp_port={rtp}
nortp_timeout=30

[misc]
real_early_media=0
"""


class Linphone:
    """One linphonec. Use as a context manager, or `start` and `stop`."""

    def __init__(
        self,
        folder: Path,
        *,
        speech: Pcm,
        transport: str = "udp",
        srtp: bool = False,
        answers: bool = False,
        digits_by: str = "rfc2833",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`port` 0: a free one. A phone that is the target of another linphone's attended transfer has port 5060, on a loopback address
        of its own (`host`): linphone leaves the port out of Refer-To.
        """
        self._path = require("linphonec")
        self.host = host
        self.folder, self.transport = folder, transport
        self._answers = answers
        self._program: Program | None = None
        (folder / ".local" / "share" / "linphone").mkdir(parents=True)
        (folder / "speech.wav").parent.mkdir(exist_ok=True)
        audio.write_wav(folder / "speech.wav", speech)
        self._ports = {"udp": port or free_port(), "tcp": free_port(), "tls": free_port()}
        own = certificate.write_self_signed(folder)
        config = _CONFIG.format(
            **{name: port if name == transport else 0 for name, port in self._ports.items()},
            host=host,
            certificate=own,
            rtp=free_port(span=2),
            encryption="srtp" if srtp else "none",
            use_info=int(digits_by == "info"),
            use_rfc2833=int(digits_by == "rfc2833"),
        )
        (folder / "linphonerc").write_text(config)

    @property
    def uri(self) -> str:
        """Where it can be called."""
        return f"sip:linphone@{self.host}:{self._ports[self.transport]};transport={self.transport}"

    @property
    def heard(self) -> Path:
        """The recording of what it received; complete once it has ended."""
        return self.folder / "heard.wav"

    @property
    def log(self) -> str:
        """What it printed."""
        return self._program.log if self._program else ""

    @property
    def trace(self) -> str:
        """Its own log, with every message that it sent or received."""
        file = self.folder / "linphone.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it; returns when it is ready."""
        arguments = [self._path, "-c", "linphonerc", "-d", "6", "-l", "linphone.log", *(["-a"] if self._answers else [])]
        self._program = Program(arguments, self.folder, reads_commands=True, environment={"HOME": str(self.folder)})
        if not wait_until(lambda: "Creating listening point" in self.trace, 10):
            self.stop()
            raise RuntimeError(f"linphonec did not start:\n{self.log[-2000:]}{self.trace[-2000:]}")
        self.command("soundcard use files")
        self.command(f"play {self.folder / 'speech.wav'}")
        self.command(f"record {self.heard}")

    def command(self, line: str) -> None:
        """One of its commands: `call URI`, `answer`, `pause`, `resume`, `terminate`, or digits to send."""
        assert self._program is not None
        self._program.write(line)

    def wait_for(self, text: str, timeout_s: float = 15.0) -> bool:
        """Whether it prints the text within the time."""
        return wait_until(lambda: text in self.log, timeout_s)

    def wait_established(self, timeout_s: float = 15.0) -> bool:
        """Whether a call is up within the time."""
        return self.wait_for("connected", timeout_s)

    def stop(self) -> None:
        """End it; its recording is complete afterwards."""
        if self._program is not None:
            self._program.stop()

    def __enter__(self) -> Linphone:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
