"""The network that settings describe."""

from dataclasses import asdict
from typing import Any

from elman.config import ModelSettings
from elman.errors import ConfigError
from elman.models.base import Network
from elman.models.copying import Copying
from elman.models.hybrid import Hybrid
from elman.models.mlp import MLP
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask

OF_MLP = {"hidden", "context", "embedding", "bag", "dropout"}
OF_RECURRENT = {f for f in ModelSettings.__dataclass_fields__ if f not in {"context", "bag", "experts", "copy"}}


def network(task: TextTask, settings: ModelSettings, *, seed: int) -> Network:
    """A network at its initial weights.

    Raises:
        ConfigError: an unknown cell, settings that it does not have, or sizes that do not fit each other.
    """
    values = asdict(settings)
    if settings.cell != "mlp":
        return _recurrent(task, settings, {"seed": seed} | {name: values[name] for name in OF_RECURRENT})
    default = asdict(ModelSettings())
    if odd := [n for n in sorted((OF_RECURRENT | {"experts", "copy"}) - OF_MLP - {"cell"}) if values[n] != default[n]]:
        raise ConfigError(f"the windowed network (mlp) has no {odd[0]}: leave it out")
    return MLP(task, seed=seed, **{name: values[name] for name in OF_MLP})


def _recurrent(task: TextTask, settings: ModelSettings, values: dict[str, Any]) -> Recurrent:
    """A recurrent network, with experts or a copy head where the settings have such."""
    if settings.experts and settings.copy:
        raise ConfigError(
            f"experts {settings.experts} and copy {settings.copy}: a network has one or the other, leave one out"
        )
    if settings.experts:
        return Hybrid(task, experts=settings.experts, **values)
    return Copying(task, copy=settings.copy, **values) if settings.copy else Recurrent(task, **values)
