"""Choosing the next token from the logits: temperature, top-k, top-p, and one uniform number a token."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError

COLDEST, HOTTEST = 1e-30, 1e30  # temperatures beyond these are taken for them: single precision holds no more


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the logits.

        P(token) is proportional to exp(logit / temperature), among those that top_k and top_p leave

    `temperature` 0 takes the most probable token. `top_k` keeps the k most probable tokens and what equals the last of
    them; `top_p` keeps the fewest that together have at least that probability (Holtzman et al. 2020).

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
            raise ConfigError(f"top_k {self.top_k}: keep at least one token")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p} is not in (0, 1]")

    @property
    def clipped_temperature(self) -> float:
        """The temperature as far as single precision holds it."""
        return min(max(self.temperature, COLDEST), HOTTEST)

    def __call__(
        self, logits: npt.NDArray[np.float32], uniforms: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.int64]:
        """A token a row, (B,), of logits (B, V), given a number in [0, 1) a row, (B,); without: the most probable.

            token = the first whose P(0) + ... + P(token) is more than the number

        Logits of minus infinity are never drawn.

        Example:
            >>> draw, logits = Draw(temperature=0.5), np.log(np.array([[1, 2, 1]], np.float32))
            >>> [int(draw(logits, np.array([u]))[0]) for u in (0.16, 0.17, 0.83, 0.84)]
            [0, 1, 1, 2]
        """
        if uniforms is None:
            return np.asarray(logits.argmax(-1))
        p = self._weights(logits)
        mass = p.cumsum(-1)
        return np.asarray((mass > uniforms[:, None] * mass[:, -1:]).argmax(-1))

    def _weights(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What the probabilities are proportional to, (B, V); 1 for the most probable."""
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
