"""Build the encoder: a plain post-LN `BertModel` with mean pooling and unit embeddings, and nothing custom in it."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.bert.modeling_bert import BertLayer

# Share of a token's squared length that its meaning may take; the rest is ballast (see `place_embeddings`).
_HIGHEST_MEANING_SHARE = 0.95
_BALLAST_GAIN = 0.05


def place_embeddings(meaning: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Put weighted vectors into `dim` dimensions so that LayerNorm keeps their weights. Returns shape (pieces, dim).

    LayerNorm gives every token the same length and would undo the frequency weights, which are lengths. So the spare
    dimensions take a ballast of alternating sign that fills each token up to one common length: a light token is mostly
    ballast. The last LayerNorm's gain then hides the ballast from the pooled embedding.
    """
    spare = dim - meaning.shape[1]
    if spare < 2 or spare % 2:
        raise ValueError(f"need an even number of spare dimensions, got {dim} - {meaning.shape[1]}")
    centred = meaning - meaning.mean(axis=1, keepdims=True)  # (pieces, meaning): LayerNorm would take the mean away
    squared = (centred**2).sum(axis=1)  # (pieces,)
    longest = np.quantile(squared, 0.999) / _HIGHEST_MEANING_SHARE
    centred *= np.sqrt(np.minimum(1.0, _HIGHEST_MEANING_SHARE * longest / np.maximum(squared, 1e-12)))[:, None]
    ballast = np.sqrt(np.maximum(longest - (centred**2).sum(axis=1), 0.0) / spare)  # (pieces,)
    signs = np.where(np.arange(spare) % 2 == 0, 1.0, -1.0)  # (spare,)
    return np.concatenate([centred, ballast[:, None] * signs], axis=1).astype(np.float32) / np.float32(
        np.sqrt(longest / dim)
    )


def build_static_encoder(
    placed: NDArray[np.float32], meaning_dim: int, config: BertConfig, tokenizer: PreTrainedTokenizerFast
) -> BertModel:
    """A `BertModel` without layers whose token embeddings are `placed` (pieces, dim) behind one LayerNorm."""
    config = BertConfig.from_dict({**config.to_dict(), "num_hidden_layers": 0, "vocab_size": len(tokenizer)})
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        embeddings = model.embeddings
        embeddings.word_embeddings.weight.copy_(torch.from_numpy(placed))
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.LayerNorm.weight[meaning_dim:] = _BALLAST_GAIN
    return model


def add_layers(static: BertModel, layer_count: int) -> BertModel:
    """The same function as `static` (a model without layers), computed by a model of `layer_count` layers.

    Both residual branches of a layer end in a zero matrix, and LayerNorm of an already normalised token changes
    nothing, so the new model starts exactly where the static one stopped. The gain that hides the ballast moves to the
    end.
    """
    config = BertConfig.from_dict({**static.config.to_dict(), "num_hidden_layers": layer_count})
    model = BertModel(config, add_pooling_layer=False)
    model.embeddings.load_state_dict(static.embeddings.state_dict())
    layers = cast("list[BertLayer]", list(model.encoder.layer))
    with torch.no_grad():
        for layer in layers:
            layer.attention.output.dense.weight.zero_()
            layer.output.dense.weight.zero_()
        first, last = model.embeddings.LayerNorm, layers[-1].output.LayerNorm
        last.load_state_dict(first.state_dict())
        first.reset_parameters()
    return model


def encoder_of(model: SentenceTransformer) -> PreTrainedModel:
    """The transformers model inside a sentence-transformers model, which its types do not tell."""
    return cast("PreTrainedModel", model[0].auto_model)


def as_sentence_transformer(
    model: BertModel, tokenizer: PreTrainedTokenizerFast, folder: str, max_tokens: int
) -> SentenceTransformer:
    """Wrap a `BertModel` with mean pooling and normalisation; `folder` receives its files."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(folder, max_seq_length=max_tokens)
    pooling = Pooling(model.config.hidden_size, pooling_mode="mean")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
