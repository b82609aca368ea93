"""How well queries are read: what is found of slips that were made on purpose, and what of clean queries. Prints JSON.

    python benchmarks/query_reading.py [--data ../shared/data] [--count 1000] [--seed 0]
    python benchmarks/query_reading.py --letters    # prints the table of kosearch/korean/latin.py instead

Korean: KorQuAD's questions, KorSTS and movie reviews. Latin: the words of Korean Wikipedia and of English news and
captions.
"""

import argparse
import csv
import io
import itertools
import json
import math
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from report import print_report  # the benchmarks are scripts, not a package

from kosearch.korean.keyboard import compose, from_keys, to_keys
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.reading import MAX_READ_CHARACTERS, QueryReader, ReadingOptions, ReadQuery
from kosearch.text import normalise

_LATIN = re.compile("[A-Za-z]+")
_SYLLABLES = re.compile("[가-힣]+")
_JAMO_AND_SYLLABLES = re.compile("[가-힣ㄱ-ㅣ]*[ㄱ-ㅣ][가-힣ㄱ-ㅣ]*")
_LATIN_WORDS = 20_000
_IDENTIFIERS = (
    "xml",
    "dog",
    "so",
    "GPU",
    "sql",
    "html",
    "json",
    "dhcp",
    "utf8",
    "user_id",
    "kubectl",
    "i18n",
    "a@b.kr",
)
_ONLY_KEYBOARD = ReadingOptions(keeps_spacing=True, keeps_typos=True)
_ONLY_SPACING = ReadingOptions(keeps_keyboard=True, keeps_typos=True)
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class _Texts(NamedTuple):
    questions: list[str]
    sentences: list[str]
    reviews: list[str]
    latin: Counter[str]
    english: Counter[str]


def main() -> None:
    """Read the data, make slips, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=1_000, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--letters", action="store_true")
    arguments = parser.parse_args()
    texts = _read_texts(arguments.data)
    if arguments.letters:
        print("\n".join(_letter_table(texts)))  # noqa: T201
        return
    chance = random.Random(arguments.seed)
    reader = QueryReader(shared_kiwi())
    questions = [normalise(question) for question in chance.sample(texts.questions, arguments.count)]
    print_report(
        "query_reading",
        {
            "questions": arguments.count,
            "seed": arguments.seed,
            "clean": _clean(reader, texts.questions),
            "clean_reviews": _clean(reader, chance.sample(texts.reviews, arguments.count)),
            "korean_typed_as_latin": _korean_typed_as_latin(reader, texts, chance),
            "latin_typed_as_korean": _latin_typed_as_korean(reader, texts),
            "questions_typed_as_latin": _share(questions, lambda question: _undoes(reader, question, to_keys)),
            "questions_typed_as_jamo": _share(questions, lambda question: _undoes(reader, question, _as_jamo)),
            "spaces": _spaces(reader, questions),
            "typos": _typos(reader, questions, chance),
            "processor_ms": _latencies(reader, questions, chance),
            "hostile_processor_ms": _hostile(reader),
        },
    )


def _clean(reader: QueryReader, texts: list[str]) -> dict[str, Any]:
    """Clean texts, of which any change is one too many but where the text itself has a slip."""
    read = [(text, reader.read(text)) for text in texts]
    changed = [(text, query) for text, query in read if query.text != normalise(text)]
    steps = Counter(step for _, query in changed for step in query.changes)
    return {
        "texts": len(texts),
        "changed": len(changed) / len(texts),
        "changed_by": {step: count / len(texts) for step, count in steps.items()},
        "words_added_for_search_by_word": _share(read, lambda pair: pair[1].lexical_text != pair[1].text),
        "examples": [f"{text} -> {query.text}" for text, query in changed[:12]],
    }


def _korean_typed_as_latin(reader: QueryReader, texts: _Texts, chance: random.Random) -> dict[str, Any]:
    """Single words, the hardest case: nothing beside them tells the layout."""
    words = [word for text in (*texts.reviews, *texts.questions, *texts.sentences) for word in _SYLLABLES.findall(text)]
    korean = [word for word in chance.sample(words, 20_000) if len(word) <= 10]
    latin = [*(word for word, _ in texts.latin.most_common(_LATIN_WORDS)), *texts.english, *_IDENTIFIERS]
    found: Counter[int] = Counter()
    found_for_words: Counter[int] = Counter()
    for word in korean:
        query = reader.read(to_keys(word), _ONLY_KEYBOARD)
        found[len(word)] += query.text == word
        found_for_words[len(word)] += word in query.lexical_text.split()
    mistaken = {word: query.text for word in dict.fromkeys(latin) if (query := _mistaken(reader, word))}
    lengths = Counter(map(len, korean))
    by_length = Counter(len(text) for text in mistaken.values())
    latin_by_length = Counter(len(from_keys(word)) for word in dict.fromkeys(latin))
    return {
        "latin_words": len(dict.fromkeys(latin)),
        "mistaken": mistaken,
        "by_syllables": {
            length: {
                "words": count,
                "recall": round(found[length] / count, 3),
                "recall_with_words_added": round(found_for_words[length] / count, 3),
                "precision": round(found[length] / max(1, found[length] + by_length[length]), 4),
                "latin_words_as_long": latin_by_length[length],
            }
            for length, count in sorted(lengths.items())
        },
    }


def _mistaken(reader: QueryReader, word: str) -> ReadQuery | None:
    query = reader.read(word, _ONLY_KEYBOARD)
    return query if query.text != word else None


def _latin_typed_as_korean(reader: QueryReader, texts: _Texts) -> dict[str, Any]:
    latin = [word for word, _ in (texts.latin + texts.english).most_common(8_000) if word.islower() and len(word) > 2]
    jamo = {compose(word) for review in texts.reviews for word in _JAMO_AND_SYLLABLES.findall(review)}
    found: Counter[int] = Counter()
    found_for_words: Counter[int] = Counter()
    for word in latin:
        query = reader.read(from_keys(word), _ONLY_KEYBOARD)
        found[min(len(word), 8)] += query.text == word
        found_for_words[min(len(word), 8)] += word in query.lexical_text.split()
    mistaken = {word: query.text for word in sorted(jamo) if _LATIN.search((query := reader.read(word)).text)}
    return {
        "words_of_reviews_with_jamo": len(jamo),
        "mistaken": mistaken,
        "by_letters": {
            f"{length}{'+' * (length == 8)}": {
                "words": count,
                "recall": round(found[length] / count, 3),
                "recall_with_words_added": round(found_for_words[length] / count, 3),
            }
            for length, count in sorted(Counter(min(len(word), 8) for word in latin).items())
        },
    }


def _spaces(reader: QueryReader, questions: list[str]) -> dict[str, Any]:
    kiwi = shared_kiwi()
    glued = [(question, question.replace(" ", "")) for question in questions]
    scattered = [
        (question, " ".join(question.replace(" ", ""))) for question in questions if _SYLLABLES.search(question)
    ]
    return {
        "without_spaces": _respaced(reader, glued),
        "space_between_all": _respaced(reader, scattered),
        "kiwi_space": {
            "clean_changed": _share(questions, lambda question: kiwi.space(question) != question),
            "without_spaces_exact": _share(glued, lambda pair: kiwi.space(pair[1]) == pair[0]),
        },
    }


def _respaced(reader: QueryReader, pairs: list[tuple[str, str]]) -> dict[str, float]:
    read = [(question, slipped, reader.read(slipped, _ONLY_SPACING).text) for question, slipped in pairs]
    right = sum(len(_space_places(question) & _space_places(text)) for question, _, text in read)
    return {
        "exact": _share(read, lambda texts: texts[0] == texts[2]),
        "same_morphemes": _share(read, lambda texts: _morphemes(texts[0]) == _morphemes(texts[2])),
        "same_morphemes_unread": _share(read, lambda texts: _morphemes(texts[0]) == _morphemes(texts[1])),
        "space_precision": round(right / max(1, sum(len(_space_places(text)) for _, _, text in read)), 3),
        "space_recall": round(right / sum(len(_space_places(question)) for question, _, _ in read), 3),
    }


def _typos(reader: QueryReader, questions: list[str], chance: random.Random) -> dict[str, Any]:
    return {
        kind: _mended(reader, [pair for question in questions if (pair := _with_typo(question, slip, chance))])
        for kind, slip in _SLIPS.items()
    }


def _mended(reader: QueryReader, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    read = [(question, slipped, reader.read(slipped).text) for question, slipped in pairs]
    return {
        "questions": len(pairs),
        "mended": _share(read, lambda texts: texts[2] == texts[0]),
        "changed_otherwise": _share(read, lambda texts: texts[2] not in (texts[0], texts[1])),
        "with_jamo": _share(pairs, lambda pair: _JAMO_AND_SYLLABLES.search(pair[1]) is not None),
    }


def _with_typo(
    question: str, slip: Callable[[str, random.Random], str | None], chance: random.Random
) -> tuple[str, str] | None:
    words = [match for match in _SYLLABLES.finditer(question) if len(match[0]) > 1]
    if not words:
        return None
    word = chance.choice(words)
    slips = (slip(word[0], chance) for _ in range(20))
    slipped = next((text for text in slips if text not in (None, word[0])), None)
    return (question, question[: word.start()] + slipped + question[word.end() :]) if slipped else None


def _substituted(word: str, chance: random.Random) -> str:
    keys, place = _key(word, chance)
    return from_keys(keys[:place] + chance.choice(_BESIDE[keys[place].lower()]) + keys[place + 1 :])


def _missing(word: str, chance: random.Random) -> str:
    keys, place = _key(word, chance)
    return from_keys(keys[:place] + keys[place + 1 :])


def _doubled(word: str, chance: random.Random) -> str:
    keys, place = _key(word, chance)
    return from_keys(keys[:place] + keys[place] + keys[place:])


def _swapped(word: str, chance: random.Random) -> str:
    keys, place = _key(word, chance)
    return from_keys(keys[:place] + keys[place : place + 2][::-1] + keys[place + 2 :])


def _syllable_swapped(word: str, chance: random.Random) -> str:
    place = chance.randrange(len(word) - 1)
    return word[:place] + word[place : place + 2][::-1] + word[place + 2 :]


def _syllable_missing(word: str, chance: random.Random) -> str | None:
    place = chance.randrange(len(word))
    return word[:place] + word[place + 1 :] if len(word) > 2 else None


def _syllable_doubled(word: str, chance: random.Random) -> str:
    place = chance.randrange(len(word))
    return word[:place] + word[place] + word[place:]


def _key(word: str, chance: random.Random) -> tuple[str, int]:
    keys = to_keys(word)
    return keys, chance.randrange(len(keys))


_SLIPS: dict[str, Callable[[str, random.Random], str | None]] = {
    "jamo_substituted": _substituted,
    "jamo_missing": _missing,
    "jamo_doubled": _doubled,
    "jamo_swapped": _swapped,
    "syllable_swapped": _syllable_swapped,
    "syllable_missing": _syllable_missing,
    "syllable_doubled": _syllable_doubled,
}


def _latencies(reader: QueryReader, questions: list[str], chance: random.Random) -> dict[str, Any]:
    cut = [question[:30] for question in questions if len(question) >= 30]
    slipped = [pair[1] for question in cut if (pair := _with_typo(question, _substituted, chance))]
    return {
        "30_characters": _times_ms(reader, cut),
        "30_characters_with_typo": _times_ms(reader, slipped),
        "30_keys_of_the_other_layout": _times_ms(reader, [to_keys(question)[:30] for question in cut]),
        "30_characters_without_spaces": _times_ms(reader, [question.replace(" ", "")[:30] for question in questions]),
    }


def _times_ms(reader: QueryReader, texts: list[str]) -> dict[str, float]:
    times_ms = sorted(_time_ms(reader, text) for text in texts)
    return {
        "median": round(statistics.median(times_ms), 2),
        "p95": round(times_ms[int(0.95 * len(times_ms))], 2),
        "highest": round(times_ms[-1], 2),
    }


def _hostile(reader: QueryReader) -> dict[str, float]:
    texts = {
        "10,000 characters": "검색 엔진이 뭐예요 " * 1_000,
        "40,000 times one character": "가" * 40_000,
        "40,000 keys": "rk" * 20_000,
        "jamo": "ㄱㅏㄴㅇㅗㅏ" * 1_000,
        "decomposed jamo": "각" * 5_000,
        "jamo in syllables": "뷁쉙ㅏ" * (MAX_READ_CHARACTERS // 3),
        "rare syllables": " ".join(["뷁쉙쁌줽" * 3] * 15),
        "broken words": " ".join(["가ㅏ나ㅓ다ㅣ라"] * 24),
        "keys, word by word": "rk sk ek fk ak " * 13,
        "emoji": "👩‍👩‍👧‍👦" * 50,
        "combining marks": "가" + "\u0301" * 199,
        "hanja": "漢字" * 100,
    }
    return {name: round(_time_ms(reader, text), 1) for name, text in texts.items()}


def _time_ms(reader: QueryReader, text: str) -> float:
    started = time.process_time()  # of this process: a busy machine changes it little
    reader.read(text)
    return (time.process_time() - started) * 1_000


def _undoes(reader: QueryReader, question: str, slip: Callable[[str], str]) -> bool:
    return reader.read(slip(question)).text == normalise(question)


def _as_jamo(text: str) -> str:
    return "".join(from_keys(key) for key in to_keys(text))


def _morphemes(text: str) -> list[tuple[str, str]]:
    return [(token.form, token.tag) for token in shared_kiwi().tokenize(text)]


def _space_places(text: str) -> set[int]:
    return set(itertools.accumulate(map(len, text.split(" ")[:-1])))


def _share(items: Iterable[Any], holds: Callable[[Any], bool]) -> float:
    results = [holds(item) for item in items]
    return round(sum(results) / len(results), 4)


def _read_texts(data: Path) -> _Texts:
    reviews = [record["text"] for record in _records(data, "movie_reviews.jsonl.zst")]
    latin = Counter(word for text in _wikipedia(data) for word in _LATIN.findall(text))
    latin.update(word for review in reviews for word in _LATIN.findall(review))
    english = [data / "parallel/newstest2019-src.eng.txt", data / "parallel/stsb-en-train.csv"]
    korquad = json.loads((data / "retrieval/KorQuAD_v1.0_dev.json").read_text(encoding="utf-8"))["data"]
    return _Texts(
        questions=[
            question["question"]
            for article in korquad
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ],
        sentences=list(_sentences(data / "kornlu/sts-train.tsv")),
        reviews=reviews,
        latin=latin,
        english=Counter(word for path in english for word in _LATIN.findall(path.read_text(encoding="utf-8"))),
    )


def _wikipedia(data: Path) -> Iterator[str]:
    return (record["text"] for record in _records(data, "kowiki.jsonl.zst.part-00", "kowiki.jsonl.zst.part-01"))


def _sentences(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in itertools.islice(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1, None):
            yield from row[5:7]


def _records(data: Path, *names: str) -> Iterator[dict[str, Any]]:
    stored = b"".join((data / "corpora" / name).read_bytes() for name in names)
    with zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(stored) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def _letter_table(texts: _Texts) -> list[str]:
    """Return the costs of letters behind each letter; words of one letter, and those seen once or twice, are noise."""
    weights = {word: math.sqrt(count) for word, count in texts.latin.items() if count > 2 and len(word) > 1}
    pairs: defaultdict[tuple[str, str], float] = defaultdict(float)
    for word, weight in itertools.chain(
        weights.items(), ((word, math.sqrt(count)) for word, count in texts.english.items())
    ):
        for pair in itertools.pairwise(f" {word.lower()} "):
            pairs[pair] += weight
    letters = "abcdefghijklmnopqrstuvwxyz "
    least = sum(pairs.values()) * 1e-6
    rows = []
    for letter in letters:
        counts = [pairs[letter, following] + least for following in letters]
        costs = [min(9, round(-math.log(count / sum(counts)))) for count in counts]
        rows.append(f'    "{letter}": "{"".join(map(str, costs))}",')
    return rows


def _keys_beside() -> dict[str, str]:
    places = {key: (row, column + row / 4) for row, keys in enumerate(_ROWS) for column, key in enumerate(keys)}
    return {
        key: "".join(
            other
            for other, (other_row, other_column) in places.items()
            if other != key and abs(row - other_row) <= 1 and abs(column - other_column) <= 1
        )
        for key, (row, column) in places.items()
    }


_BESIDE = _keys_beside()


if __name__ == "__main__":
    main()
