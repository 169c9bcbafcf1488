"""Fetches the Autobahn cases for WebSocket servers and translates them to Python 3.

    python prepare.py FOLDER

leaves a package FOLDER/cases. The suite is published as Python 2 only. Of it, the cases alone are taken (groups 1 to
7, 9 and 10); what plays them is run.py beside this file.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SUITE = "autobahntestsuite"
VERSION = "25.10.1"

# case9_9_1 is in the package but not in the suite's own list.
WANTED = re.compile(r"case(|([1-79]|10)_\w+)\.py")
UNLISTED = {"case9_9_1.py"}


def main(folder):
    cases = Path(folder) / "cases"
    shutil.rmtree(cases, ignore_errors=True)
    cases.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(Path(scratch), cases)
    python3_syntax(cases)
    for file in sorted(cases.glob("*.py")):
        file.write_text(python3_meaning(file.name, file.read_text(encoding="utf-8")), encoding="utf-8")
    (cases / "__init__.py").write_text("")


def fetch(scratch, cases):
    """Downloads the suite and copies the files of the cases."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", "--dest", scratch, f"{SUITE}=={VERSION}"], check=True)
    with tarfile.open(next(scratch.glob(f"{SUITE}-*.tar.gz"))) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if path.parent.name == "case" and WANTED.fullmatch(path.name) and path.name not in UNLISTED:
                (cases / path.name).write_bytes(archive.extractfile(member).read())


def python3_syntax(cases):
    """What a tool can do: print, xrange, relative imports and the like. It needs to see a package for the latter."""
    (cases / "__init__.py").write_text("")
    files = [str(file) for file in cases.glob("case*.py")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "fissix", "--write", "--nobackups", "--no-diffs", *files],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"fissix cannot translate the cases:\n{done.stderr}")


def python3_meaning(name, source):
    """What only a reader can do: the places where strings are bytes, and three idioms that changed."""
    # A literal was the UTF-8 bytes of its characters.
    source = re.sub(r"[^\x00-\x7f]+", lambda match: match[0].encode().decode("latin-1"), source)
    source = source.replace("binascii.b2a_hex(", "hex_of(")
    # A class cannot come after its own base any more.
    source = source.replace("(object, Case, )", "(Case, )")
    if name == "case6_x_x.py":
        source = source.replace("v.validate(vss[:i])", "v.validate(to_bytes(vss[:i]))")
    if name == "case10_1_1.py":
        source = source.replace("len(self.payload) / self", "len(self.payload) // self")
    if name == "case.py":
        # Equal values pickle differently now, depending on which of them share objects.
        source = source.replace("pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2")
    return "from latin1 import hex_of, to_bytes\n" + source


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
