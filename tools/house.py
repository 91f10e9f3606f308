"""The facts of the source tree: packages, imports between them, lengths of functions, documented parameters.

    python tools/house.py             print the facts of this tree
    python tools/house.py --root DIR  those of another checkout
    python tools/house.py --map       print the map of packages that CONTRIBUTING.md shows
    python tools/house.py --write     write that map into CONTRIBUTING.md

Only the standard library is used. A package is a folder of src/elman; a module that lies beside the packages is flat.
An import counts wherever it stands: at the top, in a function, or for types alone. Public is what has no underscore.
"""

import argparse
import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SECTIONS = r"Args|Returns|Raises|Yields|Example|Examples|Attributes|Note"
START, END = "<!-- made by tools/house.py -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Function:
    """A function or method, or a class with the parameters of its __init__."""

    name: str
    lines: int
    """Without decorators and docstring."""
    parameters: tuple[str, ...]
    docstring: str
    public: bool
    override: bool
    """Whether a class that is named as its base defines the method too, and documents it there."""

    @property
    def args(self) -> str:
        """The Args block of the docstring."""
        found = re.search(rf"^ *Args:\n(.*?)(?=^ *(?:{SECTIONS}):|\Z)", self.docstring, re.MULTILINE | re.DOTALL)
        return found[1] if found else ""

    @property
    def named(self) -> int:
        """How many parameters the Args block names."""
        lists = re.findall(r"^\s*([\w*`, ]+?):", self.args, re.MULTILINE)
        names = {name.strip(" *`") for each in lists for name in each.split(",")}
        return sum(parameter in names for parameter in self.parameters)


class House:
    """The modules of src/elman and what they import of each other."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root, self.source = root, root / "src" / "elman"

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module name, such as data.vocab, to its syntax; the package itself is ""."""
        found = {}
        for path in sorted(self.source.rglob("*.py")):
            name = ".".join(path.relative_to(self.source).with_suffix("").parts)
            found["" if name == "__init__" else name.removesuffix(".__init__")] = ast.parse(path.read_text("utf-8"))
        return found

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Module to the modules that it imports; the public face and __main__ are left out."""
        inner = [name for name in self.trees if name not in ("", "__main__")]
        return {name: {i for i in self._imported(name) if i in inner and i != name} for name in inner}

    def _imported(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [self._of_from(node, f"{node.module}.{alias.name}") for alias in node.names]
            else:
                continue
            yield from (each.removeprefix("elman.") for each in names if each.startswith("elman."))

    def _of_from(self, node: ast.ImportFrom, whole: str) -> str:
        """The module that a name is imported from: the name itself, where it is a module."""
        return whole if whole.removeprefix("elman.") in self.trees else node.module or ""

    @cached_property
    def places(self) -> dict[str, str]:
        """Module to its package, or to itself where it lies flat."""
        packages = {path.name for path in self.source.iterdir() if (path / "__init__.py").exists()}
        return {name: name.split(".")[0] if name.split(".")[0] in packages else name for name in self.imports}

    @property
    def packages(self) -> list[str]:
        """Folders of src/elman, in the order of the floors."""
        found = {place for name, place in self.places.items() if "." in name or (self.source / place).is_dir()}
        return sorted(found, key=lambda place: (self.floors[place], place))

    @property
    def flat(self) -> list[str]:
        """Modules beside the packages."""
        return sorted(set(self.places.values()) - set(self.packages))

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """Package or flat module to those that it imports."""
        found: dict[str, set[str]] = {place: set() for place in self.places.values()}
        for name, others in self.imports.items():
            found[self.places[name]] |= {self.places[other] for other in others} - {self.places[name]}
        return found

    @cached_property
    def floors(self) -> dict[str, int]:
        """Package or flat module to its floor: the modules below it in the longest chain of imports; 0 is the ground.

        Places that import each other in a circle share a floor.
        """
        graph = self.arrows
        circle = {place: group for group in components(graph) for place in group}
        floors: dict[str, int] = {}

        def floor(place: str) -> int:
            if place not in floors:
                group = circle[place]
                below = {other for each in group for other in graph[each]} - group
                floors.update(dict.fromkeys(group, 1 + max(map(floor, below), default=-1)))
            return floors[place]

        return {place: floor(place) for place in graph}

    @property
    def up(self) -> list[tuple[str, str]]:
        """Arrows that do not lead to a lower floor: those within a circle."""
        arrows = ((a, b) for a, others in self.arrows.items() for b in others)
        return sorted((a, b) for a, b in arrows if self.floors[b] >= self.floors[a])

    @property
    def circles(self) -> list[set[str]]:
        """Modules that import each other, directly or through others. A package's own __init__ is no circle."""
        graph = {
            name: {other for other in others if not name.startswith(f"{other}.")}
            for name, others in self.imports.items()
        }
        return [group for group in components(graph) if len(group) > 1]

    @cached_property
    def functions(self) -> list[Function]:
        """All functions, methods and classes."""
        methods = {
            node.name: {item.name for item in node.body if isinstance(item, FUNCTIONS)}
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }
        found = []

        def visit(node: ast.AST, path: str, public: bool, inherited: set[str]) -> None:
            for child in ast.iter_child_nodes(node):
                if not isinstance(child, DEFINITIONS):
                    visit(child, path, public, inherited)
                    continue
                shown = public and not child.name.startswith("_")
                name = f"{path}.{child.name}"
                below: set[str] = set()
                if isinstance(child, ast.ClassDef):
                    bases = [ast.unparse(base).split("[")[0].split(".")[-1] for base in child.bases]
                    below = set().union(*(methods.get(base, set()) for base in bases))
                found.append(_function(child, name, public=shown, override=child.name in inherited))
                visit(child, name, shown and isinstance(child, ast.ClassDef), below)

        for module, tree in self.trees.items():
            hidden = any(part.startswith("_") and part != "__main__" for part in module.split("."))
            visit(tree, module, not hidden, set())
        return found

    def facts(self) -> dict[str, str]:
        """What is measured, to its figure in words."""
        functions = self.functions
        lengths = sorted(each.lines for each in functions if each.lines)
        longest = max(functions, key=lambda each: each.lines)
        public = [each for each in functions if each.public and len(each.parameters) >= 2 and not each.override]
        with_args = sum(bool(each.args) for each in public)
        parameters, named = sum(len(each.parameters) for each in public), sum(each.named for each in public)
        circles = ["; " + " <-> ".join(sorted(group)) for group in self.circles]
        up = ["; " + " -> ".join(arrow) for arrow in self.up]
        return {
            "packages": f"{len(self.packages)}",
            "modules": f"{len(self.trees)}",
            "modules flat on the ground": f"{len(self.flat)}",
            "floors of packages and flat modules": f"{max(self.floors.values()) + 1}",
            "arrows between them": f"{sum(map(len, self.arrows.values()))}",
            "arrows that run up (in a circle of packages)": f"{len(up)}{''.join(up[:8])}",
            "circles of modules": f"{len(circles)}{''.join(circles)}",
            "functions and methods": f"{len(lengths):,}",
            "lines of a function, median / 90th percentile": f"{quantile(lengths, 0.5)} / {quantile(lengths, 0.9)}",
            "longest function": f"{longest.lines} lines, {longest.name}",
            "public, two or more parameters": f"{len(public)}",
            "of them with an Args block": f"{_share(with_args, len(public))}",
            "their parameters named in it": f"{_share(named, parameters)}",
            "lines of src / tests": f"{lines(self.source):,} / {lines(self.root / 'tests'):,}",
        }

    def map(self) -> str:
        """The packages as text, the highest floor first: what each holds, and what it imports."""
        rows = [(place, self._modules(place), self._below(place)) for place in reversed(self.packages)]
        ground = f"beside them: {', '.join(self.flat)}"
        width = [max(len(row[i]) for row in rows) for i in (0, 1)]
        drawn, floor = [], None
        for name, modules, below in rows:
            if floor not in (None, self.floors[name]):
                drawn.append("  |")
            floor = self.floors[name]
            drawn.append(f"{name:<{width[0]}}  {_wrapped(modules, 62, width[0] + 2)}")
            drawn.append(f"{'  |':<{width[0]}}  imports: {below}")
        return "\n".join([*drawn, "", ground])

    def _modules(self, place: str) -> str:
        inner = [name.removeprefix(f"{place}.") for name in sorted(self.imports) if name.startswith(f"{place}.")]
        folders = {name.split(".")[0] for name in inner if "." in name}
        tops = [name for name in inner if "." not in name and name not in folders and not name.startswith("_")]
        return " ".join([*tops, *(f"{folder}/" for folder in sorted(folders))])

    def _below(self, place: str) -> str:
        """The packages that it imports, without those that these import in turn."""
        packages = set(self.packages)
        direct = self.arrows[place] & packages
        reached = {low for each in direct for low in self._reach(each)}
        nearest = sorted(direct - reached, key=lambda each: (-self.floors[each], each))
        return ", ".join(nearest) or "no other package"

    def _reach(self, place: str) -> set[str]:
        """All that lies below."""
        return set().union(*({low} | self._reach(low) for low in self.arrows[place] if low != place))


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a graph: nodes that reach each other."""
    reach = {node: {node} for node in graph}
    changed = True
    while changed:
        changed = False
        for node, others in graph.items():
            wider = reach[node].union(*(reach[other] for other in others))
            changed |= len(wider) > len(reach[node])
            reach[node] = wider
    groups: list[set[str]] = []
    for node in graph:
        if not any(node in group for group in groups):
            groups.append({other for other in reach[node] if node in reach[other]})
    return groups


def _function(node: DEFINITIONS, name: str, *, public: bool, override: bool) -> Function:
    docstring = ast.get_docstring(node, clean=True) or ""
    if isinstance(node, ast.ClassDef):
        init = next((each for each in node.body if isinstance(each, FUNCTIONS) and each.name == "__init__"), None)
        return Function(name, 0, _parameters(init) if init else (), docstring, public, override=False)
    body = node.body[1:] if docstring else node.body
    length = node.end_lineno - node.lineno + 1  # type: ignore[operator]
    if docstring:
        first = node.body[0]
        length -= first.end_lineno - first.lineno + 1  # type: ignore[operator]
    return Function(name, length if body or not docstring else 1, _parameters(node), docstring, public, override)


def _parameters(node: FUNCTIONS) -> tuple[str, ...]:
    a = node.args
    names = [each.arg for each in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    names += [each.arg for each in (a.vararg, a.kwarg) if each]
    return tuple(name for name in names if name not in ("self", "cls"))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} % ({part} of {whole})"


def _wrapped(text: str, width: int, indent: int) -> str:
    rows = [""]
    for word in text.split():
        if rows[-1] and len(rows[-1]) + len(word) >= width:
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".strip()
    return f"\n{'  |':<{indent}}".join(rows)


def quantile(ordered: Sequence[int], share: float) -> int:
    """The value below which a share of an ordered sequence lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def lines(folder: Path) -> int:
    """Lines of Python in a folder."""
    return sum(len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*.py"))


def with_map(page: str, drawn: str) -> str:
    """A page with the map between its two marks."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return f"{before}{START}```text\n{drawn}\n```\n{END}{after}"


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--map", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    house = House(given.root)
    if given.write:
        page = given.root / "CONTRIBUTING.md"
        page.write_text(with_map(page.read_text("utf-8"), house.map()), "utf-8")
    elif given.map:
        print(house.map())
    else:
        for name, figure in house.facts().items():
            print(f"{name:<46} {figure}")


if __name__ == "__main__":
    main()
