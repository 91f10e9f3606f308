"""The network that settings describe; importing this module imports every model family."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import elman.models
from elman.arguments import checked
from elman.config import changed, names_of
from elman.errors import ConfigError
from elman.models.assemble import assemble, network_family, networks, wrappers
from elman.models.base import BASE, Network
from elman.models.task import TextTask

_NO_FAMILIES = {__name__, "elman.models.saving"}
for _module in pkgutil.walk_packages(elman.models.__path__, "elman.models."):
    if _module.name not in _NO_FAMILIES:
        importlib.import_module(_module.name)


@cache
def settings_classes() -> tuple[type, ...]:
    """The settings of every network family of the package, those of `BASE` first, then of every wrapper."""
    families = [network_family(BASE), *(f for kind, f in networks().items() if kind != BASE), *wrappers()]
    return tuple(family.Settings for family in families)


@checked
def build_network(
    task: TextTask, settings: Mapping[str, Any], *, engine: str = "auto", seed: int | None = 0
) -> Network:
    """The network of flat settings, at its initial weights.

    Args:
        task: the symbols to read and predict.
        settings: fields of all families, and `model`, the name of a family. A setting that the network does not have
            may stand there with its default.
        engine: the name of an engine, or "auto" for the fastest.
        seed: of the initial weights; None leaves them zero, to be loaded.

    Returns:
        The network; a wrapper of it where the setting of one is not 0.

    Raises:
        ConfigError: an unknown family, or a setting that the network does not have.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> build_network(task, {"cell": "lstm", "hidden": 8, "copy_window": 4}).name
        'lstm + copy'
    """
    values = dict(settings)
    family = network_family(values.pop("model", BASE))
    chosen = [w for w in wrappers() if values.get(w.enabled_by or "")]
    own = names_of(*(each.Settings for each in (family, *chosen)))
    for kind in settings_classes():
        if odd := changed(values, kind, names_of(kind) - own):
            raise ConfigError(f"a network of the family {family.kind!r} has no setting {odd[0]!r}: leave it out")
    known = names_of(*settings_classes())
    return assemble(
        task, family, {k: v for k, v in values.items() if k in own or k not in known}, engine=engine, seed=seed
    )


def network_values(settings: Any) -> dict[str, Any]:
    """What a larger object of settings says of the network.

    Args:
        settings: a dataclass that has the fields of all families, and `model`.

    Returns:
        The values for `build_network`.
    """
    names = names_of(*settings_classes()) | {"model"}
    return {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if f.name in names}
