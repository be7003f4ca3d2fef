# SPDX-License-Identifier: Apache-2.0
"""The generated folder: the same bytes every time, complete, and accepted by the tools that people have."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import fast
from tepal.boards.flow.fit import fit
from tepal.boards.flow.folder import MANIFEST, write_files
from tepal.boards.flow.generate import describe, generate
from tepal.boards.flow.tools import find
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import Trailer
from tepal.hdl.plan.rom_contents import loaded_weights
from tepal.quant import Preprocessing, read_tflite
from tepal.sim import CycleModel
from tepal.sim.simulators import verilator_folder
from tflite_writer import Chain

DIGITS = Path(__file__).parents[3] / "examples/digits/digits.tflite"
BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.05
ROMS = {"depthwise_parameters", "depthwise_weights", "matrix_parameters", "matrix_weights"}
ENGINES = {
    "one": EngineConfig(1, 1, 1, (1, 1)),
    "small": EngineConfig(2, 4, 2, (1, 3), requantisers=2),
    "odd": EngineConfig(3, 6, 2, (3, 2), requantisers=2, input_bytes=3),
    "wide": EngineConfig(2, 12, 6, (3, 3), requantisers=6, input_bytes=8),
    "icebreaker": BOARDS["icebreaker"].config,
    "dense": EngineConfig(2, 4, 2, (3, 3)),
}
"""By name; all for digits but "dense", for a network of one fully connected layer."""

QUICK = "small", "icebreaker"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Name of an engine to its schedule and generated folder, each made once."""
    schedules = {}

    def made(name: str) -> tuple[Schedule, Path]:
        folder = tmp_path_factory.getbasetemp() / f"generated_{name}"
        if name not in schedules:
            model = DIGITS
            if name == "dense":
                model = tmp_path_factory.mktemp("models") / "dense.tflite"
                model.write_bytes(Chain(1, 1, 9).fully_connected(np.full((5, 9), 7, np.int8)).write())
            schedules[name] = Schedule(read_tflite(model), ENGINES[name])
            write_files(generate(schedules[name], BOARDS["generic"]), folder)
        return schedules[name], folder
    return made


engines = pytest.mark.parametrize("name", fast(sorted(ENGINES, key=lambda name: name not in QUICK), len(QUICK)))


# -- contents ------------------------------------------------------------------------------------------


def test_same_bytes_and_no_traces_of_the_machine(tmp_path):
    folders = []
    for seed in "1", "2":
        home = tmp_path / f"home{seed}"
        home.mkdir()
        command = [sys.executable, "-m", "tepal", "generate", str(DIGITS), "--board", "generic",
                   "--rows", "2", "--columns", "4", "--lanes", "2", "-o", str(tmp_path / seed / "made")]
        subprocess.run(command, check=True, cwd=home, capture_output=True,
                       env=os.environ | {"PYTHONHASHSEED": seed, "TMPDIR": str(home), "TZ": f"UTC{seed}"})
        assert not list(home.iterdir())
        folders.append({path.name: path.read_bytes() for path in (tmp_path / seed / "made").iterdir()})
    assert folders[0] == folders[1]
    machine = [str(DIGITS.parents[3]), sys.prefix, str(tmp_path), tempfile.gettempdir() + "/", os.uname().nodename]
    for name, content in folders[0].items():
        text = content.decode("ascii")
        assert [trace for trace in machine if trace in text] == [], name
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|/site-packages/|\.py\b", text), name


@engines
def test_roms(made, name):
    schedule, folder = made(name)
    memories = {use.role: use for use in schedule.memories}
    loaded = {"matrix_weights"} if schedule.config.single_port else set()
    assert {path.stem for path in folder.glob("*.hex")} == {f"tepal_{rom}" for rom in ROMS - loaded}
    for path in folder.glob("*.hex"):
        lines = path.read_text().splitlines()
        memory = memories[path.stem.removeprefix("tepal_")]
        assert len(lines) == memory.depth
        assert {len(line) for line in lines} == {-(-memory.width // 4)}
        assert max(int(line, 16) for line in lines) < 1 << memory.width
        assert f'"{path.name}"' in (folder / "tepal.v").read_text()


@engines
def test_fusesoc_core(made, name):
    _, folder = made(name)
    text = (folder / "tepal.core").read_text()
    lines = text.splitlines()
    assert lines[0] == "CAPI=2:"
    assert re.fullmatch(r"name: tepal:accelerator:[A-Za-z0-9_]+:1\.0\.0", lines[1])
    listed = re.findall(r"^      - (\S+): \{file_type: (\w+)", text, re.M)
    assert dict(listed) == {"tepal.v": "verilogSource", "tepal.vlt": "vlt",
                            **{path.name: "user" for path in folder.glob("*.hex")}}
    assert re.search("^    toplevel: tepal$", text, re.M)


@engines
def test_description(made, name):
    schedule, folder = made(name)
    network, config, model = schedule.network, schedule.config, CycleModel(schedule)
    text = json.loads((folder / "tepal.json").read_text())
    assert (text["name"], text["board"], text["top"]) == (network.name, "generic", "tepal")
    assert text["roms"] == sorted(path.name for path in folder.glob("*.hex"))
    assert text["parameters"]["ROM_DIR"]["default"] == ""
    assert text["versions"].keys() == {"tepal", "amaranth", "yosys"}
    assert re.fullmatch(r"Yosys \d+\.\d+\S*", text["versions"]["yosys"])
    assert text["engine"]["products"] == config.rows * config.columns
    cycles = {key: getattr(model, key) for key in ("cycles", "in_memory_cycles", "last_byte_cycles", "interval_cycles")}
    assert text["cycles"] == {**cycles, "about": text["cycles"]["about"]}
    preprocessing = text["input"].pop("preprocessing")
    assert text["input"] == {"shape": list(network.input_shape), "dtype": "int8", "order": "HWC",
                             "scale": network.input_scale, "zero_point": network.input_zero_point}
    if name == "dense":
        assert preprocessing is None
    else:
        assert preprocessing == {"range": [0, 1], "mean": [0], "std": [1], "layout": "grey",
                                 "from": "scale and zero point", "about": preprocessing["about"]}
    assert text["output"]["shape"] == list(network.output_shape)
    assert (text["output"]["scale"], text["output"]["zero_point"]) == (network.output_scale,
                                                                       network.output_zero_point)
    assert text["softmax"] == (network.softmax is not None)
    assert sum(layer["macs"] for layer in text["layers"]) == network.macs
    assert [memory["role"] for memory in text["memories"]] == [use.role for use in schedule.memories]

    ports = text["ports"]
    pixels, bits = np.prod(network.input_shape), ports["s_axis"]["tdata_width"]
    assert ports["s_axis"]["beats_per_frame"] * bits == 8 * pixels
    trailer = text["output"]["trailer"]
    assert ports["m_axis"]["beats_per_frame"] == network.result_bytes + sum(field["bytes"] for field in trailer)
    assert [field["name"] for field in trailer] == list(Trailer._fields)
    assert trailer[-1]["bits"] == {"too_long": 0, "abandoned": 1, "cut_off": 7}
    expected = {("input", "clk", 1), ("input", "rst", 1), ("output", "frame_error", 1)}
    if config.single_port:
        widths = ports["load"]["signals"]
        expected |= {("input", name, width) for name, width in widths.items()}
        assert ports["load"]["words"] * 2 == len((folder / ports["load"]["file"]).read_bytes())
        assert (folder / "tepal_weights.bin").read_bytes() == loaded_weights(schedule)
    for name, forth, back in ("s_axis", "input", "output"), ("m_axis", "output", "input"):
        expected |= {(forth, f"{name}_tdata", ports[name]["tdata_width"]), (forth, f"{name}_tvalid", 1),
                     (forth, f"{name}_tlast", 1), (back, f"{name}_tready", 1)}
    top = re.search(r"^module tepal\(.*?^endmodule", (folder / "tepal.v").read_text(), re.M | re.S)[0]
    found = re.findall(r"^  (input|output) (?:wire |reg )?(?:\[(\d+):0\] )?(\w+);", top, re.M)
    assert {(direction, name, int(high or 0) + 1) for direction, high, name in found} == expected
    assert re.findall(r"^  parameter (.*);", top, re.M) == ['ROM_DIR = ""']


@pytest.mark.parametrize("engine", ["small", "icebreaker"])
@pytest.mark.parametrize("name", ["My_net2", "_"])
def test_name(made, engine, name):
    """Every module and every file begins with the name, and nothing else is any different."""
    schedule, folder = made(engine)
    named = generate(schedule, BOARDS["generic"], name)
    modules = re.findall(r"^module ([^ (#]+)", str(named[f"{name}.v"]), re.M)
    assert len(set(modules)) == len(modules) > 20
    assert all(module == name or module.startswith(f"{name}_") for module in modules)
    assert "tepal" not in str(named[f"{name}.v"])
    kinds = {".v", ".vlt", ".core", ".json"}
    assert all(file.startswith(f"{name}_") or file in {name + kind for kind in kinds} for file in named)

    def renamed(text: str | bytes) -> str | bytes:
        return text if isinstance(text, bytes) else re.sub(r"\btepal(?=[._ \n(\"}]|$)", name, text)

    plain = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    for file, content in plain.items():
        text: str | bytes = content if file.endswith(".bin") else content.decode()
        if file.endswith(".json"):
            description = json.loads(text)
            description["top"], description["roms"] = name, [str(renamed(rom)) for rom in description["roms"]]
            if "load" in description["ports"]:
                description["ports"]["load"]["file"] = f"{name}_weights.bin"
            text = json.dumps(description, indent=2) + "\n"
        elif file.endswith(".core"):
            text = str(text).replace(":tepal:", f":{name}:")
        assert named[str(renamed(file))] == (text if file.endswith(".json") else renamed(text)), file
    assert len(named) == len(plain)


def test_description_of_pixels():
    """What the model's own file says of them goes before what its scale lets guess."""
    network = read_tflite(DIGITS)
    own = Preprocessing.of_texts({"range": "0:2", "mean": "0.25", "std": "0.5"}, 1)
    schedule = Schedule(replace(network, preprocessing=own), ENGINES["small"])
    assert describe(schedule, BOARDS["generic"], {}, "digits", [])["input"]["preprocessing"] | {"about": ""} == {
        "range": [0, 2], "mean": [0.25], "std": [0.5], "layout": "grey", "from": "model", "about": ""}


# -- tools ---------------------------------------------------------------------------------------------


@engines
def test_verilator_has_no_warnings(made, name):
    _, folder = made(name)
    verilator = verilator_folder() / "verilator"
    done = subprocess.run([verilator, "--quiet", "--lint-only", "-Wall", "tepal.vlt", "tepal.v",
                           "--top-module", "tepal"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog isn't installed (apt-get install iverilog)")
@engines
def test_icarus_has_no_warnings(made, name, tmp_path):
    _, folder = made(name)
    for options in ["-g2005"], ["-g2012"], ["-g2005", "-DTEPAL_TAP"]:
        # Into a file of its own: Icarus makes its output executable, which root must not do to /dev/null.
        done = subprocess.run(["iverilog", *options, "-Wall", "-s", "tepal", "-o", tmp_path / "tepal.vvp", "tepal.v"],
                              cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), options


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize("name", ["small"])
def test_synthesis(made, name, tmp_path):
    """After ``synth_ecp5``: the array alone has multipliers, memories take no more than was estimated, and
    nothing has grown.  TEPAL_UPDATE_BASELINE=1 writes the figures found into baseline.json."""
    schedule, folder = made(name)
    find("yosys").run(["-q", "-p", "read_verilog tepal.v; hierarchy -check -top tepal; synth_ecp5 -top tepal; "
                       "check -assert; tee -q -o stat.json stat -json -top tepal"],
                      shutil.copytree(folder, tmp_path / "synthesis"))
    cells = json.loads((tmp_path / "synthesis/stat.json").read_text())["design"]["num_cells_by_type"]
    estimate = fit(schedule, BOARDS["ulx3s-85f"]).used
    assert cells["MULT18X18D"] == schedule.config.rows * schedule.config.columns == estimate["MULT18X18D"]
    assert 0 < cells["DP16KD"] <= estimate["DP16KD"]
    # Small memories that yosys makes of logic would be counted twice.
    assert cells.get("TRELLIS_DPR16X4", 0) < 50

    figures = {kind: cells[kind] for kind in ("LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D", "DP16KD")}
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if os.environ.get("TEPAL_UPDATE_BASELINE"):
        BASELINE.write_text(json.dumps(kept | {name: figures}, indent=2) + "\n")
        kept[name] = figures
    for kind, count in figures.items():
        assert abs(count - kept[name][kind]) <= TOLERANCE * kept[name][kind], (
            f"{kind}: {count} instead of {kept[name][kind]}; if that is meant, run again with TEPAL_UPDATE_BASELINE=1")
