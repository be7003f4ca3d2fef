# SPDX-License-Identifier: Apache-2.0
"""PLLs: every setting is legal and makes the frequency that it says, and all of them are found."""

import json
from fractions import Fraction
from itertools import pairwise

import pytest
from tepal.boards.flow.build import CLOCK_MARGIN, allowed, choose_pll
from tepal.boards.parts import ecp5, gowin, ice40
from tepal.boards.parts.part import Pll
from tepal.boards.registry import BOARDS

MHZ = 1_000_000


def ecp5_frequency(oscillator: int, parameters) -> tuple[Fraction, Fraction, Fraction]:
    """Phase detector, VCO and output by the primitive's own rules."""
    detector = Fraction(oscillator, parameters["CLKI_DIV"])
    # CLKOS3, undivided, is the feedback.
    vco = detector * parameters["CLKFB_DIV"]
    return detector, vco, vco / parameters["CLKOP_DIV"]


def ice40_frequency(oscillator: int, parameters) -> tuple[Fraction, Fraction, Fraction]:
    detector = Fraction(oscillator, parameters["DIVR"] + 1)
    vco = detector * (parameters["DIVF"] + 1)
    return detector, vco, vco / 2 ** parameters["DIVQ"]


@pytest.mark.parametrize("oscillator", [8 * MHZ, 12 * MHZ, 25 * MHZ, 48 * MHZ, 100 * MHZ, 33_333_333])
def test_ecp5(oscillator):
    settings = ecp5.plls(oscillator)
    for pll in settings:
        detector, vco, output = ecp5_frequency(oscillator, pll.parameters)
        assert output == pll.frequency
        assert 10 * MHZ <= detector <= 400 * MHZ
        assert 400 * MHZ <= vco <= 800 * MHZ
        assert Fraction(3_125_000) <= output <= 400 * MHZ
        assert all(1 <= pll.parameters[name] <= 128 for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV"))
        assert pll.parameters["CLKOP_CPHASE"] == pll.parameters["CLKOP_DIV"] - 1
    frequencies = [pll.frequency for pll in settings]
    assert frequencies == sorted(set(frequencies))
    if oscillator < 10 * MHZ:
        assert settings == []
        return
    every = {Fraction(oscillator, i) * f / o for i in range(1, 129) for f in range(1, 129) for o in range(1, 129)
             if 10 * MHZ * i <= oscillator and 400 * MHZ * i <= oscillator * f <= 800 * MHZ * i
             and 3_125_000 * i * o <= oscillator * f <= 400 * MHZ * i * o}
    assert every == set(frequencies)


@pytest.mark.parametrize("oscillator", [9 * MHZ, 12 * MHZ, 48 * MHZ, 100 * MHZ])
def test_ice40(oscillator):
    settings = ice40.plls(oscillator)
    for pll in settings:
        detector, vco, output = ice40_frequency(oscillator, pll.parameters)
        assert output == pll.frequency
        assert 10 * MHZ <= detector <= 133 * MHZ
        assert 533 * MHZ <= vco <= 1066 * MHZ
        assert 16 * MHZ <= output <= 275 * MHZ
        assert 0 <= pll.parameters["DIVR"] < 16
        assert 0 <= pll.parameters["DIVF"] < 128
        assert 1 <= pll.parameters["DIVQ"] <= 6
        assert pll.parameters["FILTER_RANGE"] == sum(detector >= mhz * MHZ for mhz in (17, 26, 44, 66, 101)) + 1
    frequencies = [pll.frequency for pll in settings]
    assert frequencies == sorted(set(frequencies))
    every = {Fraction(oscillator, r + 1) * (f + 1) / 2 ** q for r in range(16) for f in range(128) for q in range(1, 7)
             if oscillator >= 10 * MHZ * (r + 1)
             and 533 * MHZ * (r + 1) <= oscillator * (f + 1) <= 1066 * MHZ * (r + 1)
             and 16 * MHZ * (r + 1) * 2 ** q <= oscillator * (f + 1) <= 275 * MHZ * (r + 1) * 2 ** q}
    assert every == set(frequencies)
    if oscillator == 12 * MHZ:
        # As icepll has it for the usual 30 MHz.
        assert next(pll.parameters for pll in settings if pll.frequency == 30 * MHZ) == {
            "DIVR": 0, "DIVF": 79, "DIVQ": 5, "FILTER_RANGE": 1}


def gowin_frequency(oscillator: int, parameters) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Phase detector, CLKOUT, VCO and CLKOUTD by the primitive's own rules."""
    detector = Fraction(oscillator, parameters["IDIV_SEL"] + 1)
    output = detector * (parameters["FBDIV_SEL"] + 1)
    return detector, output, output * parameters["ODIV_SEL"], output / parameters["DYN_SDIV_SEL"]


@pytest.mark.parametrize(("limits", "bounds"), [
    (gowin.GW1N_9C_PLL, [(3 * MHZ, 400 * MHZ), (400 * MHZ, 1200 * MHZ), (3_125_000, 600 * MHZ)]),
    (gowin.GW2A_18C_PLL, [(3 * MHZ, 500 * MHZ), (500 * MHZ, 1250 * MHZ), (3_906_250, 625 * MHZ)]),
], ids=["9C", "18C"])
@pytest.mark.parametrize("oscillator", [2 * MHZ, 12 * MHZ, 27 * MHZ, 50 * MHZ])
def test_gowin(oscillator, limits, bounds):
    settings = gowin.plls(oscillator, limits)
    for pll in settings:
        detector, output, vco, frequency = gowin_frequency(oscillator, pll.parameters)
        assert frequency == pll.frequency
        assert all(low <= value <= high for value, (low, high) in zip((detector, vco, output), bounds, strict=True))
        assert 0 <= pll.parameters["IDIV_SEL"] < 64
        assert 0 <= pll.parameters["FBDIV_SEL"] < 64
        assert pll.parameters["ODIV_SEL"] in {2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128}
        assert pll.parameters["DYN_SDIV_SEL"] in range(2, 129, 2)
    frequencies = [pll.frequency for pll in settings]
    assert frequencies == sorted(set(frequencies))
    (slowest, _), (vco_low, vco_high), (low, high) = bounds
    outputs = {Fraction(oscillator, i) * f for i in range(1, 65) for f in range(1, 65)
               if slowest * i <= oscillator and low * i <= oscillator * f <= high * i
               and any(vco_low * i <= oscillator * f * o <= vco_high * i
                       for o in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128))}
    assert {output / s for output in outputs for s in range(2, 129, 2)} == set(frequencies)
    assert (settings == []) == (oscillator < 3 * MHZ)


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.part.family], ids=lambda b: b.name)
def test_boards_have_a_fine_choice(board):
    """From its lowest clock to what it may hope for, no board loses more than a few hundredths to the PLL's steps."""
    family = board.part.family
    assert family is not None
    frequencies = [float(pll.frequency) / MHZ for pll in family.plls(board.oscillator)]
    assert frequencies[0] <= board.lowest * 1.06
    near = [f for f in frequencies if board.lowest <= f <= 1.5 * board.target]
    assert max(b / a for a, b in pairwise(near)) < 1.03


def test_choice():
    settings = [Pll(Fraction(mhz * MHZ), {}) for mhz in (20, 25, 30, 40)]
    assert choose_pll(settings, 31.5).frequency == 30 * MHZ
    assert choose_pll(settings, 30).frequency == 30 * MHZ
    assert choose_pll(settings, 29.999).frequency == 25 * MHZ
    assert choose_pll(settings, 100, None, 25).frequency == 25 * MHZ
    assert choose_pll(settings, 1).frequency == 20 * MHZ
    # A path of just so many MHz, less the margin.
    assert choose_pll(settings, allowed(float(40 * (1 + CLOCK_MARGIN)) + 1e-6)).frequency == 40 * MHZ
    assert choose_pll(settings, allowed(float(40 * (1 + CLOCK_MARGIN)) - 1e-6)).frequency == 30 * MHZ


def test_retuned_configuration():
    """Only the PLL's words change, and each as nextpnr stores it."""
    config = "word: CLKI_DIV 0000000\nword: CLKFB_DIV 0000011\nword: CLKOP_DIV 0000101\nword: CLKOP_CPHASE 0000010\n" \
             "word: CLKOS_DIV 0000111\nenum: MODE EHXPLLL\n"
    assert ecp5.retuned(config, Pll(Fraction(0), ecp5.parameters(2, 40, 128))) == (
        "word: CLKI_DIV 0000001\nword: CLKFB_DIV 0100111\nword: CLKOP_DIV 1111111\nword: CLKOP_CPHASE 1111111\n"
        "word: CLKOS_DIV 0000111\nenum: MODE EHXPLLL\n")
    for broken in (config.replace("word: CLKI_DIV 0000000\n", ""), config * 2):
        with pytest.raises(ValueError, match="words CLKI_DIV in the configuration, not one"):
            ecp5.retuned(broken, Pll(Fraction(0), ecp5.parameters(2, 40, 8)))


def test_retuned_gowin(tmp_path):
    """Of the routed design the PLL's dividers change, as nextpnr wrote them, and nothing else."""
    family = BOARDS["tangnano9k"].part.family
    assert family is not None
    pll = family.plls(27 * MHZ)[1000]
    before = {"FCLKIN": "27", **dict.fromkeys(pll.parameters, "0" * 32)}
    design = {"modules": {"top": {"cells": {"pll": {"type": "rPLL", "parameters": before},
                                            "other": {"type": "LUT4", "parameters": {"IDIV_SEL": "1"}}}}}}
    path = tmp_path / f"x.{family.routed}"
    path.write_text(json.dumps(design))
    family.retune(tmp_path, "x", pll, None, lambda arguments: None)
    after = json.loads(path.read_text())
    made = after["modules"]["top"]["cells"]["pll"].pop("parameters")
    assert {name: int(made[name], 2) for name in pll.parameters} == pll.parameters
    assert all(len(made[name]) == 32 for name in pll.parameters)
    assert made["FCLKIN"] == "27"
    del design["modules"]["top"]["cells"]["pll"]["parameters"]
    assert after == design
