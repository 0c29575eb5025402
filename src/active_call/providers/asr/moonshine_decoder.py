"""Moonshine's decoder: finds the likeliest text of encoded sound by beam search, and rates given texts.

Encoded sound (`Views`) enters; token numbers with the natural log of their probability leave. The views of one sound are its encodings at
several paces. A token's score is the mean of its log-probabilities over all views, so a text has to be likely at each pace. All beams
and views are computed in one batch, with cached keys and values: each step computes one token.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float32]

N_LAYERS, N_HEADS, HEAD_SIZE = 6, 8, 36
"""Of the tiny model's decoder."""
BEGIN, END = 1, 2
"""Token numbers of `<s>` and `</s>`."""
SAMPLES_PER_STATE: Final = 384
"""The encoder gives a state for so many samples; the decoder's mask counts samples."""


class Views(Struct, frozen=True):
    """Encodings of one sound, each (states, features) float32, padded to one length. `mask`: 1 for each sample of a real state."""

    states: Floats
    mask: NDArray[np.int64]

    @classmethod
    def of(cls, encoded: Sequence[Floats]) -> Views:
        """The views of encodings of different lengths."""
        longest = max(len(states) for states in encoded)
        states = np.zeros((len(encoded), longest, encoded[0].shape[-1]), dtype=np.float32)
        mask = np.zeros((len(encoded), longest * SAMPLES_PER_STATE), dtype=np.int64)
        for view, one in enumerate(encoded):
            states[view, : len(one)] = one
            mask[view, : len(one) * SAMPLES_PER_STATE] = 1
        return cls(states, mask)

    @property
    def n(self) -> int:
        return len(self.states)


class Candidate(Struct, frozen=True):
    """Tokens without `END`, and the natural log of their probability: the mean of the views, and that of each view."""

    tokens: tuple[int, ...]
    log_probability: float
    by_view: tuple[float, ...]


class Decoder:
    """The decoder over an ONNX Runtime session. It keeps nothing between two texts."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()][1:]

    def likeliest(self, views: Views, max_tokens: int, width: int = 1, *, allowed: Collection[int] = ()) -> Candidate:
        """The likeliest text. `width`: how many beginnings are followed; 1 is the greedy search. `allowed`: the only tokens to use, if
        there are any.
        """
        return self.texts(views, max_tokens, width, allowed=allowed)[0]

    def texts(
        self, views: Views, max_tokens: int, width: int, within: float = 0.0, *, allowed: Collection[int] = ()
    ) -> Sequence[Candidate]:
        """The likeliest text, and the texts that the search finds at most `within` nats below it, in order. At least one."""
        search = _Search(views, width, allowed, within)
        past = _no_past(views.n)
        cross: dict[str, Floats] = {}
        sound: dict[str, Any] = {}
        n_tiled = 0
        for step in range(max_tokens):
            n_beams = len(search.beams)
            if n_beams != n_tiled:  # tiled again only then: for four beams and three views this takes a fifth of a step
                n_tiled = n_beams
                sound = self._sound(views, n_beams) | {name: np.tile(value, (n_beams, 1, 1, 1)) for name, value in cross.items()}
            logits, *present = self._session.run(None, {**past, **sound, **search.inputs(step)})
            chosen = search.take(_log_shares(logits[:, -1]).reshape(n_beams, views.n, -1))
            if search.is_over:
                break
            values = dict(zip((name.replace("present", "past_key_values") for name in self._outputs), present, strict=True))
            if step == 0:
                cross, n_tiled = {name: value for name, value in values.items() if ".encoder." in name}, 0
            rows = (np.array(chosen)[:, np.newaxis] * views.n + np.arange(views.n)).ravel()
            past = {name: value[rows] for name, value in values.items() if ".decoder." in name}
        return search.found()

    def rate(self, views: Views, tokens: Sequence[int]) -> Candidate:
        """The likelihood of `tokens`, with all of them in one step."""
        wanted = [*tokens, END]
        ids = np.tile(np.array([BEGIN, *tokens], dtype=np.int64), (views.n, 1))
        feeds = {**self._sound(views, 1), **_no_past(views.n), "input_ids": ids, "use_cache_branch": np.array([False])}
        logits, *_ = self._session.run(None, feeds)
        by_view = _log_shares(logits)[:, np.arange(len(wanted)), wanted].sum(axis=-1)
        return Candidate(tuple(tokens), float(by_view.mean()), tuple(by_view.tolist()))

    def _sound(self, views: Views, n_beams: int) -> dict[str, Any]:
        return {
            "encoder_hidden_states": np.tile(views.states, (n_beams, 1, 1)),
            "encoder_attention_mask": np.tile(views.mask, (n_beams, 1)),
        }


class _Search:
    """The beginnings that are followed, the likeliest first, and the texts that have ended."""

    def __init__(self, views: Views, width: int, allowed: Collection[int], within: float) -> None:
        self._width = width
        self._within = within
        self._n_views = views.n
        self._allowed = np.array(sorted(allowed), dtype=np.int64)
        self.beams = [Candidate((), 0.0, (0.0,) * views.n)]
        self._ended: list[Candidate] = []

    def inputs(self, step: int) -> dict[str, Any]:
        """The last token of each beam, for each view."""
        last = np.array([[beam.tokens[-1] if step else BEGIN] for beam in self.beams], dtype=np.int64)
        return {"input_ids": np.repeat(last, self._n_views, axis=0), "use_cache_branch": np.array([step > 0])}

    def take(self, shares: Floats) -> list[int]:
        """Continue with the likeliest next tokens; `shares`: (beams, views, tokens). Returns which beam each new one continues."""
        means = shares.mean(axis=1)
        if len(self._allowed):
            barred = np.full_like(means, -np.inf)
            barred[:, self._allowed] = means[:, self._allowed]
            means = barred
        n_each = self._width + 1
        found: list[tuple[float, int, int]] = []
        for beam, row in enumerate(means):
            nearest = np.argpartition(row, -n_each)[-n_each:]
            found += [(self.beams[beam].log_probability + float(row[token]), beam, int(token)) for token in nearest]
        found.sort(reverse=True)
        beams: list[Candidate] = []
        sources: list[int] = []
        for score, beam, token in found:
            if len(beams) == self._width:
                break
            before = self.beams[beam]
            by_view = tuple(old + float(new) for old, new in zip(before.by_view, shares[beam, :, token], strict=True))
            if token == END:
                self._ended.append(Candidate(before.tokens, score, by_view))
            else:
                beams.append(Candidate((*before.tokens, token), score, by_view))
                sources.append(beam)
        self.beams = beams
        return sources

    @property
    def is_over(self) -> bool:
        """Whether no beginning can become likelier than a text that is looked for: scores only fall."""
        return not self.beams or self._ended_least() >= self.beams[0].log_probability

    def found(self) -> list[Candidate]:
        """The ended texts that were looked for, the likeliest first; the likeliest beginning if none has ended."""
        least = self._ended_least()
        near = sorted((one for one in self._ended if one.log_probability >= least), key=lambda one: -one.log_probability)
        return near or [max(self.beams, key=lambda one: one.log_probability)]

    def _ended_least(self) -> float:
        """The least log-probability of a text that is looked for."""
        return max((one.log_probability for one in self._ended), default=-np.inf) - self._within


def _log_shares(logits: Floats) -> Floats:
    """The natural logs of the probabilities in the last dimension."""
    above = logits - logits.max(axis=-1, keepdims=True)
    shares: Floats = above - np.log(np.exp(above).sum(axis=-1, keepdims=True))
    return shares


def _no_past(n_rows: int) -> dict[str, Floats]:
    empty = np.zeros((n_rows, N_HEADS, 0, HEAD_SIZE), dtype=np.float32)
    return {
        f"past_key_values.{layer}.{side}.{what}": empty
        for layer in range(N_LAYERS)
        for side in ("decoder", "encoder")
        for what in ("key", "value")
    }
