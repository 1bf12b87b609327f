"""
Studies of speed and of what the cascade costs and buys; see ``benchmarks/README.md``.

Each study is a function that measures and returns plain numbers (`seasons`, `roofline`, `scaling`, `real`), with a
``*_report`` module beside it that makes a table and a figure of them; `study` writes all three.
"""
