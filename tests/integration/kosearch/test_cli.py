"""The command line as a process, against a service that answers as told."""

import json
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import struct_pb2

from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc

KOSEARCH = Path(sysconfig.get_path("scripts")) / "kosearch"
JOB = "3f0c8f6e-0000-4000-8000-000000000000"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class FakeEncoder(encoder_pb2_grpc.EncoderServicer):
    """Encodes a text to its number of characters."""

    def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:  # noqa: N802
        if any(not text.strip() for text in request.texts):
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "text 1 is empty")
        rows = np.array([[len(text), 0.5] for text in request.texts], dtype="<f4")
        lengths = [len(text) for text in request.texts]
        return encoder_pb2.EncodeResponse(
            embeddings=rows.tobytes(), dim=2, token_counts=lengths, truncated=[n > 5 for n in lengths]
        )


class FakeSearch(search_pb2_grpc.SearchServicer):
    """Knows one collection, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[search_pb2.SearchRequest] = []
        self.counts: list[search_pb2.CountValuesRequest] = []

    def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        self.requests.append(request)
        if request.collection != "laws":
            refuse(context, grpc.StatusCode.NOT_FOUND, f"collection '{request.collection}' does not exist")
        if request.query == "없음":
            return search_pb2.SearchResponse()
        payload = struct_pb2.Struct()
        payload.update({"year": 2023})
        text = "제1조 [bold]목적[/bold]\n" + "가" * 300
        hit = search_pb2.Hit(id="민법-1", score=0.5, title="목적", text=text, payload=payload)
        if request.query == "목적은":
            hit.highlights.add(start=0, end=2, is_in_title=True, term="목적/N")
            hit.highlights.add(start=10, end=12, term="목적/N")
            hit.explanation.CopyFrom(search_pb2.Explanation(dense_rank=2, dense_score=0.5))
            hit.explanation.matched_terms.add(term="목적/N", count=2)
        return search_pb2.SearchResponse(
            hits=[hit],
            mode=search_pb2.SEARCH_MODE_HYBRID,
            read_query="목적" if request.query == "목적은" else "",
            next_page_token="bmV4dA==" if request.query == "목적은" else "",
        )

    def CountValues(  # noqa: N802
        self, request: search_pb2.CountValuesRequest, context: Any
    ) -> search_pb2.CountValuesResponse:
        self.counts.append(request)
        values = [search_pb2.ValueCount(integer=2023, chunks=1200), search_pb2.ValueCount(integer=2022, chunks=1)]
        return search_pb2.CountValuesResponse(values=values)


class FakeIndex(index_pb2_grpc.IndexServicer):
    """Ends each job as told."""

    def __init__(self) -> None:
        self.requests: list[index_pb2.SubmitJobRequest] = []
        self.end = index_pb2.WatchJobResponse()
        self.first_is_end = False
        self.rejections: list[index_pb2.ListRejectionsResponse] = []
        self.jobs: list[index_pb2.JobSummary] = []
        self.retries: list[tuple[str, str]] = []
        self.found: dict[str, index_pb2.FindDocumentResponse] = {}

    def SubmitJob(self, request: index_pb2.SubmitJobRequest, context: Any) -> index_pb2.SubmitJobResponse:  # noqa: N802
        self.requests.append(request)
        return index_pb2.SubmitJobResponse(job_id=JOB)

    def WatchJob(  # noqa: N802
        self, request: index_pb2.WatchJobRequest, context: Any
    ) -> Iterator[index_pb2.WatchJobResponse]:
        if request.job_id != JOB:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no job '{request.job_id}' in the ledger")
        if not self.first_is_end:
            yield index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_RUNNING, documents_total=3)
        yield self.end

    def ListJobs(self, request: index_pb2.ListJobsRequest, context: Any) -> index_pb2.ListJobsResponse:  # noqa: N802
        return index_pb2.ListJobsResponse(jobs=self.jobs[: request.limit])

    def CancelJob(self, request: index_pb2.CancelJobRequest, context: Any) -> index_pb2.CancelJobResponse:  # noqa: N802
        if request.job_id != JOB:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no job '{request.job_id}' in the ledger")
        return index_pb2.CancelJobResponse(state=self.end.state)

    def RetryJob(self, request: index_pb2.RetryJobRequest, context: Any) -> index_pb2.RetryJobResponse:  # noqa: N802
        if not self.rejections:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"job {request.job_id} left out nothing")
        self.retries.append((request.job_id, request.reason))
        return index_pb2.RetryJobResponse(job_id=JOB)

    def FindDocument(  # noqa: N802
        self, request: index_pb2.FindDocumentRequest, context: Any
    ) -> index_pb2.FindDocumentResponse:
        return self.found.get(request.name, index_pb2.FindDocumentResponse())

    def ListRejections(  # noqa: N802
        self, request: index_pb2.ListRejectionsRequest, context: Any
    ) -> Iterator[index_pb2.ListRejectionsResponse]:
        yield from self.rejections


def refuse(context: Any, code: grpc.StatusCode, details: str) -> None:
    """Refuse a call as the service does, with a request id."""
    context.set_trailing_metadata((("x-request-id", "1"),))
    context.abort(code, details)


class Service:
    """A service on a free port."""

    def __init__(self) -> None:
        self.search = FakeSearch()
        self.index = FakeIndex()
        self._server = grpc.server(ThreadPoolExecutor(4))
        encoder_pb2_grpc.add_EncoderServicer_to_server(FakeEncoder(), self._server)
        search_pb2_grpc.add_SearchServicer_to_server(self.search, self._server)
        index_pb2_grpc.add_IndexServicer_to_server(self.index, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


def run_kosearch(address: str, folder: Path, *arguments: str, stdin: bytes = b"", **settings: str) -> Any:
    own = {name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")}
    done = subprocess.run(
        [KOSEARCH, *arguments],
        env={
            **own,
            "KOSEARCH_DATA_DIR": str(folder),
            "KOSEARCH_ENCODER__ADDRESS": address,
            "COLUMNS": "200",
            **settings,
        },
        cwd=folder,
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    """Run `kosearch` against the service."""
    return lambda *arguments, **options: run_kosearch(service.address, tmp_path, *arguments, **options)


def succeeded(**counts: int) -> index_pb2.WatchJobResponse:
    return index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_SUCCEEDED, documents_total=3, elapsed_s=1.5, **counts)


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one line of an error that a user can act on."""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("kosearch: ")
    return line


# Search


def test_hits_are_printed_with_score_and_snippet(run: Run) -> None:
    """Rank, score, identifier and title; a long text is cut; markup in a text is text."""
    done = run("search", "목적", "--collection", "laws")
    first, second = done.stdout.splitlines()
    assert (done.returncode, first) == (0, "  1  0.5000  민법-1  목적")
    assert second.strip().startswith("제1조 [bold]목적[/bold] 가가")
    assert second.endswith("…")


def test_hits_as_json_are_whole(run: Run) -> None:
    """The machine-readable form holds the full text and the payload."""
    answer = json.loads(run("search", "목적", "--collection", "laws", "--json").stdout)
    (hit,) = answer["hits"]
    assert (hit["id"], hit["score"], hit["payload"], len(hit["text"])) == ("민법-1", 0.5, {"year": 2023}, 320)


def test_options_reach_the_service(run: Run, service: Service) -> None:
    """Number of hits and every filter are asked for."""
    run("search", "목적", "--collection", "laws", "--top-k", "3", "--filter", "law=민법", "--filter", "year>=2000")
    (request,) = service.search.requests
    conditions = [
        search_pb2.Condition(field="law", keyword="민법"),
        search_pb2.Condition(field="year", range=search_pb2.Range(gte=2000)),
    ]
    assert (request.query, request.top_k, list(request.filter.must)) == ("목적", 3, conditions)


def test_how_to_search_reaches_the_service(run: Run, service: Service) -> None:
    """Every option has its field; further collections are searched along."""
    run(
        "search", "목적", "--collection", "laws", "--collection", "cases", "--mode", "lexical", "--fusion", "dbsf",
        "--lexical-weight", "0.25", "--threshold", "0.5", "--per-document", "2", "--highlight", "--explain",
        "--diversity", "0.5", "--like", "a", "--unlike", "b", "--no-reading", "--paged", "--page-token", "t",
        "--unindexed", "--rerank",
    )  # fmt: skip
    (request,) = service.search.requests
    assert request == search_pb2.SearchRequest(
        query="목적",
        collection="laws",
        more_collections=["cases"],
        top_k=10,
        mode=search_pb2.SEARCH_MODE_LEXICAL,
        fusion=search_pb2.Fusion(method=search_pb2.Fusion.METHOD_DBSF, lexical_weight=0.25),
        score_threshold=0.5,
        chunks_per_document=2,
        with_highlights=True,
        with_explanations=True,
        diversity=0.5,
        rerank=search_pb2.Rerank(),
        like_ids=["a"],
        unlike_ids=["b"],
        reading=search_pb2.Reading(keeps_keyboard=True, keeps_spacing=True, keeps_typos=True),
        paged=True,
        page_token="t",
        filter=search_pb2.Filter(allows_unindexed=True),
    )


def test_an_answer_tells_of_itself(run: Run) -> None:
    """What was searched for, why a hit is there, and how to go on; as JSON, too."""
    done = run("search", "목적은", "--collection", "laws", "--explain", "--paged")
    assert "searched for: 목적" in done.stderr
    assert "--page-token bmV4dA==" in done.stderr
    assert "#2 (0.5000) · " in done.stdout
    assert "목적/N x2" in done.stdout
    answer = json.loads(run("search", "목적은", "--collection", "laws", "--explain", "--json").stdout)
    assert (answer["mode"], answer["read_query"], answer["next_page_token"]) == ("hybrid", "목적", "bmV4dA==")
    assert answer["hits"][0]["explanation"]["dense_rank"] == 2
    assert answer["hits"][0]["explanation"]["lexical_rank"] is None


def test_words_are_marked_in_a_terminal(run: Run) -> None:
    """The part of the text is shown that has the word, in bold."""
    done = run("search", "목적은", "--collection", "laws", "--highlight", FORCE_COLOR="1", TERM="xterm")
    title, text = done.stdout.splitlines()[:2]
    assert title.endswith("\x1b[1m목적\x1b[0m")
    assert "\x1b[1m목적\x1b[0m" in text


def test_values_are_counted(run: Run, service: Service) -> None:
    """As a table, and as JSON."""
    done = run("count", "year", "--collection", "laws", "--filter", "law=민법", "--limit", "3")
    assert [line.split() for line in done.stdout.splitlines()] == [["chunks", "year"], ["1,200", "2023"], ["1", "2022"]]
    (request,) = service.search.counts
    assert (request.field, request.limit, len(request.filter.must)) == ("year", 3, 1)
    answer = json.loads(run("count", "year", "--collection", "laws", "--json").stdout)
    assert answer["values"][0] == {"value": 2023, "chunks": 1200}


def test_no_hits_are_no_failure(run: Run) -> None:
    """An empty answer says so."""
    done = run("search", "없음", "--collection", "laws")
    assert (done.returncode, "no hits" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["search", "목적", "--collection", "nowhere"], 2, "nowhere"),
        (["search", "목적", "--collection", "laws", "--filter", "민법"], 2, "--filter"),
        (["index", "gone.jsonl", "--collection", "laws"], 2, "gone.jsonl"),
        (["watch", "nonsense"], 2, "nonsense"),
        (["cancel", "nonsense"], 2, "nonsense"),
        (["retry", JOB], 2, "left out nothing"),
        (["why", "nonsense"], 2, "nonsense"),
        (["encode"], 2, "empty"),
        (["eval", "sts", "gone.tsv"], 2, "gone.tsv"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], code: int, words: str, run: Run) -> None:
    """What the user can correct is one message."""
    done = run(*arguments, stdin=b"\n")
    assert done.returncode == code
    assert words in complaint(done)


@pytest.mark.parametrize(
    "arguments", [["search", "목적"], ["index"], ["search", "x", "--collection", "a", "--top-k", "0"]]
)
def test_a_wrong_call_is_exit_code_2(arguments: list[str], run: Run) -> None:
    """A missing or impossible option is said by the command line itself."""
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# The service is away


@pytest.mark.parametrize(
    "arguments",
    [["search", "목적", "--collection", "laws"], ["encode"], ["index", "a.jsonl", "--collection", "laws"]],
)
def test_a_service_that_is_away_is_said_with_what_to_do(arguments: list[str], tmp_path: Path) -> None:
    """Exit code 1, and the command that starts the stack."""
    (tmp_path / "a.jsonl").write_text("{}")
    done = run_kosearch("127.0.0.1:1", tmp_path, *arguments, stdin="글\n".encode())
    assert done.returncode == 1
    assert "kosearch up" in complaint(done)


@pytest.mark.parametrize("name", ["KOSEARCH_ENCODER__ADRESS", "KOSEARCH_COLLECTION"])
def test_an_unknown_setting_is_named(name: str, run: Run) -> None:
    """A misspelt variable is exit code 2 for every command."""
    done = run("search", "목적", "--collection", "laws", **{name: "1"})
    assert done.returncode == 2
    assert name in complaint(done)


# Index


def test_a_job_that_is_not_waited_for_can_be_watched(run: Run, service: Service, tmp_path: Path) -> None:
    """The command that shows it is printed; the path is absolute."""
    (tmp_path / "a.jsonl").write_text("{}")
    done = run("index", "a.jsonl", "--collection", "laws", "--id-field", "번호")
    assert (done.returncode, f"kosearch watch {JOB}" in done.stdout) == (0, True)
    (request,) = service.index.requests
    assert (list(request.paths), request.id_field) == ([str(tmp_path.resolve() / "a.jsonl")], "번호")


def test_options_of_a_job_reach_the_service(run: Run, service: Service, tmp_path: Path) -> None:
    """Equal content once, and files read anew; neither unless it is asked for."""
    (tmp_path / "a.jsonl").write_text("{}")
    run("index", "a.jsonl", "--collection", "laws")
    run("index", "a.jsonl", "--collection", "laws", "--drop-duplicates", "--reread")
    options = [(request.drops_duplicates, request.rereads) for request in service.index.requests]
    assert options == [(False, False), (True, True)]


def test_a_pattern_stays_one(run: Run, service: Service, tmp_path: Path) -> None:
    """The workers expand it, so that the same command later finds what was added."""
    (tmp_path / "자료/2023").mkdir(parents=True)
    (tmp_path / "자료/2023/a.hwp").write_text("x")
    assert run("index", "자료/**/*.hwp", "--collection", "laws").returncode == 0
    assert list(service.index.requests[0].paths) == [str(tmp_path.resolve() / "자료/**/*.hwp")]


def test_standard_input_is_kept_for_its_job(run: Run, service: Service, tmp_path: Path) -> None:
    """The same content is the same source; the format is its suffix; it goes once the job has succeeded."""
    rows = "id,text\n1,글\n".encode()
    for _ in range(2):
        assert run("index", "-", "--collection", "laws", "--format", "csv", stdin=rows).returncode == 0
    first, second = (list(request.paths) for request in service.index.requests)
    assert first == second
    assert Path(first[0]).suffix == ".csv"
    assert Path(first[0]).read_bytes() == rows
    service.index.end = succeeded(documents_indexed=1)
    service.index.first_is_end = True
    assert run("index", "-", "--collection", "laws", "--format", "csv", "--wait", stdin=rows).returncode == 0
    assert not Path(first[0]).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-"], "holds nothing"),
        (["a.jsonl", "--format", "csv"], "standard input"),
        (["-", "--watch"], "cannot be watched"),
        (["*.pdf"], "no file fits"),
    ],
)
def test_sources_that_are_none_are_one_line(arguments: list[str], words: str, run: Run, tmp_path: Path) -> None:
    """An empty pipe, a format without a pipe, a pattern without a file."""
    (tmp_path / "a.jsonl").write_text("{}")
    done = run("index", *arguments, "--collection", "laws")
    assert done.returncode == 2
    assert words in complaint(done)


def test_watching_submits_again_after_a_change_until_ctrl_c(service: Service, tmp_path: Path) -> None:
    """Each outcome is a line."""
    service.index.end = succeeded(documents_indexed=3)
    (tmp_path / "data").mkdir()
    settings = {"KOSEARCH_DATA_DIR": str(tmp_path), "KOSEARCH_ENCODER__ADDRESS": service.address}
    command = [KOSEARCH, "index", "data", "--collection", "laws", "--watch"]
    options: Any = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **settings, "COLUMNS": "200"}, **options) as watching:
        assert watching.stdout
        assert "indexed 3" in watching.stdout.readline()
        (tmp_path / "a.txt").write_text("글")
        (tmp_path / "a.txt").rename(tmp_path / "data/a.txt")  # one change, however slow the machine
        assert "indexed 3" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert "no longer watching" in watching.stdout.readline()
        assert watching.wait(20) == 0
    assert len(service.index.requests) == 2


def test_a_whole_success_is_exit_code_0(run: Run, service: Service, tmp_path: Path) -> None:
    """Counts and rate are printed."""
    service.index.end = succeeded(documents_indexed=3, chunks_indexed=7)
    (tmp_path / "a.jsonl").write_text("{}")
    done = run("index", "a.jsonl", "--collection", "laws", "--wait")
    assert done.returncode == 0
    assert "3 documents, 7 chunks, 1.5 s (2 documents/s)" in done.stdout


def test_left_out_documents_are_listed_and_exit_code_3(run: Run, service: Service, tmp_path: Path) -> None:
    """Each is named by file, line and reason."""
    service.index.end = succeeded(documents_indexed=2, documents_rejected=1, chunks_indexed=2)
    service.index.rejections = [
        index_pb2.ListRejectionsResponse(path="/a.jsonl", line=2, reason="malformed_json", detail="not JSON")
    ]
    (tmp_path / "a.jsonl").write_text("{}")
    done = run("index", "a.jsonl", "--collection", "laws", "--wait")
    assert done.returncode == 3
    assert "/a.jsonl:2: malformed_json: not JSON" in done.stderr
    assert f"kosearch why {JOB}" in done.stderr
    assert f"kosearch retry {JOB}" in done.stderr


def test_what_a_job_came_to_is_told(run: Run, service: Service) -> None:
    """Each kind of outcome that there was is a line, and so is the share of the text that is embedded."""
    service.index.end = succeeded(
        documents_indexed=2,
        chunks_indexed=5,
        documents_unchanged=1000,
        documents_removed=3,
        documents_truncated=1,
        tokens=2000,
        tokens_embedded=1990,
    )
    done = run("watch", JOB)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == [
        "그대로 / unchanged: 1,000",
        "삭제 / removed: 3",
        "잘린 문서 / documents cut: 1",
        "임베딩된 토큰 / tokens embedded: 99.50 % of 2,000",
    ]


def test_a_job_that_found_nothing_new_says_so(run: Run, service: Service) -> None:
    """No rate of nothing."""
    service.index.end = succeeded(documents_unchanged=3)
    assert run("watch", JOB).stdout.splitlines() == [
        "새로 넣은 문서 없음, 1.5초 / no document indexed, 1.5 s",
        "그대로 / unchanged: 3",
    ]


def test_a_cancelled_job_is_exit_code_1(run: Run, service: Service) -> None:
    """What was waited for did not come about."""
    service.index.end = index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_CANCELLED)
    done = run("watch", JOB)
    assert done.returncode == 1
    assert "cancelled" in done.stderr.splitlines()[-1]


def test_a_failed_job_is_exit_code_1(run: Run, service: Service) -> None:
    """Its reason is the message."""
    service.index.end = index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_FAILED, error="the file has changed")
    done = run("watch", JOB)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("the file has changed")


# Jobs


def summary(*paths: str, **counts: int) -> index_pb2.JobSummary:
    return index_pb2.JobSummary(
        job_id=JOB, collection="laws", paths=paths, created_at=1_700_000_000.5, progress=succeeded(**counts)
    )


def test_jobs_are_listed_with_what_they_were_given(run: Run, service: Service) -> None:
    """State, counts, collection and paths; of many paths the first ones."""
    service.index.jobs = [summary("/a", "/b [1]", "/c", documents_indexed=1, documents_unchanged=1)]
    done = run("jobs")
    first, second = done.stdout.splitlines()
    assert done.returncode == 0
    assert first.startswith(f"{JOB}  2023-11-1")
    assert first.endswith("완료 / done  2/3")
    assert second.strip() == "laws <- /a, /b [1] (+1)"


def test_jobs_as_json_are_whole(run: Run, service: Service) -> None:
    """With every path and count, and the share of the tokens that is embedded."""
    service.index.jobs = [summary("/a", "/b", "/c", documents_rejected=1, tokens=200, tokens_embedded=150)] * 3
    answer = json.loads(run("jobs", "--json", "--limit", "2").stdout)
    assert len(answer["jobs"]) == 2
    job = answer["jobs"][0]
    assert (job["job_id"], job["paths"], job["created_at"]) == (JOB, ["/a", "/b", "/c"], 1_700_000_000.5)
    assert (job["state"], job["documents_rejected"], job["coverage"]) == ("succeeded", 1, 0.75)


def test_without_jobs_the_list_says_how_to_begin(run: Run) -> None:
    """An empty list is no failure."""
    done = run("jobs")
    assert (done.returncode, "kosearch index" in done.stdout) == (0, True)


def test_a_cancelled_job_is_confirmed(run: Run, service: Service) -> None:
    """Exit code 0 when it was cancelled, 1 when it had ended before."""
    service.index.end = index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_CANCELLED)
    done = run("cancel", JOB)
    assert (done.returncode, done.stdout.strip()) == (0, f"취소 / cancelled: {JOB}")
    service.index.end = succeeded()
    done = run("cancel", JOB)
    assert (done.returncode, "had ended before" in done.stdout) == (1, True)


def test_a_retry_is_a_job_like_another(run: Run, service: Service) -> None:
    """With the reason it is for; it can be waited for, and has the same exit codes."""
    service.index.rejections = [index_pb2.ListRejectionsResponse(path="/a.jsonl", reason="too_slow", documents=1)]
    done = run("retry", JOB, "--reason", "too_slow")
    assert (done.returncode, f"kosearch watch {JOB}" in done.stdout) == (0, True)
    service.index.end = succeeded(documents_indexed=2, documents_rejected=1)
    assert run("retry", JOB, "--wait").returncode == 3
    assert service.index.retries == [(JOB, "too_slow"), (JOB, "")]


def rejection(line: int, reason: str, documents: int = 1) -> index_pb2.ListRejectionsResponse:
    return index_pb2.ListRejectionsResponse(
        path="/a [1].jsonl", line=line, document_id="민법-1", reason=reason, detail="다시", documents=documents
    )


def test_what_a_job_left_out_is_told_by_reason(run: Run, service: Service) -> None:
    """The most frequent first, with some examples, and how to try again."""
    service.index.end = succeeded(documents_indexed=2, documents_rejected=9)
    service.index.first_is_end = True
    service.index.rejections = [rejection(0, "too_slow"), *(rejection(n, "empty_text") for n in range(1, 9))]
    done = run("why", JOB)
    lines = done.stdout.splitlines()
    assert done.returncode == 3
    assert lines.index("empty_text: 8") < lines.index("too_slow: 1")
    assert sum("empty_text [민법-1]: 다시" in line for line in lines) == 5
    assert "  /a [1].jsonl:1: empty_text [민법-1]: 다시" in lines
    assert "  … 3 more" in lines
    assert f"kosearch retry {JOB} [--reason empty_text]" in lines[-1]


def test_a_job_that_left_out_nothing_is_exit_code_0(run: Run, service: Service) -> None:
    """And says so."""
    service.index.end = succeeded(documents_indexed=3)
    service.index.first_is_end = True
    done = run("why", JOB)
    assert (done.returncode, "nothing was left out" in done.stdout) == (0, True)


def test_why_a_job_failed_is_told(run: Run, service: Service) -> None:
    """Its error comes first, and how to begin it anew last."""
    service.index.end = index_pb2.WatchJobResponse(state=index_pb2.JOB_STATE_FAILED, error="[Errno 5] disk")
    service.index.first_is_end = True
    done = run("why", JOB)
    first, *_, last = done.stdout.splitlines()
    assert (done.returncode, first) == (3, "실패 / failed: [Errno 5] disk")
    assert last.endswith(f"kosearch retry {JOB}")


def test_what_became_of_a_document_is_told(run: Run, service: Service) -> None:
    """Where it is stored, where it was deleted, and what was wrong with it; the same fault once."""
    stored = [
        index_pb2.StoredDocument(collection="laws", document_id="민법-1", chunks=3, job_id=JOB),
        index_pb2.StoredDocument(collection="news", document_id="민법-1", chunks=0, job_id=JOB),
    ]
    faults = [index_pb2.DeadLetter(job_id=f"job {n}", rejection=rejection(7, "empty_text")) for n in (3, 2, 1)]
    service.index.found["민법-1"] = index_pb2.FindDocumentResponse(stored=stored, dead_letters=faults)
    service.index.found["stored"] = index_pb2.FindDocumentResponse(stored=stored[:1])
    done = run("why", "민법-1")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"laws: 민법-1: 청크 3개 / 3 chunks (job {JOB})",
        f"news: 민법-1: 지워짐 / deleted (job {JOB})",
        "/a [1].jsonl:7: empty_text [민법-1]: 다시 (job job 3) (and 2 earlier jobs)",
    ]
    assert run("why", "stored").returncode == 0


# Encode


def test_each_line_gets_its_embedding(run: Run) -> None:
    """In order, over several calls to the service."""
    texts = [f"{'가' * (n % 9)}글" for n in range(600)]
    done = run("encode", stdin="\n".join(texts).encode())
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{len(text)} 0.5" for text in texts]


def test_embeddings_as_json_tell_tokens_and_truncation(run: Run) -> None:
    """One object a line."""
    done = run("encode", "--json", stdin="치타\r\n원숭이원숭이\n".encode())
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"embedding": [2.0, 0.5], "tokens": 2, "truncated": False},
        {"embedding": [6.0, 0.5], "tokens": 6, "truncated": True},
    ]


def test_nothing_to_encode_is_no_failure(run: Run) -> None:
    """An empty input has an empty output."""
    done = run("encode")
    assert (done.returncode, done.stdout) == (0, "")


def test_invalid_utf8_on_standard_input_is_replaced(run: Run) -> None:
    """A stray byte does not end the command."""
    done = run("encode", stdin=b"\xff\xfe\n")
    assert (done.returncode, done.stdout) == (0, "2 0.5\n")


# The stack


def test_without_a_stack_status_is_exit_code_1(run: Run) -> None:
    """For people and for programs."""
    assert run("status").returncode == 1
    answer = json.loads(run("status", "--json").stdout)
    assert (answer["running"], answer["processes"]) == (False, [])


def test_stopping_nothing_is_no_failure(run: Run) -> None:
    """`kosearch down` may be called at any time."""
    done = run("down")
    assert (done.returncode, "no stack runs" in done.stdout) == (0, True)


def test_settings_are_listed(run: Run) -> None:
    """With variable, default and meaning."""
    done = run("settings")
    assert done.returncode == 0
    assert "KOSEARCH_ENCODER__ADDRESS" in done.stdout
