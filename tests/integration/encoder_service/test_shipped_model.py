"""The shipped model on the CPU engine."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from encoder_service.engines.cpu import CpuEngine
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory

MODEL = Path(__file__).parents[3] / "models" / "kosearch-mini-ko"

pytestmark = pytest.mark.skipif(not (MODEL / "kosearch.json").is_file(), reason=f"{MODEL} is not there")


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_it_agrees_with_the_trainer(precision: Literal["f32", "bf16"]) -> None:
    model = ModelDirectory.open(MODEL)
    engine = CpuEngine.load(model, precision, threads=2)
    check_golden_embeddings(model, Tokeniser.load(model, 1 << 20), engine, MIN_COSINE[engine.precision])


def test_a_paraphrase_is_nearer_than_another_subject() -> None:
    model = ModelDirectory.open(MODEL)
    texts = ["한 남자가 음식을 먹는다.", "어떤 남성이 밥을 먹고 있다.", "치타가 먹이를 쫓아 달린다."]
    engine = CpuEngine.load(model, "f32", threads=2)
    same, paraphrase, other = engine.encode(Tokeniser.load(model, 1 << 20).tokenise(texts).token_ids)
    assert np.dot(same, paraphrase) > np.dot(same, other)
