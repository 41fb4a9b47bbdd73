"""Measures the code of the package: `python tools/measure_code.py [FOLDER ...]`.

Each FOLDER is a `src/claude_mpm`, of this checkout or of another one; without any, this one's is
measured. Several stand side by side, so a change is seen as before and after.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PACKAGE = Path(__file__).parents[1] / "src" / "claude_mpm"
SHORT_FILE, LONG_FUNCTION = 60, 40
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# The messages of Claude Code, and of its host, that change what a session does.
STATE_EVENTS = {
    "command_lifecycle",
    "session_state_changed",
    "control_request",
    "control_cancel_request",
    "background_tasks_changed",
    "host_state",
    "system/session_state_changed",
    "system/task_started",
    "system/api_retry",
}
# Who may name them: the decoder, what finds things in text, and what plays Claude in tests.
_NAMING = {"wire", "processors", "testing", "terminal", "cli"}
_LIFE_CYCLE = ("stop", "gone", "letting_go", "detached", "phase")
_RUNNING = {"engine", "orchestration"}


@dataclass
class Module:
    """A file of the package.

    Attributes:
        room: the folder below the package in which it is; empty for the package's own files.
        text: what it holds.
        tree: the same, parsed.
    """

    room: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())


def read(folder: Path) -> list[Module]:
    """Return the modules below a folder.

    Raises:
        SystemExit: there is none.
    """
    modules = []
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts
        text = path.read_text("utf-8")
        modules.append(Module(inside[0] if len(inside) > 1 else "", text, ast.parse(text)))
    if not modules:
        raise SystemExit(f"no Python in {folder}; name a folder such as {PACKAGE}")
    return modules


def functions(modules: Sequence[Module]) -> Iterator[FUNCTIONS]:
    """Yield every function and method."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, FUNCTIONS):
                yield node


def long_functions(modules: Sequence[Module]) -> int:
    """Count functions of more than 40 lines."""
    lengths = ((node.end_lineno or 0) - node.lineno + 1 for node in functions(modules))
    return sum(length > LONG_FUNCTION for length in lengths)


def function_parameters(modules: Sequence[Module]) -> int:
    """Count parameters of constructors, and fields of values, that are functions."""
    count = 0
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                count += sum(_is_function(each) for each in _constructed_from(node))
    return count


def _constructed_from(node: ast.ClassDef) -> Iterator[ast.expr]:
    """Yield the annotations of what an object of a class is made from."""
    for part in node.body:
        if isinstance(part, FUNCTIONS) and part.name == "__init__":
            arguments = part.args
            for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                if each.annotation is not None:
                    yield each.annotation
    is_value = any("dataclass" in ast.unparse(each) for each in node.decorator_list)
    if is_value or any("Struct" in ast.unparse(base) for base in node.bases):
        yield from (part.annotation for part in node.body if isinstance(part, ast.AnnAssign))


def _is_function(annotation: ast.expr) -> bool:
    return "Callable[" in ast.unparse(annotation)


def set_from_outside(modules: Sequence[Module]) -> int:
    """Count assignments to an attribute of another object."""
    count = 0
    for module in modules:
        for node in ast.walk(module.tree):
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            count += sum(_is_others(target) for target in targets)
    return count


def _is_others(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple):
        return any(_is_others(each) for each in target.elts)
    if not isinstance(target, ast.Attribute):
        return False
    return not (isinstance(target.value, ast.Name) and target.value.id in ("self", "cls"))


def interpreters(modules: Sequence[Module]) -> int:
    """Count modules that decide what an event means for the state of a session."""
    return sum(
        any(
            isinstance(node, ast.Constant) and node.value in STATE_EVENTS
            for node in ast.walk(module.tree)
        )
        for module in modules
        if module.room not in _NAMING
    )


def life_cycle_fields(modules: Sequence[Module]) -> int:
    """Count attributes of the running session that say how far its end has come."""
    names = {
        target.attr
        for module in modules
        if module.room in _RUNNING
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute)
    }
    return sum(any(word in name for word in _LIFE_CYCLE) for name in names)


def comments(modules: Sequence[Module]) -> float:
    """Return the comments per 100 lines."""
    count = sum(
        token.type == tokenize.COMMENT
        for module in modules
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
    )
    return round(100 * count / sum(module.lines for module in modules), 1)


MEASURES: dict[str, Callable[[Sequence[Module]], float]] = {
    "files": len,
    "files below 60 lines": lambda modules: sum(each.lines < SHORT_FILE for each in modules),
    "lines of the median file": lambda modules: statistics.median(each.lines for each in modules),
    "lines": lambda modules: sum(each.lines for each in modules),
    "functions over 40 lines": long_functions,
    "parameters of constructors that are functions": function_parameters,
    "attributes set from outside": set_from_outside,
    "modules that say what a session's event means": interpreters,
    "fields of the end of a session": life_cycle_fields,
    "comments per 100 lines": comments,
}


def main() -> None:
    """Print a table with a column for each folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[PACKAGE], metavar="FOLDER")
    folders: list[Path] = parser.parse_args().folders
    columns = [read(folder) for folder in folders]
    print("| measure |", " | ".join(str(folder) for folder in folders), "|")
    print("| --- |", " | ".join("---" for _ in folders), "|")
    for name, measure in MEASURES.items():
        print(f"| {name} |", " | ".join(f"{measure(each):g}" for each in columns), "|")


if __name__ == "__main__":
    main()
