"""The other faults, each again and again, in a conversation that goes on."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Self

import msgspec

from chaos.beside import Beside
from chaos.conversation import NOT_TAKEN_UP, PATIENCE, Conversation
from chaos.figures import Clock, Figures
from chaos.world import World, worlds
from claude_mpm.journal import orphans
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.testing.cut_proxy import CutProxy
from claude_mpm.testing.faults import Dice, Killer, cuts, full_disk, kill, stall, tear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from chaos.conversation import Strike

TROUBLES = ("full disk", "clock jump", "torn write", "slow reader", "stall", "cut link")
_A_SESSION = 5  # how often in one
_AT_ONCE = 3
_IN_VAIN = 5  # sessions that may be over before anything hits them
_DAY = 86_400.0
_SERVE = (
    "import sys; from claude_mpm.cli.main import main;"
    " main(['serve', '--anonymous', '--root', sys.argv[1]])"
)


def troubles(number: int, dice: Dice, share: float) -> Figures:
    """Bring so many troubles over conversations, of one kind after the other."""
    figures = Figures(
        title="Full disk, clock jump, torn write, slow reader, stall, cut link",
        must_not=(
            "lost events", "prompts without an answer", "prompts of which nothing is known",
            "repeated turns", "repeated tickets", NOT_TAKEN_UP, "processes left",
        ),
    )  # fmt: skip
    clock = Clock()
    cases = []
    for make, part in worlds(number, share):
        for kind, trouble in enumerate(TROUBLES):
            wanted = part // len(TROUBLES) + (kind < part % len(TROUBLES))
            cases.append((make, trouble, wanted, dice.part(make.kind, trouble)))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(lambda case: _one(*case), cases):
            figures.add(found)
    figures.took = clock.seconds
    return figures


def _one(make: type[World], trouble: str, wanted: int, dice: Dice) -> Figures:
    """Bring one trouble over one conversation after the other, as often as wanted."""
    figures = Figures(title="")
    done = sessions = 0
    while done < wanted and sessions < wanted + _IN_VAIN:
        with make() as world:
            done += _disturb(world, trouble, min(_A_SESSION, wanted - done), dice, figures)
            sessions += 1
    if wanted:
        figures.counts[f"{trouble}, {make.kind}"] += done
        figures.counts[f"sessions, {make.kind}"] += sessions
        figures.played[make.kind] += done
    return figures


def _disturb(world: World, trouble: str, strikes: int, dice: Dice, figures: Figures) -> int:
    with ExitStack() as stack:
        session = _Troubled(world, dice, figures, trouble)
        proxy = None
        if trouble == "cut link":
            server = stack.enter_context(_server(world))
            proxy = stack.enter_context(CutProxy(server, cuts(dice, 1_000, 4_000)))
            session.go_through(proxy)
        done = session.disturb(strikes)
        session.check(strict=trouble != "torn write")
        return proxy.cuts if proxy else done


class _Troubled(Conversation):
    _proxy: CutProxy | None = None

    def __init__(self, world: World, dice: Dice, figures: Figures, trouble: str) -> None:
        super().__init__(world, dice, figures, trouble)
        self._jump()
        if trouble == "slow reader":
            self._task = msgspec.structs.replace(self._task, slow=0.05)

    def go_through(self, proxy: CutProxy) -> None:
        """Let Claude run behind a link that is cut."""
        self._proxy = proxy
        self._change(address="{}:{}".format(*proxy.address), tls=False)
        self._task = msgspec.structs.replace(self._task, place="remote")

    def _patience(self, moment: float) -> float:
        lasts = self._trouble in ("slow reader", "cut link")
        return PATIENCE if lasts else super()._patience(moment)

    def _strike(self, controller: subprocess.Popen[bytes], moment: float) -> Strike:
        match self._trouble:
            case "clock jump":
                return _KillThen(moment, lambda: [controller.pid], self._jump)
            case "torn write":
                return _KillThen(moment, lambda: [controller.pid, *self._all()], self._tear)
            case "stall":
                return _Passing(moment, self._dice.moment(0.1, 0.8), self._stall_one)
            case "full disk":
                return _Passing(
                    moment, self._dice.moment(0.1, 0.8), lambda: full_disk(controller.pid)
                )
        return _Lasting(self._proxy)

    def _jump(self) -> bool:
        if self._trouble == "clock jump":
            self._task = msgspec.structs.replace(self._task, jump=self._dice.moment(-_DAY, _DAY))
        return True

    def _all(self) -> list[int]:
        return orphans.marked().get(self._folder.path, [])

    def _tear(self) -> bool:
        """A result is on the disk before anything comes of it; what is behind it need not be."""
        journal = self._folder.journal.path
        while left := self._all():  # one was only starting, or needs its time to die
            kill(left)
            threading.Event().wait(0.05)
        if not journal.exists():
            return False
        last = journal.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
        return b'"result"' not in last and bool(tear(journal, self._dice))

    def _stall_one(self) -> AbstractContextManager[None]:
        pids = self._folder.pids()
        return stall(pids[self._dice.number(0, 1)]) if pids else nullcontext()


class _KillThen(Killer):
    """Kills, and then does something to what is left; counts where that did something."""

    def __init__(
        self, after: float, victims: Callable[[], list[int]], then: Callable[[], bool]
    ) -> None:
        super().__init__(after, victims)
        self._then = then

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self.killed:
            self.killed = int(self._then())


class _Passing(Beside):
    """Brings a fault some time after it was made, and takes it away some time later."""

    def __init__(
        self, after: float, lasts: float, fault: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__("chaos-fault")
        self.killed = 0
        self._after = after
        self._lasts = lasts
        self._fault = fault

    def run(self) -> None:
        if self.off.wait(self._after):
            return
        with suppress(ProcessLookupError), self._fault() as _:
            self.killed = 1
            self.off.wait(self._lasts)


class _Lasting:
    """A fault that is there all the time; of a link, whether it was cut."""

    def __init__(self, proxy: CutProxy | None) -> None:
        self._proxy = proxy
        self.killed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.killed = 1 if self._proxy is None else self._proxy.cuts


@contextmanager
def _server(world: World) -> Iterator[tuple[str, int]]:
    """Run a server of sessions, and give its address."""
    environ = {**world.environ(), "CLAUDE_MPM_STATE_DIR": str(world.path / "far")}
    server = subprocess.Popen(
        own_python("-c", _SERVE, str(world.path)),
        env=own_environ(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        host, _, port = server.stdout.readline().split()[-1].rpartition(":")
        yield host, int(port)
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)
