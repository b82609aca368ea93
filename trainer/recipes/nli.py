"""nli: Sentence-BERT on natural language inference, the first regime of the SentenceBERT-KoBERT README."""

from trainer.recipe import Recipe, Source, Stage

STAGE = Stage(
    name="nli",
    sources=(Source("nli_labelled"),),
    batch_size=16,
    learning_rate=2e-5,
    max_tokens=128,
    warmup_share=0.1,
    selects_on_dev=True,
)

RECIPE = Recipe(
    name="nli",
    source=(
        "Reimers & Gurevych, EMNLP 2019: softmax over (u, v, |u - v|), mean pooling; batch 16, 1 epoch, 2e-5, warm-up "
        "10 % as in the SentenceBERT-KoBERT README."
    ),
    expected=(
        "KorSTS test, cosine Spearman x 100: 66.82 by the README, with the pretrained weights of KoBERT and KorNLI "
        "train (942,854 pairs), both of which you have to fetch; KLUE-NLI stands in for KorNLI where that is absent."
    ),
    base_model="monologg/kobert",
    max_tokens=128,
    stages=(STAGE,),
)
