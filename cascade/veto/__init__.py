"""CCDs that artifacts touch, and the lists of those that a survey should not use."""

from cascade.veto.entries import Kept, ReadList
from cascade.veto.layouts import DES_HEADER, FORMS
from cascade.veto.merge import Comparison, compare_lists, earlier_list, merge_lists
from cascade.veto.provenance import Provenance
from cascade.veto.reading import DES_LIST, open_list, read_des, read_list, split_form
from cascade.veto.rules import VETO, VetoList, VetoRule, veto_rows
from cascade.veto.writing import FORMATS, SUFFIXES, check_format, veto_bytes, write_veto

__all__ = [
    "DES_HEADER",
    "DES_LIST",
    "FORMATS",
    "FORMS",
    "SUFFIXES",
    "VETO",
    "Comparison",
    "Kept",
    "Provenance",
    "ReadList",
    "VetoList",
    "VetoRule",
    "check_format",
    "compare_lists",
    "earlier_list",
    "merge_lists",
    "open_list",
    "read_des",
    "read_list",
    "split_form",
    "veto_bytes",
    "veto_rows",
    "write_veto",
]
