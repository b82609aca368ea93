"""sts: Sentence-BERT on scored pairs, the second regime of the SentenceBERT-KoBERT README."""

from trainer.recipe import Objective, Recipe, Source, Stage

STAGE = Stage(
    name="sts",
    sources=(Source("korsts", objective=Objective.REGRESSION),),
    batch_size=8,
    learning_rate=2e-5,
    max_tokens=128,
    epochs=4,
    warmup_share=0.1,
    selects_on_dev=True,
)

RECIPE = Recipe(
    name="sts",
    source=(
        "Reimers & Gurevych, EMNLP 2019: squared error of the cosine, mean pooling; batch 8, 4 epochs, 2e-5, warm-up "
        "10 %, checkpoint chosen on KorSTS dev, as in the SentenceBERT-KoBERT README."
    ),
    expected=(
        "KorSTS test, cosine Spearman x 100: 79.30 by the README, with the pretrained weights of KoBERT, which you "
        "have to fetch."
    ),
    base_model="monologg/kobert",
    max_tokens=128,
    stages=(STAGE,),
)
