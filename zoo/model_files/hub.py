"""Save and load models in the layout of the Hugging Face Hub, by the mixin of huggingface-hub, which is optional."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.files import aside, folder_name
from zoo.model_files.cards import model_card
from zoo.model_files.pretrained import load_weights, save_weights
from zoo.predictors.predictor import Predictor
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

    The files appear completely or not at all. A card that is in the folder already is kept, as by huggingface-hub.

    Args:
        model: a model that was built by `zoo.create_model`, or read from a file or a run.
        folder: where to write; it is created if it does not exist.
        recipe: the settings that the model was trained by; by default `model.recipe`.
        scores: results of `zoo.evaluate` for the card.

    Raises:
        ZooError: if huggingface-hub is not installed, the model has no recipe and none is passed, or
            the folder cannot be written.
    """
    hub = _hub(model, recipe, scores)
    folder = folder_name(folder)
    with tempfile.TemporaryDirectory() as temporary:
        _asking("the model cannot be written", lambda: hub.save_pretrained(temporary))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{folder} cannot be created ({error.strerror}); choose another folder") from None
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
    """Upload to the Hugging Face Hub the files that `save_pretrained` writes.

    Args:
        model: the model to upload; see `save_pretrained`.
        repo_id: the repository, such as "name/my-model"; it is created if it does not exist.
        recipe: the settings that the model was trained by; see `save_pretrained`.
        scores: results of `zoo.evaluate` for the card.
        private: whether a new repository is private.
        token: the access token; by default that of `hf auth login`.
        branch: the branch to push to; by default "main".

    Returns:
        The web address of the commit.

    Raises:
        ZooError: in the cases of `save_pretrained`, or if the hub cannot be reached or refuses.
    """
    hub = _hub(model, recipe, scores)
    place = f"{repo_id} cannot be pushed to"
    return str(_asking(place, lambda: hub.push_to_hub(repo_id, private=private, token=token, branch=branch)))


def from_pretrained(kind: type[Kind], name: str | Path, **options: Any) -> Kind:
    """Read a model from a repository of the hub, or from a folder of `save_pretrained`. It is in evaluation mode.

    Args:
        kind: the class that the model must belong to.
        name: a folder, or a repository such as "name/my-model".
        options: options of huggingface-hub: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

    Raises:
        ZooError: if huggingface-hub is not installed, the hub cannot be reached or refuses, the folder does not exist,
            a file is damaged, or the model belongs to another class.
    """
    hub = _asking(f"{name} cannot be read", lambda: _hub_class().from_pretrained(name, **options))
    if not isinstance(hub.model, kind):
        raise ZooError(f"{name} holds a {type(hub.model).__name__}, which is not a {kind.__name__}; use its own class")
    return hub.model


def _hub(model: Predictor, recipe: Recipe | None, scores: "Sequence[Scores]") -> Any:
    """The model wrapped in a class with the mixin of huggingface-hub."""
    recipe = model.recipe if recipe is None else recipe
    if recipe is None:
        raise ZooError(
            f"this {type(model).__name__} has no recipe, since the zoo did not build it; build it with "
            "zoo.create_model, or pass recipe"
        )
    hub = _hub_class()()
    hub.model, hub.recipe, hub.scores = model, check_recipe(recipe), scores
    return hub


def _hub_class() -> Any:
    """A class with the mixin of huggingface-hub that writes and reads the files of this package.

    Raises:
        ZooError: if huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
    except ImportError:
        raise ZooError(
            "this needs huggingface-hub, which is not installed; install it with: pip install 'tensortrain[hub]'"
        ) from None

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
    """Call huggingface-hub. Whatever it raises becomes an error of this package."""
    try:
        return ask()
    except ZooError:
        raise
    except Exception as error:  # errors of the network, the hub or the disk
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ZooError(f"{complaint} ({reason}); check the name and the connection") from error
