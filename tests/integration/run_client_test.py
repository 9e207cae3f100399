"""Runs a test with the interpreter that has its packages; exits 77 (skipped) without it.

    run_client_test.py PYTHON SCRIPT [argument ...]
"""

import os
import sys


def main():
    python, *command = sys.argv[1:]
    if not os.path.exists(python):
        print(f"SKIPPED: {python} does not exist; tools/test.sh installs it")
        sys.exit(77)
    sys.stdout.flush()
    os.execv(python, [python, *command])


if __name__ == "__main__":
    main()
