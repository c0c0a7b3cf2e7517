import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the libraries say while a command works, and what only shows as its process ends.
CHATTER = """
import asyncio, logging, sys, warnings
from amodal_jax.cli.command_line import run

async def late():
    await asyncio.sleep(0)

class Closed:
    def __del__(self):
        raise RuntimeError("Event loop is closed")

class Other:
    def __del__(self):
        raise RuntimeError("something else")

def main():
    global closed, other
    import absl.logging
    absl.logging.warning("a default of our own")
    absl.logging.error("what is raised as well")
    logging.getLogger("asyncio").error("a task that nobody awaits")
    logging.getLogger("amodal_jax.here").warning("what a user should read")
    late()
    closed, other = Closed(), Other()

run(main)
"""


def test_a_command_says_what_is_its_own_alone():
    finished = subprocess.run([sys.executable, "-c", CHATTER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0
    first, *rest = finished.stderr.splitlines()
    assert first == "warning: what a user should read"
    assert rest[0].startswith("Exception ignored")
    assert rest[-1] == "RuntimeError: something else"
    assert "Event loop" not in finished.stderr
