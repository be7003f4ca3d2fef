# SPDX-License-Identifier: Apache-2.0
"""Train the digits example and write it as a full-int8 TensorFlow Lite model.

A small MobileNetV1-style network on scikit-learn's handwritten digits. Everything that is random is seeded;
nothing is chosen by looking at the test split. Writes digits.tflite, inputs.npy, labels.npy and
classes.txt. README.md names the packages this needs.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # otherwise a harmless message every epoch
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 2024
SCALE = 3  # 8x8 pictures become 24x24
SIZE = 8 * SCALE
CLASSES = 10
TEST_SHARE = 0.2
EPOCHS = 60
BATCH = 32
LEARNING_RATE = 4e-3
MAX_SHIFT = 2  # pixels of the 24x24 picture, in each direction
REPRESENTATIVE = 500  # training pictures that set the activation ranges
PER_CLASS = 2  # pictures of each class kept in inputs.npy

FIRST = 16  # channels of the first convolution, which has stride 2
BLOCKS = [(24, 1), (40, 2), (48, 1), (64, 2), (72, 1)]  # (pointwise channels, depthwise stride)


def upscale(images: np.ndarray) -> np.ndarray:
    """Enlarge [n, 8, 8] pictures by SCALE, bilinear with half-pixel centres and edge clamping."""
    size = images.shape[1]
    where = (np.arange(size * SCALE) + 0.5) / SCALE - 0.5
    low = np.floor(where).astype(int)
    matrix = np.zeros((size * SCALE, size))
    rows = np.arange(size * SCALE)
    np.add.at(matrix, (rows, np.clip(low, 0, size - 1)), 1 - (where - low))
    np.add.at(matrix, (rows, np.clip(low + 1, 0, size - 1)), where - low)
    return np.einsum("yi,nij,xj->nyx", matrix, images, matrix)


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fixed split: training pictures, test pictures, training labels, test labels."""
    digits = load_digits()
    pictures = upscale(digits.images / 16.0)[..., None].astype(np.float32)
    labels = digits.target.astype(np.int64)
    return train_test_split(pictures, labels, test_size=TEST_SHARE, stratify=labels, random_state=SEED)


def build(batch: int | None = None) -> keras.Model:
    """Conv 3x3 / 2, depthwise-separable blocks, average pool, fully connected, softmax."""
    layers = keras.layers

    def norm_relu(x, name):
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x)

    inputs = layers.Input((SIZE, SIZE, 1), batch_size=batch, name="image")
    x = layers.Conv2D(FIRST, 3, strides=2, padding="same", use_bias=False, name="first")(inputs)
    x = norm_relu(x, "first")
    for block, (channels, stride) in enumerate(BLOCKS, 1):
        depthwise, pointwise = f"block{block}_depthwise", f"block{block}_pointwise"
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=depthwise)(x)
        x = norm_relu(x, depthwise)
        x = layers.Conv2D(channels, 1, use_bias=False, name=pointwise)(x)
        x = norm_relu(x, pointwise)
    x = layers.AveragePooling2D(x.shape[1], name="pool")(x)
    x = layers.Reshape((x.shape[-1],), name="flatten")(x)
    x = layers.Dense(CLASSES, name="classify")(x)
    return keras.Model(inputs, layers.Softmax(name="softmax")(x), name="digits")


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by up to MAX_SHIFT pixels, with background moved in."""
    m = MAX_SHIFT
    padded = np.pad(images, ((0, 0), (m, m), (m, m), (0, 0)))
    moves = rng.integers(0, 2 * m + 1, (len(images), 2))
    return np.stack([p[y : y + SIZE, x : x + SIZE] for p, (y, x) in zip(padded, moves, strict=True)])


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
    model = build()
    steps = EPOCHS * -(-len(images) // BATCH)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps), weight_decay=1e-4
        ),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    )
    rng = np.random.default_rng(SEED)
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        history = model.fit(
            shifted(images[order], rng), targets[order], batch_size=BATCH, shuffle=False, verbose=0
        )
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}  loss {history.history['loss'][0]:.4f}", flush=True)
    return model


def quantise(model: keras.Model, images: np.ndarray) -> bytes:
    """Post-training int8 quantisation, with int8 at both edges and a batch of exactly one."""

    def representative():
        for image in images[:REPRESENTATIVE]:
            yield [image[None]]

    single = build(batch=1)
    single.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter.convert()


def run(content: bytes, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quantised inputs and the class LiteRT's reference kernels choose for each picture."""
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = source["quantization"]
    quantised = np.clip(np.rint(images / scale) + zero, -128, 127).astype(np.int8)
    chosen = []
    for image in quantised:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        chosen.append(int(interpreter.get_tensor(result["index"])[0].argmax()))
    return quantised, np.array(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the digits example")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="where to write the files")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    print(f"seed {SEED}  tensorflow {tf.__version__}  keras {keras.__version__}")
    keras.utils.disable_interactive_logging()
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # sums must not depend on the number of cores
    tf.config.threading.set_inter_op_parallelism_threads(1)

    train_images, test_images, train_labels, test_labels = load()
    print(f"{len(train_images)} training pictures, {len(test_images)} test pictures")
    model = train(train_images, train_labels)
    print(f"{model.count_params()} parameters before batch norm is folded")

    content = quantise(model, train_images)
    right = model.predict(test_images, verbose=0).argmax(axis=1) == test_labels
    print(f"float accuracy {right.mean():.2%} ({right.sum()}/{len(right)})")
    quantised, chosen = run(content, test_images)
    right = chosen == test_labels
    print(f"int8 accuracy  {right.mean():.2%} ({right.sum()}/{len(right)})")

    # The first pictures of each class in the test split, whether or not the model gets them right.
    kept = np.concatenate([np.flatnonzero(test_labels == c)[:PER_CLASS] for c in range(CLASSES)])
    print(f"pictures kept  {right[kept].sum()}/{len(kept)} right")
    (output / "digits.tflite").write_bytes(content)
    np.save(output / "inputs.npy", quantised[kept])
    np.save(output / "labels.npy", test_labels[kept])
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (output / "classes.txt").write_text("\n".join(names) + "\n")
    print(f"digits.tflite  {len(content)} bytes")


if __name__ == "__main__":
    main()
