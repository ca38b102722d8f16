"""`evaluate` against a naive evaluation, and its scores."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import zoo
from tests.support.scores import PLAIN, Clips, Conv, printed, score
from zoo.errors import ZooError
from zoo.evaluation import (
    Blank,
    CopyLast,
    Scores,
    compare,
    evaluate,
    find_convention,
    save_values,
)
from zoo.evaluation.evaluator import fewer_note


def naive(model, dataset, observed, horizon, count):
    """The values `(clips, horizon)` of each metric: all predictions at once, then NumPy and scikit-image."""
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
        "mse": mse,
        "mae": np.abs(predictions - true).mean((2, 3, 4)),
        "psnr": -10 * np.log10(mse),
        "ssim": np.array(ssim),
    }


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
            np.testing.assert_allclose(scores.rows[name][key], values.mean(0), rtol=1e-5, atol=1e-6)
            half = 2.447 * values.std(0, ddof=1) / len(values) ** 0.5  # Student's quantile of 7 values
            np.testing.assert_allclose(scores.half_intervals[name][key], half, rtol=1e-4, atol=1e-6)
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
        np.testing.assert_allclose(scores.per_frame["ssim"], expected["ssim"].mean(0), rtol=1e-6, atol=1e-7)


def test_count_takes_the_first_clips():
    scores = evaluate(CopyLast(), Clips(count=30), 2, observed=3, metrics="mse", count=4)
    expected = naive(CopyLast(), Clips(), 3, 2, 4)
    np.testing.assert_allclose(scores.per_frame["mse"], expected["mse"].mean(0), rtol=1e-6)
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_baselines_do_not_depend_on_the_precision_of_the_model(dtype):
    plain, other = (evaluate(Conv().to(each), Clips(), 3, observed=4, metrics="mse") for each in (torch.float32, dtype))
    for name, values in plain.baselines.items():
        np.testing.assert_array_equal(other.baselines[name]["mse"], values["mse"])


def test_all_clips_are_measured_if_more_are_asked_for():
    scores = evaluate(Conv(), Clips(), 3, observed=4, metrics="mse", count=np.int64(8))
    assert scores.clips == 7
    note = "There are only 7 clips of the 8 that were asked for; all were measured."
    assert note in printed(scores.table()).replace("\n", " ")
    assert note in compare([scores]).notes
    assert not evaluate(Conv(), Clips(), 3, observed=4, metrics="mse", count=7).notes
    assert fewer_note(Clips(count=1), 2) == ["There is only 1 clip of the 2 that were asked for; it was measured."]


def test_numbers_may_be_those_of_numpy(tmp_path):
    scores = evaluate(Conv(), Clips(), np.int64(3), observed=np.int64(4), metrics="mse", batch=np.int64(2))
    scores.save(tmp_path / "scores.json")


def test_one_is_a_singular():
    scores = evaluate(Conv(), Clips(), 1, observed=4, metrics="mse", count=1)
    assert scores.table().title == "4 observed → 1 predicted frame"
    assert "1 clip of random frames." in scores.footnotes()
    with pytest.raises(ZooError, match="clips of 1 step are too short"):
        evaluate(Conv(), Clips(length=1), 1, observed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon = 0 must be at least 1"),
        ({"observed": 0}, "observed = 0 must be at least 1"),
        ({"batch": 0}, "batch = 0 must be at least 1"),
        ({"horizon": 30}, "clips of 8 steps are too short for 4 observed and 30 predicted steps; .*length=34"),
        ({"count": 0}, "count = 0 must be at least 1"),
        ({"count": 2.5}, "count = 2.5 must be a whole number, at least 1"),
        ({"horizon": 2.0}, "horizon = 2.0 must be a whole number, at least 1"),
        ({"observed": "4"}, "observed = '4' must be a whole number, at least 1"),
        ({"batch": True}, "batch = True must be a whole number, at least 1"),
        ({"metrics": []}, "no metrics to measure; name one or more of mse, mae"),
        ({"metrics": [3]}, r"metrics = \[3\] must be the name of a metric"),
        ({"metrics": 3}, "metrics = 3 must be the name of a metric"),
        ({"convention": "opnstl"}, "no convention 'opnstl'; did you mean 'openstl'"),
        ({"metrics": ["msee"]}, "no metric 'msee'; did you mean 'mse'"),
        ({"name": "blank frames"}, "is the name of a baseline"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ZooError, match=message):
        evaluate(Conv(), Clips(), **{"horizon": 3, "observed": 4, "metrics": ["mse"], **options})


def test_the_folder_of_a_run_is_no_model():
    with pytest.raises(ZooError, match=r"model = .runs/a. must be a model"):
        evaluate("runs/a", Clips(), 3, observed=4)


def test_a_model_of_other_channels_is_refused():
    with pytest.raises(ZooError, match="x has shape"):
        evaluate(Conv(3), Clips(), 3, observed=4, metrics=["mse"])


def test_missing_weights_and_small_frames_leave_columns_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    scores = evaluate(Conv(), Clips(size=(10, 40)), 3, observed=4, root=tmp_path)
    assert scores.per_frame.keys() == {"mse", "mae", "psnr"}
    ssim, lpips = scores.notes
    assert "SSIM is empty: frames of 10 pixels are smaller" in ssim
    assert "LPIPS is empty: the weights of the squeeze backbone are missing; save https" in lpips
    text = printed(scores.table())
    assert "LPIPS ↓" in text
    assert lpips in scores.table().notes
    assert lpips in compare([scores]).notes


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
    scores = replace(score(), recipe=zoo.recipe("conv-lstm", "demo"))
    scores.save(tmp_path / "scores.json")
    loaded = Scores.load(tmp_path / "scores.json")
    assert printed(loaded.table()) == printed(scores.table())
    for name, per_frame in scores.rows.items():
        for key, values in per_frame.items():
            np.testing.assert_array_equal(loaded.rows[name][key], values)
    for name, per_metric in scores.per_clip.items():
        assert len(per_metric["mse"]) == scores.clips
        for key, values in per_metric.items():
            np.testing.assert_array_equal(loaded.per_clip[name][key], values)
            np.testing.assert_allclose(values.mean(), scores.rows[name][key].mean())
    for name, per_metric in scores.half_intervals.items():
        for key, values in per_metric.items():
            np.testing.assert_array_equal(loaded.half_intervals[name][key], values)
    plain = dict.fromkeys(("per_frame", "baselines", "per_clip", "half_intervals"))
    assert vars(loaded) | plain == vars(scores) | plain
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_scores_are_written_as_csv(tmp_path):
    scores = score(horizon=2)
    other = replace(scores, name="other", half_intervals={})  # as of a single clip
    save_values([scores, other], tmp_path / "scores.csv")
    head, *lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert head == "data,observed,horizon,model,metric,frame,value,half_interval"
    assert len(lines) == len(set(lines)) == 4 * 4 * 2  # the baselines once
    for name in ("model", "other"):
        half = f"{scores.half_intervals['model']['ssim'][1]}" if name == "model" else ""
        value = scores.per_frame["ssim"][1]
        assert f"{scores.comparable_with},{scores.observed},2,{name},ssim,2,{value},{half}" in lines


def test_scores_of_a_damaged_recipe_are_refused_and_those_without_one_are_read(tmp_path):
    path = tmp_path / "scores.json"
    score().save(path)
    plain = json.loads(path.read_text())
    assert plain.pop("recipe") is None
    path.write_text(json.dumps(plain))  # as earlier versions wrote them
    assert Scores.load(path).recipe is None
    for recipe in (3, {"model": "conv-lstm", "training": {"steps": "many"}}):
        path.write_text(json.dumps(plain | {"recipe": recipe}))
        with pytest.raises(ZooError, match="does not hold scores"):
            Scores.load(path)


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
