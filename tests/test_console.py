"""What a person at the terminal reads is right."""

from elastic_jax import console


def test_the_pace_counts_from_the_first_report():
    """100 steps in the 4 s since the first report make 25 steps/s; the 500 that remain take 20 s."""
    assert console.pace(10.0, 400, 14.0, 500, 1000) == "25 steps/s, 0:00:04 gone, 0:00:20 left"


def test_before_the_second_report_there_is_no_pace():
    assert console.pace(10.0, 400, 10.0, 400, 1000) == ""
