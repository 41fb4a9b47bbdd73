"""The plugin for pytest: a test with the argument `mpm_contract` runs once for each contract.

def test_my_place(mpm_contract):
    mpm_contract.check_environment(MyPlace)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give such a test each contract in turn, under its name; called by pytest."""
    if "mpm_contract" in metafunc.fixturenames:
        from claude_mpm.testing.check import contracts

        every = contracts()
        metafunc.parametrize("mpm_contract", every, ids=[contract.name for contract in every])
