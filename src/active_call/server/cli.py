"""The entry point `active-call`. A server loads its parts in a special order (`preloading`); other commands are in `commands`."""

from __future__ import annotations

import gc
import signal
import sys

from active_call.base.numeric_threads import single_threaded
from active_call.server.preloading import load_httpx, preload


def main() -> None:
    """Run the command of the arguments."""
    gc.disable()  # imported objects stay alive: collecting during the imports takes a tenth of the start-up time
    is_server = begins_server(sys.argv[1:])
    if is_server:
        settle_signals()
    children = preload() if is_server else None
    load_httpx()
    with single_threaded():
        if is_server and has_no_other_command(sys.argv[1:]):
            from active_call.server.commands.serve import app
        else:
            from active_call.server.commands.main import app
    if not is_server:  # a server enables the collector after it has loaded more modules
        gc.freeze()
        gc.enable()
    try:
        app(obj=children)
    finally:
        if children is not None:
            children.close()


def settle_signals() -> None:
    """Until the server handles signals itself, an interrupt ends the process at once, and a request to reload does not end it.

    Python's own handler raises KeyboardInterrupt somewhere in the imports: a traceback, or nothing at all if that is in a callback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def begins_server(arguments: list[str]) -> bool:
    """Whether the command is `serve`, which is also the default. If this is missed, the start is only slower."""
    first = arguments[0] if arguments else "serve"
    return first == "serve" or (first.startswith("-") and not {"--help", "--version"} & set(arguments))


def has_no_other_command(arguments: list[str]) -> bool:
    """Whether the arguments name no command besides `serve`: each of them is an option or the value of one."""
    if arguments[:1] == ["serve"]:
        return True
    pairs = zip(["", *arguments], arguments, strict=False)
    return all(word.startswith("-") or (before.startswith("--") and "=" not in before) for before, word in pairs)


if __name__ == "__main__":
    main()
