"""The whole stack as a person runs it: `kosearch up` on a directory of its own, with free ports."""

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kosearch.client import Client
from kosearch.settings import Settings, load_settings
from kosearch.stack import read_stack
from kosearch.vector_store import VectorStore

KOSEARCH = str(Path(sysconfig.get_path("scripts")) / "kosearch")
COMMAND_TIMEOUT_S = 240


class RunningStack:
    """A stack on `data_dir`, with the commands a person would type."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        own = {name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")}
        self.environment = {**own, "KOSEARCH_DATA_DIR": str(data_dir), "KOSEARCH_STORE__PORT": "0", **settings}

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `kosearch` with these arguments."""
        return subprocess.run(
            [KOSEARCH, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def up(self) -> None:
        """Start it in the background, on free ports."""
        environment = {**self.environment, "KOSEARCH_ENCODER__ADDRESS": "127.0.0.1:0"}
        # Not captured: the processes of the stack would keep a pipe open.
        started = subprocess.run([KOSEARCH, "up", "--detach"], env=environment, timeout=COMMAND_TIMEOUT_S, check=False)
        assert started.returncode == 0, (self.data_dir / "logs" / "supervisor.log").read_text()

    def down(self) -> None:
        """Stop it."""
        self.run("down")

    def pid(self, name: str) -> int:
        """Return the process id of a part: broker, store, encoder, worker or online."""
        stack = read_stack(self.data_dir)
        assert stack is not None
        return next(process.pid for process in stack.processes if process.name == name)

    def processes(self) -> list[psutil.Process]:
        """Return every process of the stack, pool processes of the worker included."""
        stack = read_stack(self.data_dir)
        assert stack is not None
        supervisor = psutil.Process(stack.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def settings(self) -> Settings:
        """Return the settings that lead to it."""
        return load_settings(self.data_dir)

    def client(self) -> Client:
        """Return a client of its service."""
        return Client(self.settings().encoder)

    def count(self, collection: str) -> int:
        """Return the number of points in a collection."""
        store = VectorStore(self.settings().qdrant)
        try:
            return store.count(collection)
        finally:
            store.close()


@contextmanager
def running_stack(data_dir: Path, **settings: str) -> Iterator[RunningStack]:
    """Run a stack inside the block."""
    stack = RunningStack(data_dir, **settings)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for all tests that leave it as it was."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def write_documents(path: Path, count: int) -> Path:
    """Write a JSONL file of documents that all differ, about 120 characters each."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = (
                f"제{number}조 이 조례는 {number % 97}번 구역의 시설을 {number % 13}월부터 연다. "
                f"시설 관리자는 하루 {number % 24}시간 문을 열고, 이용료 {number * 10}원을 받는다."
            )
            file.write(json.dumps({"id": f"doc-{number}", "title": f"제{number}조", "text": text}) + "\n")
    return path
