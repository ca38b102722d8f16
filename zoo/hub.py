"""Models on the Hugging Face Hub and in folders like those there, by huggingface-hub's mixin, which is optional."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.cards import model_card
from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.files import aside, folder_name
from zoo.predictor import Predictor
from zoo.pretrained import load_weights, save_weights
from zoo.settings import Recipe, to_plain

if TYPE_CHECKING:
    from zoo.evaluation.scores import Scores

WEIGHTS = "model.safetensors"
Kind = TypeVar("Kind", bound=Predictor)
Result = TypeVar("Result")


def save_pretrained(
    model: Predictor, folder: str | Path, recipe: Recipe | None = None, scores: "Sequence[Scores]" = ()
) -> None:
    """Write a model's weights (`model.safetensors`), settings (`config.json`) and card (`README.md`) to a folder.

    A card that is there already stays as it is, as huggingface-hub has it. The files appear whole or not at all.

    Args:
        model: made by `zoo.create_model`, or read from a file or a run.
        folder: made if it is missing.
        recipe: by which it was trained; by default what the model itself knows of that.
        scores: measured values for the card, see `zoo.evaluate`.

    Raises:
        ZooError: huggingface-hub is not installed, a model that nobody knows a recipe of, a compressed one, or a folder
            that cannot be written.
    """
    hub = _hub(model, recipe, scores)
    folder = folder_name(folder)
    with tempfile.TemporaryDirectory() as temporary:
        _asking("the model cannot be written", lambda: hub.save_pretrained(temporary))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{folder} cannot be made ({error.strerror}); choose another folder") from None
        for file in sorted(Path(temporary).iterdir()):
            if file.name != "README.md" or not (folder / file.name).exists():
                with aside(folder / file.name) as place:
                    shutil.copyfile(file, place)


def push_to_hub(
    model: Predictor,
    repo_id: str,
    recipe: Recipe | None = None,
    scores: "Sequence[Scores]" = (),
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
) -> str:
    """Upload what `save_pretrained` writes; returns the address of the commit.

    Args:
        model: see `save_pretrained`.
        repo_id: such as "name/my-model"; made if it is missing.
        recipe: see `save_pretrained`.
        scores: see `save_pretrained`.
        private: whether a new repository is private.
        token: by default that of `hf auth login`.
        branch: "main" by default.

    Raises:
        ZooError: as `save_pretrained`; or the hub refuses, or cannot be reached.
    """
    hub = _hub(model, recipe, scores)
    place = f"{repo_id} cannot be pushed to"
    return str(_asking(place, lambda: hub.push_to_hub(repo_id, private=private, token=token, branch=branch)))


def from_pretrained(kind: type[Kind], name: str | Path, **options: Any) -> Kind:
    """A model in evaluation mode, from a repository of the hub or a folder that `save_pretrained` wrote.

    Args:
        kind: the class that it must be of.
        name: a folder, or such as "name/my-model".
        options: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`: those of huggingface-hub.

    Raises:
        ZooError: huggingface-hub is not installed, the hub refuses or cannot be reached, no such folder, a damaged
            file, or a model of another class.
    """
    hub = _asking(f"{name} cannot be read", lambda: _hub_class().from_pretrained(name, **options))
    if not isinstance(hub.model, kind):
        raise ZooError(f"{name} holds a {type(hub.model).__name__}, which is no {kind.__name__}; use its own class")
    return hub.model


def _hub(model: Predictor, recipe: Recipe | None, scores: "Sequence[Scores]") -> Any:
    """The mixin's view of a model."""
    recipe = model.recipe if recipe is None else recipe
    if recipe is None:
        raise ZooError(
            f"nobody knows how this {type(model).__name__} was made; make it by zoo.create_model, or pass recipe"
        )
    hub = _hub_class()()
    hub.model, hub.recipe, hub.scores = model, check_recipe(recipe), scores
    return hub


def _hub_class() -> Any:
    """A class with huggingface-hub's mixin, which writes and reads the files of this package.

    Raises:
        ZooError: huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
    except ImportError:
        raise ZooError("this needs huggingface-hub, which is not installed; pip install 'tensortrain[hub]'") from None

    class Hub(ModelHubMixin):
        model: Predictor
        recipe: Recipe
        scores: "Sequence[Scores]" = ()

        def _save_pretrained(self, save_directory: Path) -> None:
            save_weights(save_directory / WEIGHTS, self.model, self.recipe)
            config = to_plain(self.recipe)
            (save_directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Hub":
            path = Path(model_id) / WEIGHTS
            if not path.parent.is_dir():
                path = Path(hf_hub_download(model_id, WEIGHTS, **options))
            hub = cls()
            hub.model, hub.recipe = load_weights(path)
            return hub

        def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
            count = sum(parameter.numel() for parameter in self.model.parameters())
            return ModelCard(model_card(self.recipe, count, self.scores), ignore_metadata_errors=False)

    return Hub


def _asking(complaint: str, ask: Callable[[], Result]) -> Result:
    """What huggingface-hub answers; whatever it raises becomes an error of this package."""
    try:
        return ask()
    except ZooError:
        raise
    except Exception as error:  # of the network, the hub or the disk
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ZooError(f"{complaint} ({reason}); check the name and the connection") from error
