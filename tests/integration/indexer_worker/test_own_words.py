"""Words of the user, taught while the whole stack runs."""

import json
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from kosearch.client import Client
from kosearch.documents import Document
from kosearch.errors import InvalidRequestError, UnauthenticatedError
from kosearch.korean.dictionary import UserWord
from kosearch.reanalyses import ReanalysisState
from kosearch.search_client import SearchOptions
from kosearch.sparse_vectors import sparse_vector
from tests.integration.indexer_worker.conftest import KEY, Stack
from tests.integration.indexer_worker.neighbours import environment, wait_until
from tests.integration.indexer_worker.test_worker import write

pytestmark = pytest.mark.timeout(280)

KOSEARCH = Path(sysconfig.get_path("scripts")) / "kosearch"
MARKET = "당근마켓"
TEXTS = {
    "sold": "당근마켓에서 자전거를 팔았다.",
    "closed": "어제 당근마켓은 일찍 닫았다.",
    "parts": "당근과 양파를 마켓에서 샀다.",
}


def run(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command against the stack."""
    return subprocess.run(
        [KOSEARCH, *arguments],
        env=environment(KOSEARCH_DATA_DIR=str(stack.settings.data_dir), **stack.variables),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def teach(stack: Stack, *arguments: str) -> str:
    """Change the dictionary and wait. Returns what was printed."""
    done = run(stack, "dictionary", *arguments, "--wait")
    assert done.returncode == 0, done.stderr
    return done.stdout


def vectors(stack: Stack, collection: str) -> dict[str, tuple[bytes, dict[int, float]]]:
    """Return embedding and words of each document's only chunk, read past our own code."""
    client = stack.store.client(headers={"api-key": KEY})
    points, _ = client.scroll(collection, limit=100, with_payload=True, with_vectors=True)
    client.close()
    found = {}
    for point in points:
        assert point.payload is not None
        assert isinstance(point.vector, dict)
        sparse = point.vector["lexical"]
        assert isinstance(sparse, models.SparseVector)
        embedding = np.array(point.vector[""], dtype=np.float32).tobytes()
        found[point.payload["document_id"]] = embedding, dict(zip(sparse.indices, sparse.values, strict=True))
    return found


def matched(stack: Stack, collection: str, query: str) -> dict[str, set[str]]:
    """Return which words of a query each document has."""
    hits = stack.client.search(query, collection, options=SearchOptions(mode="lexical", explains=True))
    return {hit.id: {term.term for term in hit.explanation.matched_terms} for hit in hits if hit.explanation}


def test_a_name_is_taught_and_forgotten_while_everything_runs(stack: Stack, tmp_path: Path) -> None:
    """Only what holds it changes, and only the words of that; in the end everything is as it was."""
    path = write(tmp_path / "a.jsonl", *({"id": name, "text": text} for name, text in TEXTS.items()))
    stack.index(path, "taught")
    before = vectors(stack, "taught")
    (term,) = sparse_vector({MARKET: 1.0}).indices.tolist()
    assert all(term not in words for _, words in before.values())
    teach(stack, "add", MARKET)
    after = vectors(stack, "taught")
    assert {name: embedding for name, (embedding, _) in after.items()} == {
        name: embedding for name, (embedding, _) in before.items()
    }
    assert {name for name, (_, words) in after.items() if term in words} == {"sold", "closed"}
    assert after["parts"] == before["parts"]
    # Queries are taught within seconds, too.
    wait_until(lambda: matched(stack, "taught", f"{MARKET}은 어때?").get("sold", set()) >= {MARKET}, 60)
    found = matched(stack, "taught", MARKET)
    assert {name for name, terms in found.items() if MARKET in terms} == {"sold", "closed"}
    # What comes later has the word at once, and what is there is not indexed again because of it.
    stack.client.push_documents("taught", [Document("pushed", "새 당근마켓을 열었다.")])
    assert term in vectors(stack, "taught")["pushed"][1]
    again, _ = stack.index(path, "taught", options=None)
    assert (again.documents_unchanged, again.documents_indexed) == (3, 0)
    stack.client.delete_documents("taught", ["pushed"])
    printed = teach(stack, "remove", MARKET)
    assert "taught" in printed
    assert vectors(stack, "taught") == before
    assert {each.state for each in stack.client.reanalyses()} == {ReanalysisState.SUCCEEDED}


def test_words_of_a_file_are_taught_and_listed(stack: Stack, tmp_path: Path) -> None:
    """By form, with their tags; what is there already is no change."""
    file = tmp_path / "words.txt"
    file.write_text("# 제품\n뤼튼\niPhone15\tSL\n갤럭시 S24\n", encoding="utf-8")
    assert "바뀐 낱말 3개" in teach(stack, "add-file", str(file))
    assert "바뀐 낱말 0개" in teach(stack, "add-file", str(file))
    assert run(stack, "dictionary", "list").stdout.splitlines() == ["iPhone15\tSL", "갤럭시 S24\tNNP", "뤼튼\tNNP"]
    listed = json.loads(run(stack, "dictionary", "list", "--json").stdout)
    assert listed["words"][0] == {"form": "iPhone15", "tag": "SL"}
    teach(stack, "remove", "뤼튼", "iPhone15", "갤럭시 S24", "없는낱말")
    assert stack.client.words().words == ()
    assert stack.client.words().version == listed["version"] + 1
    rows = json.loads(run(stack, "dictionary", "status", "--wait", "--json").stdout)["reanalyses"]
    assert {row["state"] for row in rows} <= {"succeeded"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "!!!"], "no letter and no digit"),
        (["add", "뤼튼", "--tag", "VV"], "choose one of"),
        (["add-file", "none.txt"], "cannot be read"),
    ],
)
def test_what_cannot_be_a_word_is_bad_input(arguments: list[str], complaint: str, stack: Stack) -> None:
    """Nothing is changed, and nothing is asked of the service."""
    done = run(stack, "dictionary", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_the_service_refuses_what_cannot_be_a_word(stack: Stack) -> None:
    """Whatever client it comes from."""
    before = stack.client.words()
    for words in ([], [UserWord("뤼튼"), UserWord("뤼 튼 ")], [UserWord("뤼튼", "JKS")]):
        with pytest.raises(InvalidRequestError):
            stack.client.put_words(words)
    with pytest.raises(InvalidRequestError, match="10,001 words given; name 1 to 10,000"):
        stack.client.remove_words(f"낱말{number}" for number in range(10_001))
    with pytest.raises(InvalidRequestError, match="at most 1,000"):
        stack.client.reanalyses(1001)
    assert stack.client.words() == before


def test_nobody_changes_words_without_the_admin_key(stack: Stack) -> None:
    """Nor reads them: they may tell what a company works at."""
    with Client(stack.settings.encoder.model_copy(update={"admin_key": None})) as client:
        for call in (client.words, client.reanalyses, lambda: client.put_words([UserWord("뤼튼")])):
            with pytest.raises(UnauthenticatedError, match="ADMIN_KEY"):
                call()
