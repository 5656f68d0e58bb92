"""How many files a process may have open."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
from flotilla.descriptors import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_follows_the_hard_one() -> None:
    """What a login shell allows is not enough for a node full of pods."""
    output = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["4096", "4096"]
