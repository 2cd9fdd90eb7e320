"""Left, right and partners from joint names: of published skeletons, other languages, and names that are no sides."""

import csv
import json
import random
import re
import unicodedata
from pathlib import Path

import pytest

from llpp.datasets.joint_names import find_torso_diagonals, read_sides, suggest_pairs
from llpp.datasets.pose import LSP_JOINTS, LSP_SKELETON
from llpp.datasets.side_words import SIDE_CODES, SIDE_SIGNS, SIDE_WORDS

DOCS = Path(__file__).parents[2] / "docs/datasets.md"
SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="files of other tools are not on this machine")


def pair_names(joints):
    """The pairs as `left|right`."""
    return {f"{joints[left]}|{joints[right]}" for left, right in read_sides(tuple(joints)).pairs}


def unpaired_names(joints):
    return [joints[position] for position in read_sides(tuple(joints)).unpaired]


SKELETONS = {
    "COCO": (
        "nose left_eye right_eye left_ear right_ear left_hip right_hip",
        "left_eye|right_eye left_ear|right_ear left_hip|right_hip",
    ),
    "MPII": (
        "r_ankle r_hip l_hip l_ankle pelvis thorax upper_neck head_top r_wrist l_wrist",
        "l_ankle|r_ankle l_hip|r_hip l_wrist|r_wrist",
    ),
    "OpenPose": (
        "Nose Neck RShoulder LShoulder MidHip RHip LHip REar LEar LBigToe RBigToe",
        "LShoulder|RShoulder LHip|RHip LEar|REar LBigToe|RBigToe",
    ),
    "AP-10K": (
        "L_Eye R_Eye Nose Neck Root_of_tail L_F_Paw R_F_Paw L_B_Paw R_B_Paw",
        "L_Eye|R_Eye L_F_Paw|R_F_Paw L_B_Paw|R_B_Paw",
    ),
    "Horse-10": (
        "Nose Eye Nearknee Nearfrontfoot Offknee Offfrontfoot Shoulder Nearhindhock Stifle Offhindhock",
        "Nearknee|Offknee Nearfrontfoot|Offfrontfoot Nearhindhock|Offhindhock",
    ),
    "locust": (
        "head abdomen1 anttipL eyeL forelegL1 forelegL2 anttipR eyeR forelegR1 forelegR2",
        "anttipL|anttipR eyeL|eyeR forelegL1|forelegR1 forelegL2|forelegR2",
    ),
    "DeepLabCut's mouse": ("snout leftear rightear tailbase", "leftear|rightear"),
    "corners of a face": (
        "left_eye_left_corner left_eye_right_corner right_eye_left_corner right_eye_right_corner",
        "left_eye_left_corner|right_eye_right_corner left_eye_right_corner|right_eye_left_corner",
    ),
    "codes": ("snout LF RF LH RH", "LF|RF LH|RH"),
    "codes in names": ("lf_paw rf_paw paw_hl paw_hr BLpaw BRpaw paw1LH paw1RH", "lf_paw|rf_paw paw_hl|paw_hr "
        "BLpaw|BRpaw paw1LH|paw1RH"),
    "wheels": ("FL FR RL RR", "FL|FR RL|RR"),
    "corners": ("UL UR LL LR", "UL|UR LL|LR"),
    "glued letters": ("leye reye lear rear lshoulder rshoulder pawfl pawfr", "leye|reye lear|rear "
        "lshoulder|rshoulder pawfl|pawfr"),
    "abbreviated joints": ("L_K R_K L_A R_A", "L_K|R_K L_A|R_A"),
    "radius and ulna": ("left_wrist_r left_wrist_u right_wrist_r right_wrist_u", "left_wrist_r|right_wrist_r "
        "left_wrist_u|right_wrist_u"),
    "sides of vertebrae": ("L1_left L1_right L2_left L2_right", "L1_left|L1_right L2_left|L2_right"),
    "French": ("nez main_gauche main_droite pied_gauche pied_droit", "main_gauche|main_droite "
        "pied_gauche|pied_droit"),
    "German": (
        "Nase linkes_Auge rechtes_Auge linker_Fuß rechter_Fuß Knie_links Knie_rechts Rechteck",
        "linkes_Auge|rechtes_Auge linker_Fuß|rechter_Fuß Knie_links|Knie_rechts",
    ),
    "German, glued": ("linkesauge rechtesauge rechteck_links rechteck_rechts", "linkesauge|rechtesauge "
        "rechteck_links|rechteck_rechts"),
    "Spanish": ("ojo_izquierdo ojo_derecho mano_izquierda mano_derecha", "ojo_izquierdo|ojo_derecho "
        "mano_izquierda|mano_derecha"),
    "Italian": ("mano_sinistra mano_destra piede_sinistro piede_destro", "mano_sinistra|mano_destra "
        "piede_sinistro|piede_destro"),
    "Portuguese": ("olho_esquerdo olho_direito", "olho_esquerdo|olho_direito"),
    "Japanese": ("鼻 左目 右目 左右の中心", "左目|右目"),
    "Korean": ("코 왼쪽눈 오른쪽눈", "왼쪽눈|오른쪽눈"),
    "Russian": ("Нос Левый_глаз Правый_глаз", "Левый_глаз|Правый_глаз"),
}  # fmt: skip


@pytest.mark.parametrize(("joints", "pairs"), SKELETONS.values(), ids=SKELETONS)
def test_partners_are_found_by_their_names_and_nobody_else_seems_to_have_a_side(joints, pairs):
    names = joints.split()
    assert pair_names(names) == set(pairs.split())
    assert unpaired_names(names) == []


def test_names_may_have_any_separator_and_case():
    assert pair_names(["left ear", "right ear", "Left-Hip", "RIGHT_HIP", "kneeL", "knee_r"]) == {
        "left ear|right ear",
        "Left-Hip|RIGHT_HIP",
        "kneeL|knee_r",
    }


def test_an_accent_may_be_a_character_of_its_own():
    joints = ["höger_öga", unicodedata.normalize("NFD", "vänster_öga")]
    assert read_sides(tuple(joints)).pairs == ((1, 0),)


@pytest.mark.parametrize(
    "joints",
    [
        "C7 T12 L1 L2 L5",
        "lip root rear leg light lower",
        "upright cleft bright linear offset Rechteck",
        "A B C D E F G H I J K L",
        "A B C D E F G H I J K L M N O P Q R",
        "p_j p_k p_l p_m p_q p_r",
        "near_1 der_2",
    ],
)
def test_what_only_looks_like_a_side_is_none(joints):
    found = read_sides(tuple(joints.split()))
    assert found.pairs == () and found.unpaired == () and set(found.sides) == {"middle"}


@pytest.mark.parametrize(
    ("joints", "unpaired"),
    [
        # the numbers differ, so that nothing says that these are partners
        ("nose_top paw1LH_top paw2LF_top paw3RF_top paw4RH_top", "paw1LH_top paw2LF_top paw3RF_top paw4RH_top"),
        ("left_eye right_eye left_ear", "left_ear"),
        ("leftear rigthear", "leftear"),
        ("l_wing r_wing l_foot", "l_foot"),
        ("paw_lf paw_rf paw_lh", "paw_lh"),
        ("main_gauche pied_gauche pied_droit", "main_gauche"),
        # a letter before a number is a side in others of these names
        ("forelegL1 forelegL2 forelegR2", "forelegL1"),
        # two possible partners
        ("main_gauche main_droit main_droite", "main_gauche main_droit main_droite"),
        ("pawll pawlr pawrl pawrr", "pawll pawlr pawrl pawrr"),
        ("l_hip L-Hip r_hip", "l_hip L-Hip r_hip"),
        # one partner has the same form, the other has not
        ("Left-Hip Right-Hip l_hip", "l_hip"),
    ],
)
def test_a_side_without_exactly_one_partner_is_reported(joints, unpaired):
    assert unpaired_names(joints.split()) == unpaired.split()


def test_partners_but_for_a_number_or_the_word_are_suggested():
    joints = ["paw1LH", "paw2LF", "paw3RF", "paw4RH", "left_hip", "r_hip", "l_foot", "nose"]
    assert suggest_pairs(joints) == ((0, 3), (1, 2), (4, 5))
    assert suggest_pairs(["main_gauche", "main_droit", "main_droite"]) == (), "any of two would be a guess"


def test_every_word_of_the_table_pairs_with_all_its_opposites():
    for row in SIDE_WORDS:
        for left in row.left:
            for right in row.right:
                for form in ("eye_{}", "{}_eye", "{}-Eye2"):
                    joints = [form.format(left), form.format(right)]
                    assert read_sides(tuple(joints)).pairs == ((0, 1),), joints
    for row in SIDE_SIGNS:
        assert read_sides((f"{row.left[0]}手", f"{row.right[0]}手")).pairs == ((0, 1),)
    for code in SIDE_CODES:
        if "l" in code:
            assert read_sides((f"paw_{code}", f"paw_{code.replace('l', 'r')}")).pairs == ((0, 1),)


def test_every_word_stands_in_the_table_once_in_the_form_that_names_are_compared_in():
    words = [word for row in SIDE_WORDS for word in (*row.left, *row.right)]
    assert len(set(words)) == len(words) and not set(words) & set(SIDE_CODES)
    assert words == [unicodedata.normalize("NFKC", word).lower() for word in words]


def test_the_pairs_of_lsp_are_those_of_its_names():
    assert {frozenset(pair) for pair in read_sides(LSP_JOINTS).pairs} == set(map(frozenset, LSP_SKELETON.flip_pairs))
    assert find_torso_diagonals(LSP_JOINTS) == LSP_SKELETON.torso


@pytest.mark.parametrize(
    "joints",
    [
        "left_shoulder right_shoulder left_hip right_hip",
        "LShoulder RShoulder LHip RHip",
        "lshoulder rshoulder lhip rhip",
        "epaule_gauche épaule_droite hanche_gauche hanche_droite",
        "Schulter_links Schulter_rechts Hüfte_links Hüfte_rechts",
        "hombro_izquierdo hombro_derecho cadera_izquierda cadera_derecha",
        "左肩 右肩 左腰 右腰",
    ],
)
def test_the_torso_is_found_in_these_languages(joints):
    assert find_torso_diagonals(joints.split()) == ((0, 3), (1, 2))


def test_any_names_give_disjoint_pairs_of_opposite_sides():
    rng = random.Random(0)
    pieces = [
        "l",
        "r",
        "L",
        "R",
        "left",
        "right",
        "LF",
        "RF",
        "paw",
        "1",
        "2",
        "_",
        "gauche",
        "droit",
        "左",
        "右",
        "near",
        "off",
    ]
    for _ in range(300):
        names = {"".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(12)}
        joints = tuple(sorted(names))
        found = read_sides(joints)
        positions = [position for pair in found.pairs for position in pair]
        assert len(set(positions)) == len(positions) and not set(positions) & set(found.unpaired)
        for left, right in found.pairs:
            assert (found.sides[left], found.sides[right]) == ("left", "right"), joints


def test_names_that_may_be_mirrored_in_endless_ways_are_read_too():
    rng = random.Random(0)
    long_names = {"".join(rng.choices("lr", k=500)) for _ in range(20)}
    found = read_sides((*sorted(long_names), "l_" * 200, "r_" * 200, "l_eye", "r_eye"))
    assert found.pairs == ((22, 23),)


@needs_samples
def test_skeletons_of_other_tools_are_paired_completely():
    for name, count in (("mmpose_fly", 14), ("mmpose_locust", 15), ("mmpose_zebra", 2)):
        (file,) = (SAMPLES / "coco" / name).glob("*.json")
        joints = json.loads(file.read_text())["categories"][0]["keypoints"]
        with_side = [joint for joint in joints if "L" in joint or "R" in joint]
        assert 2 * len(pair_names(joints)) == len(with_side) and len(pair_names(joints)) == count
        assert unpaired_names(joints) == []
    with (SAMPLES / "lightning_pose/mirror-mouse-example/CollectedData.csv").open() as file:
        joints = list(dict.fromkeys(list(csv.reader(file))[1][1:]))
    assert pair_names(joints) == set()
    assert unpaired_names(joints) == [joint for joint in joints if joint.startswith("paw")]


def test_the_examples_of_the_docs_are_partners():
    section = DOCS.read_text(encoding="utf-8").split("## Left and right")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 6
    for row in rows:
        joints = re.findall("`(.+?)`", row)
        for left, right in zip(joints[::2], joints[1::2], strict=True):
            assert pair_names([left, right]) == {f"{left}|{right}"}
