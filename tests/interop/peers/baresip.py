"""baresip as the other side: dials or is called, over UDP, TCP or TLS, with SDES-SRTP or plain RTP, plays a WAV and records both ways.

Facts about its configuration are baresip 1.0's (Debian `baresip-core`).
"""

from __future__ import annotations

import socket
from pathlib import Path

from peers.process import Program, require, wait_until

from active_call.testing import certificate
from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm
from ports import free_port

_CONFIG = """\
poll_method epoll
sip_listen {host}:{port}
sip_certificate {certificate}
sip_verify_server no
call_local_timeout 30
call_max_calls 4
audio_source aufile,{speech}
audio_player aufile,{played}
ausrc_srate {rate}
auplay_srate {rate}
ausrc_channels {channels}
auplay_channels {channels}
rtp_ports {rtp_first}-{rtp_last}
snd_path {recordings}
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module aufile.so
module sndfile.so
module srtp.so
module ctrl_tcp.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
ctrl_tcp_listen 127.0.0.1:{control}
"""


G711 = "PCMU/8000/1,PCMA/8000/1"
G722 = "G722/16000/1"
OPUS = "opus/48000/2"
_SOUND = {G722: (16_000, 1), OPUS: (48_000, 2)}
"""Rate and channels of what it plays and records, by codec: baresip converts neither."""


class Baresip:
    """One baresip with one account. Use as a context manager, or `start` and `stop`."""

    def __init__(
        self,
        folder: Path,
        *,
        speech: Pcm,
        transport: str = "udp",
        srtp: bool = False,
        answers: bool = False,
        host: str = "127.0.0.1",
        codec: str = G711,
    ) -> None:
        self._program_path = require("baresip")
        self.folder, self.transport, self.host = folder, transport, host
        self.codec = codec
        self._main_port = free_port(span=2)  # baresip listens for TLS on the port after the one it is told
        self.port = self._main_port + (transport == "tls")
        self.control_port = free_port()
        self._program: Program | None = None
        self._write_folder(speech, srtp=srtp, answers=answers)

    def _write_folder(self, speech: Pcm, *, srtp: bool, answers: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recordings = self.folder / "rec"
        self.recordings.mkdir()
        rate, channels = _SOUND.get(self.codec, (8000, 1))
        sound = audio.resample(speech, audio.RATE_HZ, rate)
        audio.write_wav(self.folder / "speech.wav", *[sound] * channels, rate_hz=rate)
        rtp_first = free_port(span=8)
        config = _CONFIG.format(
            host=self.host,
            port=self._main_port,
            rate=rate,
            channels=channels,
            certificate=certificate.write_self_signed(self.folder),
            speech=self.folder / "speech.wav",
            played=self.folder / "played.wav",
            recordings=self.recordings,
            control=self.control_port,
            rtp_first=rtp_first,
            rtp_last=rtp_first + 8,
        )
        account = f"<sip:peer@{self.host}:{self.port};transport={self.transport}>;regint=0;audio_codecs={self.codec}"
        account += ";mediaenc=srtp-mand" if srtp else ""
        account += ";answermode=auto" if answers else ""
        (self.folder / "config").write_text(config)
        (self.folder / "accounts").write_text(account + "\n")
        (self.folder / "contacts").write_text("")

    @property
    def uri(self) -> str:
        """Where it can be called."""
        return f"sip:peer@{self.host}:{self.port};transport={self.transport}"

    @property
    def log(self) -> str:
        """What it printed."""
        return self._program.log if self._program else ""

    def start(self, *, dial: str = "") -> None:
        """Start it, dialling at once when told to; returns when it is ready."""
        commands = ["-6"] if ":" in self.host else []
        commands += ["-e", f"/dial {dial}"] if dial else []
        self._program = Program([self._program_path, "-f", str(self.folder), *commands], self.folder)
        if not wait_until(lambda: "baresip is ready" in self.log, 10):
            self.stop()
            raise RuntimeError(f"baresip did not start:\n{self.log[-2000:]}")

    def command(self, name: str, parameters: str = "") -> None:
        """One command over `ctrl_tcp` (a netstring of JSON), such as `hangup`, `dial`, `accept`."""
        text = f'{{"command":"{name}","params":"{parameters}"}}'
        with socket.create_connection(("127.0.0.1", self.control_port), 5) as control:
            control.sendall(f"{len(text)}:{text},".encode())
            control.settimeout(5)
            control.recv(4096)

    def wait_for(self, text: str, timeout_s: float = 15.0) -> bool:
        """Whether it prints the text within the time."""
        return wait_until(lambda: text in self.log, timeout_s)

    def wait_established(self, timeout_s: float = 15.0) -> bool:
        """Whether a call is up within the time."""
        return self.wait_for("Call established", timeout_s)

    def stop(self) -> None:
        """End it; recordings are complete afterwards."""
        if self._program is not None:
            self._program.stop()

    @property
    def heard(self) -> Path:
        """The recording of what it received. Raises FileNotFoundError when there was no call."""
        return self._recording("dec")

    @property
    def said(self) -> Path:
        """The recording of what it sent."""
        return self._recording("enc")

    def _recording(self, kind: str) -> Path:
        found = sorted(self.recordings.glob(f"*-{kind}.wav"))
        if not found:
            raise FileNotFoundError(f"no {kind} recording in {self.recordings}:\n{self.log[-2000:]}")
        return found[-1]

    def __enter__(self) -> Baresip:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
