"""kosearch-mini-ko: the small model that ships, from scratch on two CPU cores in under an hour."""

from trainer.recipe import Foundation, Recipe, Source, Stage

RECIPE = Recipe(
    name="mini-ko",
    source=(
        "Own. Morpheme vectors of Kiwi's CoNg model as initialisation; multiple negatives ranking (Henderson et al., "
        "2017) with NLI contradictions as hard negatives (Gao et al., SimCSE, 2021); correlation with STS scores."
    ),
    expected="KorSTS test, cosine Spearman x 100: 70.82 (seed 42), in half an hour on two cores.",
    foundation=Foundation(
        piece_count=24_000, corpus_step=12, dim=384, head_count=6, intermediate_dim=1536, max_tokens=256
    ),
    stages=(
        Stage(
            name="static",
            layer_count=0,
            batch_size=512,
            learning_rate=2e-3,
            embedding_learning_rate=3e-2,
            max_tokens=64,
            is_bf16=False,
            sources=(
                Source("wikipedia_titles", limit=25_000),
                Source("wikipedia_cloze", limit=40_000),
                Source("laws", limit=10_000),
                Source("precedents", limit=6_000),
                Source("welfare"),
                Source("open_domain", repeat=2),
                Source("nli_triplets", repeat=2),
                Source("paraphrases", limit=20_000),
                Source("english_teacher", repeat=2),
                Source("korsts", repeat=3),
                Source("klue_sts", repeat=2),
            ),
        ),
        Stage(
            name="context",
            layer_count=2,
            batch_size=128,
            learning_rate=2e-4,
            embedding_learning_rate=5e-3,
            max_tokens=64,
            sources=(
                Source("wikipedia_titles", limit=4_000),
                Source("wikipedia_cloze", limit=8_000),
                Source("laws", limit=3_000),
                Source("precedents", limit=2_000),
                Source("welfare", limit=4_000),
                Source("open_domain"),
                Source("nli_triplets"),
                Source("paraphrases", limit=8_000),
                Source("english_teacher", repeat=3),
                Source("korsts"),
                Source("klue_sts"),
            ),
        ),
        Stage(
            name="similarity",
            layer_count=2,
            batch_size=64,
            learning_rate=7e-5,
            embedding_learning_rate=1e-3,
            max_tokens=64,
            selects_on_dev=True,
            sources=(
                Source("korsts", repeat=2),
                Source("klue_sts"),
                Source("nli_triplets", limit=1_000),
                Source("open_domain"),
                Source("welfare", limit=1_000),
                Source("wikipedia_cloze", limit=2_000),
                Source("english_teacher", limit=6_000),
            ),
        ),
    ),
)
