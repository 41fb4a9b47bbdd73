"""What the check sees of this machine's processes, and how it names a function to another one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_mpm.environments.local import Local
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import processes as module
from claude_mpm.testing.import_spec import name_of
from claude_mpm.testing.processes import commands, family, processes, resident_memory
from claude_mpm.testing.residue import Remains

CODE = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture(params=["/proc", "ps"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the processes are looked for."""
    if request.param == "ps":
        monkeypatch.setattr(module, "_PROC", Path("/no/proc"))
    return str(request.param)


def test_a_process_is_found_with_its_command_and_its_parent(source: str) -> None:
    word = f"word-{os.getpid()}"
    command = [sys.executable, "-c", CODE, word]
    environ = {**os.environ, "CHECK_VARIABLE": "here"}
    with subprocess.Popen(command, stdin=-1, stdout=-1, env=environ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        known = processes()
        found = known[child.pid]
        assert found.parent == os.getpid()
        assert found.inner_pid == child.pid
        assert found.names(word)
        assert found.names("CHECK_VARIABLE=here") is (source == "/proc")
        assert {os.getpid(), child.pid} <= family({os.getpid()}, known)
        assert os.getpid() not in family({child.pid}, known)
        assert word in commands()
        assert resident_memory(child.pid) > 1 << 20
        child.kill()
        child.wait()
        assert child.pid not in processes()
        assert resident_memory(child.pid) == 0


def test_what_is_left_of_a_session_is_named(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    assert Remains(folder).found() == []
    folder.prepare_host()
    with subprocess.Popen([sys.executable, "-c", CODE, str(folder.path)], stdin=-1) as child:
        found = Remains(folder).found()
        assert found[0].startswith(f"process {child.pid} (")
        assert found[1:] == ["FIFO feed", "FIFO lease"]
        assert [process.pid for process in Remains(folder).between()] == [child.pid]
        folder.write_pids(child.pid, 0)
        assert Remains(folder).between() == [], "the host itself stands between nothing"
        child.kill()


class Made:
    @staticmethod
    def somehow(*words: str, **more: str) -> tuple[tuple[str, ...], dict[str, str]]:
        return words, more


def test_a_function_is_named_with_its_arguments() -> None:
    make = functools.partial(functools.partial(Made.somehow, "a", x="1"), "b", x="2", y="3")
    call = name_of(make)
    assert (call.module, call.name) == (__name__, "Made.somehow")
    assert call.function()() == make() == (("a", "b"), {"x": "2", "y": "3"})
    assert isinstance(name_of(Local).function()(), Local)


@pytest.mark.parametrize("make", [lambda: Local(), Local().wrap, functools.partial(lambda: 1)])
def test_what_another_process_cannot_import_has_no_name(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="must be importable"):
        name_of(make)


def test_the_program_that_runs_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from claude_mpm.testing.import_spec import name_of\n"
        "def make(): ...\n"
        "if __name__ == '__main__': print(name_of(make).module)\n"
    )
    for words in (["mine.py"], ["-m", "mine"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stdout == "mine\n", done.stderr
