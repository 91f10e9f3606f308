"""Sampling the next token from the logits: temperature, top-k, top-p, and one uniform number per token."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-30, 1e30  # others are clipped to these, so that float32 holds them


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the logits.

        P(token) is proportional to exp(logit / temperature), among the tokens that top_k and top_p keep

    Args:
        temperature: 0 or more; 0 takes the most probable token.
        top_k: keep the k most probable tokens, 1 or more, and those as probable as the last of them (Fan et al. 2018).
        top_p: keep the fewest tokens that together have at least this probability, in (0, 1] (Holtzman et al. 2020).

    Raises:
        ConfigError: a negative or undefined temperature, top_k under 1, top_p outside (0, 1].
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ConfigError(f"temperature {self.temperature}: give a finite number, 0 or more (0 is arg-max)")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}: it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}: it must be above 0 and at most 1")

    @property
    def clipped_temperature(self) -> float:
        """The temperature within the range of float32."""
        return min(max(self.temperature, MIN_TEMPERATURE), MAX_TEMPERATURE)

    def __call__(
        self, logits: npt.NDArray[np.float32], uniforms: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.int64]:
        """Sample one token per row by inverse transform sampling.

            token = the first whose cumulative probability P(0) + ... + P(token) exceeds the uniform number

        Args:
            logits: (B, V); a token with minus infinity is never sampled.
            uniforms: a number in [0, 1) per row, (B,); None takes the most probable tokens.

        Returns:
            The tokens, (B,).

        Example:
            >>> sampling, logits = Sampling(temperature=0.5), np.log(np.array([[1, 2, 1]], np.float32))
            >>> [int(sampling(logits, np.array([u]))[0]) for u in (0.16, 0.17, 0.83, 0.84)]
            [0, 1, 1, 2]
        """
        if uniforms is None:
            return np.asarray(logits.argmax(-1))
        p = self._weights(logits)
        mass = p.cumsum(-1)
        return np.asarray((mass > uniforms[:, None] * mass[:, -1:]).argmax(-1))

    def _weights(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Unnormalised probabilities, (B, V); 1 for the most probable token."""
        p = logits.astype(np.float64)
        p -= p.max(-1, keepdims=True)
        p /= self.clipped_temperature
        np.exp(p, out=p)
        if self.top_k is not None and self.top_k < p.shape[1]:
            p[logits < np.partition(logits, -self.top_k)[:, -self.top_k, None]] = 0
        if self.top_p is not None and self.top_p < 1:
            order = np.argsort(-logits, -1, kind="stable")
            ranked = np.take_along_axis(p, order, -1)
            mass = ranked.cumsum(-1)
            before = np.pad(mass[:, :-1], ((0, 0), (1, 0)))
            np.put_along_axis(p, order, np.where(before < self.top_p * mass[:, -1:], ranked, 0), -1)
        return p
