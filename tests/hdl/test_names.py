# SPDX-License-Identifier: Apache-2.0
"""What a design may be called."""

import pytest
from tepal.hdl import ConfigError
from tepal.hdl.names import LONGEST, name_from, require_name


@pytest.mark.parametrize("name", ["a", "_", "_1", "Net_2", "x" * LONGEST, "Module", "modules", "digits"])
def test_good_names(name):
    require_name(name)
    assert name_from(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a.b", "a$b", "é", "a\n", "x" * (LONGEST + 1), "\\a "])
def test_other_names(name):
    with pytest.raises(ConfigError, match=r"^name .*: give one of ASCII letters"):
        require_name(name)
    require_name(name_from(name))


@pytest.mark.parametrize("name", ["reg", "endmodule", "class", "interconnect", "s_until_with", "highz0"])
def test_keywords(name):
    with pytest.raises(ConfigError, match=r"^name .* is a keyword of Verilog or SystemVerilog"):
        require_name(name)
    assert name_from(name) == f"{name}_"


@pytest.mark.parametrize(("text", "name"), [
    ("mobilenet.v1-0.25", "mobilenet_v1_0_25"), ("2nd", "_2nd"), ("", "_"), ("größe", "gr__e"),
    ("x" * 99, "x" * LONGEST)])
def test_name_from(text, name):
    assert name_from(text) == name
