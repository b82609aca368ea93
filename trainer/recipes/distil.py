"""distil: a small student learns the embeddings of any teacher, and who is whose neighbour to it."""

from trainer.recipe import Objective, Recipe, Source, Stage

RECIPE = Recipe(
    name="distil",
    source=(
        "Reimers & Gurevych, EMNLP 2020 (embeddings as targets); Fang et al., SEED, ICLR 2021 (neighbourhoods). Name "
        "the teacher with --teacher (hub id or directory) and the student with --base-model."
    ),
    expected="Not measured by us: it depends on the teacher, whose own figures are the bound.",
    base_model="monologg/distilkobert",
    max_tokens=128,
    stages=(
        Stage(
            name="imitation",
            sources=(
                Source("taught_wikipedia", limit=200_000, objective=Objective.EMBEDDING_DISTILLATION),
                Source("taught_sentences", objective=Objective.EMBEDDING_DISTILLATION),
            ),
            batch_size=128,
            learning_rate=1e-4,
            max_tokens=64,
            warmup_share=0.1,
        ),
        Stage(
            name="similarity",
            sources=(
                Source("korsts"),
                Source("klue_sts"),
                Source("taught_sentences", limit=20_000, objective=Objective.EMBEDDING_DISTILLATION),
            ),
            batch_size=32,
            learning_rate=2e-5,
            max_tokens=128,
            epochs=2,
            warmup_share=0.1,
            selects_on_dev=True,
        ),
    ),
)
