"""Named places: how they are found, how many sessions each takes, whether they answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.config.fields import NamedPlace, Settings
from claude_mpm.errors import UsageError
from claude_mpm.orchestration.factory import find_orchestrator
from claude_mpm.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CHOICE = re.compile(r"(?P<name>[^:]+?)(?::(?P<number>[0-9]{1,5}))?")
# Not for a place to say: who runs Claude has a field of its own, and the rest is one session's.
_NO_OPTIONS = frozenset(
    {"orchestrator", "places", "state_dir", "plugins", "session_id", "resume", "environment"}
    | {"notify", "notify_desktop", "notify_webhook", "notify_secret_file"}
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where sessions are started, and how many at the same time.

    Args:
        name: what it is called.
        orchestrator: the registered orchestrator that runs Claude there.
        options: its keyword arguments; they may hold secrets, so they are written down nowhere.
        at_once: how many sessions of a batch it takes at the same time.
        account: whose rate limit its sessions use up.
    """

    name: str
    orchestrator: str = "local"
    options: dict[str, Any] = {}
    at_once: int = 4
    account: str = "default"

    def settings(self) -> dict[str, Any]:
        """Return those of its options that are settings as well."""
        known = Settings.__struct_fields__
        return {name: value for name, value in self.options.items() if name in known}

    def arguments(self) -> dict[str, Any]:
        """Return those that are arguments of its orchestrator alone."""
        known = Settings.__struct_fields__
        return {name: value for name, value in self.options.items() if name not in known}


def find_place(name: str, places: Mapping[str, NamedPlace]) -> Place:
    """Return the place with a name; an orchestrator's own name stands for it without options.

    Raises:
        UsageError: there is none, or its options have one that no place may set.
    """
    if name in places:
        found = places[name]
        if wrong := sorted(_NO_OPTIONS.intersection(found.options)):
            raise UsageError(
                f"place {name!r}: `{wrong[0]}` is no option of a place; remove it from"
                f" [places.{name}.options]"
            )
        return Place(name=name, **msgspec.structs.asdict(found))
    try:
        return Place(name=name, orchestrator=find_orchestrator(name).name)
    except UsageError as error:
        near = nearest(name, places)
        hint = f"did you mean {near!r}? " if near else ""
        known = ", ".join(sorted(places)) or "none"
        raise UsageError(
            f"there is no place {name!r}; {hint}named in the settings: {known};"
            f" add [places.{name}] there, or name an orchestrator"
        ) from error


def choose_places(choices: Iterable[str], places: Mapping[str, NamedPlace]) -> list[Place]:
    """Return the places of `NAME` or `NAME:NUMBER`, in their order.

    Raises:
        UsageError: there is no such place, a number is none, or a place is named twice.
    """
    chosen: dict[str, Place] = {}
    for choice in choices:
        found = _CHOICE.fullmatch(choice)
        if found is None:
            raise UsageError(f"--on {choice}: that is not NAME or NAME:NUMBER, as in build:4")
        place = find_place(found["name"], places)
        if place.name in chosen:
            raise UsageError(f"--on {choice}: {place.name!r} is named twice; give one number")
        if found["number"]:
            place = msgspec.structs.replace(place, at_once=int(found["number"]))
        chosen[place.name] = place
    return list(chosen.values())
