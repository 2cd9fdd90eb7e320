"""A callback that lets a process fail as the environment says: `what:rank:round:epoch`."""

import multiprocessing
import os
import signal
import time

import pytorch_lightning as pl
import torch


class Fault(pl.Callback):
    """Fails before a batch; named by a run's own config, because a run with and without it is one experiment."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        what, _, place = os.environ.get("LLPP_TEST_FAULT", "").partition(":")
        here = f"{trainer.global_rank}:{pl_module.round_number}:{trainer.current_epoch}"
        if not what or place != here or batch_idx:
            return
        match what:
            case "raise":
                raise ValueError("a fault of the test")
            case "hang":
                time.sleep(600)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "nan":
                next(pl_module.parameters()).data.fill_(torch.nan)
            case "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            case "kill_loaders":
                for loader in multiprocessing.active_children():
                    os.kill(loader.pid, signal.SIGKILL)
            case "wait":
                time.sleep(3)
            case "stop_in_destructor":
                stopping = StoppingAsItGoes()
                del stopping
            case "stop_in_half_made_loader":
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    raise RuntimeError("Please call `iter(combined_loader)` first.")  # Lightning's, as it cleans up


class StoppingAsItGoes:
    """Sends the signal while it is destroyed: Python goes on after any exception there."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
