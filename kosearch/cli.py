"""The command line: `kosearch`. Exit codes: 0 done, 1 failed, 2 bad input, 3 done but documents were left out."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Column, Table

from kosearch import stack
from kosearch.cli_options import AsJson as _AsJson
from kosearch.cli_options import DataDir as _DataDir
from kosearch.cli_options import print_json as _print_json
from kosearch.client import Client
from kosearch.dictionary_commands import dictionary_app
from kosearch.errors import InvalidRequestError, KosearchError, ModelError, NotFoundError, SettingsError
from kosearch.eval_commands import eval_app
from kosearch.index_command import StdinFormat, keep_sources_indexed, submit_sources, sweep_spool
from kosearch.installed_models import (
    InstalledModel,
    ModelCheck,
    add_model,
    check_model,
    find_installed,
    list_models,
)
from kosearch.job_commands import as_row, explain, print_coverage, print_jobs
from kosearch.job_progress import STATE_WORDS, show_progress, show_rejections
from kosearch.jobs import JobOptions, JobState, SourceFields
from kosearch.search_command import count, search
from kosearch.settings import describe_settings, load_settings

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_LEFT_OUT = 3

_LINES_PER_CALL = 256

app = typer.Typer(
    help="한국어 의미 검색: 문서를 색인하고 뜻으로 찾습니다. / Korean semantic search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(eval_app, name="eval")
app.add_typer(dictionary_app, name="dictionary")
app.command()(search)
app.command()(count)
model_app = typer.Typer(help="모델을 들이고 살펴봅니다. / Bring models in and look at them.", no_args_is_help=True)
app.add_typer(model_app, name="model")

_out = Console(highlight=False, soft_wrap=True)
_ModelsDir = Annotated[
    Path | None, typer.Option(help="모델 폴더 / folder of models (default: models in the data directory)")
]


def main() -> None:
    """Run the command line; an error the user can act on is one message, not a traceback."""
    try:
        app()
    except (InvalidRequestError, NotFoundError, SettingsError) as error:
        _fail(error, EXIT_BAD_INPUT)
    except KosearchError as error:
        _fail(error, EXIT_FAILED)
    except BrokenPipeError:  # `kosearch search ... | head`
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


@app.command()
def up(
    data_dir: _DataDir = None,
    detach: Annotated[bool, typer.Option(help="백그라운드에서 실행 / run in the background")] = False,
) -> None:
    """한 대의 컴퓨터에서 전체 스택을 켭니다. / Start the stack on this machine: broker, store, encoder, worker."""
    directory = load_settings(data_dir, joins_stack=False).data_dir
    if detach:
        running = stack.start_detached(directory)
        _out.print(f"준비되었습니다 / ready: {directory} (pid {running.pid})")
        _out.print("끄기 / stop: kosearch down" + (f" --data-dir {data_dir}" if data_dir else ""))
        return
    sys.exit(subprocess.call([sys.executable, "-m", "standalone", "--data-dir", str(directory)]))


@app.command()
def down(data_dir: _DataDir = None) -> None:
    """스택을 끕니다. / Stop the stack."""
    directory = load_settings(data_dir, joins_stack=False).data_dir
    was_running = stack.stop(directory)
    _out.print("껐습니다 / stopped" if was_running else f"실행 중인 스택이 없습니다 / no stack runs on {directory}")


@app.command()
def status(data_dir: _DataDir = None, as_json: _AsJson = False) -> None:
    """스택의 상태를 보여 줍니다. / Show the processes of the stack; exit code 1 when one is missing."""
    directory = load_settings(data_dir, joins_stack=False).data_dir
    running = stack.read_stack(directory)
    rows = [
        {
            "name": state.name,
            "pid": state.pid,
            "running": psutil.pid_exists(state.pid),
            "restarts": state.restarts,
            "memory_mib": _memory_mib(state.pid),
            "address": state.address,
            "log": state.log,
        }
        for state in (running.processes if running else ())
    ]
    if as_json:
        _print_json({"data_dir": str(directory), "running": running is not None, "processes": rows})
    elif running is None:
        _out.print(f"실행 중인 스택이 없습니다 / no stack runs on {directory}; start it with `kosearch up`")
    else:
        _out.print(_table(["name", "running", "pid", "restarts", "memory_mib", "address", "log"], rows))
    if running is None or not all(row["running"] for row in rows):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="파일, 폴더, '패턴', - (표준 입력) / files, folders, 'patterns', - (standard input): .jsonl .json "
            ".csv .tsv .txt (.zst, .gz) .parquet .hwp .hwpx .docx .pdf .html .md"
        ),
    ],
    collection: Annotated[str, typer.Option(help="컬렉션 이름 / name of the collection")],
    id_field: Annotated[str, typer.Option(help="식별자 필드 / field with the identifier")] = "id",
    text_field: Annotated[str, typer.Option(help="본문 필드 / field with the text; several: issue,holding")] = "text",
    title_field: Annotated[str, typer.Option(help="제목 필드 / field with the title")] = "title",
    stdin_format: Annotated[
        StdinFormat | None, typer.Option("--format", help="표준 입력의 형식 / what standard input holds (jsonl)")
    ] = None,
    drops_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="제목과 본문이 같은 문서는 하나만 / store equal titles and texts once"),
    ] = False,
    rereads: Annotated[
        bool,
        typer.Option(
            "--reread", help="그대로인 파일도 다시 읽음 / read files even when size and time are as they were"
        ),
    ] = False,
    wait: Annotated[bool, typer.Option(help="끝날 때까지 기다림 / wait until it has ended")] = False,
    keeps_watching: Annotated[
        bool, typer.Option("--watch", help="바뀔 때마다 다시 색인 / index again at each change, until Ctrl-C")
    ] = False,
    polls: Annotated[
        bool,
        typer.Option("--poll", help="--watch: 네트워크 파일 시스템용 / look at the files, for network file systems"),
    ] = False,
    data_dir: _DataDir = None,
) -> None:
    """문서를 색인합니다. / Index documents. Exit code 3: done, but some were left out (they are listed)."""
    settings, fields = load_settings(data_dir), SourceFields(id_field, text_field, title_field)
    options = JobOptions(drops_duplicates=drops_duplicates, rereads=rereads)
    if keeps_watching:
        keep_sources_indexed(
            lambda: Client(load_settings(data_dir).encoder),
            collection,
            paths,
            fields,
            options,
            typer.echo,  # rich shows a line again that Ctrl-C met just after it
            is_polled=polls,
        )
        return
    with Client(settings.encoder) as client:
        job_id = submit_sources(client, settings, collection, paths, fields, options, stdin_format)
        try:
            _follow(client, job_id, waits=wait)
        finally:
            if wait:
                sweep_spool(client, settings)


@app.command()
def watch(job_id: str, data_dir: _DataDir = None) -> None:
    """색인 작업의 진행을 보여 줍니다. / Watch an indexing job until it has ended."""
    with Client(load_settings(data_dir).encoder) as client:
        _watch(client, job_id)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="작업 수 / jobs shown")] = 20,
    as_json: _AsJson = False,
    data_dir: _DataDir = None,
) -> None:
    """최근 색인 작업을 보여 줍니다. / List the newest indexing jobs."""
    with Client(load_settings(data_dir).encoder) as client:
        found = client.jobs(limit)
    if as_json:
        _print_json({"jobs": [as_row(job) for job in found]})
    elif found:
        print_jobs(found, _out)
    else:
        _out.print("작업이 없습니다 / no jobs; begin one with `kosearch index`")


@app.command()
def why(
    name: Annotated[
        str, typer.Argument(help="작업, 문서의 식별자, 파일 경로 / a job, a document's identifier, a file's path")
    ],
    data_dir: _DataDir = None,
) -> None:
    """왜 빠졌는지 알려 줍니다. / Tell what a job left out, or what became of a document. Exit code 3: left out."""
    with Client(load_settings(data_dir).encoder) as client:
        if explain(client, name, _out):
            raise typer.Exit(EXIT_LEFT_OUT)


@app.command()
def retry(
    job_id: Annotated[str, typer.Argument(help="끝난 작업 / an ended job")],
    reason: Annotated[str, typer.Option(help="이 이유로 빠진 것만 / only what was left out for this reason")] = "",
    wait: Annotated[bool, typer.Option(help="끝날 때까지 기다림 / wait until it has ended")] = False,
    data_dir: _DataDir = None,
) -> None:
    """빠진 문서를 다시 색인합니다. / Try again what a job left out, or begin a failed one anew."""
    with Client(load_settings(data_dir).encoder) as client:
        new_job_id = client.retry_job(job_id, reason)
        _follow(client, new_job_id, waits=wait)


@app.command()
def cancel(
    job_id: Annotated[str, typer.Argument(help="작업 / a job")],
    data_dir: _DataDir = None,
) -> None:
    """작업을 그만둡니다. / Cancel a job; what it has stored stays. Exit code 1: it had ended before."""
    with Client(load_settings(data_dir).encoder) as client:
        state = client.cancel_job(job_id)
    _out.print(f"{STATE_WORDS[state]}: {job_id}")
    if state is not JobState.CANCELLED:
        _out.print("이미 끝난 작업입니다 / the job had ended before")
        raise typer.Exit(EXIT_FAILED)


@app.command()
def encode(as_json: _AsJson = False, data_dir: _DataDir = None) -> None:
    """표준 입력의 줄마다 임베딩을 출력합니다. / Print an embedding for each line of standard input."""
    with Client(load_settings(data_dir).encoder) as client:
        for texts in _lines_in_batches():
            encoded = client.encode(texts, is_bulk=True)
            for row, tokens, is_cut in zip(encoded.embeddings, encoded.token_counts, encoded.truncated, strict=True):
                if as_json:
                    _print_json({"embedding": row, "tokens": tokens, "truncated": is_cut})
                else:
                    sys.stdout.write(" ".join(f"{value:.6g}" for value in row) + "\n")


@app.command("settings")
def settings_() -> None:
    """모든 설정을 보여 줍니다. / List all settings, which are environment variables."""
    rows = [
        {"variable": name, "default": default, "meaning": meaning} for name, default, meaning in describe_settings()
    ]
    _out.print(_table(["variable", "default", "meaning"], rows))


@model_app.command()
def add(
    source: Annotated[str, typer.Argument(help="허브의 모델 이름이나 폴더 / hub id (owner/name) or directory")],
    name: Annotated[str | None, typer.Option(help="이 이름으로 / name to give it (default: its own)")] = None,
    models_dir: _ModelsDir = None,
    force: Annotated[bool, typer.Option("--force", help="같은 이름의 모델을 바꿈 / replace one of that name")] = False,
) -> None:
    """sentence-transformers 모델을 들입니다. / Bring in a sentence-transformers model, checked against the original."""
    model, check = add_model(source, _models_dir(models_dir), name, replaces=force)
    _print_model(model, check)
    _out.print(f"쓰기 / use it: KOSEARCH_ENCODER__MODEL={shlex.quote(str(model.directory.path))} kosearch up")
    _out.print("다른 모델로 색인한 컬렉션은 다시 색인하세요 / index again what was indexed with another model")


@model_app.command("list")
def list_(models_dir: _ModelsDir = None, as_json: _AsJson = False) -> None:
    """모델을 보여 줍니다. / List the models; exit code 1 when one is damaged."""
    used = load_settings(joins_stack=False).encoder.model
    found = list_models(_models_dir(models_dir), used)
    rows = [_model_row(model, used) for model in found if isinstance(model, InstalledModel)]
    damaged = [str(error) for error in found if isinstance(error, ModelError)]
    if as_json:
        _print_json({"models": rows, "damaged": damaged})
    else:
        _out.print(_table(["used", "name", "dim", "mib", "fingerprint", "path"], rows))
        for message in damaged:
            Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)
    if damaged:
        raise typer.Exit(EXIT_FAILED)


@model_app.command("check")
def check_(
    model: Annotated[str, typer.Argument(help="모델 이름이나 폴더 / name or directory of a model")],
    models_dir: _ModelsDir = None,
) -> None:
    """모델이 원본과 같은 임베딩을 내는지 봅니다. / Compare a model's embeddings with the original's."""
    path = find_installed(model, _models_dir(models_dir))
    check = check_model(path)
    _print_model(InstalledModel.open(path), check)


@model_app.command()
def served(data_dir: _DataDir = None, as_json: _AsJson = False) -> None:
    """서비스가 쓰는 모델을 보여 줍니다. / List the models that the running service has."""
    with Client(load_settings(data_dir).encoder) as client:
        rows: list[dict[str, object]] = [asdict(model) for model in client.served_models()]
    if as_json:
        _print_json({"models": rows})
    else:
        _out.print(_table(["is_default", "name", "dim", "max_tokens", "fingerprint"], rows))


@model_app.command()
def load(
    name: Annotated[str, typer.Argument(help="모델 이름 / name of an installed model")], data_dir: _DataDir = None
) -> None:
    """실행 중인 서비스에 모델을 더합니다. / Load a model into the running service, beside the others."""
    with Client(load_settings(data_dir).encoder) as client:
        model = client.load_model(name)
    _out.print(f"준비됨 / loaded: {model.name} ({model.fingerprint[:12]})")
    _out.print(f"바꾸기 / let it answer: kosearch model default {shlex.quote(model.name)}")


@model_app.command("default")
def default_(
    name: Annotated[str, typer.Argument(help="모델 이름 / name of a loaded model")], data_dir: _DataDir = None
) -> None:
    """기본 모델을 바꿉니다. / Let a loaded model answer the calls that name none."""
    with Client(load_settings(data_dir).encoder) as client:
        model = client.set_default_model(name)
    _out.print(f"기본 모델 / default: {model.name} ({model.fingerprint[:12]})")


@model_app.command()
def unload(
    name: Annotated[str, typer.Argument(help="모델 이름 / name of a loaded model")], data_dir: _DataDir = None
) -> None:
    """서비스에서 모델을 내립니다. / Take a model out of the running service once its calls are answered."""
    with Client(load_settings(data_dir).encoder) as client:
        client.unload_model(name)
    _out.print(f"내림 / unloaded: {name}")


def _models_dir(chosen: Path | None) -> Path:
    return chosen.expanduser().resolve() if chosen else load_settings(joins_stack=False).data_dir / "models"


def _model_row(model: InstalledModel, used: Path) -> dict[str, object]:
    directory = model.directory
    return {
        "used": "*" if directory.path.resolve() == used.resolve() else "",
        "name": directory.name,
        "dim": directory.dim,
        "max_tokens": directory.max_tokens,
        "mib": round(model.bytes / (1 << 20), 1),
        "fingerprint": directory.fingerprint[:12],
        "path": str(directory.path),
    }


def _print_model(model: InstalledModel, check: ModelCheck) -> None:
    directory = model.directory
    compared = "embeddings and token ids" if check.has_token_ids else "embeddings"
    cosines = ", ".join(f"{precision} {cosine:.6f}" for precision, cosine in check.lowest_cosines.items())
    _out.print(f"{directory.name}: {compared} of {check.golden_texts} golden texts agree; lowest cosine {cosines}")
    _out.print(
        f"{directory.dim} dimensions, {directory.max_tokens} tokens, {model.bytes / (1 << 20):.1f} MiB, "
        f"fingerprint {directory.fingerprint}"
    )
    for caution in directory.cautions():
        _out.print(f"주의 / note: {caution}", markup=False)


def _follow(client: Client, job_id: str, *, waits: bool) -> None:
    if waits:
        _watch(client, job_id)
    else:
        _out.print(f"작업 / job {job_id}\n진행 보기 / watch it: kosearch watch {job_id}")


def _watch(client: Client, job_id: str) -> None:
    try:
        progress = show_progress(client, job_id, Console(stderr=True))
    except KeyboardInterrupt:
        _out.print(f"\n작업은 계속됩니다 / the job goes on; watch it again: kosearch watch {job_id}")
        raise typer.Exit(EXIT_FAILED) from None
    print_coverage(progress, _out)
    if progress.documents_rejected:
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        show_rejections(client.rejections(job_id), progress.documents_rejected, errors)
        errors.print(f"까닭별로 / by reason: kosearch why {job_id}")
        errors.print(f"고친 뒤 다시 / once mended: kosearch retry {job_id}")
    if progress.state is JobState.FAILED:
        raise KosearchError(f"작업 실패 / the job failed: {progress.error}")
    if progress.state is JobState.CANCELLED:
        raise KosearchError(f"작업이 취소되었습니다 / the job was cancelled: {job_id}")
    if progress.documents_rejected:
        raise typer.Exit(EXIT_LEFT_OUT)


def _lines_in_batches() -> Iterator[list[str]]:
    # Invalid UTF-8 on standard input is replaced rather than fatal; the service refuses what is then empty.
    lines = (line.decode("utf-8", errors="replace").rstrip("\r\n") for line in sys.stdin.buffer)
    while batch := list(islice(lines, _LINES_PER_CALL)):
        yield batch


def _table(columns: list[str], rows: list[dict[str, object]] | list[dict[str, str]]) -> Table:
    # Folded rather than cut: a path without its end is of no use.
    table = Table(*(Column(name, overflow="fold") for name in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    return table


def _memory_mib(pid: int) -> int:
    """Return the resident memory of a process and its children."""
    try:
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) >> 20
    except psutil.Error:
        return 0


def _fail(error: KosearchError, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"kosearch: {error}", markup=False)
    sys.exit(code)
