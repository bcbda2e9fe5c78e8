"""The optimizers of a training: torch's own, without the seconds in which they import its compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from gnn.optimization import optimizer_of
from gnn.recipe import Recipe

TORCHS = {
    "sgd": lambda parameters: SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1),
    "adam": lambda parameters: Adam(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1, fused=True),
}
TRAINS = """
import sys, torch
from gnn.recipe import Recipe
from gnn.optimization import Schedule, averaged_model, optimizer_of

for name in ("sgd", "adam", "adamw"):
    model = torch.nn.Linear(3, 1)
    optimizer = optimizer_of(model, Recipe(optimizer=name))
    schedule = Schedule(optimizer, Recipe(), 2)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        model(torch.ones(5, 3)).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.after_step()
    averaged_model(model, 0.9).update_parameters(model)
    optimizer.load_state_dict(optimizer.state_dict())
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize("name", TORCHS)
def test_its_steps_are_torch_s(name):
    config = Recipe(optimizer=name, learning_rate=0.01, weight_decay=0.1)
    weights = []
    for make in (lambda model: TORCHS[name](model.parameters()), lambda model: optimizer_of(model, config)):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = make(model)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().sum().backward()
            optimizer.step()
        assert all(weight.is_leaf and weight.requires_grad for weight in model.parameters())
        weights.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    assert torch.equal(*weights)


def test_a_training_does_without_the_compiler():
    assert subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True).stdout == "[]\n"
