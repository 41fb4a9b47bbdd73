"""A process with pipes that a subclass started by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from claude_mpm import MPMOrchestrator, Outcome

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0


class Piped(MPMOrchestrator):
    """Starts a program of the test's with pipes, as the guide's examples do."""

    command: list[str]

    def start(self) -> bool:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running = True
        self._start_io_threads()
        return True


def python(program: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(program)]


def lines_of(claude: MPMOrchestrator, count: int) -> list[str]:
    found = [claude.get_output(timeout=SECONDS) for _ in range(count)]
    return [line for line in found if line is not None]


def test_everything_arrives_also_when_the_program_leaves_at_once() -> None:
    claude = Piped()
    claude.command = python("for n in range(20000): print('line', n)")
    assert claude.start()
    assert lines_of(claude, 20_000) == [f"line {n}" for n in range(20_000)]
    claude.stop()
    assert claude.running is False


def test_a_flood_on_standard_error_stops_nothing_and_is_kept() -> None:
    claude = Piped()
    claude.command = python("""
        import sys
        sys.stderr.write('e' * 3_000_000)
        print('done')
        sys.stdin.read()
    """)
    assert claude.start()
    assert lines_of(claude, 1) == ["done"]
    claude.stop()
    folder = claude.store.folder(claude.session_id)
    assert folder.errors.path.read_bytes() == b"e" * 3_000_000
    assert folder.journal.path.read_text() == "done\n"


def test_a_character_cut_in_two_and_bytes_that_are_no_text() -> None:
    claude = Piped()
    claude.command = python(r"""
        import os, sys
        os.write(1, b'caf\xc3'); sys.stdin.readline(); os.write(1, b'\xa9\nbad \xff byte\nno end')
    """)
    assert claude.start()
    claude.send_input("go on")
    assert lines_of(claude, 3) == ["café", "bad � byte", "no end"]
    claude.stop()


def test_an_answer_is_over_after_a_silence() -> None:
    claude = Piped(quiet=0.3)
    claude.command = python("""
        import sys
        for line in sys.stdin:
            sys.stdout.write(f'heard: {line.strip()}\\nTODO: Look into it\\n')
    """)
    assert claude.start()
    turn = claude.ask("one")
    assert turn.text == "heard: one\nTODO: Look into it"
    assert turn.verdict.outcome is Outcome.COMPLETED
    assert claude.ask("two").text.startswith("heard: two")
    claude.stop()
    assert [t.title for t in claude.store.index.tickets(claude.session_id)] == ["Look into it"]
    claude.store.close()


def test_a_program_that_leaves_ends_the_turn() -> None:
    claude = Piped(quiet=SECONDS)
    claude.command = python("input(); print('bye'); raise SystemExit(4)")
    assert claude.start()
    turn = claude.ask("hello?")
    assert turn.text == "bye"
    assert turn.verdict.outcome is Outcome.LOST
    assert "status 4" in turn.verdict.reason
    claude.stop()


@pytest.mark.parametrize("how", ["thread", "event loop"])
def test_stream_json_in_pipes_is_recognised_and_has_turns(stand_in: Path, how: str) -> None:
    claude = Piped(quiet=SECONDS)
    claude.command = [str(stand_in), "-p", "--input-format", "stream-json"]

    async def in_a_loop() -> str:
        assert await claude.start_async()
        try:
            return (await claude.ask("hello")).text
        finally:
            await claude.stop_async()

    if how == "event loop":
        assert asyncio.run(in_a_loop()) == "Claude heard: hello"
        return
    assert claude.start()
    assert claude.ask("hello").check().text == "Claude heard: hello"
    claude.stop()
    assert claude.process.poll() == 0


def test_a_descriptor_takes_over_without_a_line_lost_or_twice() -> None:
    class Awaiting(Piped):
        async def collect(self) -> list[str]:
            assert await self.start_async()
            assert self.read_task is not None
            await asyncio.wait_for(self.read_task, SECONDS)
            await self.stop_async()
            found = []
            while (line := self.get_output(timeout=0.0)) is not None:
                found.append(line)
            return found

    claude = Awaiting()
    claude.command = python("for n in range(30000): print('line', n)")
    assert asyncio.run(claude.collect()) == [f"line {n}" for n in range(30_000)]


def test_what_is_put_into_outgoing_is_sent(stand_in: Path) -> None:
    async def conversation() -> str | None:
        claude = MPMOrchestrator(claude_path=str(stand_in))
        assert await claude.start_async()
        assert claude.outgoing is not None
        await claude.outgoing.put("from a task")
        line = await asyncio.to_thread(claude.get_output, SECONDS)
        await claude.stop_async()
        return line

    assert asyncio.run(conversation()) == "Claude heard: from a task"
