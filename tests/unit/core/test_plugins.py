"""Plug-ins are found by their files; their names are known without importing any."""

import subprocess
import sys

import pytest

from parse_p2p.core import plugins

KINDS = [kind for kind in vars(plugins).values() if isinstance(kind, plugins.PluginKind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_the_names_read_off_the_files_are_those_of_the_plugins(kind):
    assert plugins.names(kind) == plugins.known(kind) != []


def test_names_are_known_without_torch():
    code = "import sys; from parse_p2p.core.plugins import *; names(METHODS); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
