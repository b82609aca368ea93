"""mini-ko: mini-ko-base tuned to Korean similarity scores, the next model to ship."""

from trainer.recipe import Recipe, Source, Stage

RECIPE = Recipe(
    name="mini-ko",
    source=(
        "Own: correlation of cosines with KorSTS and KLUE-STS scores, mixed with what keeps search good. --base-model "
        "is what mini-ko-base has written, --teacher what teacher-ko has."
    ),
    expected="KorSTS test, cosine Spearman x 100: 74.97 ± 0.35 (seeds 42-44), no better than its base yet.",
    max_tokens=256,
    stages=(
        Stage(
            name="similarity",
            layer_count=4,
            batch_size=64,
            learning_rate=1.5e-4,
            embedding_learning_rate=5e-4,
            teacher_temperature=0.015,
            max_tokens=64,
            selects_on_dev=True,
            sources=(
                Source("korsts", repeat=2),
                Source("klue_sts", limit=3_000),
                Source("nli_triplets", limit=1_000),
                Source("open_domain", limit=1_000),
                Source("welfare", limit=500),
                Source("alike_sentences", limit=6_000),
                Source("alike_passages", limit=2_000),
            ),
        ),
    ),
)
