"""The generated core in other people's designs: plain Verilog, FuseSoC, LiteX."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tepal.boards.generate import generate, write_files
from tepal.boards.tools import find
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_tflite
from tepal.sim import golden
from tepal.sim.simulate import verilator_folder
from tflite_writer import Chain

EXAMPLES = Path(__file__).parents[2] / "examples"
ENGINE = EngineConfig(2, 4, 2, (1, 3), requantisers=2, input_bytes=4)
CYCLES_A_BIT = 4
"""The serial line of the LiteX system in simulation, at its 25 MHz."""

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None,
                                  reason="iverilog isn't installed (apt-get install iverilog)")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """(folder, network, images) of a small network that is called as the examples expect."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("core")
    model = folder / "digits.tflite"
    chain = Chain(8, 8, 1).convolution(rng.integers(-99, 99, (6, 3, 3, 1), np.int8), stride=(2, 2))
    chain = chain.depthwise(rng.integers(-99, 99, (3, 3, 6), np.int8)).mean()
    model.write_bytes(chain.fully_connected(rng.integers(-99, 99, (5, 6), np.int8)).write())
    network = read_tflite(model)
    images = rng.integers(-128, 128, (40, *network.input_shape), np.int8)
    write_files(generate(Schedule(network, ENGINE), "ulx3s-85f"), folder / "core")
    # Two images of which the answers differ: a design that is stuck would fail on one of them.
    classes = golden.run(network, images).reshape(len(images), -1).argmax(axis=1)
    first = int(np.flatnonzero(classes != 0)[0])
    other = int(np.flatnonzero((classes != 0) & (classes != classes[first]))[0])
    return folder / "core", images[[first, other]], classes[[first, other]]


def run(command, folder, **environment) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cells(folder: Path, script: str, top: str) -> dict[str, int]:
    """Cells by type, from inside all modules, after a yosys script."""
    find("yosys").run(["-q", "-p", f"{script}; check -assert; tee -q -o stat.json stat -json -top {top}"], folder)
    return json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]


# -- Verilog -------------------------------------------------------------------------------------------


@pytest.fixture
def verilog(core, tmp_path):
    """A folder with the Verilog example, the core and a picture; and the picture's class."""
    generated, images, classes = core
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "picture.hex").write_text(run(
        [sys.executable, EXAMPLES / "verilog/picture.py", generated, "images.npy", "1"], tmp_path))
    for source in (*generated.iterdir(), *(EXAMPLES / "verilog").glob("*.v")):
        shutil.copy(source, tmp_path)
    return tmp_path, classes[1]


@needs_icarus
def test_verilog_example_shows_the_class(verilog):
    folder, label = verilog
    run(["iverilog", "-g2005", "-Wall", "-s", "bench", "-Pbench.BEATS=16", "-o", "bench", "bench.v", "classify.v",
         "tepal.v"], folder)
    assert run(["vvp", "-n", "bench"], folder).splitlines()[-1] == f"class {label}"


def test_picture_of_real_numbers(core, tmp_path):
    """Real numbers are put into the network's own scale."""
    generated, images, _ = core
    scale = json.loads((generated / "tepal.json").read_text())["input"]
    np.save(tmp_path / "int8.npy", images)
    np.save(tmp_path / "real.npy", (images - float(scale["zero_point"])) * scale["scale"])
    texts = [run([sys.executable, EXAMPLES / "verilog/picture.py", generated, f"{name}.npy", "0"], tmp_path)
             for name in ("int8", "real")]
    assert texts[0] == texts[1]
    assert [bytes.fromhex(line)[::-1] for line in texts[0].split()] == [
        beat.tobytes() for beat in images[0].reshape(-1, 4)]


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize(("family", "multiplier", "memory"), [
    ("ecp5", "MULT18X18D", "TRELLIS_DPR16X4"), ("ice40 -dsp", "SB_MAC16", "SB_RAM40_4K")])
def test_verilog_example_synthesises(verilog, family, multiplier, memory):
    folder, _ = verilog
    found = cells(folder, "read_verilog classify.v tepal.v; hierarchy -check -top classify -chparam BEATS 16; "
                  f"synth_{family} -noflatten -top classify", "classify")
    # Nothing is optimised away: the multipliers of the whole array are there, memories and logic.
    assert found[multiplier] == ENGINE.multipliers
    assert found[memory] > 0
    assert found["LUT4" if "ecp5" in family else "SB_LUT4"] > 1000


# -- FuseSoC -------------------------------------------------------------------------------------------


def fusesoc(folder, *arguments) -> str:
    path = os.pathsep.join([str(verilator_folder()), os.environ["PATH"]])
    libraries = [word for root in ("core", "example") for word in ("--cores-root", root)]
    # Its configuration and caches are looked for at home.
    return run([sys.executable, "-c", "import sys; from fusesoc.main import main; sys.exit(main())",
                *libraries, *arguments], folder, PATH=path, HOME=str(folder), XDG_CONFIG_HOME=str(folder),
               XDG_CACHE_HOME=str(folder), XDG_DATA_HOME=str(folder))


@pytest.fixture
def cores(core, verilog, tmp_path):
    shutil.copytree(core[0], tmp_path / "core")
    shutil.copytree(EXAMPLES / "verilog", tmp_path / "example")
    shutil.copy(verilog[0] / "picture.hex", tmp_path / "example")
    return tmp_path


def test_fusesoc_resolves_and_lints(cores):
    fusesoc(cores, "run", "--target=lint", "tepal:accelerator:digits")
    work, = (cores / "build").rglob("lint")
    generated = {path.name: path.read_bytes() for path in (cores / "core").iterdir()}
    sources = {path.name: path.read_bytes() for path in work.rglob("src/*/tepal.*")}
    assert sources == {name: generated[name] for name in ("tepal.v", "tepal.vlt")}
    # Where the tool runs, $readmemh finds the contents of the ROMs.
    roms = {path.name: path.read_bytes() for path in work.glob("*.hex")}
    assert roms == {name: text for name, text in generated.items() if name.endswith(".hex")}
    assert roms
    assert "--top-module tepal" in next(work.glob("*.vc")).read_text()


def test_fusesoc_synthesis_target(cores):
    fusesoc(cores, "run", "--setup", "--target=synth", "tepal:accelerator:digits")
    script = "".join(path.read_text() for path in (cores / "build").rglob("synth/*.tcl"))
    assert re.search(r"^synth_ecp5\s+-top \$top$", script, re.M)
    assert re.search(r"^set top tepal$", script, re.M)
    assert re.search(r"^read_verilog \{src/\S+/tepal\.v\}$", script, re.M)


@needs_icarus
def test_fusesoc_example_simulates(cores, verilog):
    text = fusesoc(cores, "run", "--target=sim", "tepal:example:classify", "--BEATS=16")
    assert f"class {verilog[1]}" in text.splitlines()


def test_fusesoc_example_sets_up_a_bitstream(cores):
    fusesoc(cores, "run", "--setup", "--target=ulx3s", "tepal:example:classify", "--BEATS=16")
    make = next((cores / "build").rglob("ulx3s/Makefile")).read_text()
    assert re.search(r"nextpnr-ecp5 .*--85k --package CABGA381 --speed 6 --lpf src/\S+/ulx3s\.lpf ", make)


# -- LiteX ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system(core, tmp_path_factory) -> Path:
    """Folder of the LiteX system's Verilog."""
    folder = tmp_path_factory.mktemp("litex")
    run([sys.executable, EXAMPLES / "litex/soc.py", core[0], "-o", "soc", "--baudrate",
         str(25_000_000 // CYCLES_A_BIT)], folder)
    return folder / "soc"


@pytest.mark.synthesis
@pytest.mark.slow
def test_litex_system_synthesises(core, system):
    """The script that LiteX wrote, as far as its statistics."""
    folder = system / "gateware"
    assert (folder / "soc.ys").exists()
    shutil.copy(core[0] / "tepal.v", folder)
    found = cells(folder, "read_verilog tepal.v soc.v; hierarchy -check -top soc; synth_ecp5 -noflatten -top soc",
                  "soc")
    assert found["MULT18X18D"] == ENGINE.multipliers
    assert found["LUT4"] > 1500


def word(value: int) -> bytes:
    return value.to_bytes(4, "big")


@needs_icarus
def test_litex_system_classifies(core, system, tmp_path):
    """Two images through the serial port and the bus, as ``classify.py`` sends them, beat by beat."""
    generated, images, classes = core
    addresses = {name: int(address, 16) // 4 for kind, name, address, *_ in (
        line.split(",") for line in (system / "csr.csv").read_text().splitlines() if line[:1] != "#")
        if kind == "csr_register"}

    # Beside a byte: the bridge answers now, and does not listen before it has.
    wait = 256

    def read(name):
        *head, last = b"\2\1" + word(addresses[f"tepal_{name}"])
        return [*head, last + wait]

    sent = []
    for image in images:
        for beat in image.reshape(-1, ENGINE.input_bytes):
            value = int.from_bytes(beat.tobytes(), "little")
            sent += b"\1\1" + word(addresses["tepal_pixels"]) + word(value)
        # Reads are slow enough for the answer to be there behind a few of them.
        sent += read("status") * 8 + read("answers") + read("answer")
    (tmp_path / "sent.hex").write_text("\n".join(f"{byte:03x}" for byte in sent))
    (tmp_path / "bench.v").write_text(f"""
        `timescale 1ns/1ps
        module bench;
            reg clk = 0, rx = 1;
            wire tx;
            soc soc(.clk25(clk), .serial_rx(rx), .serial_tx(tx));
            always #20 clk = !clk;
            reg [8:0] sent [0:{len(sent) - 1}];
            integer i, sending, answered = 0, expected = 0;
            initial begin
                $readmemh("sent.hex", sent);
                repeat (100) @(posedge clk);
                for (i = 0; i < {len(sent)}; i = i + 1) begin
                    for (sending = 0; sending < 10; sending = sending + 1) begin
                        rx = sending == 0 ? 0 : sending == 9 ? 1 : sent[i][sending-1];
                        repeat ({CYCLES_A_BIT}) @(posedge clk);
                    end
                    if (sent[i][8]) begin
                        expected = expected + 4;
                        wait (answered == expected);
                        repeat ({4 * CYCLES_A_BIT}) @(posedge clk);
                    end
                end
                $finish;
            end
            reg [7:0] got;
            integer receiving;
            initial forever begin
                @(negedge tx);
                repeat ({CYCLES_A_BIT + CYCLES_A_BIT // 2}) @(posedge clk);
                for (receiving = 0; receiving < 8; receiving = receiving + 1) begin
                    got[receiving] = tx;
                    repeat ({CYCLES_A_BIT}) @(posedge clk);
                end
                $display("%02x", got);
                answered = answered + 1;
            end
            initial #20_000_000 $finish;
        endmodule""")
    for source in (*generated.glob("*.hex"), generated / "tepal.v", system / "gateware/soc.v",
                   *(system / "gateware").glob("*.init")):
        shutil.copy(source, tmp_path)
    # As yosys writes it: Icarus 11 stops for good at the first write, with Migen's own text.
    find("yosys").run(["-q", "-p", "read_verilog soc.v; proc; write_verilog -noattr system.v"], tmp_path)
    run(["iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v", "system.v", "tepal.v"], tmp_path)
    got = bytes.fromhex("".join(run(["vvp", "-n", "bench"], tmp_path).split()))
    words = [int.from_bytes(got[at:at + 4], "big") for at in range(0, len(got), 4)]
    assert words == [1] * 8 + [1, classes[0]] + [1] * 8 + [2, classes[1]]
