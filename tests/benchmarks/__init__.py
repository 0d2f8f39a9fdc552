"""What Acuse promises about speed, measured: `make bench`, or `python -m tests.benchmarks [callbacks visible bulk …]`.

Each measurement is a module with one coroutine, `measure(bench)`, that gives figures; all of them run against one real
service (worker running, fsync on) that this package starts in a folder of its own and stops again. Loopback only.
Rates are judged as ratios to something measured in the same run, because machines differ; see docs/benchmarks.md.
"""
