"""The number of files a process may have open.

A login shell gives 1024, which an agent passes with some hundred containers (eight files each, most for the samples of
their cgroups) and a server with some hundred watchers. systemd's units set the limit themselves.
"""

from __future__ import annotations

import resource

# Beyond this, programs that go through all possible descriptors take minutes.
MAXIMUM_DESCRIPTORS = 1 << 20


def raise_descriptor_limit() -> None:
    """Use what the hard limit allows; what this process starts inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAXIMUM_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAXIMUM_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
