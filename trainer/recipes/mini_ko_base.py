"""mini-ko-base: a small Korean encoder from scratch on two CPU cores, taught by the model of teacher-ko."""

from trainer.recipe import Foundation, Objective, Recipe, Source, Stage

RECIPE = Recipe(
    name="mini-ko-base",
    source=(
        "Own. Morpheme vectors of Kiwi's CoNg model as initialisation; neighbourhoods and embeddings of the teacher "
        "that the recipe teacher-ko makes (group distillation, see losses.py); multiple negatives ranking (Henderson "
        "et al., 2017) for search."
    ),
    expected=(
        "KorSTS dev 82.11 (cosine Spearman x 100), a third of KorQuAD dev nDCG@10 71.12. The stage `words` without a "
        "share of its start: dev 82.49, test 76.53, KorQuAD 70.54; before it 82.11, 75.31 and 71.4."
    ),
    foundation=Foundation(
        piece_count=22_000, corpus_step=12, dim=384, head_count=6, intermediate_dim=1024, max_tokens=256
    ),
    stages=(
        Stage(
            name="static",
            layer_count=0,
            batch_size=128,
            learning_rate=2e-3,
            embedding_learning_rate=2e-2,
            teacher_temperature=0.015,
            max_tokens=64,
            is_bf16=False,
            sources=(
                Source("alike_sentences"),
                Source("alike_passages"),
                Source("wikipedia_titles", limit=20_000),
                Source("wikipedia_cloze", limit=20_000),
                Source("welfare"),
                Source("open_domain", repeat=2),
                Source("nli_triplets"),
                Source("korsts"),
                Source("klue_sts"),
            ),
        ),
        Stage(
            name="context",
            layer_count=4,
            batch_size=64,
            learning_rate=4e-4,
            embedding_learning_rate=3e-3,
            warmup_share=0.08,
            teacher_temperature=0.015,
            max_tokens=64,
            sources=(
                Source("alike_sentences", repeat=2),
                Source("alike_passages", repeat=2),
                Source("wikipedia_cloze", limit=3_000),
                Source("welfare", limit=3_000),
                Source("open_domain"),
                Source("nli_triplets"),
                Source("korsts"),
                Source("klue_sts", limit=6_000),
            ),
        ),
        # The same lessons in whole paragraphs, and more of what makes a search: longer texts need their positions.
        Stage(
            name="paragraphs",
            layer_count=4,
            batch_size=128,
            learning_rate=4e-4,
            embedding_learning_rate=3e-3,
            warmup_share=0.08,
            teacher_temperature=0.015,
            max_tokens=256,
            sources=(
                Source("alike_sentences", repeat=2),
                Source("alike_passages", repeat=2),
                Source("wikipedia_titles", limit=8_000),
                Source("wikipedia_cloze", limit=16_000),
                Source("welfare"),
                Source("open_domain", repeat=2),
                Source("nli_triplets"),
                Source("korsts"),
                Source("klue_sts"),
            ),
        ),
        # What the teacher makes of every word: one text then teaches as much as many.
        Stage(
            name="words",
            layer_count=4,
            batch_size=64,
            learning_rate=4e-4,
            embedding_learning_rate=3e-3,
            warmup_share=0.06,
            teacher_temperature=0.015,
            max_tokens=256,
            share_of_start=0.5,  # search, which the stage loses a little of, comes back
            sources=(
                Source("alike_sentences", limit=60_000, repeat=4, objective=Objective.WORD_DISTILLATION),
                Source("alike_paragraphs", limit=7_000, objective=Objective.WORD_DISTILLATION),
                Source("alike_passages", limit=8_000),
                Source("wikipedia_cloze", limit=6_000),
                Source("welfare"),
                Source("open_domain", repeat=2),
                Source("nli_triplets"),
                Source("taught_pairs", limit=24_000),
            ),
        ),
    ),
)
