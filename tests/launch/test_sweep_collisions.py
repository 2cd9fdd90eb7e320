"""Jobs that would share a run directory end their sweep before it begins; a name that sets them apart is told."""

import shlex

import pytest
from helpers.cli import llpp
from helpers.experiments import FIGURES, TINY
from helpers.sweeps import dry_sweep

pytestmark = pytest.mark.slow

NAME = "synthetic-hourglass_small-multiscale_conv-kl-adaptive"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refuse(*words):
    """The sentence with which a sweep ends before its first job."""
    sentence, run_dirs = dry_sweep(*words)
    assert run_dirs == [] and sentence.startswith("llpp: jobs ") and sentence.count("\n") == 1
    return sentence.strip()


def remedy(sentence):
    """The word of a command line that a sentence says to type."""
    (word,) = shlex.split(sentence.partition("write it into their names: ")[2])
    return word


@pytest.mark.parametrize(
    ("words", "name", "names"),
    [
        (["task.heatmap.sigma=1.0,2.0"], f"{NAME}-sigma${{task.heatmap.sigma}}",
         [f"{NAME}-sigma1.0", f"{NAME}-sigma2.0"]),
        (["initial=8,12"], f"{NAME}-initial${{initial}}", [f"{NAME}-initial8", f"{NAME}-initial12"]),
        (["scheduler=glob([no*,pl*])"], f"{NAME}-${{hydra:runtime.choices.scheduler}}",
         [f"{NAME}-none", f"{NAME}-plateau"]),
        (["+trainer.max_steps=range(1,3)"], f"{NAME}-max_steps${{trainer.max_steps}}",
         [f"{NAME}-max_steps1", f"{NAME}-max_steps2"]),
        (["budget=choice(4,8)", "name=a"], "a-budget${budget}", ["a-budget4", "a-budget8"]),
        (["budget=4,8", "name=a,b"], "a-budget${budget},b-budget${budget}",
         ["a-budget4", "b-budget4", "a-budget8", "b-budget8"]),
        (["budget=4,8", 'name="é=b"'], '"é=b-budget${budget}"', ["é=b-budget4", "é=b-budget8"]),
        (["crop.size=32,64", "dataset.size=9,8"], f"{NAME}-crop.size${{crop.size}}-dataset.size${{dataset.size}}",
         [f"{NAME}-crop.size32-dataset.size9", f"{NAME}-crop.size32-dataset.size8",
          f"{NAME}-crop.size64-dataset.size9", f"{NAME}-crop.size64-dataset.size8"]),
    ],
)  # fmt: skip
def test_the_name_that_sets_jobs_apart_is_told_and_works(words, name, names):
    typed = remedy(refuse(*words))
    assert typed == f"name={name}"
    others = [word for word in words if not word.startswith("name=")]
    assert dry_sweep(*others, typed) == ("", [f"runs/{name}/seed0" for name in names])


def test_the_sentence_names_two_jobs_and_what_they_differ_in():
    sentence = refuse("seed=0,1", "initial=8,12", "budget=4")
    assert sentence == (
        f"llpp: jobs 1 and 2 of this sweep would share the run directory runs/{NAME}/seed0: they differ in initial "
        f"only; write it into their names: 'name={NAME}-initial${{initial}}'"
    )
    sentence = refuse("initial=8,12", "seed=0,1")
    assert sentence.startswith("llpp: jobs 1 and 3 of this sweep would share the run directory ")


def test_a_name_made_of_choices_stays_so_where_choices_are_swept():
    words = ("objective=kl,ranking", "initial=8,12")
    typed = remedy(refuse(*words))
    expected = []
    for objective in ("kl", "ranking"):
        for initial in (8, 12):
            expected.append(f"runs/{NAME.replace('kl', objective)}-initial{initial}/seed0")
    assert dry_sweep(*words, typed) == ("", expected)


def test_presets_with_names_of_their_own_are_told_apart_by_all_that_is_swept():
    words = ("experiment=demo,yoo_kweon_mpii", "paths.runs=here", "budget=30,40")
    typed = remedy(refuse(*words))
    assert typed == "name=${hydra:runtime.choices.experiment}-budget${budget}"
    expected = []
    for experiment in ("demo", "yoo_kweon_mpii"):
        for budget in (30, 40):
            expected.append(f"here/{experiment}-budget{budget}/seed0")
    assert dry_sweep(*words, typed) == ("", expected)


@pytest.mark.parametrize(
    ("words", "run_dirs"),
    [
        (["seed=range(2)"], [f"runs/{NAME}/seed0", f"runs/{NAME}/seed1"]),
        (["seed=3"], [f"runs/{NAME}/seed3"]),
        (["paths.runs=a,b"], [f"a/{NAME}/seed0", f"b/{NAME}/seed0"]),
        (["initial=8,12", "name=i${initial}"], ["runs/i8/seed0", "runs/i12/seed0"]),
        (["initial=8,12", "paths.run_dir=${paths.runs}/job${hydra:job.num}"], ["runs/job0", "runs/job1"]),
    ],
)
def test_jobs_with_folders_of_their_own_run(words, run_dirs):
    assert dry_sweep(*words) == ("", run_dirs)


def test_a_value_that_is_given_twice_makes_no_second_job():
    assert refuse("seed=0,1,0") == "llpp: jobs 1 and 3 of this sweep are the same; give each value once"


@pytest.mark.parametrize("place", ["here", "${paths.runs}/../here"])
def test_a_run_directory_that_lacks_the_name_is_to_get_what_differs(place):
    assert refuse(f"paths.run_dir={place}", "scheduler=none,plateau") == (
        "llpp: jobs 1 and 2 of this sweep would share the run directory here: they differ in scheduler only; write "
        "it into paths.run_dir, as in ${hydra:runtime.choices.scheduler}"
    )


def test_a_name_that_no_file_system_takes_ends_the_sweep_before_its_first_job():
    sentence, run_dirs = dry_sweep("seed=0,1", f"name={'x' * 300}")
    assert run_dirs == []
    assert sentence.startswith("llpp: name has a folder's name of 300 bytes (") and "shorter name=…" in sentence


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_the_sweep_ends_before_its_first_job_and_leaves_nothing(launcher, tmp_path):
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the sweep extra")
    words = ["task.heatmap.sigma=1.0,2.0", f"hydra/launcher={launcher}"]
    refused = llpp("run", "-m", *TINY, *FIGURES, *words, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("llpp: jobs 1 and 2 of this sweep would share the run directory ")
    assert len(refused.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())
