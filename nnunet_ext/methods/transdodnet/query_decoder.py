"""One learned query for each task, decoded against an image's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nnunet_ext.networks.deformable_attention import DeformableAttention


class QueryDecoder(nn.Module):
    """Transformer decoder whose queries are tasks: it finds what each task looks for in this image.

    A query has a part that says where it looks (its position, of which the reference points are made) and a part that
    is refined (its content). Every layer is attention among the queries, deformable attention to the tokens at the
    reference points, and a feed-forward part, each followed by a LayerNorm.

    A query attends to those of tasks that joined the network with it or before it, so an old task's result never
    depends on tasks that were added later. When each task joined is kept in the state dict (``_extra_state``: a round
    for each task).

    Args:
        tasks: Number of tasks.
        channels: Channels of queries and tokens.
        layers: Number of layers.
        levels: Resolutions of the tokens.
        heads: Attention heads.
        points: Points that a head samples in each resolution.
        hidden: Hidden channels of the feed-forward part.
        dims: 2 or 3.
        dropout: Probability, after each part, within the feed-forward part and among the queries' weights.
        deep_norm: Scale the residual branches and start the weights as DeepNorm does.
    """

    def __init__(
        self,
        tasks: int,
        channels: int,
        *,
        layers: int,
        levels: int,
        heads: int,
        points: int,
        hidden: int,
        dims: int = 3,
        dropout: float = 0.1,
        deep_norm: bool = True,
    ) -> None:
        super().__init__()
        alpha, beta = ((3 * layers) ** 0.25, (12 * layers) ** -0.25) if deep_norm else (1.0, 1.0)
        self.position = nn.Parameter(torch.randn(tasks, channels))
        self.content = nn.Parameter(torch.randn(tasks, channels))
        self.reference = nn.Linear(channels, dims)
        nn.init.xavier_normal_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)
        self.layers = nn.ModuleList(
            _Layer(channels, levels, heads, points, hidden, dims, dropout, alpha, beta) for _ in range(layers)
        )
        self._rounds = torch.zeros(tasks, dtype=torch.long)  # no buffer: DDP would broadcast it in every forward

    def forward(self, memory: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
        """Return what each task found.

        Args:
            memory: Tokens (B, N, C) of all resolutions, finest first, each in (D, H, W) order.
            sizes: (D, H, W) of each resolution.

        Returns:
            Queries (B, T, C) of the T tasks.
        """
        references = self.reference(self.position).sigmoid().unsqueeze(0)
        rounds = self._rounds.to(memory.device)
        later = rounds > rounds.unsqueeze(1)  # (attending, attended)
        queries = self.content.expand(len(memory), *self.content.shape)
        for layer in self.layers:
            queries = layer(queries, self.position, later, references, memory, sizes)
        return queries

    def compute_conv_feature_map_size(self, sizes: Sequence[Sequence[int]]) -> int:
        """Return the elements that training keeps for one sample with levels of these sizes, for planners.

        The tokens' values in every layer; the queries are few.
        """
        return len(self.layers) * self.content.shape[1] * sum(map(math.prod, sizes))

    def get_extra_state(self) -> Tensor:
        """Return the round in which each task joined."""
        return self._rounds

    def set_extra_state(self, state: Tensor) -> None:
        """Restore when each task joined.

        Raises:
            RuntimeError: Another number of tasks.
        """
        if state.shape != self._rounds.shape:
            raise RuntimeError(f"expected {len(self._rounds)} tasks, got {len(state)}; the checkpoint has other tasks")
        self._rounds = state.detach().to("cpu", copy=True)

    def adopt(self, weights: Mapping[str, Tensor], places: Sequence[int | None]) -> dict[str, Tensor]:
        """Return another decoder's queries and rounds for the tasks of this one; new tasks join in a new round.

        Args:
            weights: The other's state dict.
            places: For each task of ours, its number there, or None if it is new.
        """
        adopted = {name: getattr(self, name).detach().clone() for name in ("position", "content")}
        rounds = torch.full_like(self._rounds, int(weights["_extra_state"].max()) + 1)
        for new, old in enumerate(places):
            if old is not None:
                rounds[new] = weights["_extra_state"][old]
                for name, tensor in adopted.items():
                    tensor[new] = weights[name][old]
        return adopted | {"_extra_state": rounds}


class _Layer(nn.Module):
    """Self-attention, deformable cross-attention, feed-forward; post-norm, the residual branch times ``alpha``."""

    def __init__(
        self,
        channels: int,
        levels: int,
        heads: int,
        points: int,
        hidden: int,
        dims: int,
        dropout: float,
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.among = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.across = DeformableAttention(channels, levels=levels, heads=heads, points=points, dims=dims)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self._initialize(beta)

    def _initialize(self, beta: float) -> None:
        """Xavier-normal, gain beta for values, outputs and feed-forward, 1 for queries and keys; offsets stay zero."""
        self.across.reset_parameters(beta)
        query, key, value = self.among.in_proj_weight.chunk(3)
        inner = [layer for layer in self.feed_forward if isinstance(layer, nn.Linear)]
        for weight in (query, key):
            nn.init.xavier_normal_(weight)
        for weight in (value, self.among.out_proj.weight, *(layer.weight for layer in inner)):
            nn.init.xavier_normal_(weight, beta)
        for layer in inner:
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        later: Tensor,
        references: Tensor,
        memory: Tensor,
        sizes: Sequence[tuple[int, ...]],
    ) -> Tensor:
        """Return refined queries (B, T, C)."""
        asking = x + position
        found, _ = self.among(asking, asking, x, attn_mask=later, need_weights=False)
        x = self.norms[0](self.alpha * x + self.dropout(found))
        found = self.across(x + position, references, memory, sizes)
        x = self.norms[1](self.alpha * x + self.dropout(found))
        return self.norms[2](self.alpha * x + self.dropout(self.feed_forward(x)))
