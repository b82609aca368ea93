"""The reference's side of `kobert_parity.py`: runs in an environment of its own, with transformers < 5.

    python kobert_reference.py SPIECE_MODEL VOCAB_TXT < texts.json > ids.json

Reads a JSON list of texts; writes {"ids": list of id lists, special tokens included, "seconds": of tokenising alone}.
"""

import json
import sys
import time

from kobert_transformers.tokenization_kobert import KoBertTokenizer


def main() -> None:
    """Tokenise standard input."""
    model, vocabulary = sys.argv[1:]
    tokenizer = KoBertTokenizer(model, vocabulary)
    texts = json.load(sys.stdin)
    started = time.perf_counter()
    ids = [tokenizer.encode(text) for text in texts]
    json.dump({"ids": ids, "seconds": time.perf_counter() - started}, sys.stdout)


if __name__ == "__main__":
    main()
