# SPDX-License-Identifier: Apache-2.0
"""``tepal generate --bench``: a bench that runs as it is, in both simulators, and notices what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tepal.hdl.answer import pack_answer
from tepal.quant import read_tflite
from tepal.sim import golden
from tflite_writer import Chain

EXAMPLE = Path(__file__).parents[3] / "examples/cocotb"
ENGINES = {
    "generic": "--board generic --rows 2 --columns 4 --lanes 2 --input-bytes 2",
    # Weights are loaded.
    "loaded": "--board icebreaker --rows 2 --columns 2 --lanes 1",
}
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None,
                                  reason="iverilog isn't installed (apt-get install iverilog)")


@pytest.fixture
def model(tmp_path):
    """A small network's file, and images for it."""
    rng = np.random.default_rng(5)
    chain = Chain(6, 6, 2).convolution(rng.integers(-99, 99, (4, 3, 3, 2), np.int8), stride=(2, 2))
    chain = chain.depthwise(rng.integers(-99, 99, (3, 3, 4), np.int8)).mean()
    path = tmp_path / "a model.tflite"
    path.write_bytes(chain.fully_connected(rng.integers(-99, 99, (3, 4), np.int8)).write())
    images = rng.integers(-128, 128, (3, *read_tflite(path).input_shape), np.int8)
    np.save(tmp_path / "images.npy", images)
    return path, images


def generate(run, model: Path, engine: str, *more) -> Path:
    """The folder that ``tepal generate --bench`` wrote."""
    code, _, err = run("generate", model, *ENGINES[engine].split(), "--bench", "-o", "made", *more)
    assert code == 0, err
    return Path("made").resolve()


def bench(*command, **environment) -> subprocess.CompletedProcess:
    """A Python script, in an environment in which no Verilator is on PATH."""
    return subprocess.run([sys.executable, *map(str, command)], env=os.environ | environment, capture_output=True,
                          text=True)


def test_files(run, model):
    """Stimulus and answers are those of the images that were given."""
    path, images = model
    folder = generate(run, path, "generic", "--input", "images.npy", "--frames", 2)
    beats = [bytes.fromhex(line)[::-1] for line in (folder / "a_model_stimulus.hex").read_text().split()]
    assert b"".join(beats) == images[:2].tobytes()
    answers = b"".join(bytes.fromhex(line) for line in (folder / "a_model_expected.hex").read_text().split())
    expected = golden.run(read_tflite(path), images[:2])
    assert answers == b"".join(pack_answer(logits, number) for number, logits in enumerate(expected))


def test_random_frames(run, model):
    """Without images: the same ones every time, told on stderr."""
    texts = set()
    for _ in range(2):
        code, out, err = run("generate", model[0], *ENGINES["generic"].split(), "--bench", "-o", "made", "--json")
        assert code == 0
        assert err == "The bench sends 2 random frames (seed 0).\n"
        assert "test_a_model.py" in json.loads(out)["files"]
        texts.add(Path("made/a_model_stimulus.hex").read_text())
    assert len(texts) == 1


def test_what_pixels_mean_is_described(run, tmp_path):
    """By the command line, with a bench and without."""
    rng = np.random.default_rng(1)
    model = tmp_path / "m.tflite"
    model.write_bytes(Chain(4, 4, 1).convolution(rng.integers(-99, 99, (2, 3, 3, 1), np.int8)).mean().write())
    for more in [], ["--bench"]:
        code, _, err = run("generate", model, *ENGINES["generic"].split(), "-o", "made", "--range", "0:1", "--mean",
                           "0.5", *more)
        assert code == 0, err
        told = json.loads(Path("made/m.json").read_text())["input"]["preprocessing"]
        assert (told["range"], told["mean"]) == ([0, 1], [0.5])


@pytest.mark.parametrize(("more", "told"), [
    (["--input", "images.npy"], "--input goes with --bench: Verilog is the same for all images"),
    (["--bench", "--frames", "1"], "--frames goes with --input: without it, the bench sends random numbers"),
    (["--bench", "--input", "images.npy", "--frames", "9"], "--frames 9: it must be 1 to 3, the frames that images.npy "
                                                            "holds"),
])
def test_refusals(refusal, model, more, told):
    assert refusal("generate", model[0], *ENGINES["generic"].split(), "-o", "made", *more) == f"tepal: {told}\n"


@pytest.mark.rtl
@pytest.mark.parametrize(("engine", "simulator"), [
    pytest.param("generic", "verilator", marks=pytest.mark.slow), pytest.param("generic", "icarus", marks=needs_icarus),
    pytest.param("loaded", "icarus", marks=needs_icarus), pytest.param("loaded", "verilator", marks=pytest.mark.slow)])
def test_bench_passes_as_it_is(run, model, engine, simulator):
    folder = generate(run, model[0], engine, "--input", "images.npy")
    script = folder / "test_a_model.py"
    for more in [], ["--stalls", "7"]:
        done = bench(script, "--simulator", simulator, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "PASS=1 FAIL=0" in done.stdout
    # The example's own bench, around the same core.
    if engine == "generic":
        done = bench(EXAMPLE / "latency.py", folder, "--simulator", simulator)
        assert done.returncode == 0, done.stdout + done.stderr
    # One wrong bit in what is expected of the last frame.
    expected = folder / "a_model_expected.hex"
    lines = expected.read_text().split()
    lines[-5] = f"{int(lines[-5], 16) ^ 1:02x}"
    expected.write_text("\n".join(lines))
    done = bench("-m", "pytest", "-q", "-p", "no:cacheprovider", script, SIM=simulator)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "frame 2:" in done.stdout
