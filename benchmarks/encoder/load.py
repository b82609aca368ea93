"""What callers of the encoder service feel: one scenario a run, against a real service process. Prints JSON.

    python benchmarks/encoder/load.py concurrent --shape A [--seconds 20] [--peers .cache/peers/bin/python]
    python benchmarks/encoder/load.py responsiveness --shape A [--seconds 30]
    python benchmarks/encoder/load.py overload --shape B [--seconds 60]
    python benchmarks/encoder/load.py overhead --shape B [--seconds 10]
    python benchmarks/encoder/load.py endurance --shape B --seconds 1800

concurrent: 32 callers of one text each, against infinity's server where there is one (`make peers`); one caller alone
    against the engine in this process
responsiveness: queries at 20/s alone, bulk alone, both together
overload: ten times the calls that the service can answer, each with a deadline
overhead: the engine in this process against the service, in messages of 64 texts; calls of one text to a service
    whose engine does nothing
endurance: queries, bulk streams and callers that leave, for long; memory, errors

Load and service share the machine's cores. Texts and shapes are those of bulk.py.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from batches import in_batches
from report import print_report  # the benchmarks are scripts, not a package
from served import Caller, Calls, Served, percentiles_ms, running_infinity, running_service
from workload import SHAPES, build_model, read_texts

from encoder_service.engines.cpu import CpuEngine
from encoder_service.tokeniser import Tokeniser
from kosearch.logs import configure_logs
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import encoder_pb2

HERE = Path(__file__).resolve().parent
QUERY, BULK = encoder_pb2.PRIORITY_QUERY, encoder_pb2.PRIORITY_BULK
_CALLERS = 32
_QUERIES_PER_S = 20.0
_MESSAGE_TEXTS = 64
_OVERLOAD = 10
_OVERLOAD_TEXTS = 8
_OVERLOAD_DEADLINE_S = 1.0
_SAMPLE_S = 5.0
_LEAVERS_PER_S = 2.0
_LEAVES_AFTER_S = 0.05


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--shape", choices=SHAPES, default="B")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--precision", choices=("bf16", "f32", "int8"), default="bf16", help="bf16: f32 without it")
    parser.add_argument("--peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--peers-dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    configure_logs("benchmark")
    texts = read_texts(arguments.data, "sentences", 0)
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder), arguments.shape, arguments.data)
        figures = SCENARIOS[arguments.scenario](model, texts, arguments)
    print_report(
        f"encoder/load/{arguments.scenario}",
        {"arguments": {name: str(value) for name, value in vars(arguments).items()}, **figures},
    )


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    return {"KOSEARCH_ENCODER__PRECISION": arguments.precision}


def concurrent(model: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Many callers at once, ours and infinity's in turns; then one alone."""
    done: dict[str, list[dict[str, float]]] = {"kosearch": [], "infinity": []}
    seconds, rounds, peers = arguments.seconds, arguments.rounds, arguments.peers
    with ExitStack() as stack:
        served = stack.enter_context(running_service(model, settings=_settings(arguments)))
        url = stack.enter_context(running_infinity(peers, model, arguments.peers_dtype)) if peers else None
        for _ in range(rounds):
            done["kosearch"].append(asyncio.run(_concurrent_calls(served, texts, seconds)))
            if url is not None:
                done["infinity"].append(asyncio.run(_concurrent_posts(url, texts, seconds)))
    engine = CpuEngine.load(ModelDirectory.open(model), arguments.precision, 0)
    tokeniser = Tokeniser.load(ModelDirectory.open(model), 1 << 20)
    with running_service(model, settings=_settings(arguments)) as served:
        alone = []
        for _ in range(rounds):
            own = _lone_texts_ms(engine, tokeniser, texts, seconds / 2)
            calls = asyncio.run(_lone_calls_ms(served, texts, seconds / 2))
            alone.append({"engine_p50_ms": own, "call_p50_ms": calls, "ratio": calls / own})
    medians = {name: _medians(runs) for name, runs in done.items() if runs}
    ratio = {}
    if "infinity" in medians:
        ratio = {"ratio": round(medians["kosearch"]["texts_per_s"] / medians["infinity"]["texts_per_s"], 2)}
    return {"callers": _CALLERS, **medians, **ratio, "alone": _medians(alone), "rounds": done}


async def _concurrent_calls(served: Served, texts: list[str], seconds: float) -> dict[str, float]:
    calls, started = Calls(), time.perf_counter()
    callers = [Caller(served.address, texts[number:] + texts[:number], QUERY) for number in range(_CALLERS)]
    await asyncio.gather(*(caller.call_in_turn(1, calls, started + seconds) for caller in callers))
    elapsed = time.perf_counter() - started
    for caller in callers:
        await caller.close()
    return {"texts_per_s": calls.texts / elapsed, **percentiles_ms(calls.answered_s)}


async def _concurrent_posts(url: str, texts: list[str], seconds: float) -> dict[str, float]:
    times: list[float] = []
    started = time.perf_counter()

    async def post_in_turn(client: httpx.AsyncClient, start: int) -> None:
        for text in islice(cycle(texts), start, None):
            began = time.perf_counter()
            if began > started + seconds:
                return
            answer = await client.post("/embeddings", json={"model": "model", "input": [text]})
            answer.raise_for_status()
            times.append(time.perf_counter() - began)

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(post_in_turn(client, number) for number in range(_CALLERS)))
    return {"texts_per_s": len(times) / (time.perf_counter() - started), **percentiles_ms(times)}


def _lone_texts_ms(engine: CpuEngine, tokeniser: Tokeniser, texts: list[str], seconds: float) -> float:
    """Median of tokenising and encoding one text in this process."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    for text in cycle(texts):
        started = time.perf_counter()
        if started > end:
            break
        engine.encode(tokeniser.tokenise([text]).token_ids)
        times.append(time.perf_counter() - started)
    return percentiles_ms(times)["p50"]


async def _lone_calls_ms(served: Served, texts: list[str], seconds: float) -> float:
    calls, caller = Calls(), Caller(served.address, texts, QUERY)
    await caller.call_in_turn(1, calls, time.perf_counter() + seconds)
    await caller.close()
    return percentiles_ms(calls.answered_s)["p50"]


def responsiveness(model: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Queries alone, bulk alone, both, in turns."""
    with running_service(model, settings=_settings(arguments)) as served:
        done = [asyncio.run(_responsiveness_round(served, texts, arguments.seconds)) for _ in range(arguments.rounds)]
    return {"queries_per_s": _QUERIES_PER_S, "medians": _medians(done), "rounds": done}


async def _responsiveness_round(served: Served, texts: list[str], seconds: float) -> dict[str, float]:
    query, bulk = Caller(served.address, texts, QUERY), Caller(served.address, texts, BULK)
    alone, beside, bulk_alone, bulk_beside = Calls(), Calls(), Calls(), Calls()
    await query.call_at_rate(_QUERIES_PER_S, 1, alone, time.perf_counter() + seconds)
    batches = served.metric("kosearch_encoder_batch_seconds_count")
    batch_s = served.metric("kosearch_encoder_batch_seconds_sum")
    await bulk.stream(_MESSAGE_TEXTS, bulk_alone, time.perf_counter() + seconds)
    bulk_batch_s = (served.metric("kosearch_encoder_batch_seconds_sum") - batch_s) / (
        served.metric("kosearch_encoder_batch_seconds_count") - batches
    )
    until = time.perf_counter() + seconds
    await asyncio.gather(
        query.call_at_rate(_QUERIES_PER_S, 1, beside, until), bulk.stream(_MESSAGE_TEXTS, bulk_beside, until)
    )
    await query.close()
    await bulk.close()
    p99_alone, p99_beside = (percentiles_ms(calls.answered_s)["p99"] for calls in (alone, beside))
    return {
        "query_p99_alone_ms": p99_alone,
        "query_p99_beside_bulk_ms": p99_beside,
        "bulk_batch_ms": round(bulk_batch_s * 1e3, 1),
        "allowed_ms": round(p99_alone + bulk_batch_s * 1e3, 1),
        "bulk_texts_per_s_alone": round(bulk_alone.texts / seconds, 1),
        "bulk_texts_per_s_beside": round(bulk_beside.texts / seconds, 1),
        "bulk_kept": round(bulk_beside.texts / bulk_alone.texts, 3),
        "failed_calls": float(sum(len(times) for calls in (alone, beside) for times in calls.failed_s.values())),
    }


def overload(model: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Ten times what the service answers, each call with a deadline of a second."""
    with running_service(model, settings=_settings(arguments)) as served:
        return asyncio.run(_overload(served, texts, arguments.seconds))


async def _overload(served: Served, texts: list[str], seconds: float) -> dict[str, Any]:
    caller = Caller(served.address, texts, QUERY)
    before = await _full_speed(caller)
    calls, memory = Calls(), [served.memory_mib()]
    until = time.perf_counter() + seconds

    async def sample() -> None:
        while time.perf_counter() < until:
            await asyncio.sleep(_SAMPLE_S)
            memory.append(served.memory_mib())

    rate = _OVERLOAD * before / _OVERLOAD_TEXTS
    await asyncio.gather(
        sample(), caller.call_at_rate(rate, _OVERLOAD_TEXTS, calls, until, deadline_s=_OVERLOAD_DEADLINE_S)
    )
    await asyncio.sleep(1.0)
    after = await _full_speed(caller)
    await caller.close()
    return {
        "calls_per_s": round(rate, 1),
        "texts_per_call": _OVERLOAD_TEXTS,
        "deadline_s": _OVERLOAD_DEADLINE_S,
        **calls.summary(),
        "texts_per_s_before": round(before, 1),
        "texts_per_s_answered": round(calls.texts / seconds, 1),
        "texts_per_s_a_second_after": round(after, 1),
        "memory_mib": [round(value) for value in memory],
    }


async def _full_speed(caller: Caller, seconds: float = 5.0) -> float:
    """Texts per second of 16 callers in turn."""
    calls = Calls()
    started = time.perf_counter()
    await asyncio.gather(*(caller.call_in_turn(_OVERLOAD_TEXTS, calls, started + seconds) for _ in range(16)))
    return calls.texts / (time.perf_counter() - started)


def overhead(model: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """The engine here against the service, and what calls alone cost."""
    seconds, rounds = arguments.seconds, arguments.rounds
    engine = CpuEngine.load(ModelDirectory.open(model), arguments.precision, 0)
    token_ids = Tokeniser.load(ModelDirectory.open(model), 1 << 20).tokenise(texts).token_ids
    done = []
    with running_service(model, settings=_settings(arguments)) as served:
        for _ in range(rounds):
            own = _engine_texts_per_s(engine, token_ids, seconds)
            through = asyncio.run(_message_texts_per_s(served, texts, seconds))
            done.append({"engine_texts_per_s": own, "service_texts_per_s": through, "share": through / own})
    with running_service(model, str(HERE / "stub_service.py")) as served:
        calls_per_s = [asyncio.run(_calls_per_s(served, texts, seconds)) for _ in range(rounds)]
    return {
        "medians": _medians(done),
        "rounds": done,
        "tokens_per_text": round(float(np.mean([len(ids) for ids in token_ids])), 1),
        "stub_calls_per_s": round(float(np.median(calls_per_s))),
        "stub_calls_per_s_of_rounds": [round(value) for value in calls_per_s],
    }


def _engine_texts_per_s(engine: CpuEngine, token_ids: list[Any], seconds: float) -> float:
    """Texts per second of the engine alone in batches of up to 4,096 tokens."""
    batches = list(in_batches(token_ids, 4096))
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for batch in batches:
            engine.encode(batch)
            count += len(batch)
    return count / elapsed


async def _message_texts_per_s(served: Served, texts: list[str], seconds: float) -> float:
    caller, calls = Caller(served.address, texts, BULK), Calls()
    started = time.perf_counter()
    await asyncio.gather(*(caller.call_in_turn(_MESSAGE_TEXTS, calls, started + seconds) for _ in range(16)))
    elapsed = time.perf_counter() - started
    await caller.close()
    return calls.texts / elapsed


async def _calls_per_s(served: Served, texts: list[str], seconds: float) -> float:
    caller, calls = Caller(served.address, texts, QUERY), Calls()
    started = time.perf_counter()
    await asyncio.gather(*(caller.call_in_turn(1, calls, started + seconds) for _ in range(64)))
    elapsed = time.perf_counter() - started
    await caller.close()
    return len(calls.answered_s) / elapsed


def endurance(model: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Mixed load for long."""
    with running_service(model, settings=_settings(arguments)) as served:
        return asyncio.run(_endurance(served, texts, arguments.seconds))


async def _endurance(served: Served, texts: list[str], seconds: float) -> dict[str, Any]:
    query, bulk, leaver = (Caller(served.address, texts, priority) for priority in (QUERY, BULK, BULK))
    queries, streamed, left = Calls(), Calls(), Calls()
    memory: list[float] = []
    until = time.perf_counter() + seconds

    async def sample() -> None:
        while time.perf_counter() < until:
            memory.append(served.memory_mib())
            await asyncio.sleep(min(_SAMPLE_S, max(0.0, until - time.perf_counter())))

    await asyncio.gather(
        sample(),
        query.call_at_rate(_QUERIES_PER_S, 1, queries, until),
        bulk.stream(_MESSAGE_TEXTS, streamed, until),
        leaver.leave_at_rate(_LEAVERS_PER_S, _MESSAGE_TEXTS, left, until, _LEAVES_AFTER_S),
    )
    for caller in (query, bulk, leaver):
        await caller.close()
    first_minute = round(60 / _SAMPLE_S)
    return {
        "queries": queries.summary(),
        "bulk_texts": streamed.texts,
        "leavers": left.summary(),
        "memory_mib_after_a_minute": round(memory[min(first_minute, len(memory) - 1)], 1),
        "memory_mib_highest_after": round(max(memory[first_minute:] or memory), 1),
        "memory_mib_at_the_end": round(memory[-1], 1),
        "memory_mib_each_minute": [round(value) for value in memory[::first_minute]],
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.median([done[name] for done in rounds])), 3) for name in rounds[0]}


SCENARIOS: dict[str, Callable[[Path, list[str], argparse.Namespace], dict[str, Any]]] = {
    "concurrent": concurrent,
    "responsiveness": responsiveness,
    "overload": overload,
    "overhead": overhead,
    "endurance": endurance,
}


if __name__ == "__main__":
    main()
