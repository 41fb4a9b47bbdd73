"""A session in a new container on another machine: its folder lies there, and a link keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.environments.linked import LinkedHost, start_linked
from claude_mpm.errors import LaunchError
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.link.link import read_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.container import Recipe
    from claude_mpm.environments.engine import Engine
    from claude_mpm.environments.order import Order
    from claude_mpm.journal.layout import SessionFolder

# What only the shell there can say; no argument has these signs.
_SESSION, _CONFIG, _USER = "\0session\0", "\0config\0", "\0user\0"
# An account that may use the engine is seldom root, but can be.
_START = """config=${{session%/far/*}}/claude/{name}
    user=$(id -u):$(id -g)
    [ "$user" != 0:0 ] || user=1000:1000
    refused() {{
        rm -rf "$session"
        echo "$said" | grep -Ev '^$|^Usage:|--help|failed to start' | tail -n 1
        return 1
    }}
    ours=$(readlink -f "${{session%/far/*}}") || return
    show() {{ # SOURCE TARGET: $hidden is where it would show sessions; false where it is of those
        source=$(readlink -f "$1") hidden=
        source=${{source%/}}
        case $source/ in "$ours"/*) return 1 ;; esac
        case $ours/ in "$source"/*) hidden=${{2%/}}${{ours#"$source"}} ;; esac
        case $hidden in *[,\\"]*) return 1 ;; esac # the engine reads it as CSV
    }}
    set --
{shown}    said=$(mkdir -p "$config" && {create} 2>&1) || {{ refused; return; }}
    container=$(echo "$said" | grep -Ex '[0-9a-f]{{64}}')
    echo "$container" >"$session/container"
    echo "container=$container" >>"$session/given/expected"
    [ "$(id -u)" != 0 ] || chown -Rh {user} "$session/given" "$session/exchange" "$config"
    said=$({engine} start "$container" 2>&1) && return
    {engine} rm --force "$container" >/dev/null
    refused"""
_SHOWN = """    said={refusal}
    show {source} {target} || {{ refused; return; }}
    [ -z "$hidden" ] || set -- "$@" --mount "type=volume,dst=$hidden"
"""
_KILL = """if [ "$1" = KILL ]; then
    {engine} rm --force "$(cat container)"
else
    {engine} exec "$(cat container)" sh -c 'kill -s "$1" "$2"' kill "$1" "$2"
fi >/dev/null 2>&1 || :"""


def start_far_container(
    inside: Environment,
    engine: Engine,
    recipe: Recipe,
    order: Order,
    shown: Sequence[tuple[str, str]],
) -> LinkedHost:
    """Lay a session on the machine where the engine is, and start its container there.

    Args:
        shown: the folders there that the container sees, and where. The folder of sessions in one
            is hidden, as their scripts are run outside of the container.

    Raises:
        LaunchError: the machine cannot be reached, lacks the engine, or has no such image; or one
            of the folders is among the sessions.
    """
    if recipe.pull == "never":
        engine.run("image", "inspect", "--format", "ok", recipe.image, subject=recipe.image)
    recipe = msgspec.structs.replace(recipe, user=recipe.user or _USER)
    words = _quoted(engine.words)
    verb, *further = recipe.create(order, _SESSION, _CONFIG)
    host = _START.format(
        create=f'{words} {verb} "$@" {_quoted(further)}',
        engine=words,
        user=_quoted([recipe.user]),
        name=order.folder.path.name,
        shown="".join(_shown(source, target) for source, target in shown),
    )
    return start_linked(
        inside,
        order,
        host=host,
        kill=_KILL.format(engine=words),
        needs=(engine.words[0],),
    )


def _shown(source: str, target: str) -> str:
    """Return the lines of the shell there that hide the sessions in a folder, or refuse it."""
    refusal = f"{source} is not mounted, as sessions are kept there; name another folder"
    source, target, refusal = (_quoted([word]) for word in (source, target, refusal))
    return _SHOWN.format(source=source, target=target, refusal=refusal)


def signal_far_container(folder: SessionFolder, signum: int) -> None:
    """Send a signal to the host in a container on another machine; SIGKILL ends the container.

    Raises:
        LaunchError: the machine cannot be reached, or the session is gone there.
    """
    try:
        read_far(folder)[0].signal(signum)
    except (LinkCut, FarFailed) as error:
        raise LaunchError(str(error)) from error


def _quoted(words: list[str]) -> str:
    """Return a command of the shell there, which fills in what only it knows."""
    text = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    for sign in (_SESSION, _CONFIG, _USER):
        text = text.replace(sign, f"'\"${sign[1:-1]}\"'")
    return text
