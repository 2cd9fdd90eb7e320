"""The words for left and right in joint names: the table that sides are read by.

All words are in lower case, and as Unicode's NFKC has them.
"""

from dataclasses import dataclass

LEFT = "left"
RIGHT = "right"
MIDDLE = "middle"


@dataclass(frozen=True)
class SideWords:
    """Words that are opposites: each left one of each right one."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    # False: the word has other meanings, too. It is a side only where another joint has its opposite.
    is_certain: bool = True
    # Whether it may be one word with the rest of the name, as in leftear.
    may_be_glued: bool = True


# Languages that share words are in one row, so that a word stands in the table once.
SIDE_WORDS = (
    SideWords(("left",), ("right",)),
    SideWords(("gauche", "gauches"), ("droit", "droite", "droits", "droites")),  # French
    SideWords(  # German, Dutch
        ("links", "linke", "linker", "linkes", "linken", "linkem"),
        ("rechts", "rechte", "rechter", "rechtes", "rechten", "rechtem"),
    ),
    SideWords(("izquierda", "izquierdo"), ("derecha", "derecho")),  # Spanish
    SideWords(("sinistra", "sinistro", "sinister"), ("destra", "destro", "dextra", "dexter")),  # Italian, Latin
    SideWords(("esquerda", "esquerdo"), ("direita", "direito")),  # Portuguese
    SideWords(("vänster", "vänstra"), ("höger", "högra")),  # Swedish
    SideWords(("venstre",), ("højre", "høyre")),  # Danish, Norwegian
    SideWords(("lewy", "lewa", "lewe"), ("prawy", "prawa", "prawe")),  # Polish
    SideWords(("левый", "левая", "левое"), ("правый", "правая", "правое")),  # Russian
    SideWords(("lt",), ("rt",), is_certain=False, may_be_glued=False),
    SideWords(("izq",), ("der",), is_certain=False, may_be_glued=False),  # Spanish, abbreviated
    SideWords(("sx", "sin"), ("dx", "dex"), is_certain=False, may_be_glued=False),  # Italian and Latin, abbreviated
    SideWords(("near",), ("off",), is_certain=False),  # of horses
)
# Signs that mean a side within a word of their scripts, which put no space between words.
SIDE_SIGNS = (
    SideWords(("左",), ("右",)),  # Chinese, Japanese
    SideWords(("왼",), ("오른",)),  # Korean
)
# Left or right, with front, hind or back.
SIDE_CODES = ("lf", "rf", "lh", "rh", "lb", "rb", "fl", "fr", "hl", "hr", "bl", "br")

# What the ends of PCK's normaliser are called without their side.
SHOULDER_WORDS = (
    "shoulder", "épaule", "epaule", "schulter", "hombro", "spalla", "ombro", "schouder", "肩", "肩膀", "어깨",
)  # fmt: skip
HIP_WORDS = (
    "hip", "hanche", "hüfte", "huefte", "cadera", "anca", "quadril", "heup", "腰", "髋", "臀", "股関節", "엉덩이",
)  # fmt: skip
