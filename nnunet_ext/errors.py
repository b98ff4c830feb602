"""The one error that is meant for the user rather than for us."""


class UserError(RuntimeError):
    """A mistake that the user can mend: one line saying what was expected, what was found and what to do.

    The command line prints the line and exits with code 2; inside nnU-Net's own commands it ends the traceback.
    """
