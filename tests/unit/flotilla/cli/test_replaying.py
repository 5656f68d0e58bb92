"""``flotilla autoscale replay``: what is read, what is refused, what is shown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from flotilla.cli.failures import CommandError
from flotilla.cli.replaying import Request, each_second, read_autoscaler, read_series, run

ROOT = Path(__file__).parents[4]
SAMPLE = ROOT / "manifests" / "service.yaml"
LOAD = "second,cores\n0,0.05\n30,1.0\n90,0.05\n"


def _request(directory: Path, **changes: object) -> Request:
    series = directory / "load.csv"
    series.write_text(LOAD, encoding="utf-8")
    arguments: dict[str, object] = {
        "manifest": SAMPLE,
        "series": series,
        "prometheus": "",
        "query": "",
        "last": "1h",
        "pod_request": "100m",
        "pod_limit": "200m",
        "start_s": 1.0,
        "replicas": 0,
        "loop": "flotilla",
        "plot": None,
        "output": "",
    }
    return Request(**(arguments | changes))  # type: ignore[arg-type]


def test_changes_are_listed_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both loops are told one below the other, each with what it comes to."""
    run(_request(tmp_path, loop="both"))
    shown = capsys.readouterr().out
    assert "Loop: flotilla" in shown
    assert "Loop: kubernetes" in shown
    assert "2 -> " in shown
    assert "cpu resource utilization (percentage of request) above target" in shown
    assert "pod-seconds" in shown


def test_csv_has_every_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs each second is a row."""
    run(_request(tmp_path, output="csv"))
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["second"] for row in rows] == [str(second) for second in range(91)]
    assert max(int(row["replicas"]) for row in rows) > 2


@pytest.mark.parametrize(("name", "begins"), [("replay.svg", b"<?xml"), ("replay.png", b"\x89PNG")])
def test_a_picture_is_written(tmp_path: Path, name: str, begins: bytes) -> None:
    """Replicas against load as a picture, of the kind that the name says."""
    run(_request(tmp_path, plot=tmp_path / name, loop="both"))
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loop": "nomad"}, "--loop is flotilla, kubernetes or both"),
        ({"output": "xml"}, "--output is csv"),
        ({"plot": Path("replay.pdf")}, r"must end in \.svg or \.png"),
        ({"pod_request": "much"}, "--pod-request: 'much' is no quantity"),
        ({"pod_limit": "0"}, "--pod-limit must be more than 0"),
        ({"series": None}, "the load is missing"),
        ({"series": None, "prometheus": "ftp://x", "query": "up"}, "no http or https URL"),
        ({"manifest": Path("nothing.yaml")}, "nothing.yaml"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """What can't be replayed says which argument is wrong and what is expected."""
    with pytest.raises(CommandError, match=message):
        run(_request(tmp_path, **changes))


def test_series_are_read_with_times(tmp_path: Path) -> None:
    """Moments are seconds or times, in any order, and comments are passed over."""
    path = tmp_path / "load.csv"
    path.write_text("time,load\n# night\n2026-01-01T00:00:05Z,2\n2026-01-01T00:00:00Z,1\n", encoding="utf-8")
    points = read_series(path)
    assert [value for _, value in points] == [1.0, 2.0]
    assert each_second(points) == [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"), [("0,1\n1,much\n", "load.csv:2: a time and a number"), ("0,1\n", "1 points"), ("", "0 points")]
)
def test_faulty_series_are_named(tmp_path: Path, text: str, message: str) -> None:
    """A line that is no point is named by its number."""
    path = tmp_path / "load.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CommandError, match=message):
        read_series(path)


def test_an_invalid_autoscaler_is_named(tmp_path: Path) -> None:
    """The manifest is judged as the API would judge it."""
    path = tmp_path / "hpa.yaml"
    head = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n"
    path.write_text(
        head + "spec: {minReplicas: 3, maxReplicas: 2, scaleTargetRef: {kind: Deployment, name: web}}", encoding="utf-8"
    )
    with pytest.raises(CommandError, match=r"spec\.maxReplicas"):
        read_autoscaler(path)
    path.write_text("kind: Pod\n", encoding="utf-8")
    with pytest.raises(CommandError, match="has no HorizontalPodAutoscaler"):
        read_autoscaler(path)
