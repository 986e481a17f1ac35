"""The one exception that a user is meant to see."""


class UserError(Exception):
    """A mistake or a circumstance outside the program that the user can mend.

    The message is one line that says what was found, what was expected and what to do next. The command line prints it
    without a traceback and exits with status 2. Anything else that is raised is a bug and keeps its traceback.
    """
