"""The GPU engine: its computation on the CPU against the textbook; on a GPU, where there is one, graphs and overlap."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from encoder_service.engines.cpu import CpuEngine
from encoder_service.engines.engine import AsyncEngine
from encoder_service.engines.fused_kernels import load_fused_kernels
from encoder_service.engines.ragged import BatchShape, lay_out
from encoder_service.engines.sentence_bert import read_sentence_bert
from encoder_service.engines.torch_attention import GroupedAttention
from encoder_service.engines.torch_bert import LayerNorm, Linear, TorchBert
from encoder_service.engines.torch_engine import TorchEngine, cuda_devices
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.model_loading import load_model
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import ModelError, SettingsError
from kosearch.model_directory import ModelDirectory, seal_model_directory
from kosearch.settings import EncoderSettings

MAX_BATCH_TOKENS = 1024
on_gpu = pytest.mark.skipif(not cuda_devices(), reason="no GPU that torch can use")


def random_texts(count: int, longest: int, seed: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(4, 400, random.integers(1, longest + 1)).astype(np.int32) for _ in range(count)]


@pytest.fixture(scope="module")
def on_host(tiny_model: Any) -> TorchEngine:
    """The engine on the CPU, where it computes in float32."""
    return TorchEngine.load(tiny_model.directory, "cpu")


@pytest.mark.parametrize("longest", [1, 20, 160])
def test_texts_end_to_end_get_the_embeddings_they_would_get_alone(
    tiny_model: Any, on_host: TorchEngine, longest: int
) -> None:
    texts = random_texts(60, longest)
    expected = np.stack([tiny_model.forward(text) for text in texts])
    embeddings = on_host.encode(texts)
    assert (embeddings.dtype, on_host.precision, on_host.dim) == (np.float32, "f32", 32)
    np.testing.assert_allclose(embeddings, expected, atol=2e-6)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=on_gpu)])
def test_tokens_get_the_embeddings_they_would_get_alone(tiny_model: Any, device: str) -> None:
    texts = random_texts(60, 160)
    engine = TorchEngine.load(tiny_model.directory, device, "f32")
    waiting = engine.submit(texts)  # and what was begun before is not disturbed
    for rows, text in zip(engine.encode_tokens(texts), texts, strict=True):
        np.testing.assert_allclose(rows, tiny_model.forward_tokens(text), atol=5e-6 if device == "cpu" else 2e-3)
    np.testing.assert_allclose(waiting(), engine.encode(texts), atol=2e-6)


def test_what_fills_a_batch_up_to_a_static_shape_changes_no_embedding(tiny_model: Any) -> None:
    architecture, weights = read_sentence_bert(tiny_model.directory)
    device = torch.device("cpu")
    bert = TorchBert(architecture, weights, device, torch.float32)
    texts = random_texts(9, 30)
    shape = BatchShape(tokens=512, texts=14, longest=128)
    inputs = np.full(shape.size, -7, np.int32)
    lay_out(texts, shape, inputs)
    bounds = inputs[shape.parts[2]]
    with torch.inference_mode():
        rows = bert.embed(torch.from_numpy(inputs), shape, GroupedAttention(bounds, device)).numpy()
    assert rows.shape == (14, 32)
    np.testing.assert_allclose(rows[:9], [tiny_model.forward(text) for text in texts], atol=2e-6)


def sealed_again(directory: ModelDirectory) -> ModelDirectory:
    """The directory after its files were changed, golden embeddings left as they are."""
    texts, golden = directory.golden()
    return seal_model_directory(directory.path, directory.name, directory.max_tokens, texts, golden)


def test_the_first_token_alone_where_the_model_pools_so(make_model: Any) -> None:
    directory = make_model().directory
    (directory.path / "1_Pooling/config.json").write_text('{"pooling_mode": "cls"}', encoding="utf-8")
    directory = sealed_again(directory)
    texts = random_texts(7, 40)
    expected = CpuEngine.load(directory, "f32", threads=1).encode(texts)
    np.testing.assert_allclose(TorchEngine.load(directory, "cpu").encode(texts), expected, atol=2e-6)


def test_it_is_an_engine_that_takes_a_batch_ahead(tiny_model: Any, on_host: TorchEngine) -> None:
    assert isinstance(on_host, AsyncEngine)
    batches = [random_texts(count, 30, seed=count) for count in (5, 1, 8)]
    waits = [on_host.submit(batch) for batch in batches]
    for wait, batch in zip(waits, batches, strict=True):
        np.testing.assert_allclose(wait(), [tiny_model.forward(text) for text in batch], atol=2e-6)


@pytest.mark.parametrize("options", [{"prefix": "bert."}, {"half": True}], ids=["prefixed names", "float16 weights"])
def test_weights_as_other_tools_store_them(make_model: Any, options: dict[str, Any]) -> None:
    model = make_model(**options)
    text = np.arange(4, 40, dtype=np.int32)
    found = TorchEngine.load(model.directory, "cpu").encode([text])[0]
    np.testing.assert_allclose(found, model.forward(text), atol=2e-6)


def test_a_model_without_one_of_its_tensors_is_refused_by_name(make_model: Any) -> None:
    directory = make_model().directory
    tensors = load_file(directory.path / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, directory.path / "model.safetensors")
    with pytest.raises(ModelError, match=r"no tensor 'encoder\.layer\.1\.output\.dense\.bias'"):
        TorchEngine.load(sealed_again(directory), "cpu")


def test_golden_embeddings_of_the_same_model_agree(tiny_model: Any, on_host: TorchEngine) -> None:
    tokeniser = Tokeniser.load(tiny_model.directory, 10_000)
    lowest = check_golden_embeddings(tiny_model.directory, tokeniser, on_host, MIN_COSINE["f32"])
    assert lowest == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
async def test_the_service_answers_with_it(
    serve: Any, tiny_model: Any, on_host: TorchEngine, make_ids: Any, devices: int
) -> None:
    """The computation on the CPU keeps no state, so that two threads may share it as if each had a device."""
    from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc

    texts = [f"{word} 드럼" for word in ("치타", "음식", "남자")] * 20
    async with serve(engine=on_host, devices=devices, max_batch_tokens=256) as channel:
        request = encoder_pb2.EncodeRequest(texts=texts)
        reply = await encoder_pb2_grpc.EncoderStub(channel).Encode(request, timeout=30)
    rows = np.frombuffer(reply.embeddings, "<f4").reshape(len(texts), -1)
    np.testing.assert_allclose(rows, [tiny_model.forward(make_ids(text)) for text in texts], atol=2e-6)


def test_a_service_on_the_cpu_never_loads_torch_and_the_gpu_engine_never_the_libraries_of_the_cpu(
    tiny_model: Any,
) -> None:
    on_cpu = """
import sys
from pathlib import Path
import encoder_service.__main__, encoder_service.server
from encoder_service.model_loading import load_model
from kosearch.settings import EncoderSettings
load_model(Path(sys.argv[1]), EncoderSettings(device="cpu", precision="f32", threads=1))
print([name for name in ("torch", "openvino") if name in sys.modules])
"""
    with_torch = """
import sys
from pathlib import Path
import encoder_service.__main__, encoder_service.server
from encoder_service.engines.torch_engine import TorchEngine
from kosearch.model_directory import ModelDirectory
TorchEngine.load(ModelDirectory.open(Path(sys.argv[1])), "cpu")
print([name for name in ("torch", "openvino", "onnxruntime") if name in sys.modules])
"""
    for script, loaded in ((on_cpu, "['openvino']"), (with_torch, "['torch']")):
        command = [sys.executable, "-c", script, str(tiny_model.directory.path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines()[-1] == loaded


@pytest.mark.skipif(bool(cuda_devices()), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_cpu(tiny_model: Any) -> None:
    with pytest.raises(SettingsError, match="nvidia-smi"):
        load_model(tiny_model.directory.path, EncoderSettings(device="cuda"))
    loaded = load_model(tiny_model.directory.path, EncoderSettings(device="auto", precision="f32", threads=1))
    assert [type(engine) for engine in loaded.engines] == [CpuEngine]


@pytest.fixture(scope="module")
def graphed(tiny_model: Any) -> TorchEngine:
    """The engine on the first GPU, with graphs for batches of up to MAX_BATCH_TOKENS."""
    return TorchEngine.load(tiny_model.directory, "cuda:0", max_batch_tokens=MAX_BATCH_TOKENS)


@on_gpu
@pytest.mark.parametrize("options", [{}, {"with_graphs": False}, {"with_own_kernels": False}], ids=str)
def test_on_a_gpu_every_kind_of_batch_is_close_to_the_textbook(tiny_model: Any, options: dict[str, bool]) -> None:
    engine = TorchEngine.load(tiny_model.directory, "cuda:0", max_batch_tokens=MAX_BATCH_TOKENS, **options)
    assert engine.precision in {"bf16", "f16"}
    for count, longest in ((1, 1), (1, 160), (9, 12), (40, 30), (40, 160), (200, 4)):  # the last two exceed all graphs
        texts = random_texts(count, longest)
        expected = np.stack([tiny_model.forward(text) for text in texts])
        assert (engine.encode(texts) * expected).sum(axis=1).min() > MIN_COSINE[engine.precision]


def test_where_our_kernels_do_not_run_there_are_none_and_no_error() -> None:
    assert load_fused_kernels(torch.device("cpu")) is None


@on_gpu
@pytest.mark.parametrize(("heads", "head_dim"), [(2, 8), (3, 24), (12, 32), (12, 64), (2, 128)])
def test_on_a_gpu_our_attention_stays_within_each_text(heads: int, head_dim: int) -> None:
    fused = load_fused_kernels(torch.device("cuda:0"))
    assert fused is not None
    lengths = [3, 70, 1, 1, 40, 128, 5, 64, 63, 300]
    random = torch.Generator(device="cuda").manual_seed(0)
    tokens = torch.randn(
        (sum(lengths), 3, heads, head_dim), generator=random, device="cuda", dtype=torch.bfloat16
    ).unbind(1)
    positions = torch.cat([torch.arange(length) for length in lengths]).int().cuda()
    mixed = fused.attend_in_short_texts(*tokens, positions)
    for found, *parts in zip(*(part.split(lengths) for part in (mixed, *tokens)), strict=True):
        query, key, value = (part.float().transpose(0, 1) for part in parts)  # (heads, tokens of the text, head_dim)
        expected = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1)
        torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)


@on_gpu
@pytest.mark.parametrize("dim", [32, 384, 768])
def test_on_a_gpu_our_other_kernels_compute_what_torchs_do(dim: int) -> None:
    fused = load_fused_kernels(torch.device("cuda:0"))
    assert fused is not None
    random = torch.Generator(device="cuda").manual_seed(0)
    hidden, residual = torch.randn((2, 200, dim), generator=random, device="cuda", dtype=torch.bfloat16)
    gain, bias = torch.randn((2, dim), generator=random, device="cuda", dtype=torch.bfloat16)
    norm = LayerNorm(gain, bias, 1e-12)
    expected = functional.layer_norm(hidden.float() + residual.float(), (dim,), gain.float(), bias.float(), 1e-12)
    torch.testing.assert_close(fused.layer.add_norm(hidden, residual, norm).float(), expected, atol=0.02, rtol=0.01)
    weight = torch.randn((4 * dim, dim), generator=random, device="cuda", dtype=torch.bfloat16) / dim**0.5
    wide_bias = torch.randn(4 * dim, generator=random, device="cuda", dtype=torch.bfloat16)
    expected = functional.gelu(functional.linear(hidden.float(), weight.float(), wide_bias.float()))
    found = fused.layer.widen(hidden, Linear(weight, wide_bias)).float()
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)


@on_gpu
def test_on_a_gpu_float32_is_as_exact_as_on_the_cpu(tiny_model: Any, on_host: TorchEngine) -> None:
    texts = random_texts(40, 160)
    engine = TorchEngine.load(tiny_model.directory, "cuda:0", "f32")
    assert engine.precision == "f32"
    np.testing.assert_allclose(engine.encode(texts), on_host.encode(texts), atol=1e-5)


@on_gpu
def test_on_a_gpu_batches_that_overlap_do_not_touch_each_other(graphed: TorchEngine) -> None:
    """Two at a time, of one shape and of others, as the engine thread sends them."""
    batches = [random_texts(count, longest, seed) for seed, (count, longest) in enumerate([(30, 20), (3, 100)] * 20)]
    alone = [graphed.encode(batch) for batch in batches]
    before = graphed.submit(batches[0])
    for number, batch in enumerate(batches[1:]):
        after = graphed.submit(batch)
        np.testing.assert_allclose(before(), alone[number], atol=1e-3)
        before = after
    np.testing.assert_allclose(before(), alone[-1], atol=1e-3)


@on_gpu
def test_on_a_gpu_the_golden_embeddings_agree_on_every_device(tiny_model: Any) -> None:
    loaded = load_model(tiny_model.directory.path, EncoderSettings(device="cuda", max_batch_tokens=MAX_BATCH_TOKENS))
    assert len(loaded.engines) == len(cuda_devices())
    with pytest.raises(SettingsError, match="int8 is for the CPU"):
        load_model(tiny_model.directory.path, EncoderSettings(device="cuda", precision="int8"))
