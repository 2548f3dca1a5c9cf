"""The models in PyTorch itself, with a training loop as its users write it for speed: data on the device, channels
last, the fused Adam; once as it is and once through torch.compile. The same layers, loss and metric as in Keras."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.models import STEPS, encoder_data, split
from benchmarks.gpu.torch_kernels import allow_tf32, wait


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.out = (
            nn.Embedding(20000, 128),
            nn.LSTM(128, 128, batch_first=True),
            nn.Linear(128, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.cell(self.embed(x))[0][:, -1])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.into, self.out = nn.Linear(width, 3 * heads * size), nn.Linear(heads * size, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = self.into(x).view(batch, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        made = F.scaled_dot_product_attention(q, k, v)
        return self.out(made.transpose(1, 2).reshape(batch, length, -1))


class SmallTransformer(nn.Module):
    """One block, normalisation last, heads of the width of the model, as the workload has it."""

    def __init__(self) -> None:
        super().__init__()
        width = 32
        self.embed, self.attention = nn.Embedding(20000, width), Attention(width, 2, width)
        self.first, self.second = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, 20), nn.ReLU(), nn.Linear(20, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = self.first(x + self.attention(x))
        x = self.second(x + self.feed(x))
        return self.head(x.mean(1))


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, width // heads)
        self.first, self.second = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.first(x))
        return x + self.feed(self.second(x))


class Encoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))
        self.norm, self.out = nn.LayerNorm(width, 1e-6), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.layers(self.embed(x))).mean(1))


class Bottleneck(nn.Module):
    def __init__(self, wide: int, filters: int, stride: int, own: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_unit(wide, filters, 1, 1),
            nn.ReLU(),
            *_unit(filters, filters, 3, stride),
            nn.ReLU(),
            *_unit(filters, 4 * filters, 1, 1),
        )
        self.shortcut = nn.Sequential(*_unit(wide, 4 * filters, 1, stride)) if own else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


def _unit(cin: int, cout: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(cin, cout, size, stride, size // 2, bias=False), nn.BatchNorm2d(cout, 1e-3, 0.01)


def resnet50() -> nn.Module:
    layers: list[nn.Module] = [*_unit(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    wide = 64
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            layers.append(Bottleneck(wide, filters, 2 if stage and not block else 1, not block))
            wide = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 1000))


def mlp(width: int, depth: int) -> nn.Module:
    sizes = (784, *(width,) * depth)
    hidden = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def cnn() -> nn.Module:
    layers = [m for a, b in ((1, 32), (32, 64)) for m in (nn.Conv2d(a, b, 3), nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10))


def _images(count: int, classes: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((count, *shape), dtype=np.float32), rng.integers(0, classes, count)


def make(spec: str) -> tuple[nn.Module, np.ndarray, np.ndarray, int]:
    """The model, its data (images channels last) and the batch size of a specification."""
    family, s = split(spec)
    batch = s["batch"]
    if family == "mlp":
        model = mlp(s.get("width", 256), s.get("depth", 2))
        return model, *_images(s.get("steps", 100) * batch, 10, 784), batch
    if family == "cnn":
        return cnn(), *_images(10 * batch, 10, 28, 28, 1), batch
    if family == "lstm":
        x, y = encoder_data(10 * batch // STEPS + 1, s.get("length", 100), 20000)
        return Recurrent(), x[: 10 * batch], y[: 10 * batch], batch
    if family == "transformer":
        x, y = encoder_data(10 * batch // STEPS + 1, s.get("length", 200), 20000)
        return SmallTransformer(), x[: 10 * batch], y[: 10 * batch], batch
    if family == "resnet50":
        size = s.get("size", 224)
        return resnet50(), *_images(STEPS * batch, 10, size, size, 3), batch
    if family == "encoder":
        words = s.get("vocabulary", 30_000)
        made = Encoder(s.get("layers", 12), s.get("width", 768), s.get("heads", 12), words)
        return made, *encoder_data(batch, s.get("length", 512), words), batch
    raise KeyError(f"no model family {family!r} in PyTorch")


class Trainer:
    """`fit(epochs)` -> seconds per step are the caller's to take; `weights` counts the model's."""

    def __init__(self, spec: str, device: str, precision: str, compiled: bool) -> None:
        self.device = device if device.startswith("cuda") else "cpu"
        torch.manual_seed(0)
        allow_tf32(torch, precision == "tf32")
        torch.backends.cudnn.benchmark = True
        model, self.x, self.y, self.batch = make(spec)
        self.model = model.to(self.device, memory_format=torch.channels_last).train()
        self.steps = len(self.x) // self.batch
        self.weights = sum(p.numel() for p in model.parameters())
        self.half = precision == "mixed_bfloat16"
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=self.device != "cpu" or None)
        self.loss: Callable[..., Any] = self._loss
        if compiled:  # graphs of CUDA for small models, which live by the cost of launches
            self.loss = torch.compile(self._loss, mode="reduce-overhead" if self.device != "cpu" else None)

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss, right answers) of a batch."""
        if x.ndim == 4:
            x = x.permute(0, 3, 1, 2)
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.half):
            logits = self.model(x)
        logits = logits.float()
        if logits.shape[1] == 1:
            right = ((logits[:, 0] > 0) == (y > 0)).sum()
            return F.binary_cross_entropy_with_logits(logits[:, 0], y.float()), right
        return F.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

    def fit(self, epochs: int) -> float:
        """Train; the last epoch's mean loss."""
        x, y = torch.from_numpy(self.x).to(self.device), torch.from_numpy(self.y).to(self.device)
        total = right = torch.zeros((), device=self.device)
        for _ in range(epochs):
            total, right = torch.zeros_like(total), torch.zeros_like(right)
            order = torch.randperm(len(x), device=self.device)
            for k in range(self.steps):
                torch.compiler.cudagraph_mark_step_begin()
                chosen = order[k * self.batch : (k + 1) * self.batch]
                loss, hits = self.loss(x[chosen], y[chosen])
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                total = total + loss.detach()
                right = right + hits
        wait(torch, self.device)
        return float(total) / self.steps
