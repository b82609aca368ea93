"""The reference's side of `kobert_parity.py`: runs in an environment of its own, with transformers < 5.

    python kobert_reference.py SPIECE_MODEL VOCAB_TXT < texts.json > ids.json

Reads a JSON list of texts; writes {"ids": list of id lists, special tokens included, "cpu_seconds": of tokenising}.
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
    started = time.process_time()
    ids = [tokenizer.encode(text) for text in texts]
    json.dump({"ids": ids, "cpu_seconds": time.process_time() - started}, sys.stdout)


if __name__ == "__main__":
    main()
