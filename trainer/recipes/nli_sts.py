"""nli-sts: natural language inference first, then scored pairs, the third regime of the SentenceBERT-KoBERT README."""

from trainer.recipe import Recipe
from trainer.recipes import nli, sts

RECIPE = Recipe(
    name="nli-sts",
    source="Reimers & Gurevych, EMNLP 2019, section 4.2: the recipe nli, then the recipe sts.",
    expected=(
        "KorSTS test, cosine Spearman x 100: 79.21 by the README, with the pretrained weights of KoBERT and KorNLI "
        "train, both of which you have to fetch."
    ),
    base_model="monologg/kobert",
    max_tokens=128,
    stages=(nli.STAGE, sts.STAGE),
)
