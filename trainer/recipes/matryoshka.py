"""matryoshka: embeddings of which the first 64, 128, 256 or 512 numbers do as well as a model of that length."""

from trainer.recipe import Objective, Recipe, Source, Stage

_DIMS = (64, 128, 256, 512)

RECIPE = Recipe(
    name="matryoshka",
    source=(
        "Kusupati et al., NeurIPS 2022: the sum of the loss over leading dimensions, round stages as in simcse-nli."
    ),
    expected=(
        "Not measured by us: it needs a pretrained encoder of at least 512 dimensions. `evaluate` tells the figures of "
        "each dimension."
    ),
    base_model="monologg/kobert",
    max_tokens=128,
    stages=(
        Stage(
            name="ranking",
            sources=(Source("nli_triplets"), Source("paraphrases", limit=10_000), Source("welfare")),
            batch_size=128,
            learning_rate=5e-5,
            max_tokens=64,
            warmup_share=0.1,
            matryoshka_dims=_DIMS,
            selects_on_dev=True,
        ),
        Stage(
            name="similarity",
            sources=(Source("korsts", objective=Objective.COSENT), Source("klue_sts", objective=Objective.COSENT)),
            batch_size=32,
            learning_rate=2e-5,
            max_tokens=128,
            epochs=4,
            warmup_share=0.1,
            matryoshka_dims=_DIMS,
            selects_on_dev=True,
        ),
    ),
)
