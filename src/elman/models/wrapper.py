"""A network that holds another and adds something to its predictions."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from elman.arguments import checked
from elman.config import current_names, names_of
from elman.data.batches import Ids
from elman.errors import ConfigError
from elman.models.assemble import assemble, network_family, wrappers
from elman.models.base import BASE, Backbone, Network
from elman.models.task import TextTask


class NetworkWrapper(Network):
    """A network that holds another, `network`, and adds something to its predictions.

    Args:
        network: the network that it holds; it has the weights, the engine and the state.
        seed: of its own initial weights; None leaves them as they are, to be loaded.
        **settings: fields of the class's own `Settings`.
    """

    enabled_by: ClassVar[str]
    position: ClassVar[int]

    @checked
    def __init__(self, network: Network | TextTask, *, seed: int | None = 0, **settings: Any) -> None:
        if isinstance(network, TextTask):
            network, settings = self._of_task(network, seed, settings)
        if not isinstance(network, Backbone) or network.position >= self.position:
            raise ConfigError(f"{type(self).__name__} cannot hold {network.name}: give a recurrent network")
        super().__init__(network.task, engine=network.engine_request, seed=seed, **settings)
        self.network = network
        self.widths = network.widths

    @classmethod
    def _of_task(cls, task: TextTask, seed: int | None, settings: dict[str, Any]) -> tuple[Backbone, dict[str, Any]]:
        """The network and the settings of a call as in 0.1, which named those of the network too."""
        warnings.warn(
            f"{cls.__name__} takes the network that it holds: {cls.__name__}(Recurrent(task, ...), ...)",
            DeprecationWarning,
            stacklevel=4,
        )
        import elman.models.build  # noqa: F401 - all families join the registry; it imports this module

        values = current_names(settings)
        engine = values.pop("engine", "auto")
        own = {name: values.pop(name) for name in names_of(cls.Settings) if name in values}
        held = assemble(task, network_family(BASE), values, engine=engine, seed=seed)
        if not isinstance(held, Backbone):
            raise ConfigError(f"{cls.__name__} cannot hold {held.name}")
        return held, own

    @property
    def engine_name(self) -> str:
        """That of the held network."""
        return self.network.engine_name

    @property
    def slower_for_lack_of_compiler(self) -> bool:
        """That of the held network."""
        return self.network.slower_for_lack_of_compiler

    @property
    def has_dropout(self) -> bool:
        """That of the held network."""
        return self.network.has_dropout

    def settings(self) -> dict[str, Any]:
        """Those of the held network, and its own."""
        held = self.network.settings()
        named = {} if self.network.kind in (BASE, *(w.kind for w in wrappers())) else {"base": self.network.kind}
        return held | dataclasses.asdict(self.config) | named

    @property
    def dynamic_lr(self) -> float:
        """That of the held network."""
        return self.network.dynamic_lr

    @property
    def numerics(self) -> tuple[str, ...]:
        """Those of the held network."""
        return self.network.numerics

    @property
    def has_counts(self) -> bool:
        """Whether the held network has."""
        return self.network.has_counts

    @property
    def recount_interval(self) -> int | None:
        """That of the held network."""
        return self.network.recount_interval

    def update_counts(self, ids: Ids) -> None:
        """Those of the held network."""
        self.network.update_counts(ids)

    def prepare(self, ids: Ids) -> None:
        """Prepare the held network."""
        self.network.prepare(ids)

    def start_training(self, ids: Ids) -> None:
        """Tell the held network."""
        self.network.start_training(ids)

    def resize(self, sizes: Mapping[str, object]) -> None:
        """Resize the buffers of the held network."""
        self.network.resize(sizes)

    def check_buffers(self, where: Path) -> None:
        """Check those of the held network."""
        self.network.check_buffers(where)
