"""The console and `/client.js` in a real Chromium: it speaks a WAV file, the agent's answer comes back as sound and is recognised.

One server and one browser serve all tests here. `CONSOLE_PICTURES=folder` has the pages' pictures written there; those of the README are
`docs/images/console-talk.png` and `console-call.png`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from chromium import Browser, Page, chromium, running_browser
from running_server import Server, running_server

from active_call.testing.sound import audio, voice
from active_call.testing.sound.listening import Recogniser, utterances

pytestmark = [pytest.mark.alone, pytest.mark.skipif(chromium() is None, reason="chromium is not installed")]

TOKEN = "let me in"
GREETING = "Welcome to the harbour bakery."
ANSWER = "We are open from nine in the morning until five in the afternoon."
BOOK = f"""---
llm: {{provider: script}}
greeting: {GREETING}
eou: {{timeout: 500}}
---
# Scene: reception

<dtmf digit="2" action="goto" scene="news"/>

## when are you open | opening hours
{ANSWER}

## *
I am sorry, I did not understand that.

# Scene: news
On Monday we bake rye bread with honey and walnuts.

<dtmf digit="1" action="goto" scene="reception"/>
"""
RIGHT = """---
llm: {provider: script}
greeting: Good morning.
---
# Scene: main
## hello
Hi. <goto scene='other'/>
# Scene: other
## a
b <goto scene='main'/>
"""
EVIL = "<img src=x onerror=alert(1)>"
LEAD_S = 4.0
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
DOCS = Path(__file__).parents[2] / "docs"
LISTEN = """
window.heard = [], window.sockets = [], window.nSoundBytes = 0, window.pcs = [];
const PlainSocket = WebSocket;
window.WebSocket = class extends PlainSocket {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
    this.addEventListener("message", ({ data }) => { window.nSoundBytes += data.byteLength ?? 0; });
  }
};
const Plain = RTCPeerConnection;
window.RTCPeerConnection = class extends Plain {
  constructor(...given) {
    super(...given);
    window.pcs.push(this);
    this.addEventListener("track", ({ track }) => {
      const recorder = new MediaRecorder(new MediaStream([track]), { mimeType: "audio/webm;codecs=opus" });
      recorder.ondataavailable = ({ data }) => window.heard.push(data);
      recorder.start(100);
    });
  }
};
window.heardAsBase64 = async () => {
  const bytes = new Uint8Array(await new Blob(window.heard).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
"""
"""Keeps what the browser gets from the server, whatever the page does with it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = f'http_token = "{TOKEN}"\n[[trunks]]\nname = "office"\nserver = "127.0.0.1:9"\n'
    with running_server(tmp_path_factory.mktemp("server"), BOOK, extra=extra, recording=True) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    microphone = folder / "microphone.wav"
    words = audio.resample(voice.speak("when are you open"), 8000, 48_000)
    faint = np.random.default_rng(1).normal(0, 20, int(LEAD_S * 48_000)).astype(np.int16)
    audio.write_wav(microphone, np.concatenate((faint, words, faint, faint)), rate_hz=48_000)
    with running_browser(folder, microphone) as running:
        yield running


@pytest.fixture
def page(server: Server, browser: Browser) -> Iterator[Page]:
    """A page of the console whose token was entered. Its scripts must not fail, nor its policy be broken."""
    with browser.page() as fresh:
        fresh.look(1280, 860)
        fresh.order("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)
        enter(fresh, server)
        yield fresh
        assert fresh.faults == []


def enter(page: Page, server: Server, to: str = "") -> None:
    page.go(f"http://127.0.0.1:{server.http_port}/{to}")
    page.wait("document.querySelector('input[type=password]')")
    page.faults.clear()  # the refusals that made it ask
    page.fill("Token", TOKEN)
    page.click("Enter")
    page.wait("document.querySelector('nav')")


def text_of(page: Page) -> str:
    return str(page.run("document.body.innerText"))


def heard_by(page: Page) -> audio.Pcm:
    """What the browser got from the server so far, at 8 kHz."""
    data = base64.b64decode(page.run("heardAsBase64()"))
    resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
    with av.open(BytesIO(data)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def test_browser_speaks_hears_the_answer_and_an_operator_takes_over(server: Server, browser: Browser, page: Page) -> None:
    page.click("Call")
    page.wait("document.querySelector('.interim em')")  # the agent is speaking
    page.wait(f"document.body.innerText.includes({json.dumps(GREETING)})")
    page.wait("[...document.querySelectorAll('.said.caller .words')].some(one => one.textContent === 'when are you open')", 40)
    page.wait(f"[...document.querySelectorAll('.said.agent .words')].some(one => one.textContent === {json.dumps(ANSWER)})", 40)
    page.wait("document.querySelector('.said.agent .latency') && document.querySelectorAll('.waterfall .wait').length > 1")
    recogniser = Recogniser([GREETING, ANSWER], ["I am sorry, I did not understand that.", "On Monday we bake rye bread."])
    sound = heard_by(page)
    told = " ".join(recogniser.recognise(sound[one.start : one.end]).text for one in utterances(sound))
    assert ANSWER in told, told
    picture(page, "console-talk")
    assert violations(page) == []

    page.click("2")
    page.wait("document.body.innerText.includes('On Monday we bake')")
    with browser.page() as operator:
        operator.look(1280, 860)
        operator.order("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)
        enter(operator, server, "#/live")
        operator.wait("document.querySelector('table a')")
        assert violations(operator) == []
        operator.run("document.querySelector('table a').click()")
        operator.wait(f"document.body.innerText.includes({json.dumps(ANSWER)})")  # what was said before it came
        operator.wait("document.querySelector('.facts').innerText.includes('news')")  # the scene
        assert violations(operator) == []
        picture(operator, "console-live")
        operator.click("Listen in")
        operator.wait("sockets.length && sockets.at(-1).readyState === 1 && nSoundBytes > 10000")
        operator.click("Stop listening")
        operator.wait("sockets.at(-1).readyState > 1")
        operator.fill("Say to the caller", "One moment, please.")
        operator.click("Say")
        page.wait("document.body.innerText.includes('One moment, please.')")
        operator.fill("Whisper to the agent", EVIL)
        operator.click("Whisper")
        for one in (operator, page):  # what somebody has said is text and never markup
            one.wait(f"document.body.innerText.includes({json.dumps(EVIL)})")
            assert one.run("document.images.length") == 0
        operator.click("Speak to the caller")
        operator.wait("document.querySelector('.transcript').innerText.includes('joined with call')", 30)
        operator.click("Give back to the agent")
        operator.wait("document.querySelector('.transcript').innerText.includes('parted')")
        operator.click("Hang up")
        operator.click("Its record")
        operator.wait("document.querySelector('.remarks li')")
        operator.click("Load the recording")
        operator.wait("document.querySelector('canvas')")
        operator.wait("document.querySelectorAll('.mark.caller').length >= 1")
        assert operator.run("document.querySelector('.note').innerText") and f"supervisor: {EVIL}" in text_of(operator)
        kinds = set(operator.run("[...document.querySelectorAll('.mark')].map(one => one.className)"))
        assert kinds == {"mark caller", "mark agent", "mark event"}
        assert operator.run("document.querySelector('.remarks').innerText").startswith("NOTE") or "Answered" in text_of(operator)
        picture(operator, "console-call")
        assert violations(operator) == []
        operator.look(390, 844, is_phone=True, is_dark=True)
        assert violations(operator) == []
        picture(operator, "console-call-phone")
        assert operator.faults == []
    page.wait("document.querySelector('.controls').innerText.includes('over')")
    assert page.run("document.querySelectorAll('a.button').length") == 1  # leads to the record


CURRENT_IS_SEEN = "(at => at.left >= 0 && at.right <= innerWidth)(document.querySelector('nav [aria-current]').getBoundingClientRect())"
"""The page's own name in the navigation, which is wider than a phone."""


def test_no_page_violates_wcag_aa_at_a_desk_or_on_a_phone(page: Page) -> None:
    found: dict[str, list[str]] = {}
    for name, settled in SETTLED.items():
        page.run(f"location.hash = '#/{name}'")
        page.wait(f"document.querySelector('nav [aria-current]').hash === '#/{name.partition('/')[0]}' && {settled}")
        for kind in ("", "-dark", "-phone"):
            is_phone = kind == "-phone"
            page.look(*((390, 844) if is_phone else (1280, 860)), is_phone=is_phone, is_dark=bool(kind))
            found[name + kind] = violations(page)
            page.wait(CURRENT_IS_SEEN)
            if page.run("document.documentElement.scrollWidth > innerWidth"):
                found[name + kind].append("is wider than the window")
            picture(page, f"page-{name.replace('/', '-')}{kind}")
    assert {name: texts for name, texts in found.items() if texts} == {}


SETTLED = {
    "talk": "document.querySelector('select option')",
    "live": "document.querySelector('.empty, table')",
    "records": "document.querySelector('.empty, table')",
    "place": "document.querySelector('select option')",
    "playbooks": "document.querySelector('table')",
    "playbooks/main.md": "document.querySelector('.graph .scene')",
    "trunks": "document.querySelector('table')",
    "settings": "document.querySelector('table')",
}


def test_page_without_a_microphone_hears_the_agent_all_the_same(page: Page) -> None:
    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('none', 'NotFoundError'))")
    page.click("Call")
    page.wait("document.querySelector('[role=alert]')?.textContent === 'No microphone was found.'")
    page.click("Call without a microphone")
    page.wait(f"document.body.innerText.includes({json.dumps(GREETING)})")
    page.click("2")
    page.wait("document.body.innerText.includes('On Monday we bake')")
    page.click("Hang up")


def test_browser_without_webrtc_says_so_and_without_a_device_too(page: Page) -> None:
    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new OverconstrainedError('x', 'Invalid constraint'))")
    page.click("Call")
    page.wait("document.querySelector('[role=alert]')?.textContent === 'No microphone was found.'")
    page.run("delete window.RTCPeerConnection")
    page.click("Call")
    page.wait("document.querySelector('[role=alert]')?.textContent.includes('this browser has no WebRTC')")
    assert not page.run("[...document.querySelectorAll('button')].some(one => one.textContent === 'Call without a microphone')")


def test_keys_alone_lead_to_the_page_and_begin_a_call(page: Page) -> None:
    page.order("Page.reload")  # the token stays in the tab, the focus is at the beginning
    page.wait("document.querySelector('select option')")
    page.press("Tab")
    assert focused(page) == "Skip to the page"
    page.press("Enter")
    assert page.run("document.activeElement.id") == "content"
    for _ in range(4):
        page.press("Tab")
        if focused(page) == "Call":
            break
    assert focused(page) == "Call"
    page.press("Enter")
    page.wait("document.querySelector('.controls .badge.good')")
    page.click("Hang up")
    page.wait("document.querySelector('.controls').innerText.includes('over')")


def focused(page: Page) -> str:
    return str(page.run("document.activeElement.textContent.trim()"))


def test_editor_marks_a_mistake_while_typing_and_saves_what_is_right(server: Server, page: Page) -> None:
    page.run("location.hash = '#/playbooks/new.md'")
    page.wait("document.querySelector('.editor textarea')")
    write(page, RIGHT.replace("scene='main'", "scene='mian'"))
    page.wait("document.querySelector('.gutter .error')?.textContent === '10'")
    assert "mian" in text_of(page)
    assert page.run("[...document.querySelectorAll('button')].find(one => one.textContent === 'Save').disabled")
    write(page, RIGHT)
    page.wait("!document.querySelector('.gutter .error') && document.querySelectorAll('.graph .scene').length === 2")
    page.wait("document.querySelectorAll('.graph .edge').length === 2")
    page.click("Save")
    page.wait("document.querySelector('[aria-live]').innerText.startsWith('saved')")
    assert (server.folder / "playbooks" / "new.md").read_text(encoding="utf-8") == RIGHT
    page.click("Talk to it")
    page.wait("document.querySelector('.said.agent .words')?.textContent === 'Good morning.'")
    page.click("Hang up")


def test_playbook_is_tried_by_typing_before_it_is_saved(page: Page) -> None:
    page.run("location.hash = '#/playbooks/typed.md'")
    page.wait("!!document.querySelector('textarea')")
    page.click("Try it by text")
    page.wait("document.querySelector('.transcript')?.textContent.includes('Hello. How may I help you?')")
    page.fill("The caller says", "goodbye")
    page.click("Say")
    page.wait("document.querySelector('.transcript').textContent.includes('Goodbye.')")
    page.wait("document.body.textContent.includes('the call is over')")


def test_placed_call_that_fails_is_found_and_explained(page: Page) -> None:
    page.run("location.hash = '#/place'")
    page.wait("document.querySelector('select option')")
    page.fill("Call", "sip:bob@127.0.0.1:9")
    page.fill("Variables", "order = 7\nname = Ann")
    page.click("Place the call")
    page.click("Its record")
    page.wait("document.querySelector('.remarks').innerText.includes('The other side did not accept the call')")
    variables = json.loads(page.run("document.querySelector('pre').textContent"))["variables"]
    assert (variables["order"], variables["name"]) == (7, "Ann")
    assert page.run("document.querySelector('.ladder').getAttribute('aria-label')").startswith("Signalling: sent INVITE")
    page.run("location.hash = '#/records'")
    page.wait("document.querySelector('table a')")
    page.fill("Search", "nobody of that name")
    page.wait("document.querySelector('.empty')")
    page.fill("Search", "bob@")
    page.wait(
        "document.querySelectorAll('tbody tr').length === 1 && document.querySelector('table a').textContent.includes('bob@127.0.0.1')"
    )
    page.run("location.hash = '#/trunks'")
    page.wait("document.querySelector('#asking')")
    page.fill("From IP address", "203.0.113.9")
    page.click("Ask")
    page.wait("document.querySelector('.badge.bad')?.textContent === 'refused'")
    page.faults[:] = [one for one in page.faults if "404" not in one or "/events/" not in one]  # it may be over before it is looked at


def write(page: Page, text: str) -> None:
    page.run(
        f"(area => {{ area.value = {json.dumps(text)}; area.dispatchEvent(new Event('input', {{ bubbles: true }})); }})"
        "(document.querySelector('.editor textarea'))"
    )


def test_ten_lines_of_the_guide_call_from_a_page_of_ones_own(page: Page) -> None:
    example = re.search(r"<!-- runs in a test -->\s*```js\n(.*?)```", (DOCS / "javascript.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    text = example[1].replace('import { Client } from "/client.js";', 'const { Client } = await import("/client.js");')
    text = text.replace("new Client()", f"new Client({{ token: {json.dumps(TOKEN)} }})").replace("receptionist.md", "main.md")
    page.run("document.body.replaceChildren(Object.assign(document.createElement('button'), { id: 'call', textContent: 'Call us' }))")
    page.run("document.body.append(Object.assign(document.createElement('ul'), { id: 'words' }))")
    page.run(f"(async () => {{ {text} }})()")
    page.click("Call us")
    page.wait(f"document.querySelector('#words').innerText.includes({json.dumps(GREETING)})")
    page.click("Hang up")
    page.wait("document.querySelector('#call').textContent === 'Call us'")


LATE_REFUSAL = """(async () => {
  const { attempt, client, onTokenNeeded, useToken } = await import("/console/api.js"), { ApiError } = await import("/client.js");
  const right = client.token, asked = [], stop = onTokenNeeded(wasWrong => asked.push(wasWrong));
  const refused = work => attempt(work).catch(error => error.status);
  let answer;
  useToken("");
  const early = refused(() => new Promise((_, fail) => { answer = fail; }));  // sent without a token, answered when one was entered
  useToken(right);
  answer(new ApiError("no token", 401, ""));
  const late = [await early, [...asked], client.token === right];
  const wrong = [await refused(async () => { throw new ApiError("wrong", 401, ""); }), [...asked], client.token];
  stop();
  return [late, wrong];
})()"""


def test_refusal_that_comes_after_another_token_was_entered_does_not_ask_again(page: Page) -> None:
    late, wrong = page.run(LATE_REFUSAL)
    assert late == [401, [], True]
    assert wrong == [401, [True], ""]


SAID = [
    {"event": "answer", "timestamp": 1000},
    {"event": "trackStart", "timestamp": 1100},
    {"event": "asrDelta", "index": 1, "text": "when are", "timestamp": 1900, "startTime": 1800},
    {"event": "interruption", "timestamp": 1950},
    {"event": "addHistory", "speaker": "assistant", "text": "Welcome to", "timestamp": 1960},
    {"event": "asrFinal", "index": 1, "text": "when are you open", "timestamp": 2500, "startTime": 1800},
    {"event": "addHistory", "speaker": "user", "text": "when are you open", "timestamp": 2510},
    {"event": "turn", "index": 1, "latency": 650.0, "waits": [{"owner": "turn", "start": 0, "duration": 650}], "timestamp": 3000},
    {"event": "trackStart", "timestamp": 3001},
    {"event": "trackEnd", "timestamp": 4000},
    {"event": "addHistory", "speaker": "assistant", "text": "From nine.", "timestamp": 4001},
    {"event": "error", "sender": "tts", "error": "401", "timestamp": 4100},
    {"event": "asrFinal", "index": 2, "text": "", "timestamp": 4200},
    {"event": "asrFinal", "index": 1, "text": "of the target", "refer": True, "timestamp": 4300},
]


def test_conversation_ladder_and_graph_are_drawn_from_what_the_server_tells(page: Page) -> None:
    for name in ("conversation", "ladder", "scene_graph"):
        page.run(f"import('/console/parts/{name}.js').then(module => {{ window.{name} = module; }})")
    part = page.run(f"{json.dumps(SAID[:3])}.reduce(conversation.hear, conversation.NOTHING)")
    assert (part["partial"]["text"], part["isAgentSpeaking"]) == ("when are", True)
    whole = page.run(f"{json.dumps(SAID)}.reduce(conversation.hear, conversation.NOTHING)")
    lines = [(one.get("speaker", "event"), one["text"], one["at"], one.get("isInterrupted", False)) for one in whole["lines"]]
    assert lines == [
        ("event", "answered", 1000, False),
        ("agent", "Welcome to", 1100, True),
        ("caller", "when are you open", 1800, False),
        ("agent", "From nine.", 3001, False),
        ("event", "tts: 401", 4100, False),
        ("event", "speech without words", 4200, False),
    ]
    assert whole["lines"][3]["turn"]["latency"] == 650
    assert whole["partial"] is None

    record = {
        "direction": "outbound",
        "startTime": "2026-01-01T00:00:00Z",
        "events": [{"event": "ringing"}],
        "answerTime": None,
        "sipCode": 486,
    }
    record["events"].append({"event": "hangup", "initiator": "callee", "extra": {"reasonText": "Busy Here"}})
    steps = page.run(f"ladder.stepsOf({json.dumps(record)})")
    assert [(one["text"], one["isIn"]) for one in steps] == [("INVITE", False), ("180 Ringing", True), ("486 Busy Here", True)]

    scenes = [{"id": name, "line": 1, "text": ""} for name in ("start", "pay", "desk", "lost")]
    edges = [{"from": "start", "to": "pay", "by": ""}, {"from": "pay", "to": "desk", "by": ""}, {"from": "desk", "to": "start", "by": ""}]
    places = page.run(f"scene_graph.layOut({json.dumps(scenes)}, {json.dumps(edges)})")["places"]
    heights = [places[name]["y"] for name in ("start", "pay", "desk", "lost")]
    assert heights == sorted(set(heights))  # the one that nothing leads to comes last


def test_client_joins_again_without_missing_or_repeating_an_event(page: Page) -> None:
    page.run(f"""(async () => {{
      const {{ Client }} = await import("/client.js");
      const client = new Client({{ token: {json.dumps(TOKEN)} }});
      const call = window.call = await client.call({{ playbook: "main.md", microphone: false }});
      window.numbers = [], window.texts = [], window.states = [], window.medias = [];
      call.on("*", event => {{ if (event.seq) numbers.push(event.seq); }});
      call.on("addHistory", event => texts.push(event.text));
      call.on("state", state => states.push(state));
      call.on("media", state => window.medias.push(state));
    }})()""")
    page.wait("document.body && window.numbers.length && window.heard.length")
    page.run("sockets.at(-1).close()")
    page.run("call.send('history', { speaker: 'agent', text: 'said while it was away' })")
    page.wait("states.includes('reconnecting') && states.at(-1) === 'connected'")
    page.wait("texts.includes('said while it was away')")
    assert page.run("numbers") == sorted(set(page.run("numbers")))
    before = page.run("pcs.at(-1).remoteDescription.sdp.match(/ice-ufrag:(\\S+)/)[1]")
    page.run("call.restartIce()")
    assert page.run("pcs.at(-1).remoteDescription.sdp.match(/ice-ufrag:(\\S+)/)[1]") != before
    page.wait("pcs.at(-1).connectionState === 'connected'")
    assert "lost" not in page.run("medias")
    page.run("call.hangup()")
    assert page.run("call.done.then(event => event.event)") == "hangup"


def violations(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA."""
    if not page.run("Boolean(window.axe)"):
        page.run(AXE + "; true")
    tags = json.dumps(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])
    found = page.run(f"axe.run(document, {{ runOnly: {{ type: 'tag', values: {tags} }} }})")
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for one in found["violations"] for node in one["nodes"]]


def picture(page: Page, name: str) -> None:
    """A picture of the page where somebody wants them; smooth ends of animations first."""
    if folder := os.environ.get("CONSOLE_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.picture(Path(folder) / f"{name}.png")
