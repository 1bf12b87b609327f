"""
Benchmarks of the speed, cost and benefit of the cascade; see ``benchmarks/README.md``.

Each study is a function that measures and returns plain numbers (`seasons`, `roofline`, `scaling`, `real`), with a
``*_report`` module that renders them as a table and a figure; `study` writes all three.
"""
