"""The model in models/ keeps its promises. Needs the data folder beside the repository."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.evaluation.encoding import encode, load_model

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "kosearch-mini-ko"
STS_TEST = ROOT.parent / "shared" / "data" / "kornlu" / "sts-test.tsv"

needs_model = pytest.mark.skipif(not (MODEL / "model.safetensors").is_file(), reason=f"{MODEL} is not there")
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@needs_model
@pytest.mark.skipif(not STS_TEST.is_file(), reason=f"{STS_TEST} is not there")
def test_korsts_test_cosine_spearman_is_at_least_76() -> None:
    arguments = ["evaluate", str(MODEL), "--sts", str(STS_TEST), "--json"]
    figures = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert figures["pair_count"] == 1379
    assert figures["cosine_spearman"] >= 0.76


@needs_model
def test_the_queries_of_sentencebert_kobert_find_their_first_hit() -> None:
    corpus = [
        "한 남자가 음식을 먹는다.",
        "한 남자가 빵 한 조각을 먹는다.",
        "그 여자가 아이를 돌본다.",
        "한 남자가 말을 탄다.",
        "한 여자가 바이올린을 연주한다.",
        "두 남자가 수레를 숲 솦으로 밀었다.",
        "한 남자가 담으로 싸인 땅에서 백마를 타고 있다.",
        "원숭이 한 마리가 드럼을 연주한다.",
        "치타 한 마리가 먹이 뒤에서 달리고 있다.",
    ]
    expected = {
        "한 남자가 파스타를 먹는다.": "한 남자가 음식을 먹는다.",
        "고릴라 의상을 입은 누군가가 드럼을 연주하고 있다.": "원숭이 한 마리가 드럼을 연주한다.",
        "치타가 들판을 가로 질러 먹이를 쫓는다.": "치타 한 마리가 먹이 뒤에서 달리고 있다.",
    }
    model = load_model(str(MODEL))
    scores = encode(model, list(expected)) @ encode(model, corpus).T  # (queries, corpus)
    for row, hit in zip(scores, expected.values(), strict=True):
        assert hit in [corpus[index] for index in row.argsort()[::-1][:2]]


@needs_model
def test_the_model_directory_fits_into_30_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 30e6
