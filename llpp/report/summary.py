"""The report in plain words, computed from its numbers."""

from collections.abc import Sequence

from llpp.report.claims import (
    CONFIDENCE,
    RANKING,
    Claim,
    judge_difference,
    judge_failure_finding,
    judge_ranking,
    judge_selection,
    list_shortfalls,
)
from llpp.report.collect import Cell, Method, Section
from llpp.report.evidence import format_interval, format_signed
from llpp.report.failure_scores import MEASURES, count_rankers, describe_ranking
from llpp.report.metric import (
    CONFIDENCE_PREFIX,
    FAILURE_PREFIX,
    FAILURE_SHARE,
    POOL_METRIC,
    RANKER_PREFIX,
    SELECTED_METRIC,
    TEST_METRIC,
)
from llpp.report.tables import describe_spread

LEARN_MORE = (
    "Train longer (trainer.max_epochs=…), with more labels (in simulations: initial=…), or look at the labels with "
    "llpp data"
)
FAILURE_QUESTION = "Is the predicted loss better at finding failures than the network's own confidence"
LabelledClaims = list[tuple[Claim | None, str]]  # with the label of the method


def summarise_section(section: Section) -> str:
    """Return one paragraph about a section."""
    if not section.started_methods:
        return "No round is committed yet, so there is nothing to compare."
    sentences = [
        _describe_first_selection(section),
        _describe_learning(section),
        _describe_ranking(section),
        _describe_failure_finding(section),
        _describe_rankers(section),
        _describe_seeds(section),
    ]
    return " ".join(filter(None, sentences))


def _describe_first_selection(section: Section) -> str:
    """Say what the methods chose in the first selection, and whether it is harder than random selections are."""
    counts = section.list_label_counts(SELECTED_METRIC)
    if not counts:
        if any(committed.selected for committed in section.rounds):
            return "How the model does on the images that it selected is not known: they had no labels yet."
        return "No round has selected images yet."
    means = []
    pool_means = []
    claims: LabelledClaims = []
    for method in section.methods:
        cell = method.compute_cell(SELECTED_METRIC, counts[0])
        if cell is None:
            continue
        means.append((cell.mean, method.label))
        pool = method.compute_cell(POOL_METRIC, counts[0])
        if pool:
            pool_means.append(pool.mean)
        # What is chance by itself needs no claim, and would get a wrong one now and then.
        if pool and not method.selects_at_random:
            claims.append((judge_selection(method, counts[0]), method.label))
    # The lowest metric comes first: the most failures.
    means.sort(reverse=not section.higher_is_better)
    (worst, first), *others = means

    metric = section.get_metric_name("train")
    sentence = f"In the first selection, {first} chose images with a mean {metric} of {worst:.2f}"
    if others:
        words = [f"those of {label} had {mean:.2f}" for mean, label in others]
        sentence += f" where {_join_words(words)}"
    if pool_means:
        sentence += f" (the pool: {_format_range(pool_means)})"
    direction = "lower" if section.higher_is_better else "higher"
    sentence += f"; the {direction}, the more of the model's failures."
    verdict = _describe_selection_claims(claims, section.higher_is_better)
    return f"{sentence} {verdict}".rstrip()


def _describe_selection_claims(claims: LabelledClaims, higher_is_better: bool) -> str:
    """Say of each method whether what it selected differs from random selections by more than chance."""
    harder = -1 if higher_is_better else 1
    verdicts = {
        harder: "harder images than a random selection: {}",
        -harder: "easier images than a random selection: {}",
        0: "no difference to a random selection was found for {}",
        None: "it is not known whether that is more than chance for {}",
    }
    parts = []
    for direction, words in verdicts.items():
        found = []
        for claim, label in claims:
            if (claim.direction if claim else None) == direction:
                found.append((claim, label))
        if found:
            parts.append(words.format(_list_evidence(found)))
    if not parts:
        return ""
    verdict = "; ".join(parts)
    return f"{verdict[0].upper()}{verdict[1:]}."


def _list_evidence(claims: LabelledClaims) -> str:
    """Return `random (−0.010; 95 % interval over images: −0.040 to +0.020)`, or a list of such.

    A list says once what its intervals are over. Without a claim, only the label is there.
    """
    bases = {claim.basis for claim, _ in claims if claim}
    shared = len(claims) > 1 and len(bases) == 1
    words = []
    for claim, label in claims:
        if claim is None:
            words.append(label)
        else:
            evidence = claim.bounds if shared else str(claim)
            words.append(f"{label} ({format_signed(claim.value)}; {evidence})")
    suffix = f" (95 % intervals over {bases.pop()})" if shared else ""
    return f"{_join_all_words(words)}{suffix}"


def _format_range(values: Sequence[float]) -> str:
    low = f"{min(values):.2f}"
    high = f"{max(values):.2f}"
    if low == high:
        return low
    return f"{low} to {high}"


def _describe_learning(section: Section) -> str:
    """Compare the test metric at the largest number of labels that all seeds of all methods reached."""
    count = section.find_last_common_count(TEST_METRIC)
    if count is None:
        return ""
    cells = []
    for method in section.methods:
        cell = method.compute_cell(TEST_METRIC, count)
        if cell:
            cells.append((cell, method))
    cells.sort(key=_get_mean, reverse=section.higher_is_better)
    words = [f"{cell.mean:.3f} for {method.label}" for cell, method in cells]
    metric = section.get_metric_name("test")
    sentence = f"With {count:,} labelled images, the test {metric} is {_join_words(words)}"
    if len(cells) > 1:
        (best_cell, best), (second_cell, second), *_ = cells
        gap = best_cell.mean - second_cell.mean
        claim = judge_difference(best, second, count)
        sentence += f"; the two best differ by {abs(gap):.3f}, {_describe_difference_claim(claim, gap)}"
    return sentence + "."


def _describe_difference_claim(claim: Claim | None, gap: float) -> str:
    """Say whether the gap between two means is more than chance.

    The claim is paired: over the seeds that both methods have, or over images, which PCK's mean over joints does not
    weigh alike. So it may be of another size, or even of another sign.
    """
    if claim is None or claim.direction * gap < 0:
        return "and it is not known whether that is more than chance"
    evidence = str(claim)
    if abs(claim.value - gap) >= 0.0005:
        pairs = "image" if claim.seeds is None else "common seed"
        evidence = f"{format_signed(claim.value)} paired by {pairs}; {evidence}"
    if claim.direction == 0:
        return f"which may be chance ({evidence})"
    # Images say nothing about how much the training itself varies from seed to seed.
    about = "of these models on the test images, not yet of the methods" if claim.seeds is None else "of the methods"
    return f"which is a difference {about} ({evidence})"


def _get_mean(cell_of_method: tuple[Cell, Method]) -> float:
    cell, _ = cell_of_method
    return cell.mean


def _describe_ranking(section: Section) -> str:
    """Say how well the first round's head ordered the losses, and whether that is more than chance."""
    counts = section.list_label_counts(RANKING)
    if not counts:
        return ""
    found = []
    for method in section.methods:
        cell = method.compute_cell(RANKING, counts[0])
        if cell:
            claim = judge_ranking(method, counts[0])
            found.append((cell.mean, _describe_correlation(cell.mean, claim), method.label))
    found.sort(reverse=True)
    words = [f"{rho} for {label}" for _, rho, label in found]
    # Methods that differ in the selection only share their first model, so one number stands for all of them.
    distinct = {rho for _, rho, _ in found}
    if len(distinct) == 1:
        words = list(distinct)
    return (
        "On the test images, the loss head of the first round orders images by loss with Spearman ρ "
        f"{_join_words(words)}; 1 is perfect, 0 is chance."
    )


def _describe_correlation(rho: float, claim: Claim | None) -> str:
    if claim is None:
        return f"{rho:.2f} (it is not known whether that is more than chance)"
    chance = ", which may be chance" if claim.direction == 0 else ""
    return f"{rho:.2f} ({claim}{chance})"


def _describe_failure_finding(section: Section) -> str:
    """Say whether the predicted loss finds failures better than what the network gives for nothing."""
    count = section.find_last_common_count(FAILURE_SHARE)
    if count is None:
        if section.list_label_counts(FAILURE_SHARE):
            return f"{FAILURE_QUESTION}? That is not known: the methods have no number of labelled images in common."
        # Older versions measured the ranking by predicted loss only.
        if not section.list_label_counts(f"{FAILURE_PREFIX}auroc"):
            return ""
        return f"{FAILURE_QUESTION}? That is not known: these runs did not record it."
    question = f"{FAILURE_QUESTION}, with {count:,} labelled images?"
    reason = _explain_unknown_comparison(section, count)
    if reason is not None:
        return f"{question} That is not known: {reason}."
    claims = _list_failure_claims(section, count)
    answers = {
        -1: "yes: {}",
        1: "no, it is worse: {}",
        0: "that is not shown: {}",
        None: "it is not known whether the difference is more than chance: {}",
    }
    parts = []
    for direction, sentence in answers.items():
        found = []
        for claim, label in claims:
            if (claim.direction if claim else None) == direction:
                found.append((claim, label))
        if found:
            parts.append(sentence.format(_list_evidence(found)))
    answer = "; ".join(parts)
    return f"{question} {answer[0].upper()}{answer[1:]}. AUGRC is the share of images that fail unnoticed."


def _describe_rankers(section: Section) -> str:
    """Say what ranks images by how likely they fail, and how it compares; nothing where that is the loss head."""
    count = section.find_last_common_count(FAILURE_SHARE)
    if count is None:
        return ""
    found: dict[str, list[Method]] = {}  # sentence → methods
    for method in section.started_methods:
        words = _describe_ranker(method, count)
        if words is not None:
            found.setdefault(words, []).append(method)
    sentences = []
    for words, methods in found.items():
        labels = f" ({_join_words([method.label for method in methods])})" if len(found) > 1 else ""
        sentences.append(f"With {count:,} labelled images, failures are ranked by {words}{labels}.")
    return " ".join(sentences)


def _describe_ranker(method: Method, labelled: int) -> str | None:
    """Name what ranks in a method's runs, with what it reaches; None where nothing was chosen."""
    used = count_rankers(method, labelled)
    if not used:
        return None
    names = []
    for name, count in used.most_common():
        shown = describe_ranking(name)
        names.append(f"{shown} (in {count} of {used.total()} runs)" if len(used) > 1 else shown)
    reached = method.compute_cell(f"{RANKER_PREFIX}augrc", labelled)
    by_loss = method.compute_cell(f"{FAILURE_PREFIX}augrc", labelled)
    by_confidence = method.compute_cell(f"{CONFIDENCE_PREFIX}augrc", labelled)
    words = _join_all_words(names)
    if reached is None or by_loss is None or by_confidence is None:
        return words
    words += f": AUGRC {reached.mean:.3f}, against {by_loss.mean:.3f} by predicted loss"
    if set(used) == {CONFIDENCE}:
        return words
    claim = judge_failure_finding(method, labelled, RANKER_PREFIX)
    compared = "" if claim is None else f" ({format_signed(claim.value)}; {claim})"
    return f"{words} and {by_confidence.mean:.3f} by the network's own confidence{compared}"


def _explain_unknown_comparison(section: Section, labelled: int) -> str | None:
    """Say why predicted losses cannot be compared with the network's own confidence; None if they can."""
    shares: list[float] = []
    for method in section.started_methods:
        share = method.compute_cell(FAILURE_SHARE, labelled)
        if share:
            shares += share.values
    if set(shares) <= {0.0, 1.0}:
        amount = " or ".join({1.0: "all", 0.0: "none"}[share] for share in sorted(set(shares), reverse=True))
        return f"{amount} of the test images fail"
    for method in section.started_methods:
        if method.compute_cell(f"{CONFIDENCE_PREFIX}augrc", labelled):
            return None
    return "these runs did not record it"


def _list_failure_claims(section: Section, labelled: int) -> LabelledClaims:
    """Return for each method what its predicted losses and its network's confidence reach, with what that shows."""
    found = []
    for method in section.started_methods:
        measures = []
        # The interval that follows is that of the last one.
        for measure in ("auroc", "augrc"):
            by_loss = method.compute_cell(f"{FAILURE_PREFIX}{measure}", labelled)
            by_confidence = method.compute_cell(f"{CONFIDENCE_PREFIX}{measure}", labelled)
            if by_loss and by_confidence:
                measures.append(f"{MEASURES[measure]} {by_loss.mean:.3f} against {by_confidence.mean:.3f}")
        if len(measures) == 2:
            found.append((method, ", ".join(measures)))
    # Methods that differ in the selection only share their first model, so one answer stands for all of them.
    differ = len({words for _, words in found}) > 1
    claims: LabelledClaims = []
    for method, words in found if differ else found[:1]:
        label = f"{method.label} with {words}" if differ else words
        claims.append((judge_failure_finding(method, labelled), label))
    return claims


def _describe_seeds(section: Section) -> str:
    note = describe_spread(section)
    if note.startswith("1 seed"):
        return "All of this is 1 seed, which does not show how much results vary from seed to seed."
    return f"Means over {note.removeprefix('mean ± standard deviation (n − 1) over ')}."


def list_learning_warnings(section: Section) -> list[str]:
    """Return a sentence about the runs whose last models are not shown to beat a constant prediction, if any."""
    named: dict[str, list[str]] = {}  # verdict → runs
    for method in section.started_methods:
        for shortfall in list_shortfalls(method):
            seed = f", seed {shortfall.run.seed}" if len(method.runs) > 1 else ""
            # Qualities are better when higher, whatever the metric.
            words = f"{method.label}{seed} ({shortfall.quality:.3f} against {shortfall.constant:.3f}; 95 % interval "
            words += f"over images of the difference: {format_interval(shortfall.advantage)})"
            named.setdefault(shortfall.verdict, []).append(words)
    if not named:
        return []
    parts = [f"{verdict}: {_join_all_words(words)}" for verdict, words in named.items()]
    text = "; ".join(parts)
    return [
        f"{text[0].upper()}{text[1:]}. That is the mean {section.metric_title} of a test image after the last round, "
        f"against what predicting the same for every image gets. {LEARN_MORE}; until then, the numbers say little "
        "about the methods."
    ]


def _join_all_words(words: Sequence[str]) -> str:
    """Join words as `a, b and c`, however many."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _join_words(words: Sequence[str]) -> str:
    """Join words as `a, b and c`; of more than three, show the first and the last."""
    if len(words) > 3:
        return f"{words[0]}, …, {words[-1]}"
    return _join_all_words(words)
