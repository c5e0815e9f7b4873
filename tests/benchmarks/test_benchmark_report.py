from benchmarks.report import FLOOR, GATEWAY, SIMULATOR, Finding, Report, Target, Unit, table

COST = Finding(
    measurement="chat: CPU per request",
    unit=Unit.MICROSECONDS,
    samples={SIMULATOR: [20, 21, 19], FLOOR: [150, 140, 160], GATEWAY: [380, 390, 330]},
    target=Target(at_most=400, times_floor=2.7),
)


def finding(*gateway: float, floor: float = 150, target: Target | None = None) -> Finding:
    return Finding(measurement="it", unit=Unit.MICROSECONDS, samples={FLOOR: [floor], GATEWAY: gateway}, target=target)


def test_a_target_is_met_by_the_median_not_by_every_sample():
    assert finding(390, 410, 395, target=Target(at_most=400)).is_met()
    assert finding(390, 410, 405, target=Target(at_most=400)).is_met() is False


def test_a_target_in_relation_to_the_floor_must_be_met_as_well():
    target = Target(at_most=400, times_floor=2.7)
    assert finding(390, floor=150, target=target).is_met()
    assert finding(390, floor=140, target=target).is_met() is False


def test_without_a_target_or_a_gateway_there_is_no_verdict():
    assert finding(390).is_met() is None
    assert finding(target=Target(at_most=400)).is_met() is None


def test_an_added_latency_below_zero_has_no_ratio():
    assert finding(1.0, floor=-0.2).times_floor(GATEWAY) is None


def test_the_table_has_a_row_for_each_subject_and_judges_only_the_gateway():
    head, _rule, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table([COST]).splitlines())
    assert head == ["Measurement", "Subject", "Median", "Spread", "x floor", "Target", "Verdict"]
    assert [row[1:] for row in rows] == [
        ["simulator", "20 µs", "19 to 21", "", "", ""],
        ["floor", "150 µs", "140 to 160", "", "", ""],
        ["gateway", "380 µs", "330 to 390", "2.53", "≤ 400 µs, ≤ 2.7 x floor", "met"],
    ]


def test_subjects_that_were_not_measured_have_no_row():
    only_floor = Finding(measurement="it", unit=Unit.COUNT, samples={FLOOR: [1]})
    assert len(table([only_floor]).splitlines()) == 3


def test_numbers_have_thousands_separators_and_the_decimals_of_their_unit():
    assert Unit.PER_SECOND.write(12345.6) == "12,346 /s"
    assert Unit.MILLISECONDS.write(1.234) == "1.23 ms"
    assert Unit.COUNT.write(0) == "0"


def test_the_report_names_what_is_missed():
    missed = finding(500, target=Target(at_most=400))
    text = Report(heading="A machine", findings=[COST, missed], remarks=["Quick."]).markdown()
    assert text.startswith("# Benchmark results\n\nA machine\n\nQuick.\n\n| Measurement")
    assert "not met" in text
    assert text.endswith("1 of 2 targets are met. Missed: it.\n")


def test_the_report_says_when_all_is_well_and_when_there_was_no_gateway():
    assert "All 1 targets are met." in Report(heading="", findings=[COST]).markdown()
    assert "No gateway was measured." in Report(heading="", findings=[finding()]).markdown()
