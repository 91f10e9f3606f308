"""Networks out of settings: the family that is named, held by each wrapper whose setting is not 0."""

from collections.abc import Mapping
from typing import Any

from elman.config import names_of
from elman.errors import ConfigError, no_such
from elman.models.base import BASE, FAMILIES, Backbone, Network
from elman.models.task import TextTask


def wrappers() -> list[type[Network]]:
    """The families that hold a network, the innermost first."""
    found = [f for f in FAMILIES.values() if issubclass(f, Network) and f.enabled_by is not None]
    return sorted(found, key=lambda family: family.position)


def assemble(
    task: TextTask, family: type[Network], settings: Mapping[str, Any], *, engine: str = "auto", seed: int | None = 0
) -> Network:
    """The network that settings describe, held by each wrapper whose setting is not 0.

    Args:
        task: the symbols to read and predict.
        family: the family of the network; of a wrapper, its network is of the family `settings["base"]`.
        settings: fields of the `Settings` of all families that take part, and the sizes of buffers.
        engine: the name of an engine, or "auto".
        seed: of the initial weights; None leaves them zero, to be loaded.

    Returns:
        The network, or the outermost wrapper of it.

    Raises:
        ConfigError: a setting that none of these families has, or one out of range.
    """
    values = dict(settings)
    base = values.pop("base", BASE)
    if family.enabled_by is not None:
        family = network_family(base)
    chosen = [wrapper for wrapper in wrappers() if values.get(wrapper.enabled_by or "")]
    sizes = {name: values.pop(name) for each in (family, *chosen) for name in each.saved_sizes if name in values}
    own = [{name: values.pop(name) for name in names_of(each.Settings) if name in values} for each in (family, *chosen)]
    values = {name: value for name, value in values.items() if name not in {w.enabled_by for w in wrappers()}}
    if values:
        name = min(values)
        raise ConfigError(f"a network of the family {family.kind!r} has no setting {name!r}: leave it out")
    network: Network = family(task, engine=engine, seed=seed, **own[0])
    for wrapper, settings_of_it in zip(chosen, own[1:], strict=True):
        if not isinstance(network, Backbone):
            raise ConfigError(
                f"a network of the family {family.kind!r} has no setting {wrapper.enabled_by!r}: leave it out"
            )
        hold: Any = wrapper  # a class that takes a network in place of a task
        network = hold(network, seed=seed, **settings_of_it)
    network.resize(sizes)
    return network


def networks() -> dict[str, type[Network]]:
    """The families of networks that hold no other, by `kind`."""
    return {
        kind: family for kind, family in FAMILIES.items() if issubclass(family, Network) and family.enabled_by is None
    }


def network_family(name: str) -> type[Network]:
    """The family of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in networks():
        raise ConfigError(no_such("model", name, sorted(networks())))
    return networks()[name]
