"""The code blocks of custom-orchestrators.md, run as they stand, against the installed claude_mpm.

    make guide

Nothing in a block is edited. A block that is a list of methods is put under a class line; the
standard modules and typing names that the guide leaves unimported are given to it. Whatever
else a block calls (`_generate_session_id`, `_save_session_metadata`, `_async_writer`,
`loop`, ...) must come from MPMOrchestrator.
"""
import asyncio
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
import typing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
BLOCKS = re.findall(r"```python\n(.*?)```", (HERE / "custom-orchestrators.md").read_text(), re.S)


def block(marker: str) -> str:
    found = [text for text in BLOCKS if marker in text]
    assert len(found) == 1, f"{marker!r} is in {len(found)} blocks of the guide"
    return found[0]


def namespace(**extra):
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

    names = dict(
        MPMOrchestrator=MPMOrchestrator, asyncio=asyncio, json=json, os=os, socket=socket,
        subprocess=subprocess, threading=threading, time=time, datetime=datetime,
        logging=logging, Optional=typing.Optional, Any=typing.Any, Dict=typing.Dict,
        List=typing.List,
    )
    names.update(extra)
    return names


def run_block(marker: str, **extra):
    names = namespace(**extra)
    exec(compile(block(marker), "custom-orchestrators.md", "exec"), names)
    return names


def methods_block(*markers: str, name: str = "Custom"):
    source = f"class {name}(MPMOrchestrator):\n" + "\n".join(
        textwrap.indent(block(marker), "    ") for marker in markers)
    names = namespace()
    exec(compile(source, "custom-orchestrators.md", "exec"), names)
    return names[name]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A home, a project folder and a PATH of our own, with the stand-in as `claude` and `docker`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    stub = HERE / "stub_claude.py"
    for name in ("claude", "docker"):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stub}" "$@"\n')
        script.chmod(0o755)
    for key in list(os.environ):
        if key.startswith(("CLAUDE", "ANTHROPIC", "XDG_")):
            monkeypatch.delenv(key)
    home = tmp_path / "home"
    project = tmp_path / "project"
    home.mkdir()
    project.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "guide")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "stub.jsonl"))
    monkeypatch.chdir(project)
    return SimpleNamespace(
        root=tmp_path, home=home, project=project, programs=programs,
        log=lambda: [json.loads(line) for line in (tmp_path / "stub.jsonl").read_text().splitlines()])


def gather(orchestrator, count, seconds=20.0):
    found, deadline = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        line = orchestrator.get_output(timeout=0.2)
        if line is not None:
            found.append(line)
    return found


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def idle():
    """True where this process uses next to no processor time for a second."""
    before = time.process_time()
    time.sleep(1.0)
    return time.process_time() - before < 0.3


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


NUMBERED = [f"line {n}" for n in range(5000)]


# --- the base ---------------------------------------------------------------------------------

def test_base_class_starts_talks_and_stops(world):
    orchestrator = run_block("Your custom orchestrator implementation.\"\"\"\n    pass")["CustomOrchestrator"]()
    assert orchestrator.start() is True
    pid = orchestrator.process.pid
    assert orchestrator.running is True
    orchestrator.send_input("Hello, Claude!")
    assert gather(orchestrator, 1) == ["Claude heard: Hello, Claude!"]
    orchestrator.send_input("Again")
    assert gather(orchestrator, 1) == ["Claude heard: Again"]
    assert orchestrator.get_output(timeout=0.1) is None
    orchestrator.stop()
    orchestrator.stop()
    assert orchestrator.running is False
    assert not alive(pid)


def test_lifecycle_overrides(world):
    orchestrator = methods_block("Start the orchestrated Claude session.", "Stop the orchestrated session.")()
    assert orchestrator.start() is True
    orchestrator.stop()
    assert not alive(orchestrator.process.pid) if orchestrator.process else True


def test_io_overrides(world):
    orchestrator = methods_block("Send input to Claude.\"\"\"\n    # Custom preprocessing")()
    assert orchestrator.start()
    orchestrator.send_input("x")
    assert gather(orchestrator, 1) == ["Claude heard: x"]
    orchestrator.stop()


def test_framework_reaches_claude_once(world):
    framework = world.root / "framework"
    framework.mkdir()
    (framework / "INSTRUCTIONS.md").write_text("# Rules\nFRAMEWORK-MARK-7263\n")
    orchestrator = namespace()["MPMOrchestrator"](framework_path=framework)
    assert "FRAMEWORK-MARK-7263" in orchestrator.framework_loader.get_framework_instructions()
    assert orchestrator.start()
    for text in ("one", "two"):
        orchestrator.send_input(text)
        assert gather(orchestrator, 1)
    files = []
    seen = []
    for record in world.log():
        for word in record.get("argv", []):
            seen.append(word)
            if os.path.isfile(word):
                files.append(Path(word).read_text(errors="replace"))
        seen.append(record.get("input", ""))
    orchestrator.stop()
    assert sum(text.count("FRAMEWORK-MARK-7263") for text in seen + files) == 1


# --- customization points ---------------------------------------------------------------------

def test_docker_block(world):
    orchestrator = run_block("class DockerOrchestrator")["DockerOrchestrator"]()
    assert orchestrator.start() is True
    orchestrator.send_input("Hello")
    assert any(line.endswith("Hello") for line in gather(orchestrator, 1))
    assert world.log()[0]["argv"][:3] == ["run", "-it", "--rm"]
    pid = orchestrator.process.pid
    orchestrator.stop()
    assert not alive(pid)


def test_docker_block_when_docker_is_missing(world, monkeypatch):
    monkeypatch.setenv("PATH", str(world.project))
    assert run_block("class DockerOrchestrator")["DockerOrchestrator"]().start() is False


def test_output_processing_block(world):
    orchestrator = methods_block("def _is_special_output")()
    orchestrator._process_output_line("CUSTOM_MARKER: before any start")
    assert orchestrator.start()
    handled = []
    orchestrator._handle_special_output = handled.append
    orchestrator.send_input("CUSTOM_MARKER here")
    lines = gather(orchestrator, 2)
    orchestrator.stop()
    assert lines == ["CUSTOM_MARKER: before any start", "Claude heard: CUSTOM_MARKER here"]
    assert handled == ["Claude heard: CUSTOM_MARKER here"]


def test_input_injection_block(world):
    orchestrator = methods_block("def _transform_input")()
    orchestrator.add_prefix = True
    assert orchestrator.start()
    orchestrator.send_input("hello")
    assert gather(orchestrator, 1) == ["Claude heard: [CUSTOM] HELLO"]
    orchestrator.stop()


def test_session_block(world):
    orchestrator = run_block("class SessionOrchestrator")["SessionOrchestrator"]()
    other = run_block("class SessionOrchestrator")["SessionOrchestrator"]()
    assert orchestrator.session_id and orchestrator.session_id != other.session_id
    assert orchestrator.start() is True
    assert orchestrator.session_metadata["pid"] == orchestrator.process.pid
    assert orchestrator.session_metadata["user"] == "guide"
    orchestrator.stop()
    assert orchestrator.session_metadata["end_time"] >= orchestrator.session_metadata["start_time"]
    needle = str(orchestrator.session_id).encode()
    saved = [path for path in world.root.rglob("*")
             if path.is_file() and path.name != "stub.jsonl"
             and needle in path.read_bytes() and b"end_time" in path.read_bytes()]
    assert saved, "the session's metadata is on disk"


# --- the remote example -----------------------------------------------------------------------

class LineServer:
    """Claude at the other end of a socket: the guide's messages, in awkward pieces."""

    def __init__(self):
        self.received = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        peer, _ = self.listener.accept()
        with peer, peer.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                message = json.loads(line)
                self.received.append(message)
                if message["type"] == "terminate":
                    return
                if message["type"] == "input":
                    answer = json.dumps({"type": "output", "text": "Claude heard: " + message["text"]})
                    peer.sendall(answer[:7].encode())
                    time.sleep(0.05)
                    peer.sendall((answer[7:] + '\n{"type": "error", "error": "just so"}\n').encode())


def test_remote_block(world):
    server = LineServer()
    orchestrator = run_block("class RemoteOrchestrator")["RemoteOrchestrator"]("127.0.0.1", server.port)
    assert orchestrator.start() is True
    orchestrator.send_input("Hello from afar")
    assert gather(orchestrator, 1) == ["Claude heard: Hello from afar"]
    orchestrator.stop()
    assert wait_for(lambda: len(server.received) == 3)
    assert [message["type"] for message in server.received] == ["init", "input", "terminate"]
    assert server.received[0]["framework"]


def test_remote_block_without_a_server(world):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    orchestrator = run_block("class RemoteOrchestrator")["RemoteOrchestrator"]("127.0.0.1", port)
    assert orchestrator.start() is False
    orchestrator.stop()


# --- testing ----------------------------------------------------------------------------------

def marked_class():
    names = namespace()
    exec(textwrap.dedent('''
        class CustomOrchestrator(MPMOrchestrator):
            custom_handler = None
            def _process_output_line(self, line):
                if "CUSTOM_MARKER" in line:
                    self.custom_handler(line)
                super()._process_output_line(line)
    '''), names)
    return names["CustomOrchestrator"]


def test_unit_testing_block(world):
    made = []
    base = marked_class()

    class Recorded(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    case = run_block("class TestCustomOrchestrator", CustomOrchestrator=Recorded)["TestCustomOrchestrator"]()
    case.test_start()
    assert idle(), "a mocked process must not keep a thread spinning"
    case.test_output_processing()
    for orchestrator in made:
        orchestrator.stop()


def test_integration_testing_block(world):
    run_block("def test_full_session", CustomOrchestrator=marked_class())["test_full_session"]()


# --- configuration, errors, performance -------------------------------------------------------

def test_configurable_block(world, monkeypatch):
    later = world.root / "later" / "claude"
    later.parent.mkdir()
    monkeypatch.setenv("CLAUDE_PATH", str(later))
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            shutil.copy(world.programs / "claude", later)

    fake_time = SimpleNamespace(sleep=nap)
    cls = run_block("class ConfigurableOrchestrator", time=fake_time)["ConfigurableOrchestrator"]
    orchestrator = cls({"retry_attempts": 3, "timeout": 5})
    assert orchestrator.start() is True
    assert naps == [1, 2]
    orchestrator.send_input("up at last")
    assert gather(orchestrator, 1) == ["Claude heard: up at last"]
    orchestrator.stop()
    naps.clear()
    later.unlink()
    assert cls({"retry_attempts": 1}).start() is False


def docker_mix(first):
    """The first class's behaviour over the Docker block's plain-text process."""
    docker = run_block("class DockerOrchestrator")["DockerOrchestrator"]
    return type("Mixed", (first, docker), {})


@pytest.mark.parametrize("wire", ["default", "plain text"])
def test_robust_block(world, monkeypatch, wire):
    monkeypatch.setenv("STUB_EMIT", "5000")
    monkeypatch.setenv("STUB_EXIT", "1")
    cls = run_block("class RobustOrchestrator")["RobustOrchestrator"]
    orchestrator = (docker_mix(cls) if wire == "plain text" else cls)()
    assert orchestrator.start()
    if wire == "default":
        orchestrator.send_input("go")
    assert gather(orchestrator, 5000) == NUMBERED
    assert wait_for(lambda: not orchestrator.running), "running turns False after the last line"
    assert idle(), "the reader must not spin at the end of the stream"
    orchestrator.stop()


def test_robust_block_gives_up_after_five_errors(world):
    cls = run_block("class RobustOrchestrator", time=SimpleNamespace(sleep=lambda _: None))["RobustOrchestrator"]
    orchestrator = cls()

    class Broken:
        def readline(self):
            raise OSError("cable cut")

        def close(self):
            pass

    orchestrator.process = SimpleNamespace(
        stdout=Broken(), stdin=None, stderr=None, pid=os.getpid(), returncode=0, args=["claude"],
        poll=lambda: 0, wait=lambda timeout=None: 0, terminate=lambda: None, kill=lambda: None,
        send_signal=lambda _: None)
    orchestrator.running = True
    reader = threading.Thread(target=orchestrator._output_reader, daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive()
    assert orchestrator.running is False


@pytest.mark.parametrize("wire", ["default", "plain text"])
def test_buffered_block_loses_nothing(world, monkeypatch, wire):
    monkeypatch.setenv("STUB_EMIT", "250")
    cls = run_block("class BufferedOrchestrator")["BufferedOrchestrator"]
    orchestrator = (docker_mix(cls) if wire == "plain text" else cls)(buffer_size=100)
    assert orchestrator.start()
    if wire == "default":
        orchestrator.send_input("go")
    assert gather(orchestrator, 200) == NUMBERED[:200]
    wait_for(lambda: len(orchestrator.output_buffer) == 50, seconds=1)
    orchestrator.stop()
    assert gather(orchestrator, 50, seconds=5) == NUMBERED[200:250]


@pytest.mark.parametrize("wire", ["default", "plain text"])
def test_async_block(world, monkeypatch, wire):
    monkeypatch.setenv("STUB_EMIT", "500")
    monkeypatch.setenv("STUB_EXIT", "1")
    cls = run_block("class AsyncOrchestrator")["AsyncOrchestrator"]
    orchestrator = (docker_mix(cls) if wire == "plain text" else cls)()

    async def session():
        assert await orchestrator.start_async() is True
        if wire == "default":
            orchestrator.send_input("go")
        found, deadline = [], time.monotonic() + 20
        while len(found) < 500 and time.monotonic() < deadline:
            line = orchestrator.get_output(timeout=0.001)
            if line is None:
                await asyncio.sleep(0.005)
            else:
                found.append(line)
        orchestrator.stop()
        for task in (orchestrator.read_task, orchestrator.write_task):
            task.cancel()
        await asyncio.gather(orchestrator.read_task, orchestrator.write_task, return_exceptions=True)
        return found

    found = asyncio.run(asyncio.wait_for(session(), 60))
    assert found == NUMBERED[:500]


# --- registration -----------------------------------------------------------------------------

PACKAGE = '''
from claude_mpm.orchestration.orchestrator import MPMOrchestrator


class CustomOrchestrator(MPMOrchestrator):
    """An orchestrator of the guide's."""

    def send_input(self, text):
        super().send_input("[CUSTOM] " + text)
'''


def install_package(world, entry_point):
    site = world.root / "site"
    package = site / "guide_package"
    package.mkdir(parents=True)
    (package / "custom_orchestrator.py").write_text(PACKAGE)
    (package / "__init__.py").write_text("" if entry_point else block("register_orchestrator(\"custom\""))
    if entry_point:
        info = site / "guide_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guide-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[claude_mpm.orchestrators]\ncustom = guide_package.custom_orchestrator:CustomOrchestrator\n")
    return site


def claude_mpm(world, *arguments, text=None, **env):
    command = shutil.which("claude-mpm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert command, "claude-mpm is installed"
    return subprocess.run(
        [command, *arguments], input=text, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL if text is None else None, env={**os.environ, **env})


def test_registration_block_in_this_process(world):
    from claude_mpm.orchestration import factory

    site = install_package(world, entry_point=False)
    sys.path.insert(0, str(site))
    try:
        __import__("guide_package")
        assert isinstance(factory.create_orchestrator("custom"), sys.modules["guide_package"].CustomOrchestrator)
        with pytest.raises((TypeError, ValueError)):
            factory.register_orchestrator("bad", dict)
    finally:
        sys.path.remove(str(site))


@pytest.mark.parametrize("how", ["entry point", "plugin module"])
def test_command_line_uses_the_custom_orchestrator(world, how):
    env = {"PYTHONPATH": str(install_package(world, entry_point=how == "entry point"))}
    if how == "plugin module":
        env["CLAUDE_MPM_PLUGINS"] = "guide_package"
    done = claude_mpm(world, "--orchestrator", "custom", text="Hello, Claude!", **env)
    assert done.returncode == 0, done.stderr
    assert "Claude heard: [CUSTOM] Hello, Claude!" in done.stdout
    done = claude_mpm(world, "--orchestrator", "custom", "run", "-i", "Hello again", **env)
    assert done.returncode == 0, done.stderr
    assert "Claude heard: [CUSTOM] Hello again" in done.stdout


def test_command_line_names_the_choices_for_an_unknown_orchestrator(world):
    done = claude_mpm(world, "--orchestrator", "nonsuch", "run", "-i", "x")
    assert done.returncode == 2
    assert "nonsuch" in done.stderr and "Traceback" not in done.stderr
