# SPDX-License-Identifier: Apache-2.0
"""Train a MobileNetV1 on CIFAR-10 and write it as float ONNX.

    python train.py --data cifar-10-batches-py --body large --alpha 0.5 --resolution 32 -o build/cifar10

Needs torch, onnx, onnxscript and Pillow.  Random crops and flips, SGD with Nesterov momentum, one cosine after a short
warm-up, label smoothing.  The test images are looked at once, at the end.
"""

import argparse
import json
import math
import time
from pathlib import Path

import onnx
import torch
from data import load, normalise, resize
from tepal.quant import CIFAR_BLOCKS, MobileNet
from torch import nn

MARGIN = 4
"""Pixels by which a crop may move, at 32 x 32."""


BODIES = {"large": {"stem_stride": 1, "blocks": CIFAR_BLOCKS}, "small": {"stem_stride": 2, "blocks": CIFAR_BLOCKS[:5]}}
"""MobileNetV1 with fewer halvings; the small one's channels and first map fit the memories of an iCE40UP5K."""


def family(body: str, alpha: float, resolution: int) -> MobileNet:
    """The networks of this example."""
    return MobileNet(alpha, resolution, classes=10, **BODIES[body])


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random crops of the padded images, half of them mirrored; (frames, 3, height, width)."""
    frames, _, size, _ = images.shape
    margin = max(1, MARGIN * size // 32)
    padded = nn.functional.pad(images, (margin,) * 4)
    top, left = torch.randint(0, 2 * margin + 1, (2, frames), generator=generator)
    columns = torch.arange(size).expand(frames, size)
    mirrored = torch.rand(frames, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, size - 1 - columns, columns) + left[:, None]
    rows = torch.arange(size) + top[:, None]
    frame = torch.arange(frames)[:, None, None]
    return padded.permute(0, 2, 3, 1)[frame, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers, in percent."""
    model.eval()
    with torch.no_grad():
        right = sum((model(chunk).argmax(1) == wanted).sum().item()
                    for chunk, wanted in zip(images.split(500), labels.split(500), strict=True))
    return 100 * right / len(labels)


def optimiser(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """SGD; batch norm, biases and depthwise filters are not decayed (the paper, section 3.2)."""
    decayed, free = [], []
    for parameter in model.parameters():
        (decayed if parameter.ndim > 1 and parameter.shape[1] > 1 else free).append(parameter)
    return torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": free, "weight_decay": 0.0}],
                           lr=rate, momentum=0.9, nesterov=True)


def fit(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, epochs: int, batch: int, rate: float,
        seed: int) -> None:
    """Train in place and print one line an epoch."""
    generator = torch.Generator().manual_seed(seed)
    steps = len(images) // batch
    optimizer = optimiser(model, rate)
    warm = min(2 * steps, epochs * steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / (warm + 1), 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / (epochs * steps - warm))))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(epochs):
        model.train()
        begun, total = time.monotonic(), 0.0
        for chosen in torch.randperm(len(images), generator=generator)[:steps * batch].split(batch):
            loss = criterion(model(augment(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}, {time.monotonic() - begun:.0f} s", flush=True)


def export(model: nn.Module, net: MobileNet, path: Path) -> None:
    """Write float ONNX with a batch of any size, and without what the exporter notes of this machine's files."""
    sample = torch.zeros(2, net.channels, net.resolution, net.resolution)
    torch.onnx.export(model.eval(), (sample,), path, input_names=["image"], output_names=["logits"], dynamo=True,
                      dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False)
    file = onnx.load(path)
    for part in (file, file.graph, *file.graph.node, *file.graph.value_info, *file.graph.input, *file.graph.output,
                 *file.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(file, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar-10-batches-py, or an .npz of JPEG bytes")
    parser.add_argument("--body", choices=BODIES, default="large")
    parser.add_argument("--alpha", type=float, default=0.5, help="width multiplier")
    parser.add_argument("--resolution", type=int, default=32, help="pixels across")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for NAME.onnx, NAME.pt and NAME.json")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    net = family(arguments.body, arguments.alpha, arguments.resolution)
    name = f"{arguments.body}_{net.alpha:.2f}_{net.resolution}"
    print(f"{name}: {net.macs:,} multiply-adds, {net.parameters:,} parameters, seed {arguments.seed}", flush=True)
    split = {name: (torch.from_numpy(normalise(resize(images, net.resolution))), torch.from_numpy(labels))
             for name, (images, labels) in load(arguments.data).items()}
    model = net.torch()
    fit(model, *split["train"], epochs=arguments.epochs, batch=arguments.batch, rate=arguments.rate,
        seed=arguments.seed)
    result = {"name": name, "macs": net.macs, "parameters": net.parameters, "test_accuracy": accuracy(
        model, *split["test"])} | {key: getattr(arguments, key) for key in ("epochs", "batch", "rate", "seed")}
    print(json.dumps(result), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), arguments.output / f"{name}.pt")
    (arguments.output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    export(model, net, arguments.output / f"{name}.onnx")


if __name__ == "__main__":
    main()
