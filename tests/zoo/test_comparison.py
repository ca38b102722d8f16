"""Tables and curves that compare measured models with each other and with published ones."""

from dataclasses import replace

import numpy as np
import pytest

import zoo
from tensortrain.figures import palette
from tests.support.pictures import looks_the_same_in_the_style
from tests.support.scores import score
from zoo.errors import ZooError
from zoo.evaluation import LAYOUTS, CopyLast, compare, curves, measured, save_figure
from zoo.settings import NoSampling


def row_of(table, model, source=""):
    """The cells of a row as printed, by column heading."""
    headings = [column.heading for column in table.columns]
    rows = [dict(zip(headings, cells, strict=True)) for cells in table.rows]
    (match,) = [row for row in rows if row["Model"] == model and source in row.get("Source", "")]
    return match


def number(cell):
    """The number in a cell, without its mark and its interval."""
    return cell.removeprefix("> ").removeprefix("≈ ").partition(" ± ")[0]


def test_table_2_sets_measured_beside_published():
    scores = [score("ours", horizon=h, observed=10) for h in (10, 30)]
    table = compare(scores, "conv-tt-lstm")
    heads = [f"10→{h}\n{head}" for h in (10, 30) for head in ("MSE ↓\n×10⁻³", "SSIM ↑", "LPIPS ↓\n×10⁻³")]
    assert [column.heading for column in table.columns] == ["Model", "Parameters", *heads, "Source"]

    fc_lstm = row_of(table, "FC-LSTM", "published: PredRNN++")
    assert fc_lstm[heads[0]] == f"{118.3 / 4.096:.2f}"
    assert fc_lstm[heads[1]] == "0.690*"  # other window and range than ours
    assert fc_lstm[heads[2]] == ""
    tt = row_of(table, "Conv-TT-LSTM, original code", "published: Conv-TT-LSTM")
    assert [tt[head] for head in heads] == ["12.96", "0.915*", "40.5", "25.81", "0.840*", "90.4"]
    assert tt["Parameters"] == "2.69 M"
    openstl = compare(scores, "openstl")
    assert row_of(openstl, "PredRNN++", "OpenSTL")[heads[0]] == f"{22.06 / 4.096:.2f}*"  # not clamped

    ours = row_of(table, "ours", "measured")
    for one, head in zip(scores, (heads[0], heads[3]), strict=True):
        assert number(ours[head]) == f"{1e3 * one.average['mse']:.2f}"
        baseline = row_of(table, "blank frames", "measured")
        assert number(baseline[head]) == f"{1e3 * one.baselines['blank frames']['mse'].mean():.2f}"
    notes = "\n".join(table.notes)
    assert "Convention standard" in notes
    assert "Convention predrnn-pp" in notes
    assert "7 clips of random frames" in notes


def test_measured_rows_stand_first_and_alone_unless_a_paper_has_the_same_data():
    alone = compare([score("ours", horizon=3, comparable_with="demo")])
    assert [row[0] for row in alone.rows] == ["ours", "copy last frame", "blank frames"]
    assert [column.heading for column in alone.columns[2:]] == ["MSE ↓\n×10⁻³", "MAE ↓\n×10⁻³", "PSNR ↑\ndB", "SSIM ↑"]
    assert "published" not in alone.text().lower()

    beside = compare([score("ours", horizon=10, observed=10)])
    assert [row[-1] for row in beside.rows[:3]] == ["measured"] * 3
    assert all("published" in row[-1] and any(row[2:-1]) for row in beside.rows[3:])
    assert len(beside.columns) == 2 + 4 + 1
    ours = measured([score("ours", horizon=10, observed=10)])
    assert [list(row) for row in ours.rows] == [list(row[:-1]) for row in beside.rows[:3]]


def test_the_best_is_marked_and_so_is_what_may_be_chance():
    def faked(name, values):
        one = score(name)
        values = np.asarray(values, np.float64)
        return replace(
            one, per_frame={"mse": np.full(3, values.mean())}, per_clip={name: {"mse": values}}, baselines={}
        )

    noise = np.array([0.0, 2, 4, 6])
    best, alike, worse = faked("best", 1 + noise), faked("alike", 1.1 + noise[::-1]), faked("worse", 2 + noise)
    table = compare([worse, alike, best])
    cells = {row[0]: row[2] for row in table.rows}
    half = 3.1824463 * noise.std(ddof=1) / 2 * 1e3
    assert cells["best"] == f"> 4000.00 ± {half:.2f}"
    assert cells["alike"].startswith("≈ 4100.00 ± ")
    assert cells["worse"].startswith("5000.00 ± ")  # every single clip is worse by one
    assert table.best == {(2, 2)}
    assert any("may be chance" in note for note in table.notes)
    assert compare([best]).best == frozenset()


def test_a_baseline_that_beats_every_model_is_named():
    ours = score("ours")
    blank = {"ssim": ours.per_frame["ssim"] + 0.5, "mse": ours.per_frame["mse"] + 1}
    text = " ".join(compare([replace(ours, baselines={"blank frames": blank})]).notes)
    assert "By SSIM the baseline 'blank frames' is better than every model" in text


def test_the_convention_of_a_paper_takes_its_stars_away():
    table = compare([score("ours", horizon=10, observed=10, convention="conv-tt-lstm")])
    tt = row_of(table, "Conv-TT-LSTM, original code", "published")
    assert tt["SSIM ↑"] == "0.915"
    assert row_of(table, "FC-LSTM", "published")["SSIM ↑"] == "0.690*"
    table = compare([score("ours", horizon=10, observed=10, convention="predrnn-pp")])
    assert row_of(table, "FC-LSTM", "published")["MSE ↓\nper frame"] == "118.30"
    assert row_of(table, "Conv-TT-LSTM, original code", "published")["MSE ↓\nper frame"] == f"{12.96 * 4.096:.2f}"


def test_the_layout_follows_the_data():
    three = score("ours", horizon=10, observed=10, comparable_with="moving-mnist-3")
    table = compare([three])
    head = "MSE ↓\n×10⁻³"
    assert row_of(table, "PredRNN", "PredRNN++, Table 1")[head] == f"{93.4 / 4.096:.2f}"
    assert number(row_of(table, "ours", "measured")[head]) == f"{1e3 * three.average['mse']:.2f}"
    assert "moving-mnist-3 10→10\nMSE ↓\n×10⁻³" in [column.heading for column in compare([three], "predrnn-pp").columns]

    kth = score("ours", horizon=20, observed=10, comparable_with="kth")
    table = compare([kth])
    assert row_of(table, "PredRNN++", "Table 3")["PSNR ↑\ndB"] == "28.47*"
    assert number(row_of(table, "ours", "measured")["PSNR ↑\ndB"]) == f"{kth.average['psnr']:.2f}"


def test_every_rule_that_cuts_windows_has_its_column_beside_the_published_numbers():
    rules = ("kth", "kth, windows by mcnet")
    both = [score(f"by {rule}", horizon=20, observed=10, comparable_with=rule) for rule in rules]
    for layout in (None, "conv-tt-lstm"):
        table = compare(both, layout)
        heads = [column.heading for column in table.columns]
        columns = [heads.index(f"{rule} 10→20\nPSNR ↑\ndB") for rule in rules]
        for row, one in enumerate(both):
            assert [bool(table.rows[row][column]) for column in columns] == [one is each for each in both]
        paper = next(row for row in table.rows if row[0] == "PredRNN++")
        assert [paper[column] for column in columns] == ["28.47*"] * 2


def test_models_of_one_column_that_were_measured_on_other_clips_are_noted():
    ours, theirs = score("ours"), score("theirs")
    text = "the models were measured on different clips"
    assert text not in " ".join(compare([ours, theirs]).notes)
    assert text in " ".join(compare([ours, replace(theirs, data="published frames")]).notes)


def test_a_printed_row_whose_numbers_are_not_known_has_dashes_and_the_reason():
    ours, kth = score("ours", horizon=10, observed=10), score("ours", horizon=20, observed=10, comparable_with="kth")
    for scores, layout, rows in (([ours], "conv-tt-lstm", 7), ([kth], "conv-tt-lstm", 1), ([ours], "predrnn-pp", 0)):
        table = compare(scores, layout)
        dashed = [row for row in table.rows if "–" in row]
        assert len(dashed) == rows
        assert all(set(row[2:-1]) == {"–"} and "Conv-TT-LSTM, Table" in row[-1] for row in dashed)
        assert any("missing from the copy" in note for note in table.notes) == bool(rows)
    both = compare([ours, kth], "conv-tt-lstm")
    assert [sum(cell == "–" for cell in row) for row in both.rows if row[0] == "Conv-TT-LSTM-FW"] == [6, 6]
    names = [row[0] for row in compare([ours], "conv-tt-lstm").rows if "–" in row]
    assert names[1:3] == ["ConvLSTM, 4 layers", "Conv-TT-LSTM, 4 layers"]
    assert "Conv-TT-LSTM-FW" not in {row[0] for row in compare([ours]).rows}


def rows_of(layout):
    """The published rows of a layout, in order."""
    return [row for table in LAYOUTS[layout].tables for row in table.rows]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_prints(layout):
    scores = [score("ours", horizon=10, observed=10), score("kth", horizon=20, observed=10, comparable_with="kth")]
    table = compare(scores, layout)
    assert sum("published: " in row[-1] for row in table.rows) == len(rows_of(layout))
    for width in (60, 80, 250):
        text = table.text(width)
        assert "…" not in text.replace("0…255", "")
        for row in rows_of(layout):
            assert row.model in text
    for each in LAYOUTS[layout].tables:
        assert each.title in table.title
        for row in each.rows:
            assert set(row.values) <= set(each.columns) | {("moving-mnist-3", 10, 10)}


def test_a_layout_shows_the_tables_that_have_the_measured_data():
    title = "Conv-TT-LSTM paper: Table 2, Moving-MNIST-2; Table 3, ablations on Moving-MNIST-2"
    assert compare([score("ours", horizon=10, observed=10)], "conv-tt-lstm").title == title
    kth = [score("ours", horizon=20, observed=10, comparable_with="kth, windows by mcnet")]
    assert compare(kth, "predrnn-pp").title == "PredRNN++ paper: Table 3, KTH"
    assert compare([score("ours", comparable_with="own")], "predrnn-pp").title.count("Table") == 3


def trained_as(name, model, preset="paper", **options):
    """Scores of a model that was trained by a recipe."""
    return replace(score(name, horizon=10, observed=10), recipe=zoo.recipe(model, preset, options=options))


def test_measured_models_stand_below_the_published_row_of_their_system():
    scores = [
        trained_as("middle", "predrnn-pp", highway="middle"),
        trained_as("final", "predrnn-pp"),
        trained_as("final, smaller", "predrnn-pp", "small", highway=1),
        trained_as("other", "conv-tt-lstm-sw"),
    ]
    table = compare([*scores, score("unknown", horizon=10, observed=10)], "predrnn-pp")
    names = [row[0] for row in table.rows]
    assert names[:4] == ["other", "unknown", "copy last frame", "blank frames"]
    at = names.index("PredRNN++ (causal LSTM + GHU)")
    assert names[at : at + 7] == [
        "PredRNN++ (causal LSTM + GHU)",
        "final",
        "final, smaller",
        "PredRNN++, highway at the bottom (1, 2)",
        "final",
        "final, smaller",
        "PredRNN++, highway in the middle (2, 3)",
    ]
    assert names[at + 7 :] == ["middle", "PredRNN++, highway at the top (3, 4)"]
    marked = {at for at, row in enumerate(table.rows) if any(cell.startswith("> ") for cell in row)}
    assert marked == {at for at, _ in table.best}
    assert table.faint == {
        at for at, row in enumerate(table.rows) if row[0] not in {one.name for one in scores} | {"unknown"}
    }


def test_a_model_stands_only_in_tables_on_its_own_data():
    recipe = zoo.recipe("conv-lstm", "paper")
    mnist, kth = (
        replace(score(name, horizon=20, observed=10, comparable_with=name), recipe=recipe)
        for name in ("moving-mnist-2", "kth")
    )
    names = [row[0] for row in compare([replace(mnist, horizon=10), kth], "conv-tt-lstm").rows]
    above = {
        name: [names[at - 1] for at, each in enumerate(names) if each == name] for name in ("moving-mnist-2", "kth")
    }
    assert above == {"moving-mnist-2": ["ConvLSTM-12, optimised code"], "kth": ["ConvLSTM-12, original code"]}


def test_the_ablations_of_a_paper_are_told_apart():
    kinds = {"base": "paper", "four": "paper-four-layers", "l1": "paper-l1-alone", "forced": "paper-teacher-forcing"}
    table = compare([trained_as(name, "conv-tt-lstm-sw", preset) for name, preset in kinds.items()], "conv-tt-lstm")
    names = [row[0] for row in table.rows]
    above = {name: [names[at - 1] for at, each in enumerate(names) if each == name] for name in kinds}
    assert above == {
        "base": ["Conv-TT-LSTM, optimised code"],
        "four": ["base", "Conv-TT-LSTM, 4 layers"],
        "l1": ["Conv-TT-LSTM, L1 only"],
        "forced": ["Conv-TT-LSTM, teacher forcing"],
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_row_is_about_a_model_of_the_zoo(layout):
    for row in rows_of(layout):
        system = row.system
        recipe = zoo.recipe(system.model, "demo", options={name: first for name, (first, *_) in system.options.items()})
        if system.teacher_forcing:
            recipe = replace(recipe, sampling=NoSampling())
        recipe = replace(recipe, training=replace(recipe.training, l1=1.0, l2=0.0 if system.l1_alone else 1.0))
        assert system.describes(recipe, {})
        assert not system.describes(replace(recipe, model="another"), {})
        both = replace(recipe.training, gradient=1.0)
        assert system.describes(replace(recipe, training=both), {}) != bool(system.l1_alone)


def test_published_numbers_are_those_of_the_papers():
    (mnist,) = [table for table in LAYOUTS["predrnn-pp"].tables if "Table 1" in table.title]
    best = {row.model: row.values for row in mnist.rows}["PredRNN++ (causal LSTM + GHU)"]
    assert best["moving-mnist-2", 10, 10] == {"ssim": 0.898, "mse": 46.5}
    assert best["moving-mnist-2", 10, 30] == {"ssim": 0.733, "mse": 91.1}
    assert best["moving-mnist-3", 10, 10] == {"ssim": 0.814, "mse": 81.7}
    highway = [row for row in rows_of("predrnn-pp") if "highway" in row.model]
    assert [row.values["moving-mnist-2", 10, 10]["mse"] for row in highway] == [46.5, 48.1, 52.0]
    kth = {row.model: row.values for row in rows_of("conv-tt-lstm") if ("kth", 10, 40) in row.values}
    expected = {"psnr": 26.49, "ssim": 0.883, "lpips": 0.2118}
    assert kth["Conv-TT-LSTM, optimised code"]["kth", 10, 40] == pytest.approx(expected)


def test_long_names_of_data_stand_below_the_table_and_other_data_are_called_that():
    long = "moving-mnist-1, 40×40, 300 embedded digits"
    other = replace(score("theirs", comparable_with=long), name="theirs")
    table = compare([score("ours"), other])
    assert "data set 2 4→3\nMSE ↓\n×10⁻³" in [column.heading for column in table.columns]
    assert any("data set 2 4→3: " in note for note in table.notes)
    assert "The models were measured on different data, so their numbers cannot be compared." in table.notes
    both = compare([score("ours"), score("ours", horizon=2), score("theirs")])
    assert not any("cannot be compared" in note for note in both.notes)


def test_what_cannot_be_compared_is_refused():
    ours = score("ours")
    with pytest.raises(ZooError, match="no scores to compare"):
        compare([])
    with pytest.raises(ZooError, match="two scores are named 'ours' at horizon 3"):
        compare([ours, ours])
    with pytest.raises(ZooError, match="'ours' was measured by convention 'standard', but 'theirs' by 'openstl'"):
        compare([ours, score("theirs", convention="openstl")])
    with pytest.raises(ZooError, match="no layout 'opnstl'; did you mean 'openstl'"):
        compare([ours], "opnstl")
    with pytest.raises(ZooError, match="no metric 'lpips' was measured"):
        curves([ours], ["lpips"])


# Curves


def test_curves_draw_every_model_at_every_frame():
    scores = [score("ours", horizon=5), score("theirs", CopyLast(), horizon=3)]
    figure = curves(scores)
    panels = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title() for axes in panels] == ["MSE ↓ ×10⁻³", "MAE ↓ ×10⁻³", "PSNR ↑ dB", "SSIM ↑"]
    lines = {line.get_label(): line for line in panels[0].lines}
    assert list(lines) == ["copy last frame", "blank frames", "ours", "theirs"]
    np.testing.assert_allclose(lines["ours"].get_xydata(), np.c_[range(1, 6), 1e3 * scores[0].per_frame["mse"]])
    assert len(lines["theirs"].get_xydata()) == 3
    assert "Convention standard" in figure.get_supxlabel().replace("\n", " ")
    assert len(curves(scores, ["ssim"]).axes) == 1
    assert looks_the_same_in_the_style(figure)


def test_every_model_has_a_look_of_its_own_and_none_is_grey():
    figure = curves([score(f"model {number}", horizon=2) for number in range(9)], ["ssim"])
    looks = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines][-9:]
    assert len(set(looks)) == 9
    assert palette()[-1] not in {colour for colour, _ in looks}


def test_curves_on_other_data_have_panels_of_their_own():
    two, three = (
        [score(name, comparable_with=f"moving-mnist-{digits}", count=digits) for name in ("ours", "theirs")]
        for digits in (2, 3)
    )
    figure = curves([*two, *three], ["mse", "ssim"])
    panels = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title().split("\n")[0] for axes in panels] == [
        f"moving-mnist-{digits} after 4 observed frames" for digits in (2, 2, 3, 3)
    ]
    for axes, group in zip(panels[::2], (two, three), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == ["copy last frame", "blank frames", "ours", "theirs"]
        np.testing.assert_allclose(lines["theirs"].get_ydata(), 1e3 * group[1].per_frame["mse"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    foot = figure.get_supxlabel().replace("\n", " ")
    assert all(f"moving-mnist-{digits} after 4 observed frames; {digits} clips of" in foot.lower() for digits in (2, 3))


def test_the_band_of_a_curve_is_the_confidence_interval_over_the_clips():
    ours, single = score("ours", horizon=5), replace(score("single", horizon=5), half_intervals={})
    figure = curves([ours, single], ["mse"])
    (band,) = figure.axes[0].collections  # none for baselines, none where it is not known
    low, high = (1e3 * (ours.per_frame["mse"] + sign * ours.half_intervals["ours"]["mse"]) for sign in (-1, 1))
    corners = band.get_paths()[0].vertices
    for frame in range(1, 6):
        heights = corners[corners[:, 0] == frame, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [low[frame - 1], high[frame - 1]])
    assert "95 % confidence intervals over the clips" in figure.get_supxlabel().replace("\n", " ")
    assert "95 %" not in curves([single], ["mse"]).get_supxlabel()


@pytest.mark.parametrize("metrics", [None, ["mse"]])
def test_names_however_long_stay_within_the_figure(metrics):
    figure = curves([score(f"conv-tt-lstm-sw:moving-mnist-{n}" + "x" * 20) for n in range(4)], metrics)
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.width


def test_a_baseline_far_off_does_not_squeeze_the_models():
    ours = score("ours")
    near, far = ({"mse": np.full(3, times * ours.per_frame["mse"].max())} for times in (3.9, 4.1))
    panel = curves([replace(ours, baselines={"near": near, "far": far})], ["mse"]).axes[0]
    assert np.isfinite(panel.lines[0].get_ydata()).all()
    assert np.isnan(panel.lines[1].get_ydata()).all()
    assert [text.get_text().partition(":")[0] for text in panel.texts] == ["far"]


def test_notes_on_baselines_far_off_are_stacked():
    ours = score("ours")
    far = {name: {"mse": np.full(3, 9 * ours.per_frame["mse"].max())} for name in ("one", "two")}
    (note,) = curves([replace(ours, baselines=far)], ["mse"]).axes[0].texts
    assert [line.partition(":")[0] for line in note.get_text().split("\n")] == ["one", "two"]


def test_curves_are_written_whole_or_not_at_all(tmp_path):
    figure = curves([score()])
    save_figure(figure, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ZooError, match=r"legal is \.png"):
        save_figure(figure, tmp_path / "curves.doc")
    with pytest.raises(ZooError, match="nowhere is not a folder"):
        save_figure(figure, tmp_path / "nowhere" / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
