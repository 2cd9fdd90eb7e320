"""Creates the "PCK per stage" dashboard in a W&B project that has runs of llpp.

pip install wandb-workspaces, wandb login, then: python docs/wandb_dashboard.py ENTITY [PROJECT] [GROUP]
"""

import argparse
from typing import Any

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces


def curve(title: str, metric: str) -> Any:
    """A measurement of the rounds, mean and standard deviation over the seeds of a method."""
    return panels.LinePlot(
        title=title,
        x="round/labelled",
        y=[metric],
        title_x="labelled images",
        smoothing_type="none",
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def dashboard(entity: str, project: str, group: str | None = None) -> Any:
    """The saved view; `group` keeps it to one sweep."""
    rounds = [
        curve("Test PCK", "round/test_pck"),
        curve("PCK of the selected images", "round/selected_pck"),
        curve("PCK of the whole pool", "round/pool_pck"),
        curve("Spearman ρ of predicted and true loss", "round/loss_spearman"),
    ]
    pictures = [
        panels.MediaBrowser(media_keys=["round/selected_images"]),
        panels.MediaBrowser(media_keys=["round/predicted_vs_true"]),
    ]
    runs = workspaces.RunsetSettings(
        groupby=[workspaces.Metric("JobType")], filters=f"Metric('Group') == '{group}'" if group else []
    )
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="PCK per stage",
        sections=[
            workspaces.Section(name="PCK per stage", panels=rounds, is_open=True),
            workspaces.Section(name="What was selected", panels=pictures, is_open=True),
        ],
        runset_settings=runs,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entity", help="user or team")
    parser.add_argument("project", nargs="?", default="llpp")
    parser.add_argument("group", nargs="?", help="the sweep; all without it")
    given = parser.parse_args()
    print(dashboard(given.entity, given.project, given.group).save().url)
