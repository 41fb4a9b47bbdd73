"""What all commands share: settings, options and output."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from claude_mpm.cli.end_signals import EndSignals
from claude_mpm.cli.output import echo, echo_json, is_plain
from claude_mpm.errors import UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from claude_mpm.config.settings import Resolved, Settings
    from claude_mpm.engine.notification import Notify
    from claude_mpm.fleet.places import Place
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.redaction import Redactor
    from claude_mpm.sessions.store import Store


_LINES = 1000  # of a table that are printed together


def json_text(value: Any) -> str:
    """Return a value as JSON that standard output can encode: escaped in a non-UTF-8 locale."""
    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str)).decode()
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # also a file's name that is no text
        return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2)
    return text


class App:
    """The state of one call of `claude-mpm`.

    Args:
        claude_args: the arguments after `--`.
        flags, options, quiet, verbose: as the attributes.
        noted: the notes about the project's file that were shown already; shared with copies.
        end_signals: what ends the command's sessions on a signal; shared with copies.

    Attributes:
        flags: the settings from flags, by their keys.
        options: further keyword arguments for the orchestrator.
        on: the names of places from `--on`; most commands accept one.
        json, quiet, verbose: the chosen output.
    """

    def __init__(
        self,
        claude_args: Sequence[str] = (),
        *,
        flags: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        quiet: bool = False,
        verbose: int = 0,
        noted: set[str] | None = None,
        end_signals: EndSignals | None = None,
    ) -> None:
        self.flags: dict[str, Any] = dict(flags or {})
        self.options: dict[str, Any] = dict(options or {})
        self.claude_args = list(claude_args)
        self.on: tuple[str, ...] = ()
        self.json = False
        self.quiet = quiet
        self.verbose = verbose
        self._resolved: Resolved | None = None
        self._noted: set[str] = set() if noted is None else noted
        self.end_signals = EndSignals() if end_signals is None else end_signals
        self._redactor: Redactor | None = None

    def copy(self, *, silent: bool = False, **flags: Any) -> App:
        """Return an app with the same flags, for another session.

        Args:
            silent: whether it prints nothing but errors.
            flags: further flags, which replace those of the same key.
        """
        return App(
            self.claude_args,
            flags={**self.flags, **flags},
            options=self.options,
            quiet=silent or self.quiet,
            verbose=0 if silent else self.verbose,
            noted=self._noted,
            end_signals=self.end_signals,
        )

    @property
    def resolved(self) -> Resolved:
        """The settings, with the origin of each."""
        if self._resolved is None:
            from claude_mpm.config.settings import load_settings

            self._resolved = load_settings(self.flags)
            if self.on:
                self._resolved = load_settings(self._flags_on_place(self._resolved.settings))
            for note in self._resolved.notes:
                if note not in self._noted:
                    self.note(note)
            self._noted.update(self._resolved.notes)
        return self._resolved

    def _flags_on_place(self, settings: Settings) -> dict[str, Any]:
        """Return the flags with the settings of the place from `--on`; flags have priority.

        Raises:
            UsageError: there is no such place, or several were named, or an orchestrator as well.
        """
        from claude_mpm.fleet.places import find_place
        from claude_mpm.orchestration.factory import load_plugins

        if len(self.on) > 1:
            raise UsageError("--on is given twice; this command runs Claude in one place")
        if "orchestrator" in self.flags:
            raise UsageError("the place is given twice: with --on and with --orchestrator")
        load_plugins(settings.plugins)
        place = find_place(self.on[0], settings.places)
        self.on = ()
        self.options = {**place.arguments(), **self.options}
        self.flags = {**place.settings(), "orchestrator": place.orchestrator, **self.flags}
        return self.flags

    def take_places(self) -> tuple[str, ...]:
        """Return the places from `--on`, for a command that handles several itself."""
        taken, self.on = self.on, ()
        return taken

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.resolved.settings

    def store(self) -> Store:
        """Return the sessions of the state folder."""
        from claude_mpm.sessions.store import Store

        return Store(self.settings.state_dir)

    def orchestrator(self, **options: Any) -> MPMOrchestrator:
        """Return a new orchestrator with the settings and flags.

        Args:
            options: keyword arguments that override both.
        """
        from claude_mpm.orchestration.factory import find_orchestrator, load_plugins

        settings = self.settings
        load_plugins(settings.plugins)
        cls = find_orchestrator(settings.orchestrator).cls
        arguments = {**orchestrator_options(settings, self.claude_args), **self.options, **options}
        if self.resolved.confined_to:
            arguments["confined_to"] = self.resolved.confined_to
        if settings.otel:
            from claude_mpm.cli.tracing import trace

            arguments = trace(arguments)
        try:
            claude = cls(
                framework_path=settings.framework,
                agents_dir=settings.agents_dir,
                log_level=self._log_level(),
                log_dir=settings.log_dir,
                **arguments,
            )
        except TypeError as error:
            raise UsageError(
                f"orchestrator {settings.orchestrator!r} cannot be made: {error};"
                " give what it needs with --option NAME=VALUE"
            ) from error
        self.end_signals.add(claude)
        if notice := claude.leaves_out_settings():
            self.note(notice)
        return claude

    def choose_orchestrator(self, name: str) -> None:
        """Choose an orchestrator, as its flag does."""
        self.flags["orchestrator"] = name
        self._resolved = None

    def choose_place(self, place: Place) -> None:
        """Choose a place; flags have priority over its settings, but for the orchestrator."""
        self.options = {**place.arguments(), **self.options}
        self.flags = {**place.settings(), **self.flags, "orchestrator": place.orchestrator}
        self._resolved = None

    def recall(self, folder: SessionFolder, *, elsewhere: bool = False) -> None:
        """Use the settings with which a session was started; flags have priority.

        Args:
            elsewhere: whether without those of the place that it was started in.

        Raises:
            StorageError: its record is damaged, or may have been written by others.
        """
        folder.check()
        meta = folder.read_meta()
        recorded = dict(meta.options)
        if elsewhere:
            recorded.pop("claude_path", None)
        else:
            recorded["orchestrator"] = meta.orchestrator
        confined = {name: recorded.pop(name) for name in ("confined_to",) if name in recorded}
        if meta.cwd and not elsewhere:
            recorded["cwd"] = meta.cwd
        if meta.starts:
            last = meta.starts[-1]
            recorded["agents_dir"] = last.agents_source or None
            if last.framework_source.startswith("/"):  # a path, not "none" or the packaged one
                recorded["framework"] = last.framework_source
        self.flags = {**recorded, **self.flags}
        place = {} if elsewhere else meta.place
        self.options = {**place, **confined, **self.options}
        self._resolved = None

    def _log_level(self) -> str:
        if self.verbose:
            return "DEBUG" if self.verbose > 1 else "INFO"
        return self.settings.log_level

    @property
    def redactor(self) -> Redactor:
        """Removes the secrets of this process, and of the session in question, from output."""
        if self._redactor is None:
            from claude_mpm.redaction import Redactor, secrets_of

            self._redactor = Redactor(secrets=secrets_of(os.environ))
        return self._redactor

    def know(self, folder: SessionFolder) -> None:
        """Remove the secrets of a session from output too.

        Raises:
            StorageError: the session's record is damaged.
        """
        from claude_mpm.journal.secrets import redactor_of
        from claude_mpm.redaction import secrets_of

        self._redactor = redactor_of(folder, folder.read_meta(), secrets_of(os.environ))

    def note(self, text: str = "", **style: Any) -> None:
        """Print a message on standard error, unless `quiet`.

        Args:
            text: may contain text of Claude, a tool or a file.
            style: as for `click.style`.
        """
        if not self.quiet:
            echo(self.redactor.text(text), err=True, **style)

    def print_error(self, message: str) -> None:
        """Print an error or a warning as one line on standard error, also when quiet."""
        echo(f"claude-mpm: {one_line(self.redactor.text(message))}", err=True)

    def print_json(self, value: Any) -> None:
        """Print a value as JSON on standard output."""
        echo_json(json_text(value))

    def print_table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows: with colours and borders on a terminal, tab-separated in a pipe."""
        if not sys.stdout.isatty():
            cells = (map(partial(one_line, shows=False), row) for row in rows)
            lines = map("\t".join, chain([columns], cells))
            while piece := [*islice(lines, _LINES)]:
                echo("\n".join(piece))
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(one_line(cell) for cell in row))
        # Claude's text is not markup.
        console = Console(
            markup=False, emoji=False, highlight=False, color_system=None if is_plain() else "auto"
        )
        console.print(table)


def notify_of(settings: Settings) -> Notify | None:
    """Return who is notified when a session needs a person; None for nobody.

    Raises:
        UsageError: the setting is no command, or no URL.
    """
    if not (settings.notify or settings.notify_desktop or settings.notify_webhook):
        return None
    import shlex

    from claude_mpm.engine.notification import Notify

    try:
        words = shlex.split(settings.notify or "")
    except ValueError as error:
        raise UsageError(f"`notify` is no command: {error}; close the quotation") from error
    notify = Notify(
        command=tuple(words),
        desktop=settings.notify_desktop,
        webhook=settings.notify_webhook or "",
        secret_file=settings.notify_secret_file or "",
    )
    notify.check()
    return notify


def orchestrator_options(settings: Settings, claude_args: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments of an orchestrator for the settings."""
    from claude_mpm.engine.options import Options

    # A setting and an option of the same name are the same.
    names = [name for name in settings.__struct_fields__ if name in Options.__struct_fields__]
    arguments = {name: getattr(settings, name) for name in names}
    arguments["notify"] = notify_of(settings)
    return {**arguments, "claude_args": [*settings.claude_args, *claude_args]}
