"""A real Kubernetes under fire: streams cut, its programs killed and stopped, pods lost, a crowd.

The cluster is that of the tests, which is built once; the real Claude Code runs in its pods.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from chaos.beside import Beside, settled, until
from chaos.crowd import crowd
from chaos.figures import Clock, Figures
from chaos.kubernetes_world import PATIENCE, KubernetesWorld, Lookout, ask, streams
from chaos.pod_talk import MUST_NOT, PodTalk
from claude_mpm.errors import UsageError
from claude_mpm.testing.faults import kill, stall

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing.faults import Dice

_A_SESSION = 25  # streams that are cut in one
_AT_ONCE = 2  # sessions
_GRACE = 12.0 + 5.0  # seconds after which the cluster gives a silent node up, and evicts from it
_MEMORY = "400Mi"  # of a pod that runs out of it
_DELETED, _NO_MEMORY = r"is gone: it was deleted|was deleted", r"ran out of memory"
_CROWD = 20  # sessions


def cluster(number: int, dice: Dice, share: float) -> Figures:
    """Cut so many streams of sessions in pods, and do the rest in proportion.

    Raises:
        UsageError: the cluster does not run, or a stand-in is asked for.
    """
    if not share:
        raise UsageError("the scenario cluster is played by the real Claude Code alone")
    figures = Figures(
        title="A real Kubernetes under fire",
        must_not=(*MUST_NOT, "waits that were not said", "places where a secret was seen"),
    )
    clock, few = Clock(), max(1, number // 100)
    with KubernetesWorld() as world:
        with Lookout(world) as lookout:
            _cut_streams(world, number, dice.part("streams"), figures)
            for trouble in (_without_api, _deleted, _without_kubelet, _evicted, _out_of_memory):
                for time_ in range(few):
                    _one(trouble, world, dice.part(trouble.__name__, time_), figures)
            crowd(world, min(_CROWD, max(4, number // 5)), figures)
            _look_at_rest(world, figures)
        figures.counts["looks for the made-up key"] = lookout.looks
        seen = ", ".join(sorted(lookout.seen))
        figures.found("places where a secret was seen", len(lookout.seen), seen)
        world.keep = world.keep or not figures.ok
    figures.took = clock.seconds
    return figures


def _look_at_rest(world: KubernetesWorld, figures: Figures) -> None:
    """Nothing is left, in the cluster or here, once pods have had their time to go."""
    left = settled(lambda: [*world.pods(), *world.processes()], PATIENCE)
    figures.found("left behind", len(left), f"in the end: {left}")


def _one(
    trouble: Callable[[PodTalk, KubernetesWorld, Dice, Figures], None],
    world: KubernetesWorld,
    dice: Dice,
    figures: Figures,
) -> None:
    """Play a trouble in a session of its own."""
    place = {"memory": _MEMORY} if trouble is _out_of_memory else {}
    name = trouble.__name__.strip("_").replace("_", " ")
    talk = PodTalk(world, dice, figures, name, **place)
    with talk.kept():
        talk.start()
        talk.begin()
        talk.told(talk.ask())
        trouble(talk, world, dice, figures)
        talk.told(talk.ask())
        talk.end()


# --- the streams ----------------------------------------------------------------------------


def _cut_streams(world: KubernetesWorld, number: int, dice: Dice, figures: Figures) -> None:
    """Cut so many streams, of several sessions at the same time."""
    parts = [min(_A_SESSION, number - begin) for begin in range(0, number, _A_SESSION)]

    def play(part: int) -> Figures:
        found = Figures(title="")
        _cut_in_one(world, parts[part], dice.part(part), found)
        return found

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(play, range(len(parts))):
            figures.add(found)


def _cut_in_one(world: KubernetesWorld, cuts: int, dice: Dice, figures: Figures) -> None:
    talk = PodTalk(world, dice, figures, "cut streams")
    with talk.kept():
        talk.start()
        talk.begin()
        cut = 0
        while cut < cuts:
            turn = talk.ask()
            with _Cutter(talk.pod, cuts - cut, dice) as cutter:
                talk.told(turn)
            cut += cutter.cut
        figures.counts["streams cut"] += cut
        talk.told(talk.ask())
        talk.end()


class _Cutter(Beside):
    """Cuts streams to a pod, one after the other, until it is called off or has done its part.

    Attributes:
        cut: how many.
    """

    def __init__(self, pod: str, most: int, dice: Dice) -> None:
        super().__init__("chaos-cutter")
        self.cut = 0
        self._pod = pod
        self._most = most
        self._dice = dice

    def run(self) -> None:
        """Cut; called in its own thread."""
        while self.cut < self._most and not self.off.wait(self._dice.moment(0.2, 1.5)):
            found = streams(self._pod)
            if found:
                self.cut += kill([found[self._dice.number(0, len(found) - 1)]])


# --- what befalls the cluster -----------------------------------------------------------------


def _without_api(talk: PodTalk, world: KubernetesWorld, dice: Dice, figures: Figures) -> None:
    """The API server is killed in the middle of an answer, and comes back."""
    turn = talk.ask()
    server = world.part("kube-apiserver")
    command = server.kill()
    try:
        threading.Event().wait(dice.moment(2.0, 8.0))
    finally:
        server.start(command)
    figures.counts["API servers killed"] += 1
    talk.told(turn)
    until(world.is_ready, "the node is not ready again", PATIENCE)


def _deleted(talk: PodTalk, world: KubernetesWorld, dice: Dice, figures: Figures) -> None:
    """Somebody else deletes the pod in the middle of an answer."""
    turn = talk.ask()
    threading.Event().wait(dice.moment(0.0, 2.0))
    clock = Clock()
    ask("delete", "pod", talk.pod, "--wait=false")
    figures.counts["pods deleted"] += 1
    talk.lost(turn, _DELETED, clock)
    talk.start_again()


def _without_kubelet(talk: PodTalk, world: KubernetesWorld, dice: Dice, figures: Figures) -> None:
    """The kubelet stands still for longer than the node's grace, and the pod may wait for it."""
    turn = talk.ask()
    _stop_kubelet(world, lambda: not world.is_ready())
    figures.counts["kubelets stopped, and the pod waited"] += 1
    talk.told(turn)
    until(world.is_ready, "the node is not ready again", PATIENCE)


def _evicted(talk: PodTalk, world: KubernetesWorld, dice: Dice, figures: Figures) -> None:
    """The same, but the pod is evicted from the silent node, which executes that later."""
    turn = talk.ask()
    clock = Clock()

    with ExitStack() as taint:

        def is_evicted() -> bool:
            if world.is_ready():
                return False
            taint.enter_context(world.tainted())
            until(lambda: world.is_to_go(talk.pod), "the pod is not evicted", PATIENCE)
            return True

        _stop_kubelet(world, is_evicted)
    figures.counts["kubelets stopped, and the pod was evicted"] += 1
    talk.lost(turn, _DELETED, clock)
    until(world.is_ready, "the node is not ready again", PATIENCE)
    talk.start_again()


def _stop_kubelet(world: KubernetesWorld, until_then: Callable[[], bool]) -> None:
    clock = Clock()
    with stall(world.part("kubelet").pid):
        until(until_then, "the cluster does not notice that its node is silent", PATIENCE)
        threading.Event().wait(max(0.0, _GRACE + 3.0 - clock.seconds))


def _out_of_memory(talk: PodTalk, world: KubernetesWorld, dice: Dice, figures: Figures) -> None:
    """A tool eats the memory of the pod."""
    turn = talk.ask("eat")
    clock = Clock()
    figures.counts["pods out of memory"] += 1
    talk.lost(turn, _NO_MEMORY, clock)
    talk.start_again()
