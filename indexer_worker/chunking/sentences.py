"""Ends of Korean sentences: sure ones by their form, the others by Kiwi, a morphological analyser.

Kiwi knows sentences without full stop (`재밌었어요 다음에 또 볼 거예요`) and full stops that end none (`2020. 6. 9.`).
It takes 12 us a character: it is asked only where no sure end is near.
"""

import re
from itertools import pairwise

from kosearch.korean.kiwi import shared_kiwi

# What announces a list (`다음과 같다.`) stays with its first item.
FIRST_ITEM = r"(?:1\\?\.|가\\?\.|1\)|가\))\s"
# 다. 요? 까! and a closing quote: the ending of a verb before the mark makes it more than an abbreviation or a date.
# What stands in brackets behind it belongs to it, as <개정 2015.1.6> does.
SURE_ENDS = re.compile(rf"(?:(?<=[가-힣][다요까죠][.!?])|(?<=[가-힣][다요까죠][.!?][\"'”’]))\s++(?![<(]|{FIRST_ITEM})")
# Not behind a digit: 2020. 6. 9. is a date.
LIKELY_ENDS = re.compile(
    r"(?:(?<=[^\d\s][.!?。…])|(?<=[^\d\s][.!?。…][\"'”’」』)\]])|(?<=[^\d\s][.!?。…][\"'”’」』)\]]{2}))\s++"
)
# Without one of these, as in a clause over half a page, in lists of names or tables, there is nothing to ask Kiwi for:
# of 217 questions about 1,000 precedents this leaves 31, with all 8 ends that it finds.
_POSSIBLE_ENDS = re.compile(r"[다요까죠함됨.!?…~][\"'”’)]*\s")
# What Kiwi reads before and behind the stretch in question, in characters: it judges an end by what follows.
_BEFORE, _BEHIND = 80, 40


def last_sure_end(text: str, begin: int, low: int, limit: int) -> int | None:
    """Return where the last sentence begins of those that surely begin behind the gaps between low and limit.

    A full stop in brackets or quotes that were opened after `begin` ends a part of a sentence only.
    """
    found = [match for match in SURE_ENDS.finditer(text, low, limit + _BEHIND) if match.start() <= limit]
    return next((match.end() for match in reversed(found) if not _is_enclosed(text, begin, match.start())), None)


def last_end_by_kiwi(text: str, low: int, limit: int) -> int | None:
    """Return where the last sentence begins, of those that Kiwi finds between low and limit."""
    if not _POSSIBLE_ENDS.search(text, low, limit + 1):
        return None
    origin = max(0, low - min(_BEFORE, limit - low))
    sentences = shared_kiwi().split_into_sents(text[origin : limit + _BEHIND], return_sub_sents=False)
    begins = [
        origin + sentence.start
        for before, sentence in pairwise(sentences)
        if low <= origin + before.end <= limit and sentence.start > before.end
    ]
    return begins[-1] if begins else None


def _is_enclosed(text: str, begin: int, place: int) -> bool:
    return (
        text.count("(", begin, place) > text.count(")", begin, place)
        or text.count("“", begin, place) > text.count("”", begin, place)
        or text.count('"', begin, place) % 2 == 1
    )
