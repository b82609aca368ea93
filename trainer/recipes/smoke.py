"""smoke: every part of the trainer in miniature, to see in a minute that data and installation work."""

from trainer.recipe import Foundation, Recipe, Source, Stage

RECIPE = Recipe(
    name="smoke",
    source="Own: the stages of mini-ko on a few hundred examples.",
    expected="A model that loads; its figures mean nothing.",
    foundation=Foundation(
        piece_count=1_500, corpus_step=500, dim=288, head_count=4, intermediate_dim=256, max_tokens=64
    ),
    stages=(
        Stage(
            name="static",
            layer_count=0,
            batch_size=16,
            learning_rate=1e-3,
            embedding_learning_rate=1e-2,
            max_tokens=32,
            is_bf16=False,
            sources=(Source("wikipedia_titles", limit=200), Source("nli_triplets", limit=100)),
        ),
        Stage(
            name="similarity",
            layer_count=1,
            batch_size=16,
            learning_rate=1e-4,
            embedding_learning_rate=1e-3,
            max_tokens=32,
            selects_on_dev=True,
            sources=(Source("korsts", limit=200), Source("wikipedia_cloze", limit=100)),
        ),
    ),
)
