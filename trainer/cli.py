"""`python -m trainer`: train a recipe, evaluate a model, export a model directory."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kosearch.errors import KosearchError
from trainer.errors import TrainingDataError, TrainingInterruptedError
from trainer.evaluation.figures import EvaluationRun, evaluations_json, read_evaluations
from trainer.reports.tables import evaluation_parts

_EXIT_USER_ERROR = 2
# 128 + SIGINT, as shells count. Source: bash's manual, "Exit Status".
_EXIT_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train, evaluate and export Korean sentence encoders."
)


@app.command()
def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe; `python -m trainer recipes` lists them.")],
    data: Annotated[Path, typer.Option(help="Folder of training data, as docs/trainer.md describes it.")] = Path(
        "data"
    ),
    output: Annotated[Path | None, typer.Option(help="Model directory to write; default models/RECIPE.")] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Start from this model (directory or hub id) instead of the recipe's own.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Imitate this model (directory or hub id) where the recipe wants a teacher.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Replace the recipe's seed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that was stopped, exactly.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where a finished model or an unfinished run lies.")
    ] = False,
) -> None:
    """Train a recipe and write a sentence-transformers model with its TensorBoard logs."""
    from trainer.recipes import find_recipe  # noqa: PLC0415  (torch loads for seconds; --help must not wait for it)
    from trainer.training.run import Start  # noqa: PLC0415
    from trainer.training.train import run_recipe  # noqa: PLC0415

    if resume and overwrite:
        raise typer.BadParameter("--resume continues a run and --overwrite discards it: give one of them")
    if not data.is_dir():
        raise TrainingDataError(data, "no such folder; say where the training data is with --data")
    start = Start.RESUME if resume else Start.OVERWRITE if overwrite else Start.NEW
    run_recipe(find_recipe(recipe, seed), data, output or Path("models") / recipe, base_model, teacher, start)


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model directories or hub ids.")],
    sts: Annotated[
        list[Path] | None, typer.Option(help="STS file, several times if wanted: KorSTS TSV or KLUE-STS CSV.")
    ] = None,
    korquad: Annotated[Path | None, typer.Option(help="KorQuAD v1 JSON: dense question -> paragraph search.")] = None,
    miracl: Annotated[
        Path | None,
        typer.Option(help="Data folder: MIRACL-ko dev and Mr.TyDi-ko dev over all pages of its Wikipedia (hours)."),
    ] = None,
    page_tokens: Annotated[
        int | None, typer.Option(min=4, help="Read only so many tokens of a page; default: what the model reads.")
    ] = None,
    dimensions: Annotated[
        str, typer.Option(help="Also measure embeddings cut to these sizes: 64,128,256 (STS and KorQuAD).")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Print the eight metrics of the SentenceBERT-KoBERT README (x 100), and retrieval figures when asked."""
    from trainer.data.sts_files import read_sts_file  # noqa: PLC0415
    from trainer.evaluation.evaluate import EvaluationSets, evaluate_model  # noqa: PLC0415

    if not sts and korquad is None and miracl is None:
        raise typer.BadParameter("give --sts FILE, --korquad FILE or --miracl FOLDER, or several of them")
    sets = EvaluationSets(
        sts={path.stem: read_sts_file(path) for path in sts or []},  # before the model: a wrong file fails at once
        korquad=korquad,
        open_domain=miracl,
        dimensions=tuple(embedding_sizes(dimensions)),
        page_tokens=page_tokens,
    )
    options = {"--sts": sts, "--korquad": korquad, "--miracl": miracl, "--page-tokens": page_tokens}
    command = written_command("evaluate", models, options | {"--dimensions": dimensions})
    run = EvaluationRun(command, [evaluate_model(model, sets) for model in models])
    sys.stdout.write(evaluations_json(run) if json else "".join(f"{p}\n" for p in evaluation_parts(run.evaluations)))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="sentence-transformers directory or hub id.")],
    output: Annotated[
        Path | None, typer.Option(help="Write the model directory here; a directory is sealed in place without it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in the manifest; that of the directory by default.")] = None,
) -> None:
    """Make a model directory for the service: float16 weights, golden embeddings, manifest."""
    from trainer.publishing.export import export_model  # noqa: PLC0415

    if output is None and not Path(model).is_dir():
        raise typer.BadParameter(f"{model} is no directory; say where to write a model of the hub with --output")
    directory = export_model(model, output or Path(model), name)
    Console().print(f"{directory.name}: {directory.dim} dimensions, fingerprint {directory.fingerprint[:12]}")


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="Model directory that `train` has written.")],
    data: Annotated[Path | None, typer.Option(help="Data folder it was trained on: its files are hashed.")] = None,
    figures: Annotated[
        list[Path] | None, typer.Option(help="What `evaluate --json` has printed, several times if wanted.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Discard a card that was written by hand.")] = False,
) -> None:
    """Write the model card README.md; parts between `<!-- kept: NAME -->` and `<!-- /kept -->` are kept."""
    from trainer.reports.model_card import write_card  # noqa: PLC0415

    if data is not None and not data.is_dir():
        raise TrainingDataError(data, "no such folder; say where the training data is with --data")
    path = write_card(model, data, [read_evaluations(file) for file in figures or []], overwrite=overwrite)
    Console().print(str(path), soft_wrap=True)


@app.command()
def report(
    model: Annotated[str, typer.Argument(help="Model directory or hub id.")],
    sts: Annotated[Path | None, typer.Option(help="STS file: KorSTS TSV or KLUE-STS CSV.")] = None,
    korquad: Annotated[Path | None, typer.Option(help="KorQuAD v1 JSON.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default NAME-report.")] = None,
) -> None:
    """Write a report with pictures: learning curve, scores against labels, genres, worst pairs, recall."""
    from trainer.reports.report import write_report  # noqa: PLC0415
    from trainer.reports.training_log import training_folder  # noqa: PLC0415

    if sts is None and korquad is None and not training_folder(Path(model)).is_dir():
        raise typer.BadParameter(f"{model} has no training logs beside it; give --sts FILE, --korquad FILE or both")
    page = write_report(model, sts, korquad, output or Path(f"{Path(model).name}-report"))
    Console().print(str(page), soft_wrap=True)


@app.command()
def leaks(
    data: Annotated[Path, typer.Option(help="Folder of training data, as docs/trainer.md describes it.")] = Path(
        "data"
    ),
    recipe: Annotated[str | None, typer.Option(help="Check only what this recipe reads.")] = None,
    examples: Annotated[int, typer.Option(min=0, max=20, help="Show so many near matches of each source.")] = 3,
) -> None:
    """Show how many training examples equal, or almost equal, a text of an evaluation set, and are left out."""
    from trainer.recipes import find_recipe  # noqa: PLC0415
    from trainer.reports.leak_report import all_limits, check_sources, leak_table, limits_of, match_lines  # noqa: PLC0415

    if not data.is_dir():
        raise TrainingDataError(data, "no such folder; say where the training data is with --data")
    limits = all_limits() if recipe is None else limits_of(find_recipe(recipe))
    found = list(check_sources(data, limits, seed=42))
    sys.stdout.write("\n".join([leak_table(found), "", *match_lines(found, examples)]) + "\n")


@app.command()
def recipes() -> None:
    """List the recipes with the result to expect."""
    from trainer.recipes import RECIPES  # noqa: PLC0415

    for recipe in RECIPES.values():
        Console().print(f"[bold]{recipe.name}[/bold]  {recipe.expected}")


def written_command(command: str, arguments: Sequence[str], options: Mapping[str, object]) -> str:
    """A command as a person would type it again. An option that is None, empty or an empty list was not given."""
    words = ["python", "-m", "trainer", command, *arguments]
    for name, value in options.items():
        for single in value if isinstance(value, list) else [value]:
            words += [name, str(single)] if single else []
    return shlex.join(words)


def embedding_sizes(text: str) -> list[int]:
    """The sizes in `64,128,256`. Raises BadParameter for anything else."""
    try:
        return [int(size) for size in text.split(",") if size.strip()]
    except ValueError:
        raise typer.BadParameter(f"--dimensions takes numbers with commas between them, got {text!r}") from None


def main() -> None:
    """Run the command line; a mistake of the user is one line on standard error and exit code 2."""
    try:
        app()
    except KosearchError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(_EXIT_INTERRUPTED if isinstance(error, TrainingInterruptedError) else _EXIT_USER_ERROR)
