"""What is generated or declared is current: protobuf code, layers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROTOS = sorted(path.relative_to(ROOT) for path in (ROOT / "protos").rglob("*.proto"))
SCRIPTS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code as protoc makes it now."""
    folder = tmp_path_factory.mktemp("generated")
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *map(str, PROTOS)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("suffix", ["_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"])
@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_the_generated_code_is_current(proto: Path, suffix: str, generated: Path) -> None:
    """Whoever changed a .proto has run `make protos`."""
    made = proto.with_name(proto.stem + suffix)
    assert (ROOT / made).read_text() == (generated / made).read_text(), f"run `make protos`: {made} is stale"


def test_the_layers_hold() -> None:
    """The dependencies flow one way, and only the trainer imports torch."""
    done = subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
