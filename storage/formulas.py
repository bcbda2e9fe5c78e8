"""Chemical formulas as the tables have them: pymatgen's reduced formulas, with groups in parentheses."""

import re
from collections import Counter


def atoms_of(formula: str) -> Counter[str]:
    """The number of atoms of each element: Ca3(PO4)2 → Ca 3, P 2, O 8. Of text that is no formula, what can be read."""
    levels: list[Counter[str]] = [Counter()]
    for symbol, digits in re.findall(r"([A-Z][a-z]?|[()])(\d*)", formula):
        count = int(digits or 1)
        if symbol == "(":
            levels.append(Counter())
        elif symbol != ")":
            levels[-1][symbol] += count
        elif len(levels) > 1:
            inner = levels.pop()
            levels[-1].update({element: count * number for element, number in inner.items()})
    return sum(levels, Counter())
