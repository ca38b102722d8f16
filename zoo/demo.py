"""`make demo`: train a small Conv-TT-LSTM from scratch, evaluate it on held-out clips, and draw its predictions.

Run it as `python -m zoo.demo [DIR]`. It writes its pictures to DIR, by default `out`. The digits are those of MNIST if
they are in the data root, otherwise those of scikit-learn. The exit status is 1 if the model is not better than both
trivial baselines.
"""

import shutil
import sys
import time
from pathlib import Path

import zoo
from tensortrain import terminal
from tensortrain.tables import show
from zoo.data import make_dataset
from zoo.errors import ZooError
from zoo.evaluation import CopyLast, curves, save_figure
from zoo.evaluation.scores import averages

MODEL = "conv-tt-lstm-sw"


def main(output: Path = Path("out")) -> None:
    """Train, evaluate and draw. Ends with `SystemExit` 1 if a baseline is as good or better."""
    began = time.monotonic()
    folder = output / "zoo-demo"
    shutil.rmtree(folder, ignore_errors=True)  # start from scratch
    run = zoo.fit(zoo.recipe(MODEL, "demo"), folder)
    settings = run.recipe.data
    test = make_dataset(settings, "test")
    scores = zoo.evaluate(run.model, test, metrics=("mse", "mae", "psnr", "ssim"), count=500, name=MODEL)
    show(scores.table())

    clip = test.clips([0])[0]
    shown = {MODEL: run.model, "copy last frame": CopyLast(clip.shape[1])}  # blank frames need no picture
    prediction = zoo.predict(shown, clip, observed=settings.observed)
    prediction.save(output / "zoo-demo.gif")
    prediction.save(output / "zoo-demo.png")
    save_figure(curves([scores]), output / "zoo-demo-curves.png")
    print(
        f"pictures: {output}/zoo-demo.gif, zoo-demo.png, zoo-demo-curves.png; {time.monotonic() - began:.0f} s in total"
    )

    best = min(averages(values)["mse"] for values in scores.baselines.values())
    if scores.average["mse"] >= best:
        sys.exit("demo: the model is not better than both baselines (copy last frame, blank frames)")


def _report() -> None:
    with terminal.reported("demo", ZooError):
        main(*map(Path, sys.argv[1:2]))


if __name__ == "__main__":
    terminal.run("demo", lambda: _report)
