"""The options that the commands share, as click has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.flags import SETTINGS, Flag
from claude_mpm.printable import exact_line
from claude_mpm.validation import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Command = TypeVar("Command", bound=Callable[..., Any])


def _keep(key: str, value: Any = None) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that stores a flag; `value` replaces a bare flag's True."""

    def callback(context: click.Context, _: click.Parameter, argument: Any) -> None:
        if argument is None or argument is False or argument == ():
            return
        flags = context.ensure_object(App).flags
        if isinstance(argument, tuple):
            flags[key] = [*flags.get(key, ()), *argument]
        else:
            flags[key] = argument if value is None else value[0]

    return callback


def _keep_attribute(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, argument: Any) -> None:
        if argument:
            setattr(context.ensure_object(App), name, argument)

    return callback


def named_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE; one that is JSON is what that says.

    Raises:
        click.BadParameter: one is something else.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        if not is_text(pair):
            raise click.BadParameter(f"{exact_line(pair)} is not UTF-8")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
        except RecursionError as error:
            raise click.BadParameter(f"the value of {name!r} is nested too deeply") from error
    return found


def _keep_options(context: click.Context, _: click.Parameter, argument: tuple[str, ...]) -> None:
    context.ensure_object(App).options.update(named_values(argument))


def _option(*names: str, key: str, value: Any = None, **rest: Any) -> Callable[[Command], Command]:
    return click.option(*names, callback=_keep(key, value), expose_value=False, **rest)


def _setting(flag: Flag) -> Callable[[Command], Command]:
    """Return click's option for one that sets a setting."""
    if not flag.metavar:
        return _option(flag.name, key=flag.key, value=(flag.value,), is_flag=True, help=flag.help)
    more: dict[str, Any] = {} if flag.kind is str else {"type": flag.kind}
    more |= {"multiple": True} if flag.many else {}
    return _option(flag.name, key=flag.key, metavar=flag.metavar, help=flag.help, **more)


# In the order of the help: `--on` stands beside the orchestrator, which is the first setting.
_COMMON = (
    _setting(SETTINGS[0]),
    click.option(
        "--on", multiple=True, metavar="PLACE", callback=_keep_attribute("on"), expose_value=False,
        help="The place, by its name in the settings.",
    ),
    *map(_setting, SETTINGS[1:]),
    click.option(
        "-o", "--option", multiple=True, metavar="NAME=VALUE", callback=_keep_options,
        expose_value=False, help="A further argument of the orchestrator.",
    ),
    click.option(
        "--json", is_flag=True, callback=_keep_attribute("json"), expose_value=False,
        help="Print JSON.",
    ),
    click.option(
        "--quiet", is_flag=True, callback=_keep_attribute("quiet"), expose_value=False,
        help="Print nothing but the result.",
    ),
    click.option(
        "-v", "--verbose", count=True, callback=_keep_attribute("verbose"), expose_value=False,
        help="Log to standard error; twice for more.",
    ),
)  # fmt: skip


def state_dir_option(help_: str) -> Callable[[Command], Command]:
    """Return the option for the state folder."""
    return _option("--state-dir", key="state_dir", metavar="DIR", help=help_)


as_command = click.option(
    "--as-command", "command", is_flag=True,
    help="Take /WORD and @PATH in the prompt as Claude Code takes what is typed.",
)  # fmt: skip


def common_options(command: Command) -> Command:
    """Add the options that all commands have."""
    for option in reversed(_COMMON):
        command = option(command)
    return command
