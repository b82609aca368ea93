"""The commands `kosearch dictionary …`: words of the user's own, and how far the collections have learnt of them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kosearch.cli_options import AsJson, DataDir, print_json
from kosearch.client import Client
from kosearch.errors import KosearchError
from kosearch.korean.dictionary import (
    DEFAULT_TAG,
    MAX_WORDS_A_CALL,
    TAGS,
    DictionaryChange,
    check_word,
    read_word_file,
)
from kosearch.reanalyses import ReanalysisState, ReanalysisSummary
from kosearch.settings import load_settings

dictionary_app = typer.Typer(
    help="분석기가 모르는 낱말을 가르칩니다. / Teach the analyser words of your own.", no_args_is_help=True
)

_POLL_S = 0.5
_MAX_LISTED = 1_000
_STATE_WORDS = {
    ReanalysisState.PENDING: "기다림 / pending",
    ReanalysisState.RUNNING: "진행 중 / running",
    ReanalysisState.SUCCEEDED: "끝남 / succeeded",
    ReanalysisState.FAILED: "실패 / failed",
}
_out = Console(highlight=False, soft_wrap=True)

_Words = Annotated[list[str], typer.Argument(help="낱말, 여럿 가능 / words", show_default=False)]
_Tag = Annotated[
    str,
    typer.Option(
        help=f"품사 / tag, one of {', '.join(TAGS)}: NNP 이름 / name, NNG 명사 / noun, SL 외국어 / foreign word, "
        "SH 한자 / Chinese characters, MAG 부사 / adverb"
    ),
]
_Wait = Annotated[
    bool, typer.Option("--wait", help="색인된 글이 다 따를 때까지 기다림 / wait until what is indexed has followed")
]


@dictionary_app.command("list")
def list_(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """가르친 낱말을 보여 줍니다. / List the words."""
    with Client(load_settings(data_dir).encoder) as client:
        dictionary = client.words()
    if as_json:
        print_json(asdict(dictionary))
        return
    for word in dictionary.words:
        typer.echo(f"{word.form}\t{word.tag}")  # a file for `add-file`
    if not dictionary.words:
        _out.print("낱말이 없습니다 / no words; teach one with `kosearch dictionary add`")


@dictionary_app.command()
def add(words: _Words, tag: _Tag = DEFAULT_TAG, wait: _Wait = False, data_dir: DataDir = None) -> None:
    """낱말을 가르칩니다. / Add words: the analyser cuts them no longer."""
    chosen = [check_word(form, tag) for form in words]
    _change(data_dir, [lambda client: client.put_words(chosen)], waits=wait)


@dictionary_app.command()
def add_file(
    file: Annotated[
        Path, typer.Argument(help="한 줄에 낱말 하나, 탭 뒤에 품사 / one word a line, a tag behind a tab, # comments")
    ],
    wait: _Wait = False,
    data_dir: DataDir = None,
) -> None:
    """파일의 낱말을 가르칩니다. / Add the words of a file."""
    rest = iter(read_word_file(file))
    changes: list[Callable[[Client], DictionaryChange]] = []
    while some := list(islice(rest, MAX_WORDS_A_CALL)):
        changes.append(lambda client, some=some: client.put_words(some))  # type: ignore[misc]
    _change(data_dir, changes, waits=wait)


@dictionary_app.command()
def remove(words: _Words, wait: _Wait = False, data_dir: DataDir = None) -> None:
    """가르친 낱말을 지웁니다. / Remove words; unknown ones are passed over."""
    _change(data_dir, [lambda client: client.remove_words(words)], waits=wait)


@dictionary_app.command()
def status(
    wait: _Wait = False,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LISTED, help="줄 수 / rows shown")] = 20,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """색인된 글이 낱말을 어디까지 따랐는지 보여 줍니다. / Show how far the collections have learnt of the words."""
    with Client(load_settings(data_dir).encoder) as client:
        if wait:
            _await_all(client)
        found = client.reanalyses(limit)
    if as_json:
        print_json({"reanalyses": found})
    elif found:
        _out.print(_table(found))
    else:
        _out.print("다시 분석한 컬렉션이 없습니다 / no collection was analysed again")


def _change(data_dir: Path | None, changes: Sequence[Callable[[Client], DictionaryChange]], *, waits: bool) -> None:
    with Client(load_settings(data_dir).encoder) as client:
        made = [change(client) for change in changes]
        words, version = sum(each.words for each in made), made[-1].version
        _out.print(f"바뀐 낱말 {words:,}개, 사전 {version}판 / {words:,} words changed, dictionary version {version}")
        if not waits:
            _out.print("색인된 글이 따르는지 보기 / see what is indexed follow: kosearch dictionary status --wait")
            return
        _await_all(client)
        if words:
            _report(client.reanalyses(_MAX_LISTED), min(each.version for each in made if each.words))


def _await_all(client: Client) -> None:
    """Return when no reanalysis goes on; those that go on are listed first."""
    while any(not each.state.is_ended for each in client.reanalyses(1)):
        time.sleep(_POLL_S)


def _report(reanalyses: Sequence[ReanalysisSummary], first_version: int) -> None:
    """Print what became of the changes from a version on. Raises KosearchError when one failed."""
    own = [each for each in reanalyses if each.version >= first_version]
    if own:
        _out.print(_table(own))
    for each in own:
        if each.state is ReanalysisState.FAILED:
            raise KosearchError(
                f"컬렉션 {each.collection!r}에 낱말을 다 옮기지 못함 / collection {each.collection!r} lacks words: "
                f"{each.error}"
            )


def _table(reanalyses: Sequence[ReanalysisSummary]) -> Table:
    table = Table(
        "collection", "state", "words", "chunks seen", "changed", "seconds", "error", box=None, pad_edge=False
    )
    for each in reanalyses:
        elapsed_s = (each.ended_at or time.time()) - each.created_at
        counts = (f"{number:,}" for number in (each.words, each.points_seen, each.points_changed))
        table.add_row(each.collection, _STATE_WORDS[each.state], *counts, f"{elapsed_s:.1f}", each.error)
    return table
