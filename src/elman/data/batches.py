"""From a row of tokens to batches: sequential partitions that carry the state, and random windows that do not.

A text x_1 .. x_N has N targets. The input that stands before x_1 is token 0 (`<unk>`; where a vocabulary has
none, its first symbol), so that every token is a target exactly once an epoch, the first and the last
included. A batching only gives which targets are in which row; `gather` copies them, so counting an epoch or
resuming in the middle of one touches no token. Rows that end early are padded with targets of `IGNORE`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError, DataError, no_such

Ids = npt.NDArray[np.unsignedinteger]
if TYPE_CHECKING:
    IdsLike: TypeAlias = npt.ArrayLike
else:  # `as_ids` says in its own words what is wrong
    IdsLike = object
"""Token ids as users have them: a list, a range, an array or a tensor of integers; see `as_ids`."""
Integers = npt.NDArray[np.int64]
IGNORE = -1
START = 0
COUNTED_AT_ONCE = 2**20  # tokens: bincount widens what it counts to 8 bytes a token


def as_ids(ids: IdsLike, size: int | None, name: str = "ids") -> Ids:
    """Token ids of any form as an array, checked.

    Args:
        ids: integers from 0 to `size` - 1: a list, a tuple, a range, an array, or a tensor on any device.
        size: of the vocabulary; None: not known, so that any integers will do, of whatever type they have.
        name: what the message calls them.

    Returns:
        (N,) of an unsigned type; the same memory where it has one already.

    Raises:
        DataError: no integers, not in one dimension, or an id that the vocabulary does not have.

    Example:
        >>> as_ids([1, 0, 2], size=3)
        array([1, 0, 2], dtype=uint8)
    """
    array = _array(ids, name)
    smallest = np.min_scalar_type(max(0, (size or 1) - 1))
    if array.ndim != 1:
        raise DataError(f"{name} have {array.ndim} dimensions: give them as one row of integers")
    if not array.size:
        return np.zeros(0, smallest)
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} are of type {array.dtype}: give integers, as vocab.encode makes them of a text")
    if size is None:
        return array
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= size:
        raise DataError(
            f"{name}: there is no token {low if low < 0 else high}: the vocabulary has ids 0 to {size - 1}; "
            "encode the text with its vocabulary"
        )
    return array if array.dtype.kind == "u" and array.dtype.isnative else array.astype(smallest)


def _array(ids: Any, name: str) -> npt.NDArray[Any]:
    """Whatever was given as an array; a tensor is recognised without importing PyTorch."""
    if isinstance(ids, str | bytes):
        raise DataError(f"{name} are a text: give integers, as vocab.encode makes them of it")
    if isinstance(ids, list | tuple) and any(isinstance(each, bool | np.bool_) for each in ids):
        raise DataError(f"{name} hold True or False: give integers, as vocab.encode makes them of a text")
    try:
        return np.asarray(ids.detach().cpu() if hasattr(ids, "detach") else ids)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # ragged lists, tensors without values
        raise DataError(f"{name} are no row of integers: give a list, an array or a tensor of token ids") from error


@dataclass(frozen=True)
class Rows:
    """The targets of one batch: row i is the tokens `starts[i]` to before `stops[i]`, counted from 0."""

    starts: Integers
    stops: Integers
    fresh: bool
    """Whether the model begins from its initial state here."""

    @cached_property
    def targets(self) -> int:
        """How many tokens are targets."""
        return int((self.stops - self.starts).sum())


def gather(ids: Ids, rows: Rows) -> tuple[Integers, Integers]:
    """The inputs and targets of one batch; each input is the token before its target.

    Args:
        ids: the tokens of the whole text, (n,).
        rows: which of them are targets in which row.

    Returns:
        Inputs and targets, (B, T) each, T the length of the longest row. Where a shorter row has ended, the input is
        `START` and the target `IGNORE`.

    Example:
        >>> rows = Rows(np.array([0, 3]), np.array([3, 5]), fresh=True)
        >>> for array in gather(np.array([7, 8, 9, 10, 11], np.uint8), rows):
        ...     print(array.tolist())
        [[0, 7, 8], [9, 10, 0]]
        [[7, 8, 9], [10, 11, -1]]
    """
    at = rows.starts[:, None] + np.arange(int((rows.stops - rows.starts).max()))
    real = at < rows.stops[:, None]
    at = np.minimum(at, len(ids) - 1)
    inputs = np.where(real & (at > 0), ids[at - 1], START)
    return inputs.astype(np.int64), np.where(real, ids[at].astype(np.int64), IGNORE)


BATCHINGS: dict[str, type["Batching"]] = {}
"""Every batching by the name that a user types."""


class Batching(ABC):
    """A way to cut a text into the batches of an epoch. A subclass is registered under its `name`, as a cell is.

    Example:
        >>> class Backwards(Batching):
        ...     name, fresh_state = "backwards", True
        ...
        ...     @staticmethod
        ...     def rows(n, batch, window, rng):
        ...         yield from reversed(list(Random.rows(n, batch, window, rng)))
        >>> find_batching("backwards") is Backwards
        True
        >>> del BATCHINGS["backwards"]
    """

    name: ClassVar[str]
    """What a user types to choose it."""
    fresh_state: ClassVar[bool]
    """Whether every batch begins from the initial state. If not, row i of a batch continues row i of the one before."""

    def __init_subclass__(cls) -> None:
        BATCHINGS[cls.name] = cls

    @staticmethod
    @abstractmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch.

        Args:
            n: tokens of the text.
            batch: rows of a batch, at least 1.
            window: steps of a row, at least 1.
            rng: what is random in this epoch.

        Returns:
            The targets of each batch, in the order of training.
        """

    @staticmethod
    def starts(n: int, batch: int, window: int) -> Integers:  # noqa: ARG004 - for those that begin elsewhere
        """Where the first target of each row may lie at the beginning of an epoch, if states are carried.

        Args:
            n: tokens of the text.
            batch: rows of a batch.
            window: steps of a row.

        Returns:
            Indices of tokens, (batch * P,): the P possible places of row 0, of row 1, ...
        """
        return np.arange(batch) * (n // batch)

    @staticmethod
    def shortest(batch: int, window: int) -> int:
        """The number of tokens that a text must have at least for one batch.

        Args:
            batch: rows of a batch.
            window: steps of a row.
        """
        return batch * window


def find_batching(name: str) -> type[Batching]:
    """The batching of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name in BATCHINGS:
        return BATCHINGS[name]
    hint = "; for the batchings of published programs, import elman.reproduce first" if _is_published(name) else ""
    raise ConfigError(no_such("batching", name, BATCHINGS) + hint)


def _is_published(name: str) -> bool:
    return name.startswith("reference-") and not any(map(str.startswith, BATCHINGS, repeat("reference-")))


class Sequential(Batching):
    """B streams side by side: row i of a batch continues where row i of the one before stopped.

    The n tokens are cut into B streams whose lengths differ by at most one. Windows have T steps, but the first
    is drawn from T/2..T so that the cuts move from epoch to epoch, and a last one under T/2 joins its neighbour.
    """

    name, fresh_state = "sequential", False

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch."""
        edges = np.arange(batch + 1) * n // batch
        longest = int(np.diff(edges).max())
        cuts = list(range(int(rng.integers(-(-window // 2), window + 1)), longest, window))
        if cuts and longest - cuts[-1] < window / 2:
            cuts.pop()
        for start, stop in zip([0, *cuts], [*cuts, longest], strict=True):
            ends = np.minimum(edges[:-1] + stop, edges[1:])
            yield Rows(np.minimum(edges[:-1] + start, ends), ends, fresh=start == 0)


class Random(Batching):
    """Windows of T tokens in random order, each from the initial state, cut at a random offset every epoch.

    The tokens before the offset and after the last whole window are shorter windows, and the windows are dealt evenly
    to the batches.
    """

    name, fresh_state = "random", True

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch."""
        edges = np.unique(np.arange(int(rng.integers(window)) - window, n + window, window).clip(0, n))
        order = rng.permutation(len(edges) - 1)
        batches = -(-len(order) // batch)
        for i in range(batches):
            chosen = order[len(order) * i // batches : len(order) * (i + 1) // batches]
            yield Rows(edges[chosen], edges[chosen + 1], fresh=True)


def even_windows(n: int, batch: int, window: int, offset: int = 0) -> Iterator[Rows]:
    """Sequential batches of whole windows alone; what is left at the ends of the streams is dropped.

    Args:
        n: tokens of the text.
        batch: streams side by side.
        window: steps of every window.
        offset: tokens that are skipped at the beginning; the token after them is the first input, never a target.

    Returns:
        The targets of each batch, `batch` x `window` of them.
    """
    length = (n - offset - 1) // batch
    first = offset + 1 + np.arange(batch) * length
    for start in range(0, length // window * window, window):
        yield Rows(first + start, first + start + window, fresh=start == 0)


@dataclass(frozen=True)
class Coverage:
    """How much of a text one epoch trains on."""

    batches: int
    """Batches of the epoch."""
    targets: int
    """Tokens that are targets in it."""
    tokens: int
    """Tokens of the text."""

    def __str__(self) -> str:
        share = self.targets / self.tokens
        return f"{self.targets:,} of {self.tokens:,} tokens ({share:.1%}) in {self.batches:,} batches"


def check_length(name: str, n: int, batch: int, window: int) -> None:
    """Refuse a text that is shorter than one batch.

    Args:
        name: of the batching.
        n: tokens of the text.
        batch: rows of a batch.
        window: steps of a row.

    Raises:
        ConfigError: no such batching.
        DataError: the text is shorter than one batch.
    """
    need = find_batching(name).shortest(batch, window)
    if n < need:
        raise DataError(
            f"the training text has {n:,} tokens, fewer than the {need:,} of one batch of {batch} rows x "
            f"{window} steps: give more text, or lower --batch or --window"
        )


def coverage(name: str, n: int, batch: int, window: int, rng: np.random.Generator) -> Coverage:
    """How many batches and targets an epoch has, counted on the rows of its batches.

    Args:
        name: of the batching.
        n: tokens of the text.
        batch: rows of a batch.
        window: steps of a row.
        rng: what is random in this epoch.

    Raises:
        ConfigError: no such batching.
        DataError: the text is shorter than one batch.
    """
    check_length(name, n, batch, window)
    sizes = [rows.targets for rows in BATCHINGS[name].rows(n, batch, window, rng)]
    return Coverage(len(sizes), sum(sizes), n)


def token_counts(ids: npt.NDArray[np.integer], size: int) -> npt.NDArray[np.int64]:
    """How often each token occurs.

    Args:
        ids: tokens, each from 0 to `size` - 1.
        size: of the vocabulary.

    Returns:
        Counts, (size,).
    """
    total = np.zeros(size, np.int64)
    for block in blocks(len(ids), max(COUNTED_AT_ONCE, size)):
        total += np.bincount(ids[block], minlength=size)
    return total


def blocks(length: int, most: int) -> Iterator[slice]:
    """Slices that cover an array one after the other.

    Args:
        length: of the array.
        most: elements of a slice, at most.
    """
    return (slice(start, min(start + most, length)) for start in range(0, length, most))
