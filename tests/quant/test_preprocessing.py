# SPDX-License-Identifier: Apache-2.0
"""What pixels become: against the reference, from and to text, and guessed from a model's input."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx_models import Graph, real
from tepal.quant import (
    FloatNetwork,
    Network,
    NetworkError,
    Preprocessing,
    digest,
    quantize,
    read_onnx,
    simplify,
    write_onnx,
)

PIXELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
OF_IMAGENET = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


@pytest.mark.parametrize(("texts", "reference"), [
    ({}, lambda x: x / np.float32(255)),
    # ToTensor and Normalize, in their order and precision.
    (OF_IMAGENET, lambda x: (x / np.float32(255) - MEAN) / STD),
    ({"mean": "0.1307", "std": "0.3081"}, lambda x: (x / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)),
    # Keras' MobileNet, TensorFlow Lite's, and pixels as they are, centred or not.
    ({"range": "-1:1"}, lambda x: x / np.float32(127.5) - 1),
    ({"range": "0:255", "mean": "127.5", "std": "127.5"}, lambda x: (x - np.float32(127.5)) / np.float32(127.5)),
    ({"range": "0:255"}, lambda x: x), ({"range": "-128:127"}, lambda x: x - 128),
    ({"range": "-1:0.9921875"}, lambda x: (x - 128) / 128),
    ({"range": "0:255", "mean": "103.939,116.779,123.68", "layout": "bgr"},
     lambda x: x - np.array([103.939, 116.779, 123.68], np.float32)),
])
def test_reference(texts, reference):
    """The bits of what it is called elsewhere."""
    preprocessing = Preprocessing.of_texts(texts, 3)
    result, expected = preprocessing(PIXELS), reference(PIXELS.astype(np.float32))
    assert result.dtype == np.float32
    assert (result == expected).all()
    assert preprocessing.ends == (expected.min(), expected.max())
    assert preprocessing.layout == texts.get("layout", "rgb")
    for channels in (1, 3):
        if "," not in texts.get("mean", "") and "layout" not in texts:
            given = Preprocessing.of_texts(texts, channels)
            assert (given(PIXELS[:, :channels]) == expected[:, :channels]).all()
            assert Preprocessing.of_texts(given.texts(), channels) == given
            assert Preprocessing.of_metadata({"other": "x"} | given.metadata(), channels) == given


def test_torchvision():
    torch = pytest.importorskip("torch")
    pixels = torch.from_numpy(PIXELS).to(torch.float32).div(255)
    expected = pixels.sub_(torch.tensor(MEAN)).div_(torch.tensor(STD)).numpy()
    assert (Preprocessing.of_texts(OF_IMAGENET, 3)(PIXELS) == expected).all()


@pytest.mark.parametrize(("texts", "channels", "sentence"), [
    ({"range": "1"}, 3, "the range '1' can't be taken: give 2 numbers, with ':' between them"),
    ({"range": "a:1"}, 3, "the range 'a:1' can't be taken"), ({"range": "0:1:2"}, 3, "the range '0:1:2' can't be"),
    ({"range": "0,1"}, 3, "the range '0,1' can't be taken"),
    ({"range": "1:0"}, 3, "the range 1:0 is none"), ({"range": "0:0"}, 3, "the range 0:0 is none"),
    ({"range": "0:inf"}, 3, "the range 0:inf is none"), ({"range": "nan:1"}, 3, "the range nan:1 is none"),
    ({"mean": "0.5,0.5"}, 3, "the mean '0.5,0.5' can't be taken: give 1 or 3 numbers, with ',' between them"),
    ({"mean": "0.5,0.5,0.5"}, 1, "the mean '0.5,0.5,0.5' can't be taken: give 1 number"),
    ({"mean": "half"}, 1, "the mean 'half' can't be taken"), ({"mean": ""}, 3, "the mean '' can't be taken"),
    ({"mean": "nan"}, 1, "the mean must be finite numbers, not nan"),
    ({"std": "0"}, 3, "the standard deviation must be a finite number above 0, not 0"),
    ({"std": "1,1,-1"}, 3, "above 0, not -1"), ({"std": "inf"}, 3, "finite number above 0, not inf"),
    ({"std": "1e-60"}, 1, "make numbers of the pixels that float32 doesn't hold"),
    ({"range": "0:1e39"}, 1, "make numbers of the pixels that float32 doesn't hold"),
    ({"layout": "rgba"}, 3, "the layout 'rgba' is unknown; there are rgb, bgr, grey"),
    ({"layout": "bgr"}, 1, "the layout bgr has 3 channels, and the model takes 1: it must be grey"),
    ({}, 2, "pictures have 1 or 3 channels, and the model takes 2"),
])
def test_refusals(texts, channels, sentence):
    with pytest.raises(NetworkError) as error:
        Preprocessing.of_texts(texts, channels)
    assert sentence in str(error.value)


@pytest.mark.parametrize(("scale", "zero_point", "ends"), [
    (1 / 255, -128, (0, 1)), (np.float32(1 / 255), -128, (0, 1)), (1 / 256, -128, (0, 1)), (0.985 / 255, -128, (0, 1)),
    (1 / 127.5, -1, (-1, 1)), (1 / 127.5, 0, (-1, 1)), (1 / 127, 0, (-1, 1)), (1 / 128, 0, (-1, 127 / 128)),
    (1.0, -128, (0, 255)), (1.0, 0, (-128, 127)), (1 / 255, 0, (-0.5, 0.5)), (1 / 255, -1, (-0.5, 0.5)),
    # Mean and deviation of ImageNet, keyword spotting's features, half a range, a scale that no one set.
    (0.01865844801068306, -14, None), (0.5847, 83, None), (0.5 / 255, -128, None), (1 / 255, -100, None),
    (0.97 / 255, -128, None), (1 / 255, -125, None),
])
def test_usual_ranges(scale, zero_point, ends):
    guessed = Preprocessing.of_input(float(scale), zero_point, 3)
    assert (guessed.ends if guessed else None) == ends
    if guessed:
        # Within what the tolerances promise of code = pixel - 128, which all of these ranges come to.
        codes = np.clip(np.rint(guessed(PIXELS) / scale) + zero_point, -128, 127)
        assert abs(codes - (PIXELS - 128.0)).max() <= 5
        grey = Preprocessing.of_input(float(scale), zero_point, 1)
        assert grey
        assert (grey.layout, grey.ends) == ("grey", ends)
    assert Preprocessing.of_input(float(scale), zero_point, 2) is None


@pytest.mark.parametrize(("texts", "held", "contradicts"), [
    ({}, (0, 1), False), ({}, (0, 0.8), False), ({}, (0, 255), True), ({}, (-1, 1), True),
    ({"range": "-1:1"}, (0, 1), True),
    ({"range": "0:255"}, (0, 1), True), (OF_IMAGENET, (-2.1, 2.6), False), (OF_IMAGENET, (0, 1), True),
    (OF_IMAGENET, (-1, 1), True), ({}, (-2.1, 2.6), True), ({"range": "0:255"}, (0, 240), False),
])
def test_contradiction(texts, held, contradicts):
    scale = (held[1] - held[0]) / 255
    sentence = Preprocessing.of_texts(texts, 3).contradiction(scale, round(-128 - held[0] / scale))
    assert bool(sentence) == contradicts, sentence


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> FloatNetwork:
    path = tmp_path_factory.mktemp("preprocessing") / "model.onnx"
    graph = Graph("n", 3, 6, 5).convolution(4, 3, 3).add("Relu").add("GlobalAveragePool").add("Flatten")
    path.write_bytes(graph.bytes())
    network = read_onnx(path)
    assert isinstance(network, FloatNetwork)
    return network


PHOTOGRAPHS = np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3), np.uint8)


def test_kept_in_the_file(trained, tmp_path):
    """Quantised, written and read: the same numbers, and pixels give the codes of the reference."""
    trained = replace(trained, preprocessing=Preprocessing.of_texts(OF_IMAGENET | {"layout": "bgr"}, 3))
    network = quantize(trained, PHOTOGRAPHS).network
    write_onnx(network, tmp_path / "q.onnx")
    loaded = read_onnx(tmp_path / "q.onnx")
    assert isinstance(loaded, Network)
    assert loaded.preprocessing == network.preprocessing == trained.preprocessing
    assert {entry.key: entry.value for entry in onnx.load(tmp_path / "q.onnx").metadata_props} == {
        "tepal.range": "0.0:1.0", "tepal.mean": "0.485,0.456,0.406", "tepal.std": "0.229,0.224,0.225",
        "tepal.layout": "bgr"}
    reference = (PHOTOGRAPHS / np.float32(255) - MEAN) / STD
    codes = loaded.quantise_input(PHOTOGRAPHS)
    assert (codes == loaded.quantise_input(reference)).all()
    assert (codes.min(), codes.max()) == (-128, 127)
    assert (codes == loaded.quantise_input(PHOTOGRAPHS.transpose(0, 3, 1, 2))).all()
    # Calibrated by pixels or by what they become: the same network, but for the last bit of a mean.
    same = quantize(replace(trained, preprocessing=None), reference).network
    assert (same.input_scale, same.input_zero_point) == (network.input_scale, network.input_zero_point)
    # What is computed is the same, and so is its identity.
    assert digest(replace(network, preprocessing=None)) == digest(network) == digest(loaded)
    assert simplify(network).network.preprocessing == network.preprocessing


def test_a_float_model_may_say_it(trained, tmp_path):
    """Whoever writes the keys into the metadata of a float model need not give them again."""
    graph = Graph("n", 3, 6, 5).convolution(4, 3, 3).add("Relu").add("GlobalAveragePool").add("Flatten").model()
    onnx.helper.set_model_props(graph, {"tepal.range": "-1:1", "author": "x"})
    onnx.save(graph, tmp_path / "model.onnx")
    network = read_onnx(tmp_path / "model.onnx")
    assert isinstance(network, FloatNetwork)
    assert network.preprocessing == Preprocessing.of_texts({"range": "-1:1"}, 3)
    assert quantize(network, PHOTOGRAPHS).network.preprocessing == network.preprocessing
    onnx.helper.set_model_props(graph, {"tepal.std": "none"})
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(NetworkError, match=r"model.onnx: the std 'none' can't be taken: give 1 or 3 numbers"):
        read_onnx(tmp_path / "model.onnx")


def test_unknown(trained):
    """Without it, pixels are numbers to a float network, and nothing that an integer one could take."""
    assert (trained.images(PHOTOGRAPHS) == PHOTOGRAPHS).all()
    network = quantize(trained, PHOTOGRAPHS / 255).network
    assert network.preprocessing is None
    with pytest.raises(NetworkError, match="the images are uint8: give int8"):
        network.quantise_input(PHOTOGRAPHS)
    codes = network.quantise_input(PHOTOGRAPHS / 255)
    assert (network.quantise_input(real(network, codes)) == codes).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_other_channels(trained, channels):
    """A network takes one of as many channels as it has."""
    preprocessing = Preprocessing.of_texts({"layout": "grey"}, channels)
    for network in trained, quantize(trained, PHOTOGRAPHS).network:
        if channels == 3:
            assert replace(network, preprocessing=preprocessing).preprocessing == preprocessing
        else:
            with pytest.raises(NetworkError, match="the mean and standard deviation are of 1 channels, and the model"):
                replace(network, preprocessing=preprocessing)
