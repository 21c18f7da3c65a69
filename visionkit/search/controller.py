"""The controller: a recurrent network that writes down an architecture choice by choice (Zoph and Le 2017, sec. 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

START = 0.1  # parameters begin uniform in -0.1 ... 0.1 (sec. 4.1): nearly a uniform policy


class Controller(nn.Module):
    """An LSTM whose every step gives the probabilities of one choice and takes in the choice made before.

    Args:
        options: how many options each of the T choices has.
        hidden: units of the LSTM.
        seed: of the parameters.
    """

    def __init__(self, options: Sequence[int], hidden: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.options = tuple(options)
        self.first = nn.Parameter(torch.empty(1, hidden))  # what the LSTM sees before any choice
        self.embed = nn.ModuleList(nn.Embedding(n, hidden) for n in self.options[:-1])
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.logits = nn.ModuleList(nn.Linear(hidden, n) for n in self.options)
        random = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -START, START, generator=random)

    def forward(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Choices (N, T) int64 -> their log-probabilities (N,), and the entropies along the way, added up, (N,)."""
        _, log_probability, entropy = self._walk(choices, None)
        return log_probability, entropy

    @torch.no_grad()
    def sample(self, random: torch.Generator) -> tuple[int, ...]:
        """T choices, each drawn given those before."""
        return tuple(self._walk(None, random)[0][0].tolist())

    def _walk(self, choices: Tensor | None, random: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """One pass over the T choices, which are given or drawn."""
        count = 1 if choices is None else len(choices)
        state, x = None, self.first.expand(count, -1)  # (N, hidden)
        made: list[Tensor] = []
        log_probability, entropy = torch.zeros(count), torch.zeros(count)
        for t, head in enumerate(self.logits):
            state = self.lstm(x, state)
            log_p = head(state[0]).log_softmax(dim=1)  # (N, options)
            p = log_p.exp()
            choice = torch.multinomial(p, 1, generator=random)[:, 0] if choices is None else choices[:, t]  # (N,)
            made.append(choice)
            log_probability = log_probability + log_p.gather(1, choice[:, None])[:, 0]
            entropy = entropy - (p * log_p).sum(dim=1)
            if t < len(self.embed):
                x = self.embed[t](choice)
        return torch.stack(made, dim=1), log_probability, entropy
