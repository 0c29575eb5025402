"""A telephone on the command line: dials, plays a story, judges it. `python -m active_call.testing.phone --help`.

In: a URI and a story (`active_call.testing.phone.story`). Out: one line per event as it happens, a summary, an exit code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

from active_call.testing.phone.caller import Caller
from active_call.testing.phone.story import Event, Story
from active_call.testing.sound import voice


def play(
    uri: str,
    story: Story,
    folder: Path,
    *,
    transport: str = "",
    srtp: bool = False,
    profile: Literal["trunk", "plain"] = "trunk",
    caller: str = "+15550100",
    local_ip: str = "127.0.0.1",
    on_event: Callable[[Event], None] = lambda _event: None,
) -> Event:
    """Dial, play the story, judge it; the summary comes back and lies in `folder`. Raises OSError if the peer cannot be reached."""
    folder.mkdir(parents=True, exist_ok=True)
    with Caller(story, profile=profile, local_ip=local_ip, on_event=on_event) as actor:
        actor.call(uri, transport=transport, srtp=srtp, caller=caller)
        summary = actor.summary(folder)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exits 0 when the story succeeded, 1 when it failed, 2 when it cannot be played."""
    parser = argparse.ArgumentParser(prog="active_call.testing.phone", description="Call a number and judge what is heard.")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--transport", choices=("udp", "tcp", "tls"), default="")
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument("--story", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("phone-out"))
    parser.add_argument("--profile", choices=("trunk", "plain"), default="trunk")
    parser.add_argument("--caller", default="+15550100")
    parser.add_argument("--local-ip", default="127.0.0.1")
    parser.add_argument("--json-lines", action="store_true", help="one JSON object a line instead of text")
    chosen = parser.parse_args(arguments)

    def show(event: Event) -> None:
        rest = {key: value for key, value in event.items() if key not in ("at", "kind", "text")}
        text = json.dumps(event) if chosen.json_lines else f"{event['at']:7.2f}  {event['kind']:<12} {event.get('text', '')}  {rest or ''}"
        print(text, flush=True)

    sys.setswitchinterval(0.001)  # the thread that sends must get its turn before its packet is late
    try:
        story = Story.from_dict(json.loads(chosen.story.read_text()))
        summary = play(
            chosen.uri,
            story,
            chosen.out,
            transport=chosen.transport,
            srtp=chosen.srtp,
            profile=cast("Literal['trunk', 'plain']", chosen.profile),
            caller=chosen.caller,
            local_ip=chosen.local_ip,
            on_event=show,
        )
    except (OSError, ValueError, voice.VoiceError) as error:
        print(f"phone: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(summary) if chosen.json_lines else json.dumps(summary, indent=2), flush=True)
    sys.exit(0 if summary["success"] else 1)


if __name__ == "__main__":
    main()
