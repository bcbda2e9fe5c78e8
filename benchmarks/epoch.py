"""A training epoch on a CPU against other people's code, side by side: one table, each line a ratio taken in one run.

    python benchmarks/epoch.py [--table FILE] [--structures 320] [--atoms 60] [--rounds 5] [--threads 2] [--only WORD]

Peers: the textbook's CGCNN with its loader and loop; CGCNN the way of its authors' release; coGN written plainly in
PyG. Ours is `gnn.loop.Training.epoch`, the loop of the training program. Both get the same structures, batch size and
threads; the peers get whole graphs, ours those that `cgcnn` makes by default, with one atom an orbit. Random crystals
have no symmetry to use. With `--table` there are the same lines for a random sample of its rows. Each line has a first
epoch of both that does not count, then rounds in turns, the best epoch of each, and the largest difference of
predictions with the same weights where the networks are the same. Structures of which an atom has fewer than 12
neighbours within 8 Å are left out: the release would pad them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers import plain_cogn, release, textbook
from samples import COGN, COGN_GRAPHS, Sample, markdown, random_crystals, rows_of_table, with_neighbors
from torch import Tensor

from crystals.config import GraphConfig
from gnn.batches import Graphs
from gnn.config import ModelConfig
from gnn.cost import Cost
from gnn.heads import Head
from gnn.loop import Data, Training
from gnn.models.registry import build_model
from gnn.outputs import predict
from gnn.recipe import Recipe

CPU = torch.device("cpu")
BATCH = 32
HEAD = ("network, against", "structures", "peer (s)", "ours (s)", "ratio", "predictions differ by")
WHOLE = {"reduce_symmetry": False}

Epoch = Callable[[], None]


@dataclass
class Line:
    """A line of the table: an epoch of both, and how far their predictions are apart; None for other networks."""

    name: str
    structures: str
    peer: Epoch
    ours: Epoch
    difference: float | None


class Ours:
    """A model of ours and the training of it, on the graphs of a sample."""

    def __init__(self, sample: Sample, config: ModelConfig, graphs: GraphConfig) -> None:
        table = sample.graphs(graphs)
        self.graphs, target = Graphs.of(table), torch.tensor(table[sample.target].to_numpy())
        head = Head.fit(target)
        self.standardized = head.standardize(target)
        rows = torch.arange(len(self.graphs))
        self._data = Data(self.graphs, target, head, rows, rows[:0], CPU, self.graphs.edge_counts())
        self.model: Any = build_model(config)
        self._training: Training | None = None

    def epoch(self) -> None:
        """One epoch of the training program's loop."""
        if self._training is None:
            self._training = Training(self.model, self._data, Recipe(batch_size=BATCH, learning_rate=1e-3))
        self._training.epoch(0, Cost(CPU))

    def predictions(self) -> Tensor:
        """(M,), the network's own numbers."""
        rows = torch.arange(len(self.graphs))
        return predict(self.model, self.graphs, rows, Head(0.0, 1.0), CPU)


def lines(sample: Sample, only: str) -> Iterator[Line]:
    """All lines of a sample whose name has the word `only` in it; each is made when it is asked for."""
    made = {"textbook": of_textbook, "release": of_release, "cogn": of_cogn}
    for name, of in made.items():
        if only in name:
            yield from of(sample)


def of_textbook(sample: Sample) -> Iterator[Line]:
    """`cgcnn` against the textbook."""
    ours = Ours(sample, textbook.SAME, GraphConfig())
    whole = Graphs.of(sample.graphs(GraphConfig(**WHOLE)))
    data, theirs = textbook.data_list(whole, ours.standardized), textbook.TextbookCGCNN()
    textbook.copy_weights(ours.model, theirs)
    apart = difference(ours.predictions(), textbook.predictions(theirs, data, BATCH))
    rule = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    peer = partial(textbook.epoch, theirs, data, rule, BATCH)
    yield Line("cgcnn, the textbook's model, loader and loop", sample.label, peer, ours.epoch, apart)


def of_release(sample: Sample) -> Iterator[Line]:
    """`cgcnn` against the authors' release: the same network on the same twelve neighbours, then our default."""
    twelve = GraphConfig(shell_tolerance=None, **WHOLE)
    same, default = Ours(sample, release.SAME, twelve), Ours(sample, ModelConfig(), GraphConfig())
    release.same_network(same.model)
    data, theirs = release.crystals_of(same.graphs, same.standardized), release.DenseCGCNN()
    release.copy_weights(same.model, theirs)
    apart = difference(same.predictions(), release.predictions(theirs, data, BATCH))
    rule = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    peer = partial(release.epoch, theirs, data, rule, BATCH)
    yield Line("cgcnn as released, the release's way", sample.label, peer, same.epoch, apart)
    yield Line("cgcnn by default, the release's way", sample.label, peer, default.epoch, None)


def of_cogn(sample: Sample) -> Iterator[Line]:
    """`cogn` against plain PyG."""
    ours = Ours(sample, COGN, COGN_GRAPHS)
    whole = Graphs.of(sample.graphs(COGN_GRAPHS.model_copy(update=WHOLE)))
    data, theirs = textbook.data_list(whole, ours.standardized), plain_cogn.PlainCoGN(COGN, ours.model)
    plain_cogn.copy_weights(ours.model, theirs)
    apart = difference(ours.predictions(), textbook.predictions(theirs, data, BATCH))
    rule = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    peer = partial(textbook.epoch, theirs, data, rule, BATCH)
    yield Line("cogn, the same network in plain PyG", sample.label, peer, ours.epoch, apart)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two predictions of a structure."""
    return float((one - other).abs().max())


def measure(line: Line, rounds: int) -> tuple[str, ...]:
    """The line's cells."""
    seconds(line.peer, flush=False)
    seconds(line.ours, flush=True)  # compiles, where nothing has before
    times = [(seconds(line.peer, flush=False), seconds(line.ours, flush=True)) for _ in range(rounds)]
    peer, ours = (min(each) for each in zip(*times, strict=True))
    apart = "another network" if line.difference is None else f"{line.difference:.1e}"
    return line.name, line.structures, f"{peer:.2f}", f"{ours:.2f}", f"{peer / ours:.1f}×", apart


def seconds(epoch: Epoch, *, flush: bool) -> float:
    """The time of an epoch; with `flush` denormal numbers count as zero, as in the training program."""
    torch.set_flush_denormal(flush)
    began = time.perf_counter()
    epoch()
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", help="a numeric column of the table; its first one if not named")
    parser.add_argument("--structures", type=int, default=320)
    parser.add_argument("--atoms", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="only peers with this in their name: textbook, release, cogn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    samples = [random_crystals(options.structures, options.atoms)]
    if options.table:
        samples.append(rows_of_table(options.table, options.structures, options.target))
    rows = []
    for sample in samples:
        for line in lines(with_neighbors(sample, release.NEIGHBORS), options.only):
            rows.append(measure(line, options.rounds))
            print(*rows[-1], sep="; ", file=sys.stderr, flush=True)
    print(markdown(HEAD, rows))
    print(f"\n{options.threads} threads, batches of {BATCH}, best of {options.rounds} epochs each.")


if __name__ == "__main__":
    main()
