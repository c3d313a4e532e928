"""Text as LaTeX prints it."""

import re
import unicodedata

ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "--": "-{}-",  # two hyphens would become a dash
    "…": r"\ldots{}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "\N{MINUS SIGN}": "$-$",
    **{character: "\\" + character for character in "#$%&_{}"},
}
SPECIAL = re.compile("|".join(map(re.escape, sorted(ESCAPED, key=len, reverse=True))) + r"|[^\x00-\u017f]")


def escaped(text: str) -> str:
    r"""The text in LaTeX, of a document with `\usepackage[T1]{fontenc}`; what its fonts lack is a question mark.

    >>> escaped("dropout_p = 5 %"), escaped("β ☃")
    ('dropout\\_p = 5 \\%', '$\\beta$ ?')
    """
    return SPECIAL.sub(lambda found: ESCAPED.get(found[0]) or _greek(found[0]) or "?", text)


def _greek(character: str) -> str:
    letter = re.fullmatch("GREEK SMALL LETTER (?!OMICRON)([A-Z]+)", unicodedata.name(character, ""))
    return f"$\\{letter[1].lower().replace('lamda', 'lambda')}$" if letter else ""
