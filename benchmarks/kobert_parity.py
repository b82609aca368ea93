"""Does our fast tokenizer give KoBERT's ids? Compares it with `kobert-transformers`. Prints JSON.

    python benchmarks/kobert_parity.py [--data ../shared/data] [--sentences 100000] [--sentencepiece 0.2.3]
    python benchmarks/kobert_parity.py --write-sample     # the ids that the tests compare with

The reference needs transformers < 5, so it lives in an environment of its own under `.cache/`, made on the first run.
Exit code 1 when any text is tokenised differently. The one exception is counted by itself, as a tie: the same pieces in
another order (`0 00` and `00 0`). Both have the same probability, and SentencePiece chooses between them by how the sum
over all the text before happens to be rounded to 32 bits. `tokenizers` adds up in 64 bits and takes the first.
SentencePiece's own releases differ there: compare --sentencepiece 0.2.1 with 0.2.3.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kobert_texts import code_point_texts, hard_cases, sample_texts
from report import print_report

from trainer.data.corpora import read_kowiki
from trainer.data.datasets import sentences_of
from trainer.encoders.kobert_tokenizer import convert_tokenizer, read_sentencepiece, read_vocabulary

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "tests" / "unit" / "trainer" / "kobert_sample.json"
ENVIRONMENTS = ROOT / ".cache"
REFERENCE = "kobert-transformers==0.6.0"
TRANSFORMERS = "transformers==4.57.6"
# Every thirtieth page spreads 100,000 sentences over the whole encyclopaedia.
PAGE_STEP = 30
SHOWN_DIFFERENCES = 5
BATCH_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One text that the two tokenizers cut differently."""

    text: str
    ours: list[int]
    reference: list[int]

    @property
    def is_tie(self) -> bool:
        """Whether both hold the same pieces, hence the same probability, in another order."""
        return sorted(self.ours) == sorted(self.reference)

    def shown(self) -> dict[str, Any]:
        """From four ids before the first difference on; the text as code points where it is short."""
        pairs = zip(self.ours, self.reference, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(self.ours), len(self.reference)))
        window = slice(max(0, first - 4), first + 5)
        return {
            "text": self.text[:200],
            "code_points": [f"U+{ord(character):04X}" for character in self.text[:20]],
            "ours": self.ours[window],
            "reference": self.reference[window],
        }


def main() -> None:
    """Compare, or write the sample."""
    arguments = parse_arguments()
    files = arguments.data / "kobert"
    model, vocabulary = files / "spiece.model", read_vocabulary(files / "kobertvocab_f38b8a4d6d.json")
    python = reference_environment(arguments.sentencepiece)
    if arguments.write_sample:
        texts = sample_texts()
        ids, _ = reference_ids(python, model, vocabulary, texts)
        rows = [json.dumps({"text": text, "ids": row}) for text, row in zip(texts, ids, strict=True)]
        SAMPLE.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
        return
    tokenizer = convert_tokenizer(read_sentencepiece(model), vocabulary)
    groups = {
        "wikipedia": list(islice(wikipedia_sentences(arguments.data), arguments.sentences)),
        "hard_cases": hard_cases(),
        "code_points": code_point_texts(),
    }
    figures: dict[str, Any] = {}
    for name, texts in groups.items():
        started = time.process_time()
        ours = [
            row
            for at in range(0, len(texts), BATCH_SIZE)
            for row in tokenizer(texts[at : at + BATCH_SIZE])["input_ids"]
        ]
        seconds = time.process_time() - started
        reference, reference_seconds = reference_ids(python, model, vocabulary, texts)
        found = differences(texts, ours, reference)
        figures[name] = figures_of(found, len(texts)) | {
            "texts_per_cpu_s": round(len(texts) / seconds),
            "reference_texts_per_cpu_s": round(len(texts) / reference_seconds),
        }
    reference_name = f"{REFERENCE}, {TRANSFORMERS}, sentencepiece=={arguments.sentencepiece}"
    print_report("kobert_parity", {"reference": reference_name, "figures": figures})
    sys.exit(1 if any(group["differing"] for group in figures.values()) else 0)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sentences", type=int, default=100_000, help="of Wikipedia")
    parser.add_argument("--sentencepiece", default="0.2.3", help="the release under the reference")
    parser.add_argument("--write-sample", action="store_true", help=f"write {SAMPLE.relative_to(ROOT)} and stop")
    return parser.parse_args()


def reference_environment(sentencepiece: str) -> Path:
    """Path of the Python that has the reference, without torch; made when it is not there yet."""
    folder = ENVIRONMENTS / f"kobert-reference-{sentencepiece}"
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.is_file():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, TRANSFORMERS, f"sentencepiece=={sentencepiece}"], check=True, stdout=sys.stderr)
        subprocess.run([*pip, "--no-deps", REFERENCE], check=True, stdout=sys.stderr)
        finished.touch()
    return python


def reference_ids(
    python: Path, model: Path, vocabulary: Sequence[str], texts: Sequence[str]
) -> tuple[list[list[int]], float]:
    """The reference's ids for each text, and the seconds of processor time that it took."""
    with tempfile.TemporaryDirectory() as folder:
        vocab_txt = Path(folder) / "vocab.txt"
        vocab_txt.write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
        program = Path(__file__).with_name("kobert_reference.py")
        command = [str(python), str(program), str(model), str(vocab_txt)]
        answer = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"the reference failed:\n{answer.stderr}")
    result = json.loads(answer.stdout)
    return result["ids"], result["cpu_seconds"]


def wikipedia_sentences(data: Path) -> Iterator[str]:
    """Sentences of every `PAGE_STEP`-th page."""
    for page in islice(read_kowiki(data), 0, None, PAGE_STEP):
        yield from sentences_of(page.text)


def differences(texts: Sequence[str], ours: Sequence[list[int]], reference: Sequence[list[int]]) -> list[Difference]:
    """Every text whose ids differ."""
    rows = zip(texts, ours, reference, strict=True)
    return [Difference(text, own, other) for text, own, other in rows if own != other]


def figures_of(found: Sequence[Difference], compared: int) -> dict[str, Any]:
    """Counts, and the first differences in full."""
    ties = [difference for difference in found if difference.is_tie]
    others = [difference for difference in found if not difference.is_tie]
    return {
        "compared": compared,
        "differing": len(others),
        "ties_resolved_differently": len(ties),
        "first_differences": [difference.shown() for difference in others[:SHOWN_DIFFERENCES]],
        "first_ties": [difference.shown() for difference in ties[:SHOWN_DIFFERENCES]],
    }


if __name__ == "__main__":
    main()
