"""The program ``nnunet_ext``; Ctrl-C gets one line also while Python is still importing the commands."""

import sys


def start() -> int:
    """Run the sub-command of ``sys.argv`` and return its exit code."""
    try:
        from nnunet_ext.cli.main import main
    except KeyboardInterrupt:
        print("nnunet_ext: interrupted (SIGINT) before it began.", file=sys.stderr)
        return 130
    return main()
