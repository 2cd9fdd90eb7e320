"""How `llpp predict` is called, and what it shows while it works."""

from pathlib import Path

from llpp.cli import predict
from llpp.cli.package_names import split_package_names
from llpp.cli.predict import describe_progress


def test_progress_says_how_far_how_fast_and_how_long():
    # 900 of the 1,000 are this command's own, in 10 s: 90 a second, and 4,500 are left.
    assert describe_progress("predicted", 1_000, 5_500, 900, 10.0) == (
        "predicted 1,000 of 5,500 · 90.0 images/s · 50 s left"
    )


def test_progress_without_a_known_end_promises_none():
    # A film that states fewer frames than it has.
    assert describe_progress("predicted", 12, 10, 12, 4.0) == "predicted 12 of 12 · 3.0 images/s"


def test_options_may_be_written_as_for_llpp_run():
    words = ["run", "new", "risk=0.1", "out=found", "batch_size=4", "trusted_packages=[a,b]"]
    drawn = predict._parse_arguments([*words, "overlay=True"])
    assert (drawn.model, drawn.inputs, drawn.risk) == (Path("run"), ["new"], 0.1)
    assert (drawn.out, drawn.batch_size, drawn.overlay) == (Path("found"), 4, True)
    assert not predict._parse_arguments([*words, "overlay=false"]).overlay
    assert split_package_names(drawn.trusted_packages) == ["a", "b"] and split_package_names("") == []
