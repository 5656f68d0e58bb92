"""AppArmor profiles of containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime.apparmor import apparmor_profile, loaded_profiles
from nodeagent.runtime.errors import ContainerConfigError


@pytest.mark.parametrize(
    "context", [{}, {"appArmorProfile": {"type": "Unconfined"}}, {"privileged": True, "appArmorProfile": {"type": "x"}}]
)
def test_no_profile(context: dict[str, Any]) -> None:
    """None unless one is asked for, and never for privileged containers."""
    assert apparmor_profile({}, context) == ""


def test_a_profile_that_nobody_has_loaded(tmp_path: Path) -> None:
    """It is named, and how to load it; the pod's counts where the container has none."""
    pod = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "no-such-profile"}}
    with pytest.raises(ContainerConfigError, match='"no-such-profile" is not loaded on the node'):
        apparmor_profile(pod, {})
    listing = tmp_path / "profiles"
    listing.write_text("docker-default (enforce)\n/usr/bin/man (complain)\n")
    assert loaded_profiles(listing) == {"docker-default", "/usr/bin/man"}
    assert loaded_profiles(tmp_path / "none") == set()
