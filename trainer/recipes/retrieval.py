"""retrieval: questions against their passages, with hard negatives that the model finds itself."""

from trainer.recipe import Recipe, Source, Stage

RECIPE = Recipe(
    name="retrieval",
    source=(
        "Karpukhin et al., EMNLP 2020 (in-batch negatives first), then hard negatives mined by the model so trained, "
        "Xiong et al., ICLR 2021 (ANCE), at least 5 % below the positive, NV-Retriever, Moreira et al., 2024."
    ),
    expected="Not measured by us: it needs a pretrained encoder. See `evaluate --korquad` for the figure to watch.",
    base_model="monologg/kobert",
    max_tokens=256,
    stages=(
        Stage(
            name="in_batch",
            sources=(
                Source("open_domain", repeat=2),
                Source("welfare"),
                Source("wikipedia_cloze", limit=50_000),
                Source("precedents", limit=10_000),
                Source("laws", limit=10_000),
            ),
            batch_size=64,
            learning_rate=3e-5,
            max_tokens=128,
            warmup_share=0.1,
        ),
        Stage(
            name="hard_negatives",
            sources=(Source("open_domain", repeat=2, mined_negatives=3), Source("welfare", mined_negatives=3)),
            batch_size=32,
            learning_rate=1e-5,
            max_tokens=128,
            warmup_share=0.1,
        ),
    ),
)
