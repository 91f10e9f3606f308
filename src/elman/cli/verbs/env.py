"""`elman env`: versions and devices, for bug reports."""

import json as json_module
import sys

from elman.cli.options import Json

ORDER = 13
EXAMPLES = """Examples:
  elman env
  elman env --json"""


def command(
    *,
    json: Json = False,
) -> int:
    """Print versions, threads, devices and directories."""
    from elman.data.sources.time_machine import data_home
    from elman.engines.native import INSTRUCTIONS
    from elman.environment import environment

    facts = environment() | {"native": INSTRUCTIONS or None, "data_home": str(data_home())}
    if json:
        print(json_module.dumps({"schema_version": 1} | facts))
        return 0
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else "not installed" if value is None else value
        sys.stdout.write(f"{name:<18}{shown}\n")
    return 0
