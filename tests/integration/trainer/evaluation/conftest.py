"""A small encoder that was never trained, and questions over the Wikipedia in miniature."""

import gzip
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from trainer.data.corpora import read_kowiki
from trainer.encoders.encoder import as_sentence_transformer
from trainer.encoders.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def small_model(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers directory: one layer, 32 dimensions, the words of the miniature Wikipedia as pieces."""
    words = sorted({f"▁{word}" for page in read_kowiki(data_folder) for word in page.text.split()})
    tokenizer = build_tokenizer([(word, -5.0) for word in words], max_tokens=64)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("models")
    bert = BertModel(config, add_pooling_layer=False)
    model = as_sentence_transformer(bert, tokenizer, str(folder / "bert"), max_tokens=64)
    model.save_pretrained(str(folder / "small"), create_model_card=False)
    return folder / "small"


@pytest.fixture(scope="session")
def open_domain_folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with MIRACL-ko dev and Mr.TyDi-ko dev: three questions, one relevant page of which is absent."""
    folder = tmp_path_factory.mktemp("open-domain")
    (folder / "corpora").symlink_to(data_folder / "corpora")
    retrieval = folder / "retrieval"
    retrieval.mkdir()
    (retrieval / "topics.miracl-v1.0-ko-dev.tsv").write_text(
        "1\t누가 책을 읽고 있나?\n2\t누가 노래를 부르나?\n", "utf-8"
    )
    (retrieval / "qrels.miracl-v1.0-ko-dev.tsv").write_text("1 Q0 5#0 1\n1 Q0 99999#2 1\n2 Q0 7#1 1\n2 Q0 8#1 0\n")
    (retrieval / "topics.mrtydi-v1.1-ko.dev.txt.gz").write_bytes(gzip.compress("0\t어디에서 먹나?\n".encode()))
    (retrieval / "qrels.mrtydi-v1.1-ko.dev.txt").write_text("0 Q0 11#0 1\n")
    return folder
