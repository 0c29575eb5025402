"""What the fuzz targets share: how long they search, the messages they begin with, how these are damaged, how a stream is cut.

`make test` searches a little and always the same; `make fuzz` takes the profile `long`: thousands of examples, other ones each time.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from searches import N_LONG, is_long

VECTORS = Path(__file__).parents[1] / "vectors"
SEEDS = [path.read_bytes() for path in sorted(VECTORS.rglob("*.dat"))]
TOKENS = st.sampled_from(
    [
        *(b"\r\n", b"\r\n ", b"\r\n\r\n", b":", b";", b",", b'"', b"<", b">", b"@", b"%", b"\\", b"\x00", b"\xff", b"SIP/2.0"),
        *(b"l: 5", b"[", b"]", b"=", b" ", b"99999999999", b"\xc3\xa9", b"(", b"?", b"&", b"*", b"INVITE", b"Via: ", b":::"),
    ]
)


def bounded(n_examples: int = 100) -> settings:
    """Settings of a target: `n_examples` that never change in `make test`, the profile's number of random ones in `make fuzz`."""
    return settings(
        max_examples=N_LONG if is_long() else n_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
        derandomize=not is_long(),
    )


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes] | None = None) -> bytes:
    """A seed with a few places replaced, cut out or doubled."""
    data = draw(st.sampled_from(seeds or SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        piece = draw(st.one_of(TOKENS, st.binary(max_size=6), st.just(data[at:end] * 2)))
        data = data[:at] + piece + data[end:]
    return data


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes, again and again."""
    cut, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        cut.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return cut
