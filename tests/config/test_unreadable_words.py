"""A word that Hydra cannot read is answered with what to type, and that is what was meant."""

import re
import shlex

import pytest
from helpers.sweeps import dry_sweep
from omegaconf import OmegaConf

from llpp.config import compose
from llpp.errors import ConfigError


def refuse(*words):
    with pytest.raises(ConfigError) as refused:
        compose.compose_config(list(words))
    return str(refused.value)


def typed(sentence):
    """The words of the command line that a sentence says to type."""
    return shlex.split(sentence.partition("; type ")[2])


@pytest.mark.parametrize(
    "value",
    ["x/a=b", "x#y", "rüns", "日本", "a{b}", "a(b)", "a;b", "a!b", "a&b", "a~b", "a<b>", "x]", "a'b", 'a"b', "s3://b/x?y=z",
     "C:\\x=y", 'C:\\"x"\\', "My Drive (1)/runs", "a=b,c", "a=${seed}", "'a", "^a"],
)  # fmt: skip
def test_a_value_with_special_characters_gets_the_quotes_that_it_needs(value):
    sentence = refuse(f"paths.runs={value}")
    assert sentence.startswith(f"{f'paths.runs={value}'!r} is invalid: its value has ")
    (word,) = typed(sentence)
    composed = compose.compose_config([word])
    assert OmegaConf.to_container(composed, resolve=False)["paths"]["runs"] == value


def test_the_sentence_says_which_characters_and_whose_quotes():
    assert refuse("paths.runs=x/a=b#c") == (
        "'paths.runs=x/a=b#c' is invalid: its value has '=' and '#', which Hydra reads in quotes only, inside those "
        "of the shell; type 'paths.runs=\"x/a=b#c\"'"
    )
    assert """(for several values each has its own: 'name="a=b","c"')""".replace('"c"', "c") in refuse("name=a=b,c")


@pytest.mark.slow
@pytest.mark.parametrize("value", ["x/a=b", "rü#ns", "a(b)", 'a"b', "a'b", "a,b=c"])
def test_the_same_quotes_serve_a_sweep(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    word = f"paths.runs={value}"
    with pytest.raises(ConfigError) as refused:
        dry_sweep(word, "name=n", "seed=0,1")
    (quoted,) = typed(str(refused.value))
    assert dry_sweep(quoted, "name=n", "seed=0,1") == ("", [f"{value}/n/seed0", f"{value}/n/seed1"])


@pytest.mark.parametrize("value", ["x%y", "x@y", "a b", "a:b", "a+b", "a?b", "$b", "a|b"])
def test_characters_that_hydra_reads_are_left_alone(value):
    assert compose.compose_config([f"paths.runs={value}"]).paths.runs == value


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("--rounds=3", "settings have no dashes and no spaces before the =", "rounds=3"),
        ("'rounds = 3'", "settings have no dashes and no spaces before the =", "rounds=3"),
        ("rounds==3", "it has one = too many", "rounds=3"),
        ("rounds=3,", "it has a comma without a value", "rounds=3"),
        ("seed=0,,1", "it has a comma without a value", "seed=0,1"),
        ("seed=(0,1)", "lists are written in [], with quotes around special characters", "'seed=[0,1]'"),
        (
            "pck.exclude=[a#,b]",
            "lists are written in [], with quotes around special characters",
            "'pck.exclude=[\"a#\",b]'",
        ),
        (
            "pck.curve=[0.1, 0.2]",
            "the shell cuts it at a space, unless quotes are around it",
            "'pck.curve=[0.1, 0.2]'",
        ),
        ("crop={size=64}", "inside {} a colon stands between name and value", "'crop={size: 64}'"),
        ("paths.runs=~/here", "Hydra does not put your home folder in the place of ~", "paths.runs=/home/me/here"),
    ],
)
def test_a_slip_is_named_with_the_words_to_type(line, reason, words, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    sentence = refuse(*shlex.split(line))
    assert sentence.endswith(f" is invalid: {reason}; type {words}")


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("rounds = 3", "'rounds' is invalid; expected OPTION=VALUE without spaces, as in rounds=3"),
        ("rounds =3", "'rounds' is invalid; expected OPTION=VALUE without spaces, as in rounds=3"),
        ("rounds= 3", "'3' is invalid; expected OPTION=VALUE without spaces, as in rounds=3"),
        ("rounds:3", "'rounds:3' is invalid; expected OPTION=VALUE, as in rounds=3"),
        ("rounds: 3", "'rounds:' is invalid; expected OPTION=VALUE, as in rounds=3"),
        ("rounds 3", "'rounds' is invalid; expected OPTION=VALUE, as in rounds=3"),
        ("'rounds 3'", "'rounds 3' is invalid; expected OPTION=VALUE, as in rounds=3"),
        ("experiment demo", "'experiment' is invalid; expected OPTION=VALUE, as in experiment=demo"),
        ("demo", "'demo' is invalid; expected OPTION=VALUE, as in experiment=demo"),
        ("paths.runs=my runs", "if it belongs to the word before, put quotes around both: 'paths.runs=my runs'"),
        ("name=[a", "'name=[a' is invalid: a bracket in it is not closed"),
        ("name=\\${seed", "'name=${seed' is invalid: a bracket in it is not closed"),
        ("näme=a", "'näme=a' is invalid: names of settings have letters a to z, digits, _ and dots only"),
        ("seed=range(3)", "seed=range(3) has several values, and this is a single run; add -m to run each of them"),
    ],
)
def test_words_without_an_option_or_a_value_are_answered_with_both(line, end):
    assert refuse(*shlex.split(line)).endswith(end)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "--rounds 3",
            "'--rounds' is invalid; expected OPTION=VALUE, as in rounds=3; `llpp run --help` lists the flags",
        ),
        (
            "seed=1 --seed=2",
            "'--seed=2' is invalid: settings have no dashes and no spaces before the =; type seed=2;",
        ),
        ("--multirn seed=0,1", "--multirn is not known; did you mean --multirun? `llpp run --help` lists the flags"),
        ("--config_dir=mine", "--config_dir is not known; did you mean --config-dir?"),
    ],
)
def test_a_flag_that_does_not_exist_is_one_sentence(line, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        compose.run(lambda cfg: pytest.fail("it ran"), line.split())


def test_no_flag_of_hydra_is_taken_for_a_setting():
    from hydra._internal.utils import get_args_parser

    options = [option for action in get_args_parser()._actions for option in action.option_strings]
    own = {"-h", "--help", "-m", "--multirun", "-cd", "--config-dir", "-c", "--cfg", "-p", "--package", "--resolve"}
    assert set(options) - own == set(compose.HYDRA_FLAGS)
