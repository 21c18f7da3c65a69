import subprocess
import sys

import torch

from visionkit.ops.reduce import across_processes

WORKER = """
import sys, torch, torch.distributed as dist
from visionkit.ops.reduce import across_processes
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
count = torch.tensor([3.0, 0.0][rank])
assert across_processes(count).item() == 1.5
assert count.item() == [3.0, 0.0][rank]                       # left unchanged
assert not across_processes(count.clone().requires_grad_()).requires_grad
with torch.no_grad():
    assert across_processes(count) is count                   # local: the other process need not call it
    if rank == 0:
        across_processes(count)
dist.barrier()
dist.destroy_process_group()
"""


def test_identity_without_processes():
    count = torch.tensor(3.0)
    assert across_processes(count) is count
    with torch.no_grad():
        assert across_processes(count) is count


def test_mean_over_two_processes_and_local_without_gradients(tmp_path):
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
