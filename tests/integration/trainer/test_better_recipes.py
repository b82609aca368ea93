"""The recipes beyond the README's regimes, shortened to a few steps on a tiny encoder."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.integration.trainer.conftest import write_corpus
from tests.integration.trainer.test_regimes import assert_same_weights, sigterm_to_ourselves_at
from trainer.errors import RecipeError, TrainingInterruptedError
from trainer.recipe import AnyStage, MaskedLanguageStage, Objective, Recipe, Source, Stage
from trainer.recipes import find_recipe
from trainer.training.masked_language import RepeatableMasking, full_rows, with_language_head
from trainer.training.mixture import mine_negatives
from trainer.training.run import Start
from trainer.training.train import mix_weights, run_recipe

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def shortened(stage: AnyStage) -> AnyStage:
    if isinstance(stage, MaskedLanguageStage):
        return replace(stage, batch_size=8, max_tokens=16, max_steps=20, page_limit=40)
    sources = tuple(replace(source, mined_negatives=min(source.mined_negatives, 1)) for source in stage.sources)
    dims = (4, 8) if stage.matryoshka_dims else ()
    # Without warm-up: its first step has a learning rate of 0, and may be the best of two.
    return replace(
        stage, sources=sources, batch_size=4, max_tokens=16, max_steps=2, warmup_share=0.0, matryoshka_dims=dims
    )


def tiny(name: str) -> Recipe:
    recipe = find_recipe(name)
    return replace(recipe, max_tokens=min(recipe.max_tokens, 64), stages=tuple(shortened(s) for s in recipe.stages))


@pytest.fixture(scope="module")
def retrieval_folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder in miniature with the train sets of MIRACL and Mr.TyDi, whose pages are its Wikipedia's."""
    import gzip

    folder = tmp_path_factory.mktemp("retrieval") / "data"
    shutil.copytree(data_folder, folder)
    topics = "".join(f"{i}\t{i}번 글에는 무슨 일이 있나\n" for i in range(12))
    qrels = "".join(f"{i} Q0 {i}#0 1\n" for i in range(12))
    retrieval = folder / "retrieval"
    (retrieval / "topics.miracl-v1.0-ko-train.tsv").write_text(topics, "utf-8")
    (retrieval / "qrels.miracl-v1.0-ko-train.tsv").write_text(qrels, "utf-8")
    (retrieval / "topics.mrtydi-v1.1-ko.train.txt.gz").write_bytes(gzip.compress(topics.encode()))
    (retrieval / "qrels.mrtydi-v1.1-ko.train.txt").write_text(qrels, "utf-8")
    rows = "".join(f"{i}번 지원을 받을 수 있나요?,{i}번 지원은 {i}월에 받습니다.,문서 {i}\n" for i in range(12))
    texts = [{"id": str(i), "text": f"{i}번 조항은 교통의 안전과 질서를 정하고 있다."} for i in range(12)]
    write_corpus(
        folder / "corpora/law_articles.jsonl.zst", [{"law": "도로교통법", "title": "목적", **t} for t in texts]
    )
    holdings = [{"id": t["id"], "issue": "책임이 있는지 여부", "holding": t["text"]} for t in texts]
    write_corpus(folder / "corpora/precedents.jsonl.zst", holdings)
    (retrieval / "welfare_qa.csv").write_text("Question,Answer,Documents\n" + rows, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["simcse-nli", "matryoshka", "distil"])
def test_a_recipe_trains_every_stage(name: str, retrieval_folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    teacher = str(tiny_encoder) if name == "distil" else None
    model = run_recipe(tiny(name), retrieval_folder, tmp_path / "model", str(tiny_encoder), teacher)
    before = load_file(tiny_encoder / "model.safetensors")["embeddings.word_embeddings.weight"]
    after = model[0].auto_model.embeddings.word_embeddings.weight
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_words_and_paragraphs_of_a_teacher_are_learned_beside_scored_pairs(
    retrieval_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    sources = (
        Source("alike_paragraphs", limit=64, objective=Objective.WORD_DISTILLATION),
        Source("alike_paragraphs", limit=64),
        Source("korsts", limit=32),
    )
    stage = Stage("words", sources, batch_size=4, learning_rate=1e-3, max_tokens=24)
    recipe = Recipe("words", "a test", "nothing", (stage,), max_tokens=24)
    model = run_recipe(recipe, retrieval_folder, tmp_path / "model", str(tiny_encoder), str(tiny_encoder))
    for weight in model.parameters():
        assert torch.isfinite(weight).all()
    before = load_file(tiny_encoder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert not torch.equal(before, model[0].auto_model.embeddings.word_embeddings.weight)


def test_a_stage_that_keeps_a_share_of_its_start_ends_between_the_two(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    stage = Stage("scores", (Source("korsts", limit=32),), batch_size=4, learning_rate=1e-2, max_tokens=24)
    weights = []
    for share in (0.0, 0.25):
        recipe = Recipe("share", "a test", "nothing", (replace(stage, share_of_start=share),), max_tokens=24)
        model = run_recipe(recipe, data_folder, tmp_path / str(share), str(tiny_encoder))
        weights.append(model[0].auto_model.embeddings.word_embeddings.weight.detach())
    start = load_file(tiny_encoder / "model.safetensors")["embeddings.word_embeddings.weight"]
    trained, mixed = weights
    assert not torch.allclose(start, trained, atol=1e-3)
    torch.testing.assert_close(mixed, 0.75 * trained + 0.25 * start)


def test_a_share_of_a_start_of_another_shape_is_refused(tiny_encoder: Path) -> None:
    model, other = SentenceTransformer(str(tiny_encoder)), SentenceTransformer(str(tiny_encoder))
    encoder = other[0].auto_model
    encoder.embeddings.position_embeddings = torch.nn.Embedding(3, encoder.config.hidden_size)
    with pytest.raises(RecipeError, match="position_embeddings"):
        mix_weights(model, other, 0.5)


def test_retrieval_says_that_a_model_which_tells_nothing_apart_finds_no_negatives(
    retrieval_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"has 1 hard negatives: all passages look alike to the model"):
        run_recipe(tiny("retrieval"), retrieval_folder, tmp_path / "model", str(tiny_encoder))


def test_a_recipe_with_a_teacher_says_that_it_needs_one(data_folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"name its hub id or directory with --teacher"):
        run_recipe(tiny("distil"), data_folder, tmp_path / "model", str(tiny_encoder))


def test_pretraining_changes_the_encoder_and_goes_on_exactly(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    recipe = tiny("mlm")
    run_recipe(recipe, data_folder, tmp_path / "whole", str(tiny_encoder))
    before = load_file(tiny_encoder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert not torch.equal(before, load_file(tmp_path / "whole/model.safetensors")["embeddings.word_embeddings.weight"])
    with (
        sigterm_to_ourselves_at("masked/checkpoint-*/complete.json", tmp_path / "model-training"),
        pytest.raises(TrainingInterruptedError),
    ):
        run_recipe(recipe, data_folder, tmp_path / "model", str(tiny_encoder))
    run_recipe(recipe, data_folder, tmp_path / "model", str(tiny_encoder), start=Start.RESUME)
    assert_same_weights(tmp_path / "model", tmp_path / "whole")


def test_the_same_batch_is_masked_alike_and_another_differently(tiny_encoder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_encoder)
    masking = RepeatableMasking(tokenizer, mlm_probability=0.5, seed=1)
    batch = [{"input_ids": [2, *range(260, 280), 3]}, {"input_ids": [2, *range(270, 290), 3]}]
    first, again = masking(batch)["labels"], masking(batch)["labels"]
    assert torch.equal(first, again)
    assert (first != -100).any()
    assert not torch.equal(first, masking(batch[::-1])["labels"].flip(0))


def test_rows_are_full_and_texts_follow_one_another() -> None:
    rows = list(full_rows([[5, 6, 7], [8, 9]], row_tokens=5, first=2, last=3))
    assert rows == [[2, 5, 6, 7, 3], [2, 3, 8, 9, 3]]


def test_a_language_head_keeps_the_encoder(tiny_encoder: Path) -> None:
    encoder = BertModel.from_pretrained(tiny_encoder)
    language_model = with_language_head(encoder)
    ours, theirs = encoder.state_dict(), language_model.base_model.state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_an_encoder_without_a_language_head_is_refused() -> None:
    class Strange(BertConfig):
        model_type = "strange"

    encoder = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    encoder.config = Strange()
    with pytest.raises(RecipeError, match="no masked-language model for BertModel"):
        with_language_head(encoder)


def test_mined_negatives_are_neither_the_positive_nor_nearer_than_it(tiny_encoder: Path) -> None:
    from trainer.encoders.base_model import load_base_model

    model = load_base_model(str(tiny_encoder), 32)
    actions = ["책을 읽고 있다.", "노래를 부르고 있다.", "음식을 먹는다.", "기타를 연주한다.", "사진을 찍었다."]
    pairs = [(f"아이가 공원에서 {action}", f"아이가 공원에서 {action}") for action in actions]
    passages = ["고양이가 집에서 음식을 먹는다.", "두 사람이 학교에서 사진을 찍었다."]
    mined = mine_negatives(pairs, passages, model, 1)
    assert mined
    candidates = {*passages, *(positive for _, positive in pairs)}
    assert all(negative in candidates - {positive} for _, positive, negative in mined)
