"""Running the ``tepal`` command."""

import re

import pytest
from tepal.cli.main import main


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def run(*argv) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()
    return run


@pytest.fixture
def refusal(run, tmp_path):
    """Runs a command line that must fail with one sentence, and must leave nothing behind."""
    def refusal(*argv) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run(*argv, "--json")
        assert code == 2
        assert out == ""
        assert re.fullmatch(r"tepal: [^\n]+\n", err)
        assert sorted(tmp_path.rglob("*")) == before
        return err
    return refusal
