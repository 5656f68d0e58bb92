"""Which pods may use a private image that is on the node already: those whose credentials its registry has accepted.

Without this, a pod without any secret could run what another pod's secret has pulled. An image that its registry gives
to everybody, and one that was loaded or pulled by hand, is for all pods. These are the rules of Kubernetes 1.35
(KubeletEnsureSecretPulledImages, NeverVerifyPreloadedImages). Credentials are remembered by keyed fingerprints only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from nodeagent.images.auth import RegistryAuth, matching_auths
from nodeagent.images.layout import IndexEntry
from nodeagent.images.reference import Reference

_KEY_BYTES = 32
_REMEMBERED = 32


class Access:
    """Decides by the fingerprints in the index, made with a key of this store's own."""

    def __init__(self, root: Path) -> None:
        self._key_path = root / "access.key"
        self._key = b""

    def create(self) -> None:
        if not self._key_path.exists():
            staged = self._key_path.with_name(f"access.key.{os.urandom(4).hex()}")
            staged.touch(mode=0o600)
            staged.write_bytes(os.urandom(_KEY_BYTES))
            try:
                os.link(staged, self._key_path)
            except FileExistsError:
                pass
            staged.unlink()
        self._key = self._key_path.read_bytes()

    def allows(self, entry: IndexEntry, reference: Reference, auths: Sequence[RegistryAuth]) -> bool:
        """Whether a pod with ``auths`` may use the image without asking its registry."""
        return not entry.access or any(
            self._fingerprint(auth) in entry.access for auth in matching_auths(auths, reference)
        )

    def after_pull(self, before: IndexEntry | None, source_digest: str, auth: RegistryAuth | None) -> tuple[str, ...]:
        """Who may use an image now that its registry has given it for ``auth``; empty for everybody."""
        if auth is None:
            return ()
        known: tuple[str, ...] = ()
        if before is not None and before.source_digest == source_digest:
            if not before.access:
                return ()
            known = before.access
        mine = self._fingerprint(auth)
        return (*(each for each in known if each != mine), mine)[-_REMEMBERED:]

    def _fingerprint(self, auth: RegistryAuth) -> str:
        text = "\0".join((auth.username, auth.password)).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]
