"""`make demo`: the main job once through, with the commands a person would type.

Stack up, the sample corpus and the nine sentences of the SentenceBERT-KoBERT README indexed by the worker, the README's
three queries and some more answered, stack down. Exit code 1 when an answer is not what the README shows.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import orjson
import psutil

import kosearch
from kosearch.stack import read_stack

_SAMPLE = Path(kosearch.__file__).parent / "sample"
_DATA_DIR = Path(".demo")
_COLLECTION = "sample"
# Query and first hit. Source: the README of SentenceBERT-KoBERT, "semantic search".
_README_ANSWERS = {
    "한 남자가 파스타를 먹는다.": "한 남자가 음식을 먹는다.",
    "고릴라 의상을 입은 누군가가 드럼을 연주하고 있다.": "원숭이 한 마리가 드럼을 연주한다.",
    "치타가 들판을 가로 질러 먹이를 쫓는다.": "치타 한 마리가 먹이 뒤에서 달리고 있다.",
}
_MORE_QUERIES = 3


def main() -> int:
    """Run the demonstration. Returns the exit code."""
    began = time.monotonic()
    shutil.rmtree(_DATA_DIR, ignore_errors=True)
    # Free ports, so that the demonstration runs beside anything else.
    os.environ |= {
        "KOSEARCH_DATA_DIR": str(_DATA_DIR.resolve()),
        "KOSEARCH_ENCODER__ADDRESS": "127.0.0.1:0",
        "KOSEARCH_STORE__PORT": "0",
    }
    _kosearch("up", "--detach")
    # The stack has published its ports; from here on its data directory leads to it.
    del os.environ["KOSEARCH_ENCODER__ADDRESS"]
    pids = _stack_pids()
    try:
        _kosearch("status")
        sources = [str(_SAMPLE / name) for name in ("documents.jsonl", "readme_sentences.jsonl")]
        _kosearch("index", *sources, "--collection", _COLLECTION, "--wait")
        failures = [query for query, answer in _README_ANSWERS.items() if answer not in _search(query)[:2]]
        for line in (_SAMPLE / "queries.jsonl").read_bytes().splitlines()[:_MORE_QUERIES]:
            _search(orjson.loads(line)["query"])
    finally:
        _kosearch("down")
    left = [pid for pid in pids if psutil.pid_exists(pid)]
    for query in failures:
        _say(f"틀렸습니다 / wrong: {query!r} should find {_README_ANSWERS[query]!r} among the first two")
    if left:
        _say(f"아직 실행 중입니다 / still running: {left}")
    if not failures and not left:
        took_s = time.monotonic() - began
        _say(f"\nREADME의 세 질의에 맞게 답했습니다 / the README's three queries are answered right ({took_s:.1f} s)")
    return 1 if failures or left else 0


def _search(query: str) -> list[str]:
    """Search, show the hits, return their texts."""
    arguments = ["search", query, "--collection", _COLLECTION, "--top-k", "3"]
    _kosearch(*arguments)
    answer = subprocess.run([_command(), *arguments, "--json"], check=True, capture_output=True).stdout
    return [hit["text"] for hit in orjson.loads(answer)["hits"]]


def _kosearch(*arguments: str) -> None:
    shown = " ".join(f'"{word}"' if " " in word else _short(word) for word in arguments)
    _say(f"\n$ kosearch {shown}")
    subprocess.run([_command(), *arguments], check=True)


def _short(word: str) -> str:
    return os.path.relpath(word) if os.path.isabs(word) else word


def _stack_pids() -> list[int]:
    stack = read_stack(Path(os.environ["KOSEARCH_DATA_DIR"]))
    assert stack is not None
    return [stack.pid, *(process.pid for process in stack.processes)]


def _command() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "kosearch")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:  # the command has said what is wrong
        sys.exit(error.returncode)
