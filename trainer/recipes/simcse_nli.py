"""simcse-nli: entailments against contradictions, then the order of scored pairs."""

from trainer.recipe import Objective, Recipe, Source, Stage

RECIPE = Recipe(
    name="simcse-nli",
    source=(
        "Supervised SimCSE, Gao et al., EMNLP 2021: multiple negatives ranking with contradictions as hard negatives, "
        "temperature 0.05, batch 512, 5e-5, 3 epochs (batch 128 here, so that it fits 16 GB); then CoSENT, Su, 2022, "
        "on KorSTS and KLUE-STS."
    ),
    expected=(
        "Not measured by us: it needs a pretrained encoder. On English STS the paper has 81.57 for ranking against "
        "74.89 for softmax (BERT base, mean of seven sets)."
    ),
    base_model="monologg/kobert",
    max_tokens=128,
    stages=(
        Stage(
            name="ranking",
            sources=(Source("nli_triplets"), Source("paraphrases", limit=10_000)),
            batch_size=128,
            learning_rate=5e-5,
            max_tokens=64,
            epochs=3,
            warmup_share=0.1,
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
            selects_on_dev=True,
        ),
    ),
)
