"""`python -m encoder_service` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")}
    return {**kept, "KOSEARCH_DATA_DIR": str(tmp_path), "KOSEARCH_BROKER__URL": "memory://", **settings}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def service(tmp_path: Path, tiny_model: Any, free_port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The running process and its address."""
    address = f"127.0.0.1:{free_port}"
    settings = {"KOSEARCH_ENCODER__ADDRESS": address, "KOSEARCH_ENCODER__MODEL": str(tiny_model.directory.path)}
    with subprocess.Popen([sys.executable, "-m", "encoder_service"], env=environment(tmp_path, **settings)) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=30)
            yield process, address
        finally:
            process.kill()


def start(tmp_path: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a service that is expected to give up."""
    return subprocess.run(
        [sys.executable, "-m", "encoder_service", *arguments],
        env=environment(tmp_path, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_serves_and_stops_on_sigterm(service: tuple[subprocess.Popen[bytes], str]) -> None:
    process, address = service
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        reply = encoder_pb2_grpc.EncoderStub(channel).Encode(encoder_pb2.EncodeRequest(texts=["치타"]), timeout=5)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert np.linalg.norm(np.frombuffer(reply.embeddings, "<f4")) == pytest.approx(1, abs=1e-5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


def test_it_finishes_calls_in_flight_on_sigint(service: tuple[subprocess.Popen[bytes], str]) -> None:
    process, address = service
    with grpc.insecure_channel(address) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        grpc.channel_ready_future(channel).result(timeout=5)  # calls before it may leave in another order
        calls = [stub.Encode.future(encoder_pb2.EncodeRequest(texts=["치타 " * 30] * 40), timeout=30) for _ in range(4)]
        # On the same connection behind the calls, all within one flow-control window: they have arrived.
        stub.Info(encoder_pb2.InfoRequest(), timeout=5)
        process.send_signal(signal.SIGINT)
        assert [len(call.result().token_counts) for call in calls] == [40] * 4
    assert process.wait(timeout=10) == 0


def test_a_port_in_use_is_named_with_its_setting(
    service: tuple[subprocess.Popen[bytes], str], tmp_path: Path, tiny_model: Any
) -> None:
    _, address = service
    settings = {"KOSEARCH_ENCODER__ADDRESS": address, "KOSEARCH_ENCODER__MODEL": str(tiny_model.directory.path)}
    second = start(tmp_path, **settings)
    assert second.returncode == 2
    last_line = second.stderr.splitlines()[-1]
    assert address in last_line
    assert "KOSEARCH_ENCODER__ADDRESS" in last_line
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"KOSEARCH_ENCODER__MODEL": "/nowhere"}, "/nowhere is not a model directory"),
        ({"KOSEARCH_ENCODER__ADDRESS": "0.0.0.0:0"}, "KOSEARCH_ENCODER__API_KEY"),
        ({"KOSEARCH_ENCODER__ADDRES": "127.0.0.1:0"}, "unknown setting KOSEARCH_ENCODER__ADDRES"),
        ({"KOSEARCH_ENCODER__PRECISION": "int3"}, "KOSEARCH_ENCODER__PRECISION"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(tmp_path: Path, settings: dict[str, str], complaint: str) -> None:
    refused = start(tmp_path, **settings)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("encoder_service: ")
    assert complaint in line


def test_check_prints_the_lowest_cosines_and_ends(tmp_path: Path, tiny_model: Any) -> None:
    ended = start(tmp_path, "--check", str(tiny_model.directory.path))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["lowest_cosines"]["f32"] == pytest.approx(1, abs=1e-5)
    assert found["lowest_cosines"]["int8"] == pytest.approx(1, abs=1e-2)
    assert (found["golden_texts"], found["has_token_ids"]) == (3, False)
