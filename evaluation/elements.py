"""Element symbols, positions in the periodic table, and the crystal system of a space group."""

from bisect import bisect_left

_IN_ORDER = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr "
    "Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
SYMBOLS = tuple(_IN_ORDER.split())

NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)

# The last space group of each system, International Tables for Crystallography A.
LAST_OF_SYSTEM = {
    2: "triclinic",
    15: "monoclinic",
    74: "orthorhombic",
    142: "tetragonal",
    167: "trigonal",
    194: "hexagonal",
    230: "cubic",
}


def crystal_system(spacegroup_number: int) -> str:
    """The crystal system of a space group, by its number from 1 to 230."""
    last = list(LAST_OF_SYSTEM)
    return LAST_OF_SYSTEM[last[bisect_left(last, spacegroup_number)]]


def place(atomic_number: int) -> tuple[int, int]:
    """(row, column), from 1, in a periodic table of 18 columns, with lanthanides in row 8 and actinides in row 9."""
    period = bisect_left(NOBLE_GASES, atomic_number) + 1
    first = NOBLE_GASES[period - 2] + 1 if period > 1 else 1
    last = NOBLE_GASES[period - 1]
    step = atomic_number - first
    if step < 2 and atomic_number != 2:
        return period, step + 1
    if period >= 6 and 2 <= step <= 16:
        return period + 2, step + 1
    return period, 18 - (last - atomic_number)
