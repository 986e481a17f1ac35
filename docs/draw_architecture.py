"""Draw the packages of `cifar100` and who imports whom, as `docs/architecture.svg`.

    uv run python docs/draw_architecture.py

Each package lies above everything that it imports. An arrow is left out if a longer way leads along other arrows. The
arrows are also in the description of the drawing, which a test compares with the imports of the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import cifar100
from cifar100.plots.style import BLUE, new_figure

SOURCE = Path(cifar100.__file__).parent
DRAWING = Path(__file__).parent / "architecture.svg"

Graph = Mapping[str, frozenset[str]]
"""Package or top-level module -> those that it imports."""

MEANINGS = {
    "cli": "options and output",
    "commands": "plain functions",
    "search": "several trainings",
    "training": "one run, Lightning",
    "results": "uses trained networks",
    "runs": "what a run leaves",
    "data": "images and loaders",
    "models": "networks",
    "config": "settings",
    "settings": "recipes and files",
    "files": "safe reading, writing",
    "process": "signals, processors",
    "plots": "curves, image grids",
}


def main() -> int:
    """Draw the picture; returns the exit status."""
    draw(package_imports())
    return 0


def package_imports() -> Graph:
    """Return the imports between packages and top-level modules, wherever they stand in a file."""
    graph: dict[str, set[str]] = {}
    for module in sorted(SOURCE.rglob("*.py")):
        own = module.relative_to(SOURCE).parts[0].removesuffix(".py")
        if not own.startswith("__"):
            graph.setdefault(own, set()).update(_imported(module) - {own})
    return {name: frozenset(imported & graph.keys()) for name, imported in graph.items()}


def _imported(module: Path) -> set[str]:
    """Return the packages of `cifar100` that a module imports when it runs."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("cifar100.")}


def levels(graph: Graph) -> dict[str, int]:
    """Return the length of the longest way down from each package: 0 for one that imports no other."""
    found: dict[str, int] = {}
    while len(found) < len(graph):
        ready = [name for name in graph if name not in found and graph[name] <= found.keys()]
        assert ready, "packages import each other in a circle"
        found |= {name: 1 + max((found[below] for below in graph[name]), default=-1) for name in ready}
    return found


def shortest(graph: Graph) -> Graph:
    """Return the graph without the imports that a longer way implies (its transitive reduction)."""

    def reachable(name: str) -> set[str]:
        return {name}.union(*(reachable(below) for below in graph[name]))

    return {
        name: frozenset(
            below for below in imported if not any(below in reachable(other) for other in imported - {below})
        )
        for name, imported in graph.items()
    }


def description(graph: Graph) -> str:
    """Return the arrows as text."""
    return "; ".join(
        f"{name} -> {', '.join(sorted(imported)) or 'nothing'}" for name, imported in sorted(graph.items())
    )


def described(drawing: str) -> str:
    """Return the description that is in a drawing."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", drawing, re.DOTALL)
    return found[1].replace("&gt;", ">") if found else ""


def draw(graph: Graph) -> None:
    """Write the drawing: a row for each level, a box for each package, the arrows of the transitive reduction."""
    import matplotlib as mpl
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    level = levels(graph)
    rows = [sorted(name for name in graph if level[name] == number) for number in range(max(level.values()) + 1)]
    widest = max(map(len, rows))
    figure = new_figure(11, 0.78 * len(rows))
    axes = figure.subplots()
    position = {
        name: ((index + 0.5) * widest / len(row), 1.3 * number)
        for number, row in enumerate(rows)
        for index, name in enumerate(row)
    }
    for name, imported in shortest(graph).items():
        for below in sorted(imported):  # the same file from the same imports
            (x, y), (end, bottom) = position[name], position[below]
            arrow = FancyArrowPatch((x, y - 0.38), (end, bottom + 0.38), arrowstyle="-|>", mutation_scale=9)
            arrow.set(color="#888888", linewidth=1, alpha=0.75, zorder=1)
            axes.add_patch(arrow)
    for name, (x, y) in position.items():
        is_package = (SOURCE / name).is_dir()
        box = FancyBboxPatch((x - 0.42, y - 0.3), 0.84, 0.6, boxstyle="round,pad=0.02,rounding_size=0.08")
        box.set(facecolor="#dce7f5" if is_package else "#f4f4f4", edgecolor=BLUE if is_package else "#999999", zorder=2)
        axes.add_patch(box)
        meaning = MEANINGS.get(name, "")
        axes.text(x, y + (0.09 if meaning else 0), name, ha="center", va="center", fontsize=9, weight="bold", zorder=3)
        axes.text(x, y - 0.15, meaning, ha="center", va="center", fontsize=6.5, color="#444444", zorder=3)
    axes.set(xlim=(-0.05, widest + 0.05), ylim=(-0.5, 1.3 * (len(rows) - 1) + 0.5))
    axes.set_axis_off()
    with mpl.rc_context({"svg.hashsalt": "cifar100", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(DRAWING, metadata={"Date": None, "Description": description(graph)}, facecolor="white")


if __name__ == "__main__":
    sys.exit(main())
