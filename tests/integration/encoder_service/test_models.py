"""Several models in one service: loaded, put in each other's place and taken away while calls are answered."""

import asyncio
import json
from typing import Any

import grpc
import numpy as np
import pytest

from kosearch.model_directory import fingerprint_of
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, models_pb2, models_pb2_grpc

ADMIN = (("admin-key", "secret of few"),)
TEXTS = ["한 남자가 음식을 먹는다.", "치타"]


@pytest.fixture
def other(make_model: Any) -> Any:
    """Another model of the same shape in the models directory of the service."""
    return make_model(folder="models/other-bert", name="other-bert", seed=8)


async def encode(channel: grpc.aio.Channel, model: str = "") -> encoder_pb2.EncodeResponse:
    request = encoder_pb2.EncodeRequest(texts=TEXTS, model=model)
    return await encoder_pb2_grpc.EncoderStub(channel).Encode(request, timeout=30)


@pytest.mark.parametrize("front_ends", [0, 2])
async def test_a_model_takes_anothers_place_without_a_failed_call(
    serve: Any, tiny_model: Any, other: Any, make_ids: Any, front_ends: int
) -> None:
    answers: list[encoder_pb2.EncodeResponse] = []
    is_over = asyncio.Event()

    async def ask_all_the_time(channel: grpc.aio.Channel) -> None:
        while not is_over.is_set():
            answers.append(await encode(channel))

    async with serve(admin_key="secret of few", front_ends=front_ends) as channel:
        models = models_pb2_grpc.ModelsStub(channel)
        callers = [asyncio.create_task(ask_all_the_time(channel)) for _ in range(4)]
        loaded = await models.LoadModel(models_pb2.LoadModelRequest(name="other-bert"), timeout=60, metadata=ADMIN)
        assert (loaded.name, loaded.is_default) == ("other-bert", False)
        assert (await encode(channel, "other-bert")).model_fingerprint == other.directory.fingerprint
        await models.SetDefaultModel(models_pb2.SetDefaultModelRequest(name="other-bert"), timeout=30, metadata=ADMIN)
        await models.UnloadModel(models_pb2.UnloadModelRequest(name="tiny-bert"), timeout=30, metadata=ADMIN)
        last = await encode(channel)
        is_over.set()
        await asyncio.gather(*callers)  # raises the error of any call
        listed = await models.ListModels(models_pb2.ListModelsRequest(), timeout=30, metadata=ADMIN)
    assert [(model.name, model.is_default) for model in listed.models] == [("other-bert", True)]
    assert last.model_name == "other-bert"
    by_fingerprint = {tiny_model.directory.fingerprint: tiny_model, other.directory.fingerprint: other}
    assert {answer.model_fingerprint for answer in answers} == set(by_fingerprint)
    for answer in answers:
        rows = np.frombuffer(answer.embeddings, "<f4").reshape(len(TEXTS), -1)
        expected = [by_fingerprint[answer.model_fingerprint].forward(make_ids(text)) for text in TEXTS]
        np.testing.assert_allclose(rows, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("method", "request_", "code", "complaint"),
    [
        ("LoadModel", models_pb2.LoadModelRequest(name="absent"), "NOT_FOUND", "there: other-bert"),
        ("LoadModel", models_pb2.LoadModelRequest(name="../models/other-bert"), "NOT_FOUND", "there is no model"),
        ("SetDefaultModel", models_pb2.SetDefaultModelRequest(name="absent"), "NOT_FOUND", "it has tiny-bert"),
        ("UnloadModel", models_pb2.UnloadModelRequest(name="absent"), "NOT_FOUND", "it has tiny-bert"),
        ("UnloadModel", models_pb2.UnloadModelRequest(name="tiny-bert"), "FAILED_PRECONDITION", "is the default"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    serve: Any, other: Any, method: str, request_: Any, code: str, complaint: str
) -> None:
    async with serve(admin_key="secret of few") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await getattr(models_pb2_grpc.ModelsStub(channel), method)(request_, timeout=30, metadata=ADMIN)
        assert (await encode(channel)).model_name == "tiny-bert"
    assert refusal.value.code() is grpc.StatusCode[code]
    assert complaint in (refusal.value.details() or "")


async def test_a_model_that_fails_its_check_is_not_served(serve: Any, other: Any) -> None:
    golden = other.directory.path / "golden" / "embeddings.npy"
    np.save(golden, -np.load(golden))
    async with serve(admin_key="secret of few") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await models_pb2_grpc.ModelsStub(channel).LoadModel(
                models_pb2.LoadModelRequest(name="other-bert"), timeout=60, metadata=ADMIN
            )
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await encode(channel, "other-bert")
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "cosine" in (refusal.value.details() or "")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("settings", "metadata"),
    [
        ({}, ()),
        ({}, ADMIN),
        ({"admin_key": "secret of few"}, ()),
        ({"admin_key": "secret of few"}, (("admin-key", "wrong"),)),
    ],
)
async def test_nobody_changes_the_models_without_the_admin_key(
    serve: Any, other: Any, settings: dict[str, str], metadata: Any
) -> None:
    async with serve(**settings) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await models_pb2_grpc.ModelsStub(channel).LoadModel(
                models_pb2.LoadModelRequest(name="other-bert"), timeout=30, metadata=metadata
            )
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "KOSEARCH_ENCODER__ADMIN_KEY" in (refusal.value.details() or "")


async def test_a_models_prompts_go_before_the_texts_of_their_role(serve: Any, other: Any, make_ids: Any) -> None:
    path = other.directory.path
    (path / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "음식: ", "passage": "한 "}}), encoding="utf-8"
    )
    manifest = json.loads((path / "kosearch.json").read_text(encoding="utf-8"))
    manifest["fingerprint"] = fingerprint_of(path, manifest["max_tokens"])
    (path / "kosearch.json").write_text(json.dumps(manifest), encoding="utf-8")
    rows = {}
    async with serve(admin_key="secret of few") as channel:
        await models_pb2_grpc.ModelsStub(channel).LoadModel(
            models_pb2.LoadModelRequest(name="other-bert"), timeout=60, metadata=ADMIN
        )
        for role in (encoder_pb2.ROLE_UNSPECIFIED, encoder_pb2.ROLE_QUERY, encoder_pb2.ROLE_DOCUMENT):
            request = encoder_pb2.EncodeRequest(texts=["치타"], model="other-bert", role=role)
            reply = await encoder_pb2_grpc.EncoderStub(channel).Encode(request, timeout=30)
            rows[role] = np.frombuffer(reply.embeddings, "<f4")
    for role, text in (
        (encoder_pb2.ROLE_UNSPECIFIED, "치타"),
        (encoder_pb2.ROLE_QUERY, "음식: 치타"),
        (encoder_pb2.ROLE_DOCUMENT, "한 치타"),
    ):
        np.testing.assert_allclose(rows[role], other.forward(make_ids(text)), atol=2e-6)
