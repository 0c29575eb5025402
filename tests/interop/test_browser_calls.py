"""Calls with browsers: aiortc, which is none of ours, makes the offer, does ICE and DTLS, and hears and sends sound."""

from __future__ import annotations

import asyncio
import fractions
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from running_server import Server, running_server
from websockets.asyncio.client import connect

from active_call.testing.sound import audio, voice

PLAYBOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main

## hello
Hello to you.
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK) as running:
        yield running


class Microphone(MediaStreamTrack):
    """Silence, or what it is given to say, at 48 kHz in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.waiting = np.zeros(0, np.int16)
        self._n_sent = 0
        self._begun = 0.0

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        self._begun = self._begun or loop.time()
        await asyncio.sleep(max(0.0, self._begun + self._n_sent / 48_000 - loop.time()))
        piece, self.waiting = self.waiting[:960], self.waiting[960:]
        frame = AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(np.pad(piece, (0, 960 - len(piece))).astype("<i2").tobytes())
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._n_sent, fractions.Fraction(1, 48_000)
        self._n_sent += 960
        return frame


class Browser:
    """A page: a peer connection with a microphone, and what it hears."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = Microphone()
        self.pc.addTrack(self.microphone)
        self.heard: list[np.ndarray[Any, Any]] = []
        self.rate_hz = 0
        self.pc.on("track", lambda track: asyncio.ensure_future(self._listen(track)))

    async def _listen(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except Exception:
                return
            samples = frame.to_ndarray().reshape(-1)
            self.rate_hz = frame.sample_rate
            self.heard.append(samples[::2] if frame.layout.name == "stereo" else samples)

    def loudest(self) -> float:
        sound = np.concatenate(self.heard) if self.heard else np.zeros(1)
        return float(np.abs(sound.astype(float)).max())

    def pitch(self) -> float:
        """The strongest frequency so far, in Hz."""
        sound = np.concatenate(self.heard).astype(float)
        return float(np.abs(np.fft.rfft(sound))[1:].argmax() + 1) * self.rate_hz / len(sound)

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def take(self, answer: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    browser = Browser()
    try:
        yield browser
    finally:
        await browser.pc.close()


async def until(line: Any, name: str, timeout_s: float = 20.0, **fields: Any) -> dict[str, Any]:
    seen = []
    async with asyncio.timeout(timeout_s):
        while True:
            event = json.loads(await line.recv())
            seen.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return dict(event)
            assert event["event"] != "error" or name == "error", json.dumps(seen[-1])


def url(server: Server, path: str) -> str:
    return f"ws://127.0.0.1:{server.http_port}{path}"


@pytest.mark.alone
def test_browser_is_answered_hears_the_agent_and_is_heard(server: Server) -> None:
    async def story() -> None:
        async with a_browser() as browser, connect(url(server, "/call/webrtc?dump=true"), max_size=2**20) as line:
            await line.send(
                json.dumps({"command": "invite", "option": {"offer": await browser.offer(), "asr": {"extra": {"phrases": ["hello"]}}}})
            )
            answer = await until(line, "answer")
            await browser.take(answer["sdp"])
            await until(line, "mediaReady")
            await line.send(json.dumps({"command": "tts", "text": "Good morning to you.", "playId": "1"}))
            await until(line, "trackEnd", playId="1")
            await asyncio.sleep(0.3)
            assert browser.loudest() > 1000
            words = audio.resample(voice.speak("hello"), 8000, 48_000)
            browser.microphone.waiting = np.concatenate((words, np.zeros(48_000, np.int16)))
            await until(line, "speaking")
            await until(line, "asrFinal")
            await line.send(json.dumps({"command": "hangup"}))
            await until(line, "hangup")

    asyncio.run(story())


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_tones_asked_for_with_the_offer_and_later_have_one_pitch(server: Server, codec: str) -> None:
    """The sound is made before DTLS has its keys."""

    async def story() -> None:
        async with a_browser() as browser, connect(url(server, "/call/webrtc"), max_size=2**20) as line:
            option = {"offer": await browser.offer(), "codec": codec}
            await line.send(json.dumps({"command": "invite", "option": option}))
            await line.send(json.dumps({"command": "play", "url": "tone:440/600000", "playId": "early"}))
            await browser.take((await until(line, "answer"))["sdp"])
            await until(line, "trackStart", playId="early")
            await asyncio.sleep(1.5)
            assert abs(browser.pitch() - 440) < 10
            await line.send(json.dumps({"command": "play", "url": "tone:440/600000", "playId": "late"}))
            await until(line, "trackStart", playId="late")
            await asyncio.sleep(0.5)
            browser.heard.clear()
            await asyncio.sleep(1.5)
            assert abs(browser.pitch() - 440) < 10
            await line.send(json.dumps({"command": "hangup"}))
            await until(line, "hangup")

    asyncio.run(story())


def test_playbook_talks_to_a_browser_and_the_record_says_webrtc(server: Server) -> None:
    run = server.post("/api/playbook/run", {"playbook": "main.md", "type": "webrtc"})

    async def story() -> None:
        async with a_browser() as browser, connect(url(server, f"/call/webrtc?id={run['session_id']}"), max_size=2**20) as line:
            await line.send(json.dumps({"command": "invite", "option": {"offer": await browser.offer()}}))
            await browser.take((await until(line, "answer"))["sdp"])
            assert (await until(line, "addHistory"))["text"] == "Welcome to the bakery."
            assert browser.loudest() > 1000
            listed = (await asyncio.to_thread(server.get, "/list"))["active_calls"]
            assert [one["callType"] for one in listed if one["id"] == run["session_id"]] == ["webrtc"]
            await browser.pc.close()  # the page is closed: goodbye over DTLS
            assert (await until(line, "hangup"))["initiator"] == "caller"

    asyncio.run(story())


def test_candidates_may_trickle_in(server: Server) -> None:
    async def story() -> None:
        async with a_browser() as browser, connect(url(server, "/call/webrtc"), max_size=2**20) as line:
            whole = (await browser.offer()).splitlines()
            candidates = [one for one in whole if one.startswith("a=candidate")]
            bare = [one for one in whole if not one.startswith(("a=candidate", "a=end-of-candidates"))] + ["a=ice-options:trickle"]
            assert candidates
            await line.send(json.dumps({"command": "invite", "option": {"offer": "\r\n".join([*bare, ""])}}))
            answer = await until(line, "answer")
            for one in candidates:
                await line.send(
                    json.dumps({"command": "addIceCandidate", "candidate": one.removeprefix("a="), "sdpMid": "0", "sdpMLineIndex": 0})
                )
            await browser.take(answer["sdp"])
            await until(line, "mediaReady")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda sdp: "", "option.offer"),
        (lambda sdp: "v=0\r\nnonsense", "SDP"),
        (lambda sdp: "\r\n".join(line for line in sdp.splitlines() if "fingerprint" not in line) + "\r\n", "fingerprint"),
        (lambda sdp: "\r\n".join(line for line in sdp.splitlines() if "ice-ufrag" not in line) + "\r\n", "ice-ufrag"),
    ],
)
def test_offer_that_cannot_be_answered_is_one_error(server: Server, change: Any, part: str) -> None:
    async def story() -> None:
        async with a_browser() as browser, connect(url(server, "/call/webrtc"), max_size=2**20) as line:
            await line.send(json.dumps({"command": "invite", "option": {"offer": change(await browser.offer())}}))
            assert part in (await until(line, "error"))["error"]

    asyncio.run(story())


def test_other_certificate_than_the_offer_names_is_no_call(tmp_path: Path, server: Server) -> None:
    async def story() -> None:
        async with a_browser() as browser, connect(url(server, "/call/webrtc"), max_size=2**20) as line:
            offer = await browser.offer()
            false = f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}"
            forged = "\r\n".join(false if line.startswith("a=fingerprint") else line for line in offer.splitlines())
            await line.send(json.dumps({"command": "invite", "option": {"offer": forged + "\r\n"}}))
            await browser.take((await until(line, "answer"))["sdp"])
            ended = await until(line, "hangup", 30.0)
            assert "certificate" in ended["extra"]["reasonText"]

    asyncio.run(story())


@pytest.mark.parametrize("as_sdp", [True, False])
def test_offer_over_plain_http_is_answered_and_hung_up_by_delete(server: Server, as_sdp: bool) -> None:
    async def story() -> None:
        async with a_browser() as browser, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}") as http:
            offer = await browser.offer()
            if as_sdp:
                headers = {"Content-Type": "application/sdp"}
                response = await http.post("/call/webrtc?playbook=main.md", content=offer, headers=headers, timeout=15)
                sdp = response.text
            else:
                response = await http.post("/call/webrtc", json={"offer": offer, "playbook": "main.md"}, timeout=15)
                sdp = response.json()["sdp"]
            assert response.status_code == 201, response.text
            await browser.take(sdp)
            async with asyncio.timeout(15):
                while browser.loudest() < 1000:
                    await asyncio.sleep(0.1)
            place = response.headers["location"]
            assert (await http.delete(place)).json()["status"] == "killed"
            for body, part in (({"offer": "x"}, "SDP"), ({}, "offer"), ({"offer": offer, "playbook": "no.md"}, "no.md")):
                refused = await http.post("/call/webrtc", json=body)
                assert refused.status_code in (400, 404) and part in refused.json()["error"]

    asyncio.run(story())


def test_further_offers_and_fragments_are_answered_while_the_call_is_up(server: Server) -> None:
    async def story() -> None:
        async with a_browser() as browser, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=15) as http:
            offer = await browser.offer()
            posted = await http.post("/call/webrtc?playbook=main.md", content=offer, headers={"Content-Type": "application/sdp"})
            place, tag = posted.headers["location"], posted.headers["etag"]
            await browser.take(posted.text)
            async with asyncio.timeout(15):
                while browser.loudest() < 1000:
                    await asyncio.sleep(0.1)

            async def patch(body: str, kind: str = "application/trickle-ice-sdpfrag", **headers: str) -> httpx.Response:
                named = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
                return await http.patch(place, content=body, headers=named)

            candidate = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
            fresh = "a=ice-ufrag:Nw3t\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
            assert (await patch(candidate)).status_code == 428
            assert (await patch(candidate, if_match='"old"')).status_code == 412
            assert (await patch(candidate, if_match=tag)).status_code == 204
            assert (await patch("hello", if_match="*")).status_code == 400
            anew = await patch(fresh + candidate, if_match="*")
            assert (anew.status_code, anew.headers["etag"] != tag) == (200, True), anew.text
            assert f"a=ice-ufrag:{anew.headers['etag'].strip(chr(34))}" in anew.text
            again = await patch(offer, "application/sdp")
            assert again.status_code == 200, again.text
            assert again.headers["etag"] not in (tag, anew.headers["etag"])
            foreign = "\r\n".join(
                f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}" if line.startswith("a=fingerprint") else line
                for line in offer.splitlines()
            )
            assert "certificate" in (await patch(foreign + "\r\n", "application/sdp")).json()["error"]
            assert (await patch(offer, "text/plain")).status_code == 415
            session_id = place.removeprefix("/call/")
            async with connect(url(server, f"/call/webrtc?id={session_id}&detach=true"), max_size=2**20) as line:
                await line.send(json.dumps({"command": "invite", "option": {"offer": offer}}))
                assert "a=ice-ufrag:" in (await until(line, "answer"))["sdp"]
            assert (await http.delete(place)).status_code == 200
            assert (await http.patch("/call/none", content=candidate, headers={"Content-Type": "application/sdp"})).status_code == 404

    asyncio.run(story())
