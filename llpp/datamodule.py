"""From dataset rows to batches of person crops.

All that is random about a sample is a function of (seed, round, epoch, id): neither the number of workers nor a
restart changes it. The sampler hands (epoch, row) to the workers, so they need no state of their own.

With several ranks each has its share of every global batch in training, and whole batches in evaluation: the batches
that the network sees there are those of a single process, and so are its scores, bit by bit.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from llpp import ranks
from llpp.datasets.base import PoseDataset
from llpp.errors import ConfigError
from llpp.seeds import Stream, generator
from llpp.settings import Loading
from llpp.transforms import Augmentation, PersonCrop, Warp, scale_of
from llpp.types import Batch

Item = dict[str, NDArray[np.generic]]
PixelAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
EVALUATION = -1  # in place of an epoch: no augmentation
IDLE = -2  # likewise, and no joint counts: keeps a rank in step that has nothing to evaluate


@dataclass(frozen=True)
class Cropping:
    """What happens to an image on its way to the network."""

    crop: PersonCrop
    augmentation: Augmentation
    pixel: PixelAugmentation | None = None


class CropDataset(Dataset[Item]):
    """Crops by (epoch, row); `sizes` (N,) is PCK's normaliser in image pixels."""

    def __init__(
        self, dataset: PoseDataset, sizes: NDArray[np.float32], cropping: Cropping, seed: int, round_number: int
    ) -> None:
        self.dataset, self.sizes, self.cropping = dataset, sizes, cropping
        self.entropy = (seed, round_number)
        self.flip_order = dataset.skeleton.flip_order

    def __len__(self) -> int:
        return len(self.dataset.records.ids)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, row = key
        cv2.setNumThreads(0)  # a worker's own threads would fight with the others
        records = self.dataset.records
        rng = self._rng(epoch, row) if epoch >= 0 else None
        crop = self.cropping.crop(
            self.dataset.load(row),
            records.boxes[row],
            records.joints[row],
            records.visible[row] if epoch != IDLE else np.zeros_like(records.visible[row]),
            self.cropping.augmentation.draw(rng) if rng else Warp(),
            self.flip_order,
        )
        image = self.cropping.pixel(crop.image, rng) if rng and self.cropping.pixel else crop.image
        item: Item = {
            "image": image,
            "joints": crop.joints,
            "visible": crop.visible,
            "row": np.int64(row),  # type: ignore[dict-item]  # stacks like an array
            "matrix": crop.matrix.astype(np.float32),
            "normaliser": np.float32(self.sizes[row] * scale_of(crop.matrix)),  # type: ignore[dict-item]
        }
        if crop.warp is not None:
            item["warp"] = crop.warp.astype(np.float32)
        return item

    def _rng(self, epoch: int, row: int) -> np.random.Generator:
        name = hashlib.blake2b(self.dataset.records.ids[row].encode(), digest_size=8).digest()
        return generator(Stream.SAMPLE, *self.entropy, epoch, int.from_bytes(name, "big"))


class EpochSampler(Sampler[tuple[int, int]]):
    """A rank's share of rows in an order that is a function of (seed, round, epoch); Lightning tells the epoch.

    A last incomplete batch is left out: a batch of one would leave BatchNorm nothing to estimate, and the pairs of an
    objective nobody to pair.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int, round_number: int) -> None:
        self.rows, self.entropy, self.epoch = list(rows), (seed, round_number), 0
        batch = min(batch_size, len(self.rows))
        if batch % ranks.count():  # fewer images would be another experiment
            raise ConfigError(
                f"a batch of {batch} (data.batch_size={batch_size}, {len(self.rows)} labelled) cannot be shared by "
                f"{ranks.count()} devices; change data.batch_size, initial or trainer.devices"
            )
        self.batch = batch // ranks.count()  # of this rank
        self.used = len(self.rows) // batch * batch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, after a resume too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.used // ranks.count()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = generator(Stream.ORDER, *self.entropy, self.epoch).permutation(len(self.rows))
        return iter([(self.epoch, self.rows[i]) for i in ranks.share(order[: self.used].tolist())])


class RowSampler(Sampler[tuple[int, int]]):
    """A rank's batches of rows, in the order in which they are given, for evaluation."""

    def __init__(self, rows: NDArray[np.int64], batch_size: int) -> None:
        self.rows = rows[batch_places(len(rows), batch_size, ranks.rank())]
        self.batch, self.mode = batch_size, EVALUATION

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.mode, int(row)) for row in self.rows)


def batch_places(number: int, batch_size: int, rank: int) -> NDArray[np.int64]:
    """Places, among `number` rows, of those that a rank evaluates: every n-th batch."""
    starts = np.arange(rank * batch_size, number, ranks.count() * batch_size)
    places: NDArray[np.int64] = (starts[:, None] + np.arange(batch_size)).reshape(-1)
    return places[places < number]


def collate(items: list[Item]) -> Batch:
    """Stack items into tensors."""
    return {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}  # type: ignore[return-value]


class PoolDataModule(pl.LightningDataModule):
    """Loaders over the labelled rows of one round, and over any rows for evaluation.

    `sizes` (N,) is PCK's normaliser of every record, in image pixels.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        sizes: NDArray[np.float32],
        labelled: Sequence[int],
        validation: Sequence[int],
        cropping: Cropping,
        loading: Loading,
        seed: int,
        round_number: int,
    ) -> None:
        super().__init__()
        self.crops = CropDataset(dataset, sizes, cropping, seed, round_number)
        self.loading = loading
        self.sampler = EpochSampler(labelled, loading.batch_size, seed, round_number)
        self.validation = np.asarray(validation, dtype=np.int64)

    def train_dataloader(self) -> DataLoader[Item]:
        """The labelled rows, augmented, in each epoch's own order."""
        return self._loader(self.sampler)

    def val_dataloader(self) -> DataLoader[Item]:
        """The validation rows, in their order; a rank without one takes part with a row that does not count."""
        sampler = RowSampler(self.validation, self.loading.eval_batch_size)
        if not len(sampler):
            sampler.rows, sampler.mode = self.validation[:1], IDLE
        return self._loader(sampler)

    def rows_loader(self, rows: NDArray[np.int64]) -> DataLoader[Item]:
        """Any rows in the given order, each once, without augmentation."""
        return self._loader(RowSampler(rows, self.loading.eval_batch_size))

    def _loader(self, keys: RowSampler | EpochSampler) -> DataLoader[Item]:
        return DataLoader(
            self.crops,
            batch_size=keys.batch,
            sampler=keys,
            num_workers=self.loading.workers,
            persistent_workers=self.loading.workers > 0 and isinstance(keys, EpochSampler),
            pin_memory=self.loading.pin_memory,
            collate_fn=collate,
        )
