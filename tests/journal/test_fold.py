"""Which of several answers counts, and how far two annotators are apart."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from llpp.errors import ConfigError
from llpp.journal.answers import Answer, PersonLabel
from llpp.journal.fold import fold_answers, measure_agreement


def answer(annotator, minute, *, kind="labelled", image="a.jpg", tool="cvat", joints=None, person=None, box=None):
    persons = ()
    if kind == "labelled":
        persons = (PersonLabel(person or image, joints or {"nose": (float(minute), 0.0, 2)}, box),)
    origin = "drawn" if persons else ""
    time = f"2026-11-27T08:{minute:02d}:00Z"
    key = f"{image} {annotator} {minute} {kind}"
    return Answer(image, kind, persons, origin, annotator, tool, time, None, "", f"{annotator}.xml", "", key)


def nose(folded, image="a.jpg"):
    return folded[image].persons[0].joints["nose"][0]


def test_the_newer_answer_of_an_annotator_replaces_the_older_in_any_order():
    answers = [answer("ann", 1), answer("ann", 3), answer("ann", 2)]
    for order in itertools.permutations(answers):
        folded = fold_answers(order)
        assert nose(folded) == 3.0
        assert len(folded["a.jpg"].answers) == 1 and not folded["a.jpg"].disagrees


def test_of_equally_old_answers_the_later_line_counts():
    first = answer("ann", 1)
    second = replace(answer("ann", 2), answered_at=first.answered_at)
    assert nose(fold_answers([first, second])) == 2.0
    assert nose(fold_answers([second, first])) == 1.0


def test_fractions_of_a_second_count():
    """Z stands after the digits in ASCII, so the plain texts would be in the wrong order."""
    whole = replace(answer("ann", 1), answered_at="2026-11-27T08:30:00Z")
    half = replace(answer("ann", 2), answered_at="2026-11-27T08:30:00.500000Z")
    assert nose(fold_answers([half, whole])) == 2.0


def test_a_skipped_image_is_skipped_after_it_was_labelled():
    folded = fold_answers([answer("ann", 1), answer("ann", 2, kind="skipped")])
    assert folded["a.jpg"].kind == "skipped" and folded["a.jpg"].persons == ()


def test_a_retraction_cancels_earlier_lines_and_leaves_nothing():
    folded = fold_answers([answer("ann", 1), answer("ann", 5), answer("ann", 6, kind="retracted")])
    assert folded["a.jpg"].kind is None
    assert folded["a.jpg"].persons == () and folded["a.jpg"].answers == ()


def test_an_answer_after_a_retraction_counts_even_if_its_time_is_older():
    assert nose(fold_answers([answer("ann", 5), answer("ann", 6, kind="retracted"), answer("ann", 1)])) == 1.0


def test_a_retraction_is_about_one_annotator_and_one_tool():
    others = [answer("ann", 1, tool="coco"), answer("ben", 2), answer("ann", 3)]
    folded = fold_answers([*others, answer("ann", 4, kind="retracted")])
    assert [a.tool for a in folded["a.jpg"].answers] == ["coco", "cvat"]
    assert nose(folded) == 2.0


def test_of_two_annotators_the_newest_answer_counts_and_both_are_known():
    for order in itertools.permutations([answer("ann", 7), answer("ben", 4), answer("ben", 3)]):
        folded = fold_answers(order, "newest")["a.jpg"]
        assert folded.persons[0].joints["nose"][0] == 7.0
        assert [a.annotator for a in folded.answers] == ["ben", "ann"]
        assert folded.disagrees


def test_error_names_the_image_both_annotators_and_the_setting():
    with pytest.raises(ConfigError) as caught:
        fold_answers([answer("ann", 1), answer("ben", 2), answer("cem", 3, image="b.jpg")], "error")
    text = str(caught.value)
    assert "ann and ben have answered differently about a.jpg" in text and "label.conflict=newest" in text


def test_equal_answers_of_two_annotators_are_no_conflict():
    same = {"nose": (5.0, 6.0, 2)}
    folded = fold_answers([answer("ann", 1, joints=same), answer("ben", 2, joints=same)], "error")
    assert not folded["a.jpg"].disagrees and nose(folded) == 5.0


def test_the_mean_is_by_joint_and_visible_by_majority():
    answers = [
        answer(
            "ann", 1, joints={"nose": (1.0, 10.0, 2), "tail": (0.0, 0.0, 1), "ear": (9.0, 9.0, 2)}, box=(0, 0, 4, 6)
        ),
        answer("ben", 2, joints={"nose": (2.0, 20.0, 1), "tail": (4.0, 8.0, 2)}, box=(2, 2, 8, 6)),
        answer("cem", 3, joints={"nose": (6.0, 60.0, 1)}),
    ]
    person = fold_answers(answers, "mean")["a.jpg"].persons[0]
    # ear: one of three, so it is not kept; tail: one of two calls it occluded, which is not most.
    assert person.joints == {"nose": (3.0, 30.0, 1), "tail": (2.0, 4.0, 2)}
    assert person.box == (1.0, 1.0, 6.0, 6.0)


def test_the_mean_leaves_out_who_skipped_and_follows_most_of_the_others():
    def kind(*answers):
        return fold_answers(answers, "mean")["a.jpg"].kind

    skipped = answer("ann", 9, kind="skipped")
    assert kind(answer("ben", 1), skipped) == "labelled"
    assert kind(answer("ben", 1), answer("cem", 2, kind="empty"), answer("dee", 3, kind="empty"), skipped) == "empty"
    assert kind(answer("ben", 1, kind="empty"), answer("cem", 2)) == "labelled"
    assert kind(answer("ben", 3, kind="empty"), answer("cem", 2)) == "empty"
    assert kind(skipped, answer("ben", 1, kind="skipped")) == "skipped"


def test_persons_of_the_mean_are_matched_by_id():
    first = replace(answer("ann", 1), persons=(PersonLabel("a.jpg#1", {"nose": (0.0, 0.0, 2)}),))
    second = replace(
        answer("ben", 2),
        persons=(PersonLabel("a.jpg#1", {"nose": (2.0, 0.0, 2)}), PersonLabel("a.jpg#2", {"nose": (8.0, 0.0, 2)})),
    )
    persons = fold_answers([first, second], "mean")["a.jpg"].persons
    assert {person.id: person.joints["nose"][0] for person in persons} == {"a.jpg#1": 1.0, "a.jpg#2": 8.0}


def test_annotators_who_labelled_other_persons_have_no_mean_and_the_newest_counts():
    answers = [answer(name, minute, person=f"a.jpg#h{minute}") for minute, name in enumerate("xyz", start=1)]
    assert [person.id for person in fold_answers(answers, "mean")["a.jpg"].persons] == ["a.jpg#h3"]


def test_distances_are_in_units_of_the_box_and_the_torso():
    first = answer(
        "ann", 1, box=(0, 0, 40, 20), joints={"hip": (0.0, 0.0, 2), "neck": (0.0, 10.0, 2), "tail": (5.0, 5.0, 1)}
    )
    second = answer("ben", 2, box=(0, 0, 60, 20), joints={"hip": (3.0, 4.0, 2), "neck": (3.0, 14.0, 1)})
    folded = fold_answers([first, second])
    found = measure_agreement(folded, ("hip", "neck", "tail", "paw"), torso=(("hip", "neck"),))
    assert (found.images, found.persons) == (1, 1)
    # 3–4–5: five pixels, of the mean box's 50 and the torso's 10.
    assert found.distance[:2].tolist() == [0.1, 0.1] and found.torso_distance[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found.distance[2:]).all()
    assert found.pairs.tolist() == [1, 1, 0, 0]
    assert found.visibility.tolist() == [0, 1, 0, 0]
    assert found.unpaired.tolist() == [0, 0, 1, 0]
    assert found.sigmas is None


def test_without_boxes_the_hull_is_the_unit():
    first = answer("ann", 1, joints={"hip": (0.0, 0.0, 2), "neck": (8.0, 2.0, 2)})
    second = answer("ben", 2, joints={"hip": (0.0, 1.0, 2), "neck": (8.0, 2.0, 2)})
    assert measure_agreement(fold_answers([first, second]), ("hip",)).distance.tolist() == [1 / 8]


def test_fifty_persons_give_the_sigma_that_both_annotators_draw_with():
    """Each places joints with a standard deviation of 3 and of 1 % of the box's root area, in both directions."""
    rng = np.random.default_rng(3)
    answers = []
    for number in range(2000):
        width, height = rng.uniform(50, 200, size=2)
        scale = math.sqrt(width * height)
        for minute, annotator in enumerate(("ann", "ben")):
            joints = {}
            for name, spread in (("hip", 0.03), ("eye", 0.01)):
                # σ is of the distance, whose square is the sum of both directions' squares.
                x, y = rng.normal(20.0, spread / math.sqrt(2) * scale, size=2)
                joints[name] = (x, y, 2)
            answers.append(answer(annotator, minute, image=f"{number}", joints=joints, box=(0, 0, width, height)))
    found = measure_agreement(fold_answers(answers), ("hip", "eye", "paw"))
    assert found.sigmas[:2] == pytest.approx([0.03, 0.01], rel=0.05)
    assert np.isnan(found.sigmas[2])
    few = measure_agreement(fold_answers(answers[: 2 * 49]), ("hip", "eye"))
    assert few.persons == 49 and few.sigmas is None
    assert measure_agreement(fold_answers(answers[: 2 * 50]), ("hip", "eye")).sigmas is not None


def test_annotators_who_did_not_both_label_are_not_compared():
    folded = fold_answers([answer("ann", 1), answer("ben", 2, kind="empty"), answer("cem", 3, image="b.jpg")])
    assert measure_agreement(folded, ("nose",)).images == 0
