"""The clock of a training stage: what it computed, not how long others kept it waiting."""

import time

import torch


def busy_seconds() -> float:
    """Seconds of processor time of this process so far, for each of torch's threads."""
    return time.process_time() / torch.get_num_threads()
