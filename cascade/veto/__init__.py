"""CCDs that artifacts touch, and the lists of those that a survey should not use."""

from cascade.veto.merge import Comparison, compare_lists, kept_entries, merged_list
from cascade.veto.reading import DES_LIST, read_des, read_list
from cascade.veto.rules import VETO, VetoList, VetoRule, veto_rows
from cascade.veto.writing import DES_HEADER, FORMATS, write_veto

__all__ = [
    "DES_HEADER",
    "DES_LIST",
    "FORMATS",
    "VETO",
    "Comparison",
    "VetoList",
    "VetoRule",
    "compare_lists",
    "kept_entries",
    "merged_list",
    "read_des",
    "read_list",
    "veto_rows",
    "write_veto",
]
