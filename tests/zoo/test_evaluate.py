"""`evaluate` against a naive evaluation, its scores, and the tables and curves made of them."""

import json
import weakref
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from rich.console import Console
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from zoo.data import ClipDataset
from zoo.errors import ZooError
from zoo.evaluation import (
    LAYOUTS,
    Blank,
    CopyLast,
    Scores,
    compare,
    curves,
    evaluate,
    find_convention,
    save_figure,
    save_values,
)
from zoo.recurrent import RecurrentPredictor


class Indices(NamedTuple):
    clips: Tensor


class Clips(ClipDataset):
    """Clip i is random frames, seeded by i; remembers what it rendered."""

    def __init__(self, length=8, count=7, channels=1, comparable_with="moving-mnist-2", size=(20, 18)):
        self.length, self.count, self.frame = length, count, (channels, *size)
        self.comparable_with = comparable_with
        self.rendered = []

    def __len__(self):
        return self.count

    def fetch(self, indices):
        return Indices(torch.tensor(list(indices)))

    def render(self, batch):
        clips = [
            torch.rand(self.length, *self.frame, generator=torch.Generator().manual_seed(i))
            for i in batch.clips.tolist()
        ]
        self.rendered.append(weakref.ref(result := torch.stack(clips)))
        return result

    def describe(self):
        return "random frames"


class Conv(RecurrentPredictor):
    """The next frame is a conv of this one and of a running mean; dropout would show a forgotten `eval()`."""

    def __init__(self, channels=1):
        super().__init__(channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.calls = []

    def initial_state(self, batch, size, device, dtype):
        return torch.zeros(batch, self.channels, *size, device=device, dtype=dtype)

    def read(self, frames, state):
        predictions = []
        for frame in frames:
            state = 0.5 * (state + frame)
            predictions.append(frame + self.dropout(self.conv(torch.cat([frame, state], 1))))
        self.calls.append(torch.is_grad_enabled())
        return torch.stack(predictions), state


def naive(model, dataset, observed, horizon, count):
    """All predictions at once, then NumPy and scikit-image."""
    clips = dataset.clips(range(count))
    with torch.no_grad():
        predictions = model.eval()(clips[:, :observed], horizon)[:, -horizon:].clamp(0, 1).double().numpy()
    true = clips[:, observed : observed + horizon].double().numpy()
    mse = ((predictions - true) ** 2).mean((2, 3, 4))
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 1,
        "channel_axis": 0,
    }
    ssim = [
        [structural_similarity(a, b, **options) for a, b in zip(x, y, strict=True)]
        for x, y in zip(predictions, true, strict=True)
    ]
    return {
        "mse": mse.mean(0),
        "mae": np.abs(predictions - true).mean((0, 2, 3, 4)),
        "psnr": (-10 * np.log10(mse)).mean(0),
        "ssim": np.mean(ssim, 0),
    }


PLAIN = ("mse", "mae", "psnr", "ssim")


def score(name="model", model=None, horizon=3, observed=4, convention="standard", **options):
    """Scores of the tiny model on tiny clips, without LPIPS."""
    dataset = Clips(**{"length": horizon + observed, **options})
    metrics = [key for key in PLAIN if key in find_convention(convention)]
    return evaluate(
        model or Conv(), dataset, horizon, observed=observed, convention=convention, metrics=metrics, name=name
    )


def printed(renderable, width=250):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("horizon", "observed"), [(3, 4), (1, 1), (5, 2)])
def test_scores_are_those_of_a_naive_evaluation(channels, horizon, observed):
    dataset = Clips(channels=channels)
    model = Conv(channels)
    scores = evaluate(model, dataset, horizon, observed=observed, metrics=PLAIN, batch=3)
    everyone = {"copy last frame": CopyLast(channels), "blank frames": Blank(channels), "Conv": model}
    assert list(scores.rows) == list(everyone)
    for name, predictor in everyone.items():
        expected = naive(predictor, dataset, observed, horizon, len(dataset))
        assert scores.rows[name].keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(scores.rows[name][key], values, rtol=1e-5, atol=1e-6)
    assert scores.average["mse"] == pytest.approx(scores.per_frame["mse"].mean())
    assert (scores.clips, scores.horizon, scores.observed, scores.frame) == (7, horizon, observed, (channels, 20, 18))
    assert scores.parameters == sum(p.numel() for p in model.parameters())


def test_scores_do_not_depend_on_the_batch():
    rows = [evaluate(Conv(), Clips(count=9), 3, observed=4, metrics=PLAIN, batch=b).rows for b in (1, 4, 9, 50)]
    for other in rows[1:]:
        for name, per_frame in rows[0].items():
            for key, values in per_frame.items():
                np.testing.assert_allclose(other[name][key], values, rtol=1e-6)


def test_parts_of_a_batch_do_not_change_scores():
    # more frames than are measured at a time, in clips longer than that too
    short, long = Clips(length=31, count=5, size=(12, 12)), Clips(length=71, count=2, size=(12, 12))
    for dataset, horizon in ((short, 30), (long, 70)):
        scores = evaluate(CopyLast(), dataset, horizon, observed=1, metrics=PLAIN, batch=5)
        expected = naive(CopyLast(), dataset, 1, horizon, len(dataset))
        np.testing.assert_allclose(scores.per_frame["ssim"], expected["ssim"], rtol=1e-6, atol=1e-7)


def test_count_takes_the_first_clips():
    scores = evaluate(CopyLast(), Clips(count=30), 2, observed=3, metrics=["mse"], count=4)
    expected = naive(CopyLast(), Clips(), 3, 2, 4)
    np.testing.assert_allclose(scores.per_frame["mse"], expected["mse"], rtol=1e-6)
    assert scores.clips == 4


def test_memory_does_not_grow_with_the_clips():
    dataset, predicted, alive = Clips(count=40), [], []

    class Watched(CopyLast):
        def read(self, frames, state):
            predictions = frames.clone()
            predicted.append(weakref.ref(predictions))
            alive.append(sum(ref() is not None for ref in predicted + dataset.rendered))
            return predictions, state

    evaluate(Watched(), dataset, 3, observed=4, metrics=PLAIN, batch=2)
    assert len(dataset.rendered) == 21
    assert max(alive[-20:]) <= max(alive[:20]) < 12


def test_the_model_is_left_as_it_was():
    model = Conv().train()
    model.conv.eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.random.get_rng_state()
    evaluate(model, Clips(), 2, observed=2, metrics=["mse"])
    assert model.training
    assert not model.conv.training
    assert model.dropout.training
    assert not any(model.calls)  # no gradients
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and not p.is_inference() for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_model_is_left_as_it_was_after_an_error():
    class Broken(Conv):
        def read(self, frames, state):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(model, Clips(), 2, observed=2, metrics=["mse"])
    assert model.training
    assert model.dropout.training


def test_a_model_in_double_precision_is_measured():
    scores = evaluate(Conv().double(), Clips(), 3, observed=4, metrics=PLAIN)
    np.testing.assert_allclose(scores.per_frame["mse"], score(length=8).per_frame["mse"], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon = 0 must be at least 1"),
        ({"observed": 0}, "observed = 0 must be at least 1"),
        ({"batch": 0}, "batch = 0 must be at least 1"),
        ({"horizon": 30}, "clips of 8 steps are too short for 4 observed and 30 predicted ones; .*length=34"),
        ({"count": 8}, "count = 8 must be from 1 to 7"),
        ({"count": 0}, "count = 0 must be from 1 to 7"),
        ({"convention": "opnstl"}, "no convention 'opnstl'; did you mean 'openstl'"),
        ({"metrics": ["msee"]}, "no metric 'msee'; did you mean 'mse'"),
        ({"name": "blank frames"}, "is that of a baseline"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ZooError, match=message):
        evaluate(Conv(), Clips(), **{"horizon": 3, "observed": 4, "metrics": ["mse"], **options})


def test_a_model_of_other_channels_is_refused():
    with pytest.raises(ZooError, match="x has shape"):
        evaluate(Conv(3), Clips(), 3, observed=4, metrics=["mse"])


def test_missing_weights_and_small_frames_leave_columns_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    scores = evaluate(Conv(), Clips(size=(10, 40)), 3, observed=4, root=tmp_path)
    assert scores.per_frame.keys() == {"mse", "mae", "psnr"}
    ssim, lpips = scores.notes
    assert "SSIM is empty: frames of 10 pixels are smaller" in ssim
    assert "LPIPS is empty: weights of the squeeze backbone are missing; save https" in lpips
    text = printed(scores.table())
    assert "LPIPS ↓" in text
    assert lpips in scores.table().caption
    assert lpips in compare([scores]).caption


def test_lpips_is_measured_per_frame_and_for_the_baselines(data_root):
    dataset = Clips(size=(32, 40), count=3)
    scores = evaluate(CopyLast(), dataset, 2, observed=3, metrics=["lpips"], root=data_root, batch=2)
    clips = dataset.clips(range(3))
    measure = find_convention("standard")["lpips"]
    expected = measure.between(clips[:, 2:3].repeat(1, 2, 1, 1, 1), clips[:, 3:5], data_root).mean(0)
    for row in ("CopyLast", "copy last frame"):
        np.testing.assert_allclose(scores.rows[row]["lpips"], expected, rtol=1e-5)


def test_progress_goes_to_standard_error(capfd):
    evaluate(Conv(), Clips(), 2, observed=2, metrics=["mse"], progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Evaluating" in err
    evaluate(Conv(), Clips(), 2, observed=2, metrics=["mse"])
    assert capfd.readouterr() == ("", "")


# Scores


def test_scores_survive_a_file(tmp_path):
    scores = score()
    scores.save(tmp_path / "scores.json")
    loaded = Scores.load(tmp_path / "scores.json")
    assert printed(loaded.table()) == printed(scores.table())
    for name, per_frame in scores.rows.items():
        for key, values in per_frame.items():
            np.testing.assert_array_equal(loaded.rows[name][key], values)
    plain = {"per_frame": None, "baselines": None}
    assert vars(loaded) | plain == vars(scores) | plain
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_scores_are_written_as_csv(tmp_path):
    scores = score(horizon=2)
    other = replace(scores, name="other")
    save_values([scores, other], tmp_path / "scores.csv")
    head, *lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert head == "data,observed,horizon,model,metric,frame,value"
    assert len(lines) == len(set(lines)) == 4 * 4 * 2  # the baselines once
    for name in ("model", "other"):
        assert f"{scores.comparable_with},{scores.observed},2,{name},ssim,2,{scores.per_frame['ssim'][1]}" in lines


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"convention": {"name": "x"}}', "not json"])
def test_files_without_scores_are_refused(content, tmp_path):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ZooError, match="does not hold scores"):
        Scores.load(path)


def test_scores_of_an_unknown_measure_are_refused(tmp_path):
    path = tmp_path / "scores.json"
    score().save(path)
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"convention": {"name": "", "source": "", "measures": [{}]}})
    )
    with pytest.raises(ZooError, match="does not hold scores"):
        Scores.load(path)


def test_scores_are_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZooError, match="cannot write"):
        score().save(tmp_path / "nowhere" / "scores.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("convention", ["standard", "conv-tt-lstm", "predrnn-pp", "openstl"])
def test_tables_print_values_and_convention(convention):
    scores = score(convention=convention)
    text = printed(scores.table())
    assert f"Convention {convention}" in text
    assert "7 clips of random frames" in text
    for name in ("copy last frame", "blank frames", "model"):
        line = next(line for line in text.splitlines() if name in line)
        for key, value in scores.rows[name].items():
            assert scores.convention[key].shown(value.mean()) in line


def test_tables_print_any_name():
    scores = score("runs/[bold]a", horizon=10, observed=10)
    assert "runs/[bold]a" in printed(scores.table())
    assert "runs/[bold]a" in printed(compare([scores]))


# Tables of the papers


def row_of(table, model, source):
    """The cells of a row as printed, by column heading."""
    headings = [column.header for column in table.columns]
    columns = [list(column.cells) for column in table.columns]
    rows = [dict(zip(headings, cells, strict=True)) for cells in zip(*columns, strict=True)]
    (match,) = [row for row in rows if row["Model"] == model and source in row["Source"]]
    return match


def test_table_2_sets_measured_beside_published():
    scores = [score("ours", horizon=h, observed=10) for h in (10, 30)]
    table = compare(scores)
    heads = [f"10→{h}\n{head}" for h in (10, 30) for head in ("MSE ↓\n×10⁻³", "SSIM ↑", "LPIPS ↓\n×10⁻³")]
    assert [column.header for column in table.columns] == ["Model", "Parameters", *heads, "Source"]

    fc_lstm = row_of(table, "FC-LSTM", "published: PredRNN++")
    assert fc_lstm[heads[0]] == f"{118.3 / 4.096:.2f}"
    assert fc_lstm[heads[1]] == "0.690*"  # other window and range than ours
    assert fc_lstm[heads[2]] == ""
    tt = row_of(table, "Conv-TT-LSTM, original code", "published: Conv-TT-LSTM")
    assert [tt[head] for head in heads] == ["12.96", "0.915*", "40.5", "25.81", "0.840*", "90.4"]
    assert tt["Parameters"] == "2.69 M"
    assert row_of(table, "PredRNN++", "OpenSTL")[heads[0]] == f"{22.06 / 4.096:.2f}*"  # not clamped

    ours = row_of(table, "ours", "measured")
    for one, head in zip(scores, (heads[0], heads[3]), strict=True):
        assert ours[head] == f"{1e3 * one.average['mse']:.2f}"
        baseline = row_of(table, "blank frames", "measured")
        assert baseline[head] == f"{1e3 * one.baselines['blank frames']['mse'].mean():.2f}"
    assert "Convention standard" in table.caption
    assert "Convention predrnn-pp" in table.caption
    assert "7 clips of random frames" in table.caption


def test_the_convention_of_a_paper_takes_its_stars_away():
    table = compare([score("ours", horizon=10, observed=10, convention="conv-tt-lstm")])
    tt = row_of(table, "Conv-TT-LSTM, original code", "published")
    assert tt["10→10\nSSIM ↑"] == "0.915"
    assert row_of(table, "FC-LSTM", "published")["10→10\nSSIM ↑"] == "0.690*"
    table = compare([score("ours", horizon=10, observed=10, convention="predrnn-pp")])
    assert row_of(table, "FC-LSTM", "published")["10→10\nMSE ↓\nper frame"] == "118.30"
    assert (
        row_of(table, "Conv-TT-LSTM, original code", "published")["10→10\nMSE ↓\nper frame"] == f"{12.96 * 4.096:.2f}"
    )


def test_the_layout_follows_the_data():
    three = score("ours", horizon=10, observed=10, comparable_with="moving-mnist-3")
    table = compare([three])
    head = "MNIST-3 10→10\nMSE ↓\n×10⁻³"
    assert row_of(table, "PredRNN", "PredRNN++, Table 1")[head] == f"{93.4 / 4.096:.2f}"
    assert row_of(table, "ours", "measured")[head] == f"{1e3 * three.average['mse']:.2f}"

    kth = score("ours", horizon=20, observed=10, comparable_with="kth")
    table = compare([kth])
    assert row_of(table, "PredRNN++", "Table 3")["10→20\nPSNR ↑\ndB"] == "28.47*"
    assert row_of(table, "ours", "measured")["10→20\nPSNR ↑\ndB"] == f"{kth.average['psnr']:.2f}"


def test_what_no_paper_measured_gets_its_own_columns():
    table = compare([score("ours", horizon=3, comparable_with="demo")])
    assert row_of(table, "ours", "measured")["demo 4→3\nSSIM ↑"] != ""
    assert row_of(table, "ConvLSTM", "published")["demo 4→3\nSSIM ↑"] == ""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_prints(layout):
    text = printed(compare([score("ours", horizon=10, observed=10)], layout))
    assert text.count("published: ") == len(LAYOUTS[layout].rows)
    assert "…" not in text.replace("0…255", "")
    for row in LAYOUTS[layout].rows:
        assert row.model in text
        assert set(row.values) <= set(LAYOUTS[layout].columns) | {("moving-mnist-3", 10, 10)}


def test_published_numbers_are_those_of_the_papers():
    best = {row.model: row.values for row in LAYOUTS["predrnn-pp"].rows}["PredRNN++ (causal LSTM + GHU)"]
    assert best["moving-mnist-2", 10, 10] == {"ssim": 0.898, "mse": 46.5}
    assert best["moving-mnist-2", 10, 30] == {"ssim": 0.733, "mse": 91.1}
    assert best["moving-mnist-3", 10, 10] == {"ssim": 0.814, "mse": 81.7}
    highway = [row.values["moving-mnist-2", 10, 10]["mse"] for row in LAYOUTS["predrnn-pp-highway"].rows]
    assert highway == [46.5, 48.1, 52.0]
    kth = {row.model: row.values for row in LAYOUTS["kth"].rows}["Conv-TT-LSTM, optimised code"]
    assert kth["kth", 10, 40] == pytest.approx({"psnr": 26.49, "ssim": 0.883, "lpips": 0.2118})


def test_what_cannot_be_compared_is_refused():
    ours = score("ours")
    with pytest.raises(ZooError, match="no scores to compare"):
        compare([])
    with pytest.raises(ZooError, match="two scores are named 'ours' at horizon 3"):
        compare([ours, ours])
    with pytest.raises(ZooError, match="'ours' was measured by convention 'standard' and 'theirs' by 'openstl'"):
        compare([ours, score("theirs", convention="openstl")])
    with pytest.raises(ZooError, match="no layout 'khh'; did you mean 'kth'"):
        compare([ours], "khh")
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


def test_a_baseline_far_off_does_not_squeeze_the_models():
    ours = score("ours")
    near, far = ({"mse": np.full(3, times * ours.per_frame["mse"].max())} for times in (3.9, 4.1))
    panel = curves([replace(ours, baselines={"near": near, "far": far})], ["mse"]).axes[0]
    assert np.isfinite(panel.lines[0].get_ydata()).all()
    assert np.isnan(panel.lines[1].get_ydata()).all()
    assert [text.get_text().partition(":")[0] for text in panel.texts] == ["far"]


def test_curves_are_written_whole_or_not_at_all(tmp_path):
    figure = curves([score()])
    save_figure(figure, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ZooError, match=r"legal is \.png"):
        save_figure(figure, tmp_path / "curves.doc")
    with pytest.raises(ZooError, match="nowhere is not a folder"):
        save_figure(figure, tmp_path / "nowhere" / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
