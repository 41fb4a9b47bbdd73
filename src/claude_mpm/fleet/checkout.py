"""A task's own checkout: a git worktree in its place, with a branch where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import LaunchError
from claude_mpm.fleet.in_place import run_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Wrap = Callable[[Sequence[str]], list[str]]

_PATIENCE = 600.0  # seconds for git
# Where Claude Code keeps worktrees of its own: trust in the repository reaches there.
_MAKE = """
set -e
revision=$1 branch=$2 name=$3
top=$(git rev-parse --show-toplevel)
cd "$top"
exclude=$(git rev-parse --git-path info/exclude)
mkdir -p "${exclude%/*}" .claude/worktrees
grep -qxF /.claude/worktrees/ "$exclude" 2>/dev/null || echo /.claude/worktrees/ >>"$exclude"
path=$top/.claude/worktrees/$name
if [ -e "$path" ]; then git worktree remove --force --force "$path" || rm -rf "$path"; fi
git worktree prune
base=$(git rev-parse --verify --quiet --end-of-options "$revision^{commit}") || {
    echo "there is no revision $revision in $top"
    exit 1
}
if [ -n "$branch" ]; then
    git -c core.hooksPath=/dev/null worktree add --quiet -B "$branch" "$path" "$base"
else
    git -c core.hooksPath=/dev/null worktree add --quiet --detach "$path" "$base"
fi
echo "$base" >"$(git -C "$path" rev-parse --absolute-git-dir)/claude-mpm-base"
printf '%s\\n' "$path"
"""
# Commits what was left, without hooks: they are the repository's.
_FINISH = """
set -e
branch=$1 message=$2
base=$(cat "$(git rev-parse --absolute-git-dir)/claude-mpm-base")
quiet="-c core.hooksPath=/dev/null -c core.fsmonitor=false -c commit.gpgSign=false"
if [ -n "$branch" ] && [ -n "$(git $quiet status --porcelain)" ]; then
    git $quiet add --all
    if [ -z "$(git config user.email)" ]; then
        quiet="$quiet -c user.name=claude-mpm -c user.email=claude-mpm@localhost"
    fi
    git $quiet commit --quiet --no-verify --message "$message"
fi
if [ "$(git rev-parse HEAD)" != "$base" ] || [ -n "$(git $quiet status --porcelain)" ]; then
    echo kept
else
    echo unchanged
fi
"""
_REMOVE = """
set -e
branch=$1 path=$PWD
cd "$(git rev-parse --path-format=absolute --git-common-dir)"
git worktree remove --force "$path"
if [ -n "$branch" ]; then git branch --quiet -D "$branch"; fi
"""


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkout is made of.

    Args:
        repository: a folder of a git repository, as the place knows it.
        revision: what is checked out.
        branch: made for it; empty for none.
        name: of its folder.
        message: of the commit of what was left uncommitted.
    """

    repository: str
    revision: str = "HEAD"
    branch: str = ""
    name: str
    message: str = ""


def make_checkout(checkout: Checkout, wrap: Wrap, environ: Mapping[str, str] | None = None) -> str:
    """Make it again, and return its folder as the place knows it.

    Raises:
        LaunchError: there is no such repository or revision, or git refuses.
    """
    words = ["sh", "-c", _MAKE, "make", checkout.revision, checkout.branch, checkout.name]
    done = run_in_place(wrap, words, folder=checkout.repository, timeout=_PATIENCE, environ=environ)
    lines = done.output.decode("utf-8", "replace").splitlines()
    if done.status != 0 or not lines:
        raise LaunchError(
            f"no checkout of {checkout.repository}: {done.said or 'git says nothing'};"
            " check `repository` and `revision`"
        )
    return lines[-1]


def finish_checkout(
    checkout: Checkout, folder: str, wrap: Wrap, environ: Mapping[str, str] | None = None
) -> bool:
    """Commit what was left on its branch, and return whether anything was changed.

    Raises:
        LaunchError: git refuses; the checkout stays as it is.
    """
    words = ["sh", "-c", _FINISH, "finish", checkout.branch, checkout.message]
    done = run_in_place(wrap, words, folder=folder, timeout=_PATIENCE, environ=environ)
    if done.status != 0:
        raise LaunchError(f"the checkout {folder} stays as it is: {done.said}")
    return done.output.split()[-1:] == [b"kept"]


def remove_checkout(
    checkout: Checkout, folder: str, wrap: Wrap, environ: Mapping[str, str] | None = None
) -> None:
    """Remove one in which nothing was changed, with its branch.

    Raises:
        LaunchError: git refuses.
    """
    words = ["sh", "-c", _REMOVE, "remove", checkout.branch]
    done = run_in_place(wrap, words, folder=folder, timeout=_PATIENCE, environ=environ)
    if done.status != 0:
        raise LaunchError(f"the checkout {folder} is left: {done.said}")
