"""The best candidates once more, token by token: late interaction with the collection's own model.

An embedding of a whole chunk blurs what stands in it. Here each token of the query looks for the token of the chunk
that is nearest to it, which tells whether the chunk speaks of all that was asked; what it costs is to encode the chunks
again. The model need not be trained for it (docs/search.md has the figures).
Source: Khattab, Zaharia, "ColBERT", SIGIR 2020.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from encoder_service.engines.engine import TokenEmbeddings
from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.requests import Mode

# What a MaxSim of 1 is worth in the scores of each mode: BM25 counts in thirtieths there, and half of the scores of
# both legs are their fusion's. Chosen by measurement, see docs/search.md.
_WEIGHTS = {Mode.HYBRID: 4.0, Mode.DENSE: 8.0, Mode.LEXICAL: 240.0}


def max_sim(query: TokenEmbeddings, chunk: TokenEmbeddings) -> float:
    """Return the cosine of each of the query's tokens and the chunk's token that is nearest to it, in the mean; 0 to 1.

    ColBERT has the sum; the mean means the same for queries of any length. A negative one is 0.
    query, chunk: unit rows of shape (tokens, dim)
    """
    cosines = query @ chunk.T  # (query tokens, chunk tokens)
    return max(0.0, float(np.mean(cosines.max(axis=1))))


def reranked(candidates: Sequence[Candidate], max_sims: Mapping[PointKey, float], mode: Mode) -> list[Candidate]:
    """Return all candidates, those first that have a MaxSim, by their scores and so much more for it.

    What has one were the best before, so that scores fall from the first candidate to the last.
    """
    best = [
        replace(each, score=each.score + _WEIGHTS[mode] * max_sims[each.key], max_sim=max_sims[each.key])
        for each in candidates
        if each.key in max_sims
    ]
    rest = [each for each in candidates if each.key not in max_sims]
    return sorted(best, key=lambda each: (-each.score, each.key)) + rest
