"""A session in a new container on another machine: its folder lies there, and a link keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.environments.linked import LinkedHost, start_linked

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.container import Recipe
    from claude_mpm.environments.engine import Engine
    from claude_mpm.environments.order import Order

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
    said=$(mkdir -p "$config" && {create} 2>&1) || {{ refused; return; }}
    container=$(echo "$said" | grep -Ex '[0-9a-f]{{64}}')
    echo "$container" >"$session/container"
    echo "container=$container" >>"$session/given/expected"
    [ "$(id -u)" != 0 ] || chown -Rh {user} "$session/given" "$session/exchange" "$config"
    said=$({engine} start "$container" 2>&1) && return
    {engine} rm --force "$container" >/dev/null
    refused"""
_KILL = """if [ "$1" = KILL ]; then
    {engine} kill "$(cat container)"
else
    {engine} exec "$(cat container)" sh -c 'kill -s "$1" "$2"' kill "$1" "$2"
fi >/dev/null 2>&1 || :"""


def start_far_container(
    inside: Environment, engine: Engine, recipe: Recipe, order: Order
) -> LinkedHost:
    """Lay a session on the machine where the engine is, and start its container there.

    Raises:
        LaunchError: the machine cannot be reached, lacks the engine, or has no such image.
    """
    if recipe.pull == "never":
        engine.run("image", "inspect", "--format", "ok", recipe.image, subject=recipe.image)
    recipe = msgspec.structs.replace(recipe, user=recipe.user or _USER)
    words = _quoted(engine.words)
    create = _quoted([*engine.words, *recipe.create(order, _SESSION, _CONFIG)])
    host = _START.format(
        create=create, engine=words, user=_quoted([recipe.user]), name=order.folder.path.name
    )
    return start_linked(
        inside,
        order,
        host=host,
        kill=_KILL.format(engine=words),
        needs=(engine.words[0],),
    )


def _quoted(words: list[str]) -> str:
    """Return a command of the shell there, which fills in what only it knows."""
    text = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    for sign in (_SESSION, _CONFIG, _USER):
        text = text.replace(sign, f"'\"${sign[1:-1]}\"'")
    return text
