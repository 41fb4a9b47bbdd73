"""Issues of a repository on GitHub, by the user's own `gh`: its login, its host, its proxy."""

from __future__ import annotations

import json
import re
from typing import Any

from claude_mpm.bridges.program import call_program
from claude_mpm.bridges.trackers import (
    LABEL,
    ClosingTracker,
    Filed,
    Issue,
    TrackerFailed,
    fingerprint_in,
)
from claude_mpm.errors import UsageError

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_MOST_ISSUES = 5000
_PAGE = 100
_MOST_NUMBERS = 10**12


class GitHub(ClosingTracker):
    """Files issues in OWNER/REPO.

    (https://docs.github.com/en/rest/issues/issues; `gh api` of GitHub CLI 2.23.)
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        if not _REPOSITORY.fullmatch(target) or target.endswith("/.."):
            raise UsageError(f"github:{target} names no repository; it is github:OWNER/REPO")

    @property
    def address(self) -> str:
        """The repository."""
        return f"github:{self.target.lower()}"

    def is_public(self) -> bool:
        """Return whether the repository is; one that does not say is."""
        repository = self._call("GET", f"repos/{self.target}")
        return not (isinstance(repository, dict) and repository.get("private") is True)

    def filed(self) -> dict[str, Filed]:
        """Return the issues with our label; an issue without a fingerprint is somebody else's."""
        found: dict[str, Filed] = {}
        for page in range(1, _MOST_ISSUES // _PAGE + 1):
            path = f"repos/{self.target}/issues?labels={LABEL}&state=all&per_page={_PAGE}"
            issues = self._call("GET", f"{path}&page={page}&sort=created&direction=asc")
            if not isinstance(issues, list):
                raise TrackerFailed(f"{self.address}: gh printed no list of issues; push again")
            for issue in issues:
                body = issue.get("body") if isinstance(issue, dict) else None
                name = fingerprint_in(body) if isinstance(body, str) else None
                if name and name not in found:  # the oldest counts
                    found[name] = Filed(self._number_of(issue), str(issue.get("state")))
            if len(issues) < _PAGE:
                break
        return found

    def create(self, issue: Issue) -> str:
        """File an issue with the label and the ticket's type."""
        made = self._call(
            "POST",
            f"repos/{self.target}/issues",
            {"title": issue.title, "body": issue.marked_body, "labels": [LABEL, issue.type]},
        )
        return self._number_of(made)

    def comment(self, number: str, text: str) -> None:
        """Add a comment to an issue."""
        self._call("POST", f"repos/{self.target}/issues/{int(number)}/comments", {"body": text})

    def close(self, number: str) -> None:
        """Close an issue."""
        self._call("PATCH", f"repos/{self.target}/issues/{int(number)}", {"state": "closed"})

    def _number_of(self, issue: Any) -> str:
        """Return the number of an issue.

        Raises:
            TrackerFailed: it has none.
        """
        number = issue.get("number") if isinstance(issue, dict) else None
        if not isinstance(number, int) or not 0 < number < _MOST_NUMBERS or number is True:
            raise TrackerFailed(f"{self.address}: gh gave an issue without a number; push again")
        return str(number)

    def _call(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        """Call the API and return what it says.

        Raises:
            TrackerFailed: `gh` is missing, the API refused, or there is no answer.
        """
        return call_program(
            ["gh", "api", "-X", method, path, *(["--input", "-"] if data else [])],
            json.dumps(data) if data else None,
            of=self.address,
            install="install GitHub's command, then gh auth login",
            keeps_open=self.keeps_open,
        )
