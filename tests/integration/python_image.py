"""A Python for containers, made of the one that runs the tests, so that they can make any system call."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from nodeagent.images.image import Image, ImageConfig

_LEFT_OUT = shutil.ignore_patterns("test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "*.a")
_LIBRARY = re.compile(r"(/\S+) \(0x")


@dataclass(frozen=True)
class PythonImage:
    """An image store with one image: busybox below, Python above."""

    layers: tuple[Path, ...]

    async def ensure(self, reference: str, *, policy: str, auths: object = ()) -> Image:
        return Image("sha256:1", "sha256:2", (reference,), ImageConfig(cmd=("sh",)), self.layers, 1)


def add_python(layer: Path) -> Path:
    """A layer beside ``layer`` with the interpreter at its own path and a link to it at ``/python``."""
    made = layer.with_name("python")
    interpreter, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, made / str(library).lstrip("/"), ignore=_LEFT_OUT)
    modules = Path(sysconfig.get_config_var("DESTSHARED") or library / "lib-dynload")
    if not (made / str(modules).lstrip("/")).exists():
        shutil.copytree(modules, made / str(modules).lstrip("/"))
    for file in {interpreter, *_libraries([interpreter, *modules.glob("_ctypes*.so"), *modules.glob("_socket*.so")])}:
        target = made / str(file).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (made / "python").symlink_to(interpreter)
    return made


def _libraries(files: list[Path]) -> set[Path]:
    """The shared libraries, the loader among them, by the paths where programs look for them."""
    text = subprocess.run(["ldd", *map(str, files)], check=True, capture_output=True, text=True).stdout
    return {Path(found) for found in _LIBRARY.findall(text)}
