"""What the README shows is what the code does now."""

import re
import subprocess
import sys
from pathlib import Path

from elastic_jax.cli import list as list_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_variants_is_fresh():
    assert list_command.with_table(README) == README, "run `make docs`"


def test_a_stale_table_is_noticed():
    stale = README.replace("| [`local_sgd`]", "| [`remote_sgd`]")
    assert stale != README
    assert list_command.with_table(stale) == README


def test_the_example_prints_what_it_says(tmp_path):
    """The README's code, run as it stands, in a process of its own."""
    example = README.partition("<!-- example: begin -->")[2].partition("<!-- example: end -->")[0]
    code, shown = re.findall(r"```(?:python)?\n(.*?)```", example, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 30
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    assert numbers(ran.stdout) == numbers(shown)


def numbers(text: str) -> list[str]:
    """Its lines, with numbers to two digits: the last ones differ from processor to processor."""
    return [
        re.sub(r"\d+\.\d+", lambda found: f"{float(found.group()):.2g}", line) for line in text.strip().splitlines()
    ]


def test_every_linked_file_exists():
    for text, folder in ((path.read_text(encoding="utf-8"), path.parent) for path in ROOT.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / target).exists(), target
