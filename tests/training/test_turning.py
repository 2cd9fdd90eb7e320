"""Images that are turned for a head: pixels and joints stay together, and the network learns nothing from them."""

import pytest
import torch
from helpers.experiments import tiny

from llpp.errors import ConfigError
from llpp.training.module import RoundPart
from llpp.training.turning import choose_quarters, turn_images

SIDE = 32


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("turned") / "run", "head=heatmap_conv", "trainer.precision=32-true")


def make_module(experiment):
    return experiment.trainer.make_module(RoundPart(0))


def some_batch(experiment, rows=6):
    train = experiment.data.dataset.records.select_rows("train")[:rows].tolist()
    loaders = experiment.data.make_loaders(train, train[:2], 0)
    return next(iter(loaders.make_rows_loader(torch.tensor(train).numpy())))


def test_a_quarter_moves_the_right_edge_to_the_top():
    image = torch.zeros(4, 1, 3, 3)
    image[:, 0, 0, 2] = 1  # upper right
    turned = turn_images(image, torch.arange(4))[:, 0]
    places = [divmod(int(one.argmax()), 3) for one in turned]
    assert places == [(0, 2), (0, 0), (2, 0), (2, 2)], "row, column: anticlockwise"


@pytest.mark.slow
def test_joints_move_with_their_pixels(experiment):
    """A bright pixel under each joint is under it again in the turned image."""
    positions = torch.tensor([[3.0, 5.0], [30.0, 1.0], [0.0, 31.0]])
    joints = positions[:, None].repeat(4, 1, 1, 1)[:, :, 0]
    images = torch.zeros(4, 3, SIDE, SIDE)
    for joint, (x, y) in enumerate(positions.int().tolist()):
        images[:, joint, y, x] = 1
    quarters = torch.arange(4)
    turned = turn_images(images, quarters)
    batch = experiment.data.task.turn_labels({"joints": joints, "row": quarters}, quarters, SIDE)
    found = batch["joints"].int()
    for image in range(4):
        for joint in range(3):
            x, y = found[image, joint].tolist()
            assert turned[image, joint, y, x] == 1, (image, joint)
    assert batch["row"] is quarters, "the rest of the batch stays"


def test_an_image_is_as_it_was_every_other_time():
    of_six_epochs = [int(choose_quarters(torch.tensor([7]), epoch)[0]) for epoch in range(6)]
    assert sorted(of_six_epochs) == [0, 0, 0, 1, 2, 3]
    of_one_epoch = choose_quarters(torch.arange(6), 0)
    assert of_one_epoch.tolist() == [0, 0, 0, 1, 2, 3]


@pytest.mark.slow
def test_what_is_turned_is_a_function_of_row_and_epoch(experiment):
    batch = some_batch(experiment)
    module = make_module(experiment).train()
    image = module.prepare_images(batch)
    first = module._evaluate_turned(image, batch)[1]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = {name: values[order] for name, values in batch.items()}
    again = module._evaluate_turned(image[order], shuffled)[1]
    torch.testing.assert_close(again, first[order])


@pytest.mark.slow
def test_the_network_learns_nothing_from_a_head_with_turned_images(experiment):
    """Its gradient and its BatchNorm statistics are those of a training without that head."""
    batch = some_batch(experiment)
    module = make_module(experiment).train()
    module.log_dict = lambda *_, **__: None  # there is no trainer to log to
    before = {name: values.clone() for name, values in module.backbone.named_buffers()}

    def train_once(head):
        module.backbone.load_state_dict(before, strict=False)
        module.zero_grad()
        module.head = head
        module.training_step(batch, 0).backward()
        gradients = {name: p.grad.clone() for name, p in module.backbone.named_parameters()}
        return gradients, {name: values.clone() for name, values in module.backbone.named_buffers()}

    frozen = module.backbone.stem[1].eval()  # as a callback may do
    head = module.head
    with_head = train_once(head)
    assert any(p.grad.any() for p in head.parameters()), "the head does"
    assert module.backbone.training and not frozen.training
    without = train_once(None)
    for found, expected in zip(with_head, without, strict=True):
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, msg=name)


def test_a_task_that_cannot_turn_its_labels_says_so():
    from llpp.tasks.classification.task import ClassificationTask

    with pytest.raises(ConfigError, match=r"task ClassificationTask has no turn_labels\(\); set head\.turned=false"):
        ClassificationTask.turn_labels(object.__new__(ClassificationTask), {}, torch.zeros(1), SIDE)
