"""The setting `dataset.flip_pairs`: what it may be, and how it is written to be typed."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from llpp.datasets.flip_pairs import format_flip_pairs, resolve_flip_pairs
from llpp.errors import ConfigError

MOUSE = ["nose", "paw1LH", "paw2LF", "paw3RF", "paw4RH"]


def test_auto_reads_names_and_a_list_is_all_there_is():
    assert resolve_flip_pairs("auto", ["l_eye", "nose", "r_eye", "l_ear"]) == (((0, 2),), (3,))
    assert resolve_flip_pairs("auto", MOUSE) == ((), (1, 2, 3, 4))
    assert resolve_flip_pairs([["paw1LH", "paw4RH"], ["paw2LF", "paw3RF"]], MOUSE) == (((1, 4), (2, 3)), ())
    assert resolve_flip_pairs([], ["l_eye", "r_eye"]) == ((), ())
    assert resolve_flip_pairs([[7, 11]], ["7", "11"]) == (((0, 1),), ()), "Hydra takes such names for numbers"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            "names",
            r"^dataset.flip_pairs='names' is invalid; expected auto, or all pairs of joints as in \[\[left_eye",
        ),
        (None, r"^dataset.flip_pairs=None is invalid; expected auto, .* or \[\] if none change places$"),
        ({"paw1LH": "paw4RH"}, "is invalid; expected auto"),
        (["paw1LH", "paw4RH"], "has the entry 'paw1LH'; expected two joints"),
        ([["paw1LH", "paw4RH", "nose"]], r"has the entry \['paw1LH', 'paw4RH', 'nose'\]; expected two joints"),
        ([3], "has the entry 3; expected two joints"),
        (
            [["paw1LH", "paw1RH"]],
            "names paw1RH, which is no joint; the joints are nose, paw1LH, paw2LF, paw3RF, paw4RH$",
        ),
        ([["nose", "nose"]], "pairs nose with itself; leave it out"),
        (
            [["paw1LH", "paw4RH"], ["paw2LF", "paw4RH"]],
            r"has paw4RH in two pairs, \[paw1LH, paw4RH\] and \[paw2LF, paw4RH\]; a joint changes places with one",
        ),
    ],
)
def test_anything_else_is_refused_in_a_sentence_that_names_the_joints(setting, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        resolve_flip_pairs(setting, MOUSE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "pair",
    [["LF", "RF"], ["left ear", "right ear"], ["œil_gauche", "œil_droit"], ["左目", "右目"], ['a"l', "a'r"],
     ["l,1", "r]1"], ["\\l", "\\r"], ["$l", "`r`"]],
)  # fmt: skip
def test_the_setting_as_it_is_printed_can_be_typed_into_a_shell(pair):
    (word,) = shlex.split(format_flip_pairs([pair, ["x", "y"]]))
    override = OverridesParser.create().parse_override(word)
    assert override.key_or_group == "dataset.flip_pairs" and override.value() == [pair, ["x", "y"]]
