"""A program for each of two processes, which train a model with PyTorch's modules and then the same one with ours.

python two_ranks.py WAY RANK FILE, with WAY ddp, ddp_views, ddp_static or fsdp. The first process prints how far apart
the parameters are after three steps, and how far the least of them has moved.
"""

import copy
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pack_padded_sequence

import fastlstm.torch

DDP = {"ddp": {}, "ddp_views": {"gradient_as_bucket_view": True}, "ddp_static": {"static_graph": True}}


class Model(torch.nn.Module):
    """Both directions over packed sequences, then a GRU over padded ones."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 8, num_layers=2, bidirectional=True, dtype=torch.float64)
        self.gru = torch.nn.GRU(3, 8, batch_first=True, dtype=torch.float64)
        self.last = torch.nn.Linear(24, 2, dtype=torch.float64)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        _, h_gru = self.gru(x)
        return self.last(torch.cat([h[-2], h[-1], h_gru[0]], dim=1))


def train(model, way, rank):
    if way == "fsdp":
        mesh = init_device_mesh("cpu", (2,))
        for part in (model.lstm, model.gru, model.last):
            fully_shard(part, mesh=mesh)
        fully_shard(model, mesh=mesh)
        trained = model
    else:
        trained = DistributedDataParallel(model, **DDP[way])
    optimiser = torch.optim.Adam(trained.parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(rank)
    for _ in range(3):
        x = torch.randn(4, 6, 3, dtype=torch.float64, generator=draw)
        optimiser.zero_grad()
        trained(x, torch.tensor([6, 2, 5, 6])).square().sum().backward()
        optimiser.step()
    return [p.full_tensor() if way == "fsdp" else p for p in model.parameters()]


def main(way, rank, file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(0)
    theirs = Model()
    before = [p.detach().clone() for p in theirs.parameters()]
    ours = fastlstm.torch.replace(copy.deepcopy(theirs))
    fastlstm.torch.set_fallback("error")
    expected, found = train(theirs, way, rank), train(ours, way, rank)
    with torch.no_grad():
        apart = max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))
        moved = min(float((a - b).abs().max()) for a, b in zip(expected, before, strict=True))
    if rank == 0:
        print(apart, moved)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
