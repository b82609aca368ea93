"""How much a row of letters looks like an English word: a witness when the keyboard layout is in question."""

# Minus the natural logarithm of how often the letters a to z, and then the end, follow each letter and the beginning,
# to the nearest whole number. Counted over the English words of news, image captions and Korean Wikipedia, a word by
# the square root of its count; `benchmarks/query_reading.py --letters` counts again.
_COSTS = {
    "a": "543355453642326462324455452",
    "b": "244526662562452572353666472",
    "c": "254525523733552563433667472",
    "d": "255425552664453583353556471",
    "e": "353345464763424462235454462",
    "f": "254523562763452593433766572",
    "g": "255525433673443583443667471",
    "h": "255526662764442563533658462",
    "i": "342334365653323463235475753",
    "j": "244525563555452464442566562",
    "k": "245525542654443584344557471",
    "l": "255425562752562586443567472",
    "m": "234525562765352375453666472",
    "n": "353325253645543676324567551",
    "o": "443454454643323372333445562",
    "p": "254525533853552372333666572",
    "q": "445555554663555554440556862",
    "r": "254425452744442574334567462",
    "s": "353535633844453365323657571",
    "t": "254625632875553583333556462",
    "u": "343335463653325372236565663",
    "v": "255515562775553585455576562",
    "w": "254525532754532574355647582",
    "x": "353534552665453365434554471",
    "y": "354436564763443484344656651",
    "z": "256525542765552575553656431",
    " ": "332333333443334353234445559",
}
_END = 26


def letter_cost(word: str) -> int:
    """Return minus the log likelihood, in nats, of the letters a to z in a word, their case aside.

    English words take about 2.7 a letter, rows of keys that spell Korean more than 4.
    """
    letters = word.lower()
    costs = map(_pair_cost, " " + letters, letters)
    return sum(costs) + int(_COSTS[letters[-1:] or " "][_END])


def _pair_cost(letter: str, following: str) -> int:
    return int(_COSTS[letter][ord(following) - ord("a")])
