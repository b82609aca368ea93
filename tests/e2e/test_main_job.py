"""Index, search and encode on a running stack, with the commands of the README."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import kosearch
from tests.e2e.conftest import RunningStack, running_stack, write_documents
from tests.real_qdrant import running_qdrant, why_unavailable

SAMPLE = Path(kosearch.__file__).parent / "sample"


@pytest.fixture(scope="session")
def indexed(stack: RunningStack) -> RunningStack:
    """The stack with the sample corpus in collection `sample`."""
    sources = [str(SAMPLE / name) for name in ("documents.jsonl", "readme_sentences.jsonl")]
    done = stack.run("index", *sources, "--collection", "sample", "--wait")
    assert done.returncode == 0, done.stderr
    return stack


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("한 남자가 파스타를 먹는다.", "한 남자가 음식을 먹는다."),
        ("고릴라 의상을 입은 누군가가 드럼을 연주하고 있다.", "원숭이 한 마리가 드럼을 연주한다."),
        ("치타가 들판을 가로 질러 먹이를 쫓는다.", "치타 한 마리가 먹이 뒤에서 달리고 있다."),
    ],
)
def test_readme_query_finds_its_answer_among_the_first_two(indexed: RunningStack, query: str, answer: str) -> None:
    """The three queries of the SentenceBERT-KoBERT README find their first hit between 289 other documents."""
    found = indexed.run("search", query, "--collection", "sample", "--top-k", "2", "--json")
    assert answer in [hit["text"] for hit in json.loads(found.stdout)["hits"]]


def test_filter_leaves_only_matching_documents(indexed: RunningStack) -> None:
    """A filter on a field of the source holds for every hit."""
    found = indexed.run(
        "search", "집에서 만들기 좋은 것", "--collection", "sample", "--filter", "category=요리", "--json"
    )
    hits = json.loads(found.stdout)["hits"]
    assert hits
    assert {hit["payload"]["category"] for hit in hits} == {"요리"}


def test_encode_prints_one_row_a_line(indexed: RunningStack) -> None:
    """`kosearch encode --json` prints an embedding of length 1 for each line of its input."""
    done = indexed.run("encode", "--json", stdin="첫째 줄\n둘째 줄\n")
    rows = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    assert [round(sum(value * value for value in row), 3) for row in rows] == [1.0, 1.0]


def test_bad_lines_are_listed_and_good_ones_indexed(indexed: RunningStack, tmp_path: Path) -> None:
    """Exit code 3: the good lines are in, every bad one is listed with line number and reason."""
    lines = [
        b'{"id": "a", "text": "\xec\xb2\xab\xec\xa7\xb8 \xeb\xac\xb8\xec\x84\x9c"}',
        b'{"id": "b", "text": ',
        b'{"id": "c"}',
        b'{"id": "d", "text": "\xff\xfe"}',
        b'{"id": "a", "text": "\xeb\x98\x90"}',
        b'{"id": "e", "text": "' + b"x" * (10 << 20) + b'"}',
        b'{"id": "f", "text": "\xeb\x81\x9d"}',
    ]
    source = tmp_path / "mixed.jsonl"
    source.write_bytes(b"\n".join(lines))
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    done = indexed.run("index", str(source), str(empty), "--collection", "mixed", "--wait")
    assert done.returncode == 3
    assert indexed.count("mixed") == 2
    for line, reason in ((2, "malformed_json"), (3, "missing_field"), (4, "invalid_utf8"), (5, "duplicate_id")):
        assert f"{source}:{line}: {reason}" in done.stderr
    assert f"{source}:6: line_too_long" in done.stderr
    assert f"{empty}: empty_file" in done.stderr


def test_indexing_again_replaces_documents(indexed: RunningStack, tmp_path: Path) -> None:
    """A document that became shorter leaves no chunk of its longer version behind."""
    source = tmp_path / "changing.jsonl"
    long_text = " ".join(f"{number}번째 문장은 이 문서를 길게 만든다." for number in range(200))
    source.write_text(json.dumps({"id": "x", "text": long_text}), encoding="utf-8")
    indexed.run("index", str(source), "--collection", "changing", "--wait")
    assert indexed.count("changing") > 2
    source.write_text(json.dumps({"id": "x", "text": "짧아졌다."}), encoding="utf-8")
    indexed.run("index", str(source), "--collection", "changing", "--wait")
    assert indexed.count("changing") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("search", "질의", "--collection", "nowhere"), 2, "nowhere"),
        (("search", "  ", "--collection", "sample"), 2, "empty"),
        (("search", "질의", "--collection", "sample", "--filter", "nonsense"), 2, "no condition"),
        (("index", "missing.jsonl", "--collection", "x"), 2, "no file or folder missing.jsonl"),
        (("index", str(SAMPLE / "README.md"), "--collection", "a/b"), 2, "not a collection name"),
        (("watch", "no-such-job"), 2, "no-such-job"),
    ],
)
def test_bad_input_gets_a_message_and_code_2(
    indexed: RunningStack, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """What the user got wrong is named, without a traceback."""
    done = indexed.run(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_typed_by_hand_joins_the_stack(indexed: RunningStack, tmp_path: Path) -> None:
    """`celery -A indexer_worker worker` in another shell takes its share of the partitions."""
    celery = [sys.executable, "-m", "celery", "-A", "indexer_worker", "worker", "--hostname", "second@%h"]
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(celery, env=indexed.environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "ready" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        source = write_documents(tmp_path / "shared.jsonl", 3000)
        done = indexed.run("index", str(source), "--collection", "shared", "--wait")
    finally:
        worker.terminate()
        worker.wait(timeout=60)
    assert done.returncode == 0, done.stderr
    assert indexed.count("shared") == 3000
    assert "partition.indexed" in log.read_text()


def test_the_wrong_key_is_refused(indexed: RunningStack) -> None:
    """Nobody gets in without the stack's key, neither to the service nor to the store."""
    settings = indexed.settings()
    stranger = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")},
        "KOSEARCH_DATA_DIR": "/nonexistent",
        "KOSEARCH_ENCODER__ADDRESS": settings.encoder.address,
    }
    command = [*indexed_command(), "search", "질의", "--collection", "sample"]
    done = subprocess.run(command, env=stranger, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "API key" in done.stderr


def indexed_command() -> list[str]:
    """Return the command line's own start."""
    return [sys.executable, "-c", "from kosearch.cli import main; main()"]


def test_bulk_work_stands_back(stack: RunningStack) -> None:
    """Where the cores are wanted by others; whatever answers somebody does not."""
    standing_back = {name: psutil.Process(stack.pid(name)).nice() for name in ("encoder", "store", "online", "worker")}
    of_all = psutil.Process().nice()
    expected = {"encoder": of_all, "store": of_all, "online": of_all, "worker": min(19, of_all + 5)}
    assert standing_back == expected


def test_nothing_is_left_after_down(tmp_path: Path) -> None:
    """`kosearch down` ends every process of the stack; `status` then says so with exit code 1."""
    with running_stack(tmp_path / "data") as stack:
        processes = stack.processes()
        assert stack.run("status").returncode == 0
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert stack.run("status").returncode == 1


def test_without_a_stack_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    """No stack: exit code 1 and the command that starts one."""
    done = RunningStack(tmp_path, KOSEARCH_ENCODER__ADDRESS="127.0.0.1:9").run("search", "질의", "--collection", "x")
    assert done.returncode == 1
    assert "kosearch up" in done.stderr


def test_two_stacks_on_one_directory_are_refused(stack: RunningStack) -> None:
    """The second `kosearch up` names the directory and leaves the first one running."""
    second = stack.run("up")
    assert second.returncode == 3
    assert str(stack.data_dir) in second.stderr
    assert stack.run("status").returncode == 0


def test_a_port_in_use_is_named(stack: RunningStack, tmp_path: Path) -> None:
    """The address that is taken and the setting that moves it are in the message."""
    address = stack.settings().encoder.address
    done = RunningStack(tmp_path / "data", KOSEARCH_ENCODER__ADDRESS=address).run("up")
    assert done.returncode == 3
    assert address in done.stderr
    assert "KOSEARCH_ENCODER__ADDRESS" in done.stderr


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_the_same_on_a_real_qdrant_server(tmp_path: Path) -> None:
    """With KOSEARCH_QDRANT__URL set, the stack starts no store and indexes and searches in the server."""
    with running_qdrant() as server:
        settings = {
            "KOSEARCH_QDRANT__URL": f"http://{server.host}:6333",
            "KOSEARCH_QDRANT__GRPC_PORT": str(server.grpc_port),
        }
        if server.api_key:
            settings["KOSEARCH_QDRANT__API_KEY"] = server.api_key
        with running_stack(tmp_path / "data", **settings) as stack:
            source = str(SAMPLE / "readme_sentences.jsonl")
            done = stack.run("index", source, "--collection", "kosearch-e2e", "--wait")
            found = stack.run(
                "search", "누가 드럼을 치고 있다", "--collection", "kosearch-e2e", "--top-k", "1", "--json"
            )
            names = [process.name for process in _published(stack)]
            store_count = stack.count("kosearch-e2e")
    assert done.returncode == 0, done.stderr
    assert store_count == 9
    assert json.loads(found.stdout)["hits"][0]["text"] == "원숭이 한 마리가 드럼을 연주한다."
    assert names == ["broker", "encoder", "worker", "online"]


def _published(stack: RunningStack) -> tuple[kosearch.stack.ProcessState, ...]:
    running = kosearch.stack.read_stack(stack.data_dir)
    assert running is not None
    return running.processes
