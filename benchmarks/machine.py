"""What a reader must know of the machine to understand the figures."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def describe(claude: str) -> dict[str, str]:
    """Return the machine's data; neither its name nor a path is among them."""
    said = subprocess.run([claude, "--version"], capture_output=True, text=True, check=True)
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "claude": said.stdout.strip(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
