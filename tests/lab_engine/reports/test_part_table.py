"""The table of metrics that have a value for each part."""

import math
import re

from lab_engine.reports.part_table import part_sections


def test_each_metric_of_parts_is_a_column() -> None:
    metrics = {"test/loss": 1.0, "test/f1/a/b": 0.5, "test/f1/<c>": math.nan, "val/f1/a/b": 0.25, "val/f1": 0.1}
    (section,) = part_sections(metrics, "Each class")
    html = str(section.html)
    assert re.findall(r'class="numeric">([^<]*)', html) == ["test f1", "val f1", "0.500", "0.250", "–", "–"]
    assert re.findall(r'scope="row">([^/]*/?[^/]*)</th>', html) == ["a/b", "&lt;c&gt;"]


def test_without_such_metrics_there_is_no_table() -> None:
    assert part_sections({"test/loss": 1.0, "val/loss": 2.0}, "Each class") == []
