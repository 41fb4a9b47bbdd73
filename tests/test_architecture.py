"""The shape of the code: imports point one way, functions are short, nothing fails in silence."""

from __future__ import annotations

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import claude_mpm

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(claude_mpm.__file__).parents[1]
# From the bottom up: a module imports from lines above its own, and from its own package. What is
# on one line does not know of each other. So a codec can be tried without a session, a session
# without an orchestrator, and everything without the command.
LAYERS = (
    ("errors",),
    ("patterns",),
    ("folders",),
    ("own_python", "printable", "records", "redaction", "validation"),
    ("claude_binary", "config", "wire"),
    ("journal",),
    ("link", "terminal"),  # what acts as the host: of a session elsewhere, of a native screen
    ("capabilities",),  # what a build of Claude Code can do
    ("environments", "processors"),
    ("sessions",),  # at rest: the folder read, what it says, the index over all
    ("conversation",),  # what a user holds: turns, permission requests, verdicts
    ("engine",),  # one running session
    ("orchestration",),  # the face
    ("fleet",),  # several places at once
    ("",),  # the package itself: the public names
    ("server", "testing", "sdk", "bridges", "web"),
    ("cli",),
)
MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 40


def _name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(SRC.glob("claude_mpm/**/*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def _imports(name: str) -> set[str]:
    """Return the modules of ours that a module imports: at its top, lazily, or for its types."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {node.module}
    return found & MODULES.keys()


def _part(name: str) -> str:
    return name.partition(".")[2].partition(".")[0]


def _layer(name: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if _part(name) in parts)


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            yield getattr(called, "id", getattr(called, "attr", "")), node


def _public(body: list[ast.stmt]) -> Iterator[FUNCTIONS | ast.ClassDef]:
    """Yield what others may use: no private names, no protocol members, nothing nested."""
    for node in body:
        if not isinstance(node, FUNCTIONS | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body)
        if ast.unparse(node.body[-1]) != "...":
            yield node


def _first_cells(markdown: str) -> list[str]:
    return re.findall(r"^\| ([^|]*)", markdown, re.MULTILINE)


def _functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_every_module_belongs_to_a_layer() -> None:
    known = {part for parts in LAYERS for part in parts}
    assert not [name for name in MODULES if _part(name) not in known]


def test_every_layer_is_explained() -> None:
    page = SRC.parent / "docs" / "architecture.md"
    explained = [set(re.findall(r"`(\w+)`", row)) for row in _first_cells(page.read_text("utf-8"))]
    existing = {_part(name) for name in MODULES}
    for parts in LAYERS:
        known = existing.intersection(parts) - {""}
        assert not known or known in explained, f"{page}: give {sorted(known)} a row"


def test_imports_point_one_way() -> None:
    upwards = [
        f"{name} imports {other}"
        for name in MODULES
        for other in sorted(_imports(name))
        if _part(other) != _part(name) and _layer(other) >= _layer(name)
    ]
    assert not upwards


def test_no_two_modules_need_each_other() -> None:
    graph = {name: _imports(name) - {name} for name in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises, and names them


def test_files_are_short() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE_LINES}


def test_functions_are_short() -> None:
    lengths = {(name, *each) for name, tree in TREES.items() for each in _functions(tree)}
    assert not {each for each in lengths if each[-1] > MAX_FUNCTION_LINES}


def test_what_is_public_says_what_it_is() -> None:
    public = [(name, node) for name, tree in TREES.items() for node in _public(tree.body)]
    assert not [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not [(name, node.name) for name, node in public if not ast.get_docstring(node)]


def test_nobody_sleeps_and_only_the_command_prints() -> None:
    found = [(name, *call) for name, tree in TREES.items() for call in _calls(tree)]
    assert not [(name, call.lineno) for name, called, call in found if called == "sleep"]
    prints = [(name, call.lineno) for name, called, call in found if called == "print"]
    assert not [(name, line) for name, line in prints if _part(name) != "cli"]


def test_what_the_command_prints_goes_one_way() -> None:
    """Else something that Claude or a file says would reach the terminal as it is."""
    ways = {"echo", "secho", "style"}
    found = [
        f"{name}:{call.lineno}"
        for name, tree in TREES.items()
        for _, call in _calls(tree)
        if _part(name) == "cli" and name != "claude_mpm.cli.output"
        if isinstance(call.func, ast.Attribute) and call.func.attr in ways
        if ast.unparse(call.func.value) == "click"
    ]
    assert not found


def test_no_error_goes_under_in_silence() -> None:
    silent = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                passes = all(isinstance(part, ast.Pass) for part in node.body)
                silent += [f"{name}:{node.lineno}"] if passes or node.type is None else []
        for called, call in _calls(tree):
            broad = {"Exception", "BaseException"} & {ast.unparse(each) for each in call.args}
            silent += [f"{name}:{call.lineno}"] if called == "suppress" and broad else []
    assert not silent


def test_the_lists_of_public_names_are_true() -> None:
    assert sorted(claude_mpm.__all__) == claude_mpm.__all__
    assert set(claude_mpm.__all__) == {*claude_mpm._HOMES, "__version__"}
    for name in MODULES:
        module = importlib.import_module(name)
        missing = [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)]
        assert not missing, name


def _defines(text: str, name: str) -> bool:
    """Return whether Python or a shell script defines a function, class, attribute or option."""
    found = rf"(def|class) {name}\b|self\.{name} = |^ {{4}}{name}: |^{name}\(\)"
    return re.search(found, text, re.MULTILINE) is not None


def test_what_the_journeys_name_exists() -> None:
    """Each row names a module, and then what of it is called; what else it names is anywhere."""
    page = (SRC.parent / "docs" / "architecture.md").read_text("utf-8")
    journeys = page.partition("### Four journeys\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\d+\. `([\w./]+)`: ((?:.|\n {3})+)", journeys, re.MULTILINE)
    assert len(rows) > 25
    texts = {name: path.read_text("utf-8") for name, path in MODULES.items()}
    missing = []
    for place, text in rows:
        module = f"claude_mpm.{place.replace('/', '.')}"
        here = texts.get(module) or (SRC / "claude_mpm" / place).read_text("utf-8")
        for number, name in enumerate(re.findall(r"`(\w+(?:\.\w+)?)`", text)):
            owner, _, member = name.rpartition(".")
            homes = [here] if not number else [*texts.values()]
            homes = [each for each in homes if not owner or f"class {owner}" in each]
            if not any(_defines(home, member) for home in homes):
                missing.append(f"{place}: {name}")
    assert not missing
