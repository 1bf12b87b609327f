"""
A plugin of pytest that runs any tests with a fourth class in the table.

As in ``PYTHONPATH=.:tests python -m pytest -p four_classes tests/veto``.
"""

from class_table import add_trail

add_trail()
