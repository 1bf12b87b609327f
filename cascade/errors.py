"""
The errors that cascade raises on purpose.

::

    CascadeError
    ├── InputError    an exposure or annotation that cannot be used: unreadable, wrong shape, wrong camera
    ├── ModelError    a model folder that is missing, incomplete or does not match its hash
    ├── StoreError    a run directory that is missing, damaged or belongs to another configuration
    ├── OutageError   a store or scheduler that cannot be reached for now; the same may work later
    └── ConfigError   an option or configuration file that makes no sense

The command line prints them as one ``error: …`` line; anything else is a bug and shows its traceback.
"""


class CascadeError(Exception):
    """Base of every error raised on purpose; its message is one line for a person."""


class InputError(CascadeError):
    """An input that cannot be used; a run records it in the failures table and goes on."""


class ModelError(CascadeError):
    """A model that cannot be found, verified or loaded."""


class StoreError(CascadeError):
    """A run directory that cannot be used as asked."""


class OutageError(CascadeError):
    """A store or scheduler that cannot be reached for now; nothing is wrong with what was asked of it."""


class ConfigError(CascadeError):
    """A configuration or option that makes no sense."""
