"""mini-ko: mini-ko-base tuned to Korean similarity scores, the model that ships."""

from trainer.recipe import Objective, Recipe, Source, Stage

RECIPE = Recipe(
    name="mini-ko",
    source=(
        "Own: correlation of cosines with the teacher's over the pairs of the labelled sets, mixed with what keeps "
        "search good. --base-model is what mini-ko-base has written, --teacher what teacher-ko has."
    ),
    expected=(
        "Seeds 42 to 44: KorSTS test 76.31 in the mean (76.27 to 76.36; dev 82.59 to 82.70; cosine Spearman x 100), "
        "KorQuAD dev nDCG@10 70.7 to 71.2. With no share of its start seed 42 fell from 71.2 to 69.4 on a third of "
        "the KorQuAD questions."
    ),
    max_tokens=256,
    stages=(
        Stage(
            name="similarity",
            layer_count=4,
            batch_size=128,
            learning_rate=1e-4,
            embedding_learning_rate=4e-4,
            warmup_share=0.1,
            teacher_temperature=0.015,
            max_tokens=256,
            selects_on_dev=True,
            share_of_start=0.5,
            sources=(
                Source("taught_pairs", limit=24_000),
                Source("alike_sentences", limit=6_000, objective=Objective.WORD_DISTILLATION),
                Source("alike_paragraphs", limit=1_500, objective=Objective.WORD_DISTILLATION),
            ),
        ),
    ),
)
