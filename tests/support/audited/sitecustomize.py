"""Notes which process opens which file below the folder AUDITED, in a file beside it, from its first line of Python on.

Found by Python itself where this folder is on its path. A process is called as AUDITED_BY says, or as multiprocessing
has it.
"""

import os
import sys
from multiprocessing import process

WATCHED = os.environ["AUDITED"]
NAME = os.environ.get("AUDITED_BY")


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(f"{WATCHED}/"):
        log = os.open(f"{WATCHED}.opened", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, f"{NAME or process.current_process().name} {arguments[0]}\n".encode())
        os.close(log)


sys.addaudithook(note)
